package acme

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/admission"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/vault"
)

// Root is the path under which the door stands. The resources of an issuer are below Root/VAULT/ISSUER.
const Root = "/acme"

// The paths of the resources, below the address of an issuer.
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

// Issuer is one whose certificates clients can have, for the time of one request.
type Issuer struct {
	// URL is the https address below which its resources are, as the client sees it, without a slash at its end.
	URL       string
	Store     Store
	Authority Authority
	Rules     Rules
	// Profiles are the kinds of certificates that orders may name, with a sentence about each.
	Profiles map[string]string
	// TermsOfService and Website are addresses for people. Optional.
	TermsOfService, Website string
}

// Config makes the door. Observe, Enter, ClientAddress, Limits and OrderLifetime may be left out.
type Config struct {
	// Find returns the issuer that a request is for, by the parameters vault and issuer of its path, and applies the network rules and the rate limits of the vault. One
	// that is not there, or that nobody may enrol with, is a fault.NotFound.
	Find func(*door.Request) (*Issuer, error)
	// Validator looks for the answers to challenges.
	Validator *Validator
	Clock     clock.Clock
	Logger    *slog.Logger
	Observe   func(door string, r *door.Request, status int, took time.Duration)
	// Enter says when a request may go on: see door.Config.
	Enter func(*door.Request) (*admission.Pass, error)
	// ClientAddress finds the address of the client; nil takes the connection's.
	ClientAddress func(*http.Request) netip.Addr
	Limits        Limits
	// Nonces are kept by the process when nil: another node does not know them.
	Nonces Nonces
	// OrderLifetime is how long an order may take; a day if zero.
	OrderLifetime time.Duration
}

// handler is the door. It has no goroutines.
type handler struct {
	Config
	rates rates
}

// exchange is one request with the issuer that it is for.
type exchange struct {
	*handler
	*Issuer
	// prefix is the path of Issuer.URL.
	prefix string
}

// New returns the door.
func New(c Config) (*door.Door, error) {
	h, err := newHandler(c)
	if err != nil {
		return nil, err
	}
	return door.New(door.Config{Name: "acme", Routes: h.routes(), Clock: c.Clock, Prepare: h.prepare, Fail: h.fail, Status: func(e *fault.Error) int { return problemOf(e).Status },
		Enter: c.Enter, Observe: c.Observe, Logger: c.Logger})
}

func newHandler(c Config) (*handler, error) {
	if c.Find == nil || c.Clock == nil || c.Validator == nil || c.Logger == nil {
		return nil, errors.New("acme: what finds issuers, a validator, a clock and a logger are required")
	}
	if c.OrderLifetime == 0 {
		c.OrderLifetime = 24 * time.Hour
	}
	if c.ClientAddress == nil {
		c.ClientAddress = door.ConnectionAddress
	}
	c.Limits.complete()
	if c.Nonces == nil {
		c.Nonces = newNonces()
	}
	return &handler{Config: c, rates: newRates(c.Limits)}, nil
}

// reply is an answer that is not an error.
type reply struct {
	status   int
	location string
	body     any
	links    []string
	// media and raw are a body that is not JSON.
	media string
	raw   []byte
}

// routes says which request is signed by whom and what it does.
func (h *handler) routes() []door.Route {
	const base = Root + "/{vault}/{issuer}"
	var routes []door.Route
	add := func(method, path, operation, summary string, serve func(*exchange, *door.Request) (*reply, error)) {
		r := door.Route{Method: method, Pattern: base + path, Operation: operation, Public: true, Success: door.Varies, Summary: summary}
		if method == http.MethodPost {
			r.MaxBody = maxBody
		}
		r.Serve = func(r *door.Request) error { return h.serve(r, serve) }
		routes = append(routes, r)
	}
	signed := func(path, operation, summary string, signer who, serve func(*exchange, *door.Request, *message) (*reply, error)) {
		add(http.MethodPost, path, operation, summary, func(s *exchange, r *door.Request) (*reply, error) {
			m, err := s.read(r, signer)
			if err != nil {
				return nil, err
			}
			return serve(s, r, m)
		})
	}
	add(http.MethodGet, pathDirectory, "AcmeDirectory", "Says where everything is.", (*exchange).directory)
	for _, method := range []string{http.MethodHead, http.MethodGet} {
		add(method, pathNonce, "AcmeNonce", "Gives a nonce.", (*exchange).newNonce)
	}
	add(http.MethodGet, pathRenewal+"/{id}", "AcmeRenewalInfo", "Says when to renew a certificate.", (*exchange).renewal)
	signed(pathNewAccount, "AcmeNewAccount", "Opens an account, or finds the one of a key.", byKey, (*exchange).newAccount)
	signed(pathAccount+"{id}", "AcmeAccount", "Shows, changes or closes an account.", byAccount, (*exchange).account)
	signed(pathKeyChange, "AcmeKeyChange", "Gives an account another key.", byAccount, (*exchange).keyChange)
	signed(pathNewOrder, "AcmeNewOrder", "Orders a certificate.", byAccount, (*exchange).newOrder)
	signed(pathOrder+"{id}", "AcmeOrder", "Shows an order.", byAccount, (*exchange).order)
	signed(pathFinalize+"{id}", "AcmeFinalize", "Has the certificate of an order signed.", byAccount, (*exchange).finalize)
	signed(pathAuthz+"{id}", "AcmeAuthorization", "Shows how a name is proved, or gives it up.", byAccount, (*exchange).authorization)
	signed(pathChallenge+"{id}/{type}", "AcmeChallenge", "Shows a challenge, or looks for its answer.", byAccount, (*exchange).challenge)
	signed(pathCertificate+"{id}", "AcmeCertificate", "Delivers a certificate.", byAccount, (*exchange).certificate)
	signed(pathRevoke, "AcmeRevoke", "Takes a certificate back.", byEither, (*exchange).revoke)
	return routes
}

// issuerOf is the key under which a request carries its issuer.
type issuerOf struct{}

// prepare names the request and finds its issuer.
func (h *handler) prepare(r *door.Request) error {
	r.Call.Address = h.ClientAddress(r.HTTP)
	r.Call.Correlation = vault.NewGUID()
	r.Call.UserAgent = r.HTTP.UserAgent()
	r.Call.Path = r.HTTP.URL.Path
	r.Call.APIVersion = "rfc8555"
	head := r.Header()
	nonce, err := h.Nonces.Issue(r.HTTP.Context())
	if err != nil {
		return err
	}
	head.Set("Replay-Nonce", nonce)
	head.Set("Cache-Control", "no-store")
	head.Set("X-Content-Type-Options", "nosniff")
	head.Set("X-Correlation-Id", r.Call.Correlation)
	if r.Route == nil {
		return nil
	}
	i, err := h.Find(r)
	if err != nil {
		return err
	}
	r.HTTP = r.HTTP.WithContext(context.WithValue(r.HTTP.Context(), issuerOf{}, i))
	// RFC 8555, section 7.1, wants it with everything but the directory.
	head.Set("Link", "<"+i.URL+pathDirectory+`>;rel="index"`)
	return nil
}

// serve runs an operation on the issuer that was found. Problems of the protocol are answers; other errors are the door's.
func (h *handler) serve(r *door.Request, operation func(*exchange, *door.Request) (*reply, error)) error {
	i := r.HTTP.Context().Value(issuerOf{}).(*Issuer)
	u, err := url.Parse(i.URL)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || strings.HasSuffix(i.URL, "/") {
		return errors.New("the address of an ACME issuer is no https address without a slash at its end")
	}
	answer, err := operation(&exchange{handler: h, Issuer: i, prefix: u.Path}, r)
	var p *Problem
	if errors.As(err, &p) {
		sendProblem(r, p)
		return nil
	}
	if err != nil {
		return err
	}
	answer.send(r)
	return nil
}

func (a *reply) send(r *door.Request) {
	head := r.Header()
	if a.location != "" {
		head.Set("Location", a.location)
	}
	for _, link := range a.links {
		head.Add("Link", link)
	}
	body := a.raw
	if a.media != "" {
		head.Set("Content-Type", a.media)
	}
	if a.body != nil {
		var err error
		if body, err = json.Marshal(a.body); err != nil {
			panic(err) // types of this package
		}
		media := "application/json"
		if _, problem := a.body.(*Problem); problem {
			media = problemMedia
		}
		head.Set("Content-Type", media)
	}
	r.Raw(a.status, body)
}

func (s *exchange) newNonce(r *door.Request) (*reply, error) {
	if r.HTTP.Method == http.MethodHead {
		return &reply{status: http.StatusOK}, nil
	}
	return &reply{status: http.StatusNoContent}, nil
}

func (s *exchange) directory(*door.Request) (*reply, error) {
	meta := map[string]any{"externalAccountRequired": s.Rules.RequiresBinding()}
	if len(s.Profiles) > 0 {
		meta["profiles"] = s.Profiles
	}
	if s.TermsOfService != "" {
		meta["termsOfService"] = s.TermsOfService
	}
	if s.Website != "" {
		meta["website"] = s.Website
	}
	return &reply{status: http.StatusOK, body: map[string]any{
		"newNonce": s.URL + pathNonce, "newAccount": s.URL + pathNewAccount, "newOrder": s.URL + pathNewOrder,
		"revokeCert": s.URL + pathRevoke, "keyChange": s.URL + pathKeyChange, "renewalInfo": s.URL + pathRenewal, "meta": meta,
	}}, nil
}
