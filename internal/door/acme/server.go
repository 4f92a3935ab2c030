package acme

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/clock"
)

// The paths of the resources, below Config.URL.
const (
	pathDirectory   = "/directory"
	pathNonce       = "/new-nonce"
	pathNewAccount  = "/new-account"
	pathAccount     = "/account/"
	pathKeyChange   = "/key-change"
	pathNewOrder    = "/new-order"
	pathOrder       = "/order/"
	pathFinalize    = "/finalize/"
	pathAuthz       = "/authz/"
	pathChallenge   = "/challenge/"
	pathCertificate = "/certificate/"
	pathRevoke      = "/revoke-cert"
	pathRenewal     = "/renewal-info"
)

// Config is one ACME server.
type Config struct {
	// URL is the https address below which the resources are, as clients see it, without a slash at its end. Required.
	URL string
	// Store, Authority, Rules and Clock are required.
	Store     Store
	Authority Authority
	Rules     Rules
	Clock     clock.Clock
	// Validator looks for the answers to challenges. Required.
	Validator *Validator
	// RequireBinding refuses accounts that are not bound.
	RequireBinding bool
	// Profiles are the kinds of certificates that orders may name, with a sentence about each.
	Profiles map[string]string
	// TermsOfService and Website are addresses for people. Optional.
	TermsOfService, Website string
	// OrderLifetime is how long an order may take; a day if zero.
	OrderLifetime time.Duration
	// Log is optional.
	Log *slog.Logger
}

// Server is the handler of the door. It has no goroutines.
type Server struct {
	config Config
	// prefix is the path of Config.URL.
	prefix string
	nonces *nonces
	mux    *http.ServeMux
}

// New returns a Server.
func New(config Config) (*Server, error) {
	u, err := url.Parse(config.URL)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || strings.HasSuffix(config.URL, "/") {
		return nil, fmt.Errorf("acme: %q is no https address without a slash at its end", config.URL)
	}
	if config.Store == nil || config.Authority == nil || config.Rules == nil || config.Clock == nil || config.Validator == nil {
		return nil, errors.New("acme: a store, an authority, rules, a validator and a clock are required")
	}
	if config.OrderLifetime == 0 {
		config.OrderLifetime = 24 * time.Hour
	}
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{config: config, prefix: u.Path, nonces: newNonces(), mux: http.NewServeMux()}
	s.routes()
	return s, nil
}

// reply is an answer that is not an error.
type reply struct {
	status   int
	location string
	body     any
	links    []string
}

// routes says which request is signed by whom and what it does.
func (s *Server) routes() {
	for _, route := range []struct {
		path   string
		signer who
		serve  func(*http.Request, *message) (*reply, error)
	}{
		{pathNewAccount, byKey, s.newAccount}, {pathAccount + "{id}", byAccount, s.account}, {pathKeyChange, byAccount, s.keyChange},
		{pathNewOrder, byAccount, s.newOrder}, {pathOrder + "{id}", byAccount, s.order}, {pathFinalize + "{id}", byAccount, s.finalize},
		{pathAuthz + "{id}", byAccount, s.authorization}, {pathChallenge + "{id}/{type}", byAccount, s.challenge}, {pathRevoke, byEither, s.revoke},
	} {
		s.mux.HandleFunc("POST "+s.prefix+route.path, func(w http.ResponseWriter, r *http.Request) {
			s.common(w)
			m, err := s.read(r, route.signer)
			var answer *reply
			if err == nil {
				answer, err = route.serve(r, m)
			}
			if err != nil {
				s.fail(w, r, err)
				return
			}
			s.send(w, answer)
		})
	}
	s.mux.HandleFunc("POST "+s.prefix+pathCertificate+"{id}", s.certificate)
	s.mux.HandleFunc("GET "+s.prefix+pathDirectory, s.directory)
	s.mux.HandleFunc("GET "+s.prefix+pathNonce, s.newNonce)
	s.mux.HandleFunc("GET "+s.prefix+pathRenewal+"/{id}", s.renewal)
}

// ServeHTTP answers everything below Config.URL.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mux.ServeHTTP(w, r)
}

// common are the headers of every answer to a signed request (RFC 8555, sections 6.5 and 7.1).
func (s *Server) common(w http.ResponseWriter) {
	w.Header().Set("Replay-Nonce", s.nonces.issue())
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Add("Link", "<"+s.config.URL+pathDirectory+`>;rel="index"`)
}

func (s *Server) send(w http.ResponseWriter, a *reply) {
	if a.location != "" {
		w.Header().Set("Location", a.location)
	}
	for _, link := range a.links {
		w.Header().Add("Link", link)
	}
	var body []byte
	if a.body != nil {
		var err error
		if body, err = json.Marshal(a.body); err != nil {
			panic(err) // types of this package
		}
		w.Header().Set("Content-Type", "application/json")
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(body) // the client has gone away
}

func (s *Server) newNonce(w http.ResponseWriter, r *http.Request) {
	s.common(w)
	if r.Method != http.MethodHead {
		w.WriteHeader(http.StatusNoContent)
	}
}

func (s *Server) directory(w http.ResponseWriter, _ *http.Request) {
	meta := map[string]any{"externalAccountRequired": s.config.RequireBinding}
	if len(s.config.Profiles) > 0 {
		meta["profiles"] = s.config.Profiles
	}
	if s.config.TermsOfService != "" {
		meta["termsOfService"] = s.config.TermsOfService
	}
	if s.config.Website != "" {
		meta["website"] = s.config.Website
	}
	s.send(w, &reply{status: http.StatusOK, body: map[string]any{
		"newNonce": s.config.URL + pathNonce, "newAccount": s.config.URL + pathNewAccount, "newOrder": s.config.URL + pathNewOrder,
		"revokeCert": s.config.URL + pathRevoke, "keyChange": s.config.URL + pathKeyChange, "renewalInfo": s.config.URL + pathRenewal, "meta": meta,
	}})
}
