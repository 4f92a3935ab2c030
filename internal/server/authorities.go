package server

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/issuer/internalca"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// The paths at which the plain listener tells about an authority: authorityPath, the id of its certificate's version, and one of the others. Answers are signed, and
// whoever asks cannot verify a TLS certificate before it has one (RFC 5280, section 4.2.1.13).
const (
	authorityPath = "/ca/"
	crlPath       = "/crl"
	ocspPath      = "/ocsp"
	certPath      = "/ca.der"
)

// What anybody may ask for costs a signature at most so often: an answer is kept for some time, and few are made at once.
const (
	crlKept     = 5 * time.Minute
	ocspKept    = time.Minute
	openKept    = 5 * time.Minute
	maxKept     = 4096
	maxSigning  = 2
	maxOCSPBody = 4 << 10
)

// authorityHandler serves revocation lists, OCSP and certificates of internal authorities.
type authorityHandler struct {
	core    *core
	flights singleflight.Group
	signing chan struct{}

	mu sync.Mutex // guards kept
	// kept are answers and opened authorities, until they are looked for again.
	kept map[string]kept
}

type kept struct {
	value any
	until time.Time
}

func newAuthorityHandler(k *core) *authorityHandler {
	return &authorityHandler{core: k, signing: make(chan struct{}, maxSigning), kept: map[string]kept{}}
}

// ServeHTTP implements http.Handler.
func (h *authorityHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	text, what, _ := strings.Cut(strings.TrimPrefix(r.URL.EscapedPath(), authorityPath), "/")
	what = "/" + what
	version, err := vault.ParseVersionID(text)
	id := string(version)
	get := r.Method == http.MethodGet || r.Method == http.MethodHead
	switch {
	case err != nil:
		http.NotFound(w, r)
	case what == certPath && get:
		h.certificate(w, r, id)
	case what == crlPath && get:
		h.crl(w, r, id)
	case what == ocspPath && r.Method == http.MethodPost:
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxOCSPBody))
		if err != nil {
			http.Error(w, "the request is too long", http.StatusRequestEntityTooLarge)
			return
		}
		h.ocsp(w, r, id, body)
	case strings.HasPrefix(what, ocspPath+"/") && get: // RFC 6960, appendix A.1
		text, err := url.PathUnescape(strings.TrimPrefix(what, ocspPath+"/"))
		body, decodeErr := base64.StdEncoding.DecodeString(text)
		if errors.Join(err, decodeErr) != nil || len(body) > maxOCSPBody {
			body = nil // which the responder calls malformed
		}
		h.ocsp(w, r, id, body)
	default:
		http.NotFound(w, r)
	}
}

func (h *authorityHandler) certificate(w http.ResponseWriter, r *http.Request, id string) {
	ca, err := h.open(r.Context(), id)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	answer(w, "application/pkix-cert", ca.Certificate().Raw, time.Hour)
}

func (h *authorityHandler) crl(w http.ResponseWriter, r *http.Request, id string) {
	der, err := h.remember(r.Context(), "crl "+id, crlKept, func(ctx context.Context) (any, error) {
		ca, err := h.open(ctx, id)
		if err != nil {
			return nil, err
		}
		der, _, err := ca.CRL(ctx)
		return der, err
	})
	if err != nil {
		h.fail(w, r, err)
		return
	}
	answer(w, "application/pkix-crl", der.([]byte), crlKept)
}

func (h *authorityHandler) ocsp(w http.ResponseWriter, r *http.Request, id string, request []byte) {
	sum := sha256.Sum256(request)
	der, err := h.remember(r.Context(), "ocsp "+id+string(sum[:]), ocspKept, func(ctx context.Context) (any, error) {
		ca, err := h.open(ctx, id)
		if err != nil {
			return nil, err
		}
		der, _, err := ca.OCSP(ctx, request)
		return der, err
	})
	if err != nil {
		h.fail(w, r, err)
		return
	}
	answer(w, "application/ocsp-response", der.([]byte), ocspKept)
}

func answer(w http.ResponseWriter, contentType string, body []byte, keep time.Duration) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Cache-Control", "public, max-age="+strconv.Itoa(int(keep.Seconds())))
	_, _ = w.Write(body) // whoever asked has gone away
}

// fail says no more than that there is nothing here, or that it is to be tried later.
func (h *authorityHandler) fail(w http.ResponseWriter, r *http.Request, err error) {
	if fault.Is(err, fault.NotFound) || fault.Is(err, fault.Invalid) {
		http.NotFound(w, r)
		return
	}
	h.core.log.WarnContext(r.Context(), "a certificate authority could not answer", "path", r.URL.Path, "error", err)
	http.Error(w, "try later", http.StatusServiceUnavailable)
}

// open opens an authority by its id.
func (h *authorityHandler) open(ctx context.Context, id string) (*internalca.CA, error) {
	if ca, ok := h.look("ca " + id); ok {
		return ca.(*internalca.CA), nil
	}
	var row *store.Authority
	var v *vault.Vault
	err := h.core.store.View(ctx, func(tx store.Tx) (err error) {
		if row, err = tx.Authority(ctx, id); err == nil {
			v, err = tx.Vault(ctx, row.Vault)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	a, err := h.core.certificates.Authority(ctx, v, row.NameKey, row.Version)
	if err != nil {
		return nil, err
	}
	records, err := h.core.issuers.records(v, row.NameKey, a)
	if err != nil {
		return nil, err
	}
	ca, err := internalca.New(internalca.Config{Certificate: a.Chain[0], Parents: a.Chain[1:], Key: a.Key, Profiles: internalca.Profiles(), Default: defaultProfile,
		Records: records, Clock: h.core.clock})
	if err == nil {
		h.keep("ca "+id, ca, openKept)
	}
	return ca, err
}

// remember returns what was made under a key not long ago, or makes it, once for all who ask meanwhile.
func (h *authorityHandler) remember(ctx context.Context, key string, keep time.Duration, make func(context.Context) (any, error)) (any, error) {
	if value, ok := h.look(key); ok {
		return value, nil
	}
	value, err, _ := h.flights.Do(key, func() (any, error) {
		select {
		case h.signing <- struct{}{}:
		case <-ctx.Done():
			return nil, fault.Wrap(ctx.Err(), fault.Unavailable, "given up before a signature was made")
		}
		defer func() { <-h.signing }()
		// Others wait for the answer, too: it does not end with who asked first.
		value, err := make(context.WithoutCancel(ctx))
		if err == nil {
			h.keep(key, value, keep)
		}
		return value, err
	})
	return value, err
}

func (h *authorityHandler) look(key string) (any, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	k, ok := h.kept[key]
	return k.value, ok && h.core.clock.Now().Before(k.until)
}

func (h *authorityHandler) keep(key string, value any, d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.kept) >= maxKept {
		clear(h.kept)
	}
	h.kept[key] = kept{value, h.core.clock.Now().Add(d)}
}
