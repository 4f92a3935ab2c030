package oauth_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/access"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/directory"
	"github.com/keywright/keywright/internal/door/oauth"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/identity"
	"github.com/keywright/keywright/internal/keyring"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/seal/keyfile"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/store/sqlite"
	"github.com/keywright/keywright/internal/tenancy/tenancytest"
	"github.com/keywright/keywright/internal/vault"
)

const host = "login.test:8443"

// world is an authority and the plain listener, with one tenant, one application and one managed identity.
type world struct {
	t      *testing.T
	clock  *clock.Manual
	svc    *identity.Service
	store  store.Store
	audit  *tenancytest.Auditor
	tenant vault.TenantID
	login  http.Handler
	// host is where serve put the authority.
	host  string
	plain http.Handler

	app    *principal.Principal
	secret redact.String
	// managed is bound to the plain listener when bound is set.
	managed  *principal.Principal
	endpoint redact.String
	bound    bool
}

type noAudit struct{}

func (noAudit) SignIn(context.Context, identity.SignInEvent) error { return nil }

func newWorld(t *testing.T) *world {
	t.Helper()
	return newWorldAt(t, time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC))
}

func newWorldAt(t *testing.T, now time.Time) *world {
	t.Helper()
	ctx, dir := context.Background(), t.TempDir()
	w := &world{t: t, clock: clock.NewManual(now), tenant: vault.NewTenantID()}
	s, err := sqlite.Open(sqlite.Config{Dir: filepath.Join(dir, "store")})
	w.must(err)
	t.Cleanup(func() { s.Close() })
	file := filepath.Join(dir, "seal.key")
	w.must(keyfile.Create(file))
	seal, err := keyfile.New(keyfile.Config{Files: []string{file}})
	w.must(err)
	ring, err := keyring.Open(ctx, keyring.Config{Store: s, Seal: seal, Clock: w.clock})
	w.must(err)
	keys, err := ring.NewTenantKeys(ctx, w.tenant, w.clock.Now())
	w.must(err)
	w.must(s.Update(ctx, store.NewOp(w.clock.Now()), func(tx store.Tx) error {
		failed := tx.PutTenant(ctx, &vault.Tenant{ID: w.tenant, Name: "test", Created: w.clock.Now()})
		for _, k := range keys {
			failed = errors.Join(failed, tx.PutWrappedKey(ctx, k))
		}
		return failed
	}))
	w.svc, err = identity.New(identity.Config{Store: s, Keys: ring, Auditor: noAudit{}, Clock: w.clock,
		Issuer: func(t vault.TenantID) string { return "https://login.test:8443/" + string(t) + "/v2.0" }})
	w.must(err)
	t.Cleanup(s.Watch(ring.Changed))
	t.Cleanup(s.Watch(w.svc.Changed))
	w.populate(ctx)
	w.store, w.audit = s, &tenancytest.Auditor{}
	guarded, err := guard.New(guard.Config{Store: s, Audit: w.audit, Clock: w.clock, Logger: slog.New(slog.DiscardHandler)})
	w.must(err)
	duties, err := access.New(access.Config{Guard: guarded, Store: s, Clock: w.clock})
	w.must(err)
	people, err := directory.New(directory.Config{Guard: guarded, Store: s, Identity: w.svc, Duties: duties, Clock: w.clock})
	w.must(err)
	config := oauth.Config{Issuer: w.svc, Self: directory.NewSelf(people), Host: host, DefaultTenant: w.tenant, Clock: w.clock, Logger: slog.New(slog.DiscardHandler),
		Own: func(h string) bool { return h == host || h == "127.0.0.1:8443" || w.host != "" && h == w.host },
		Bound: func(*http.Request) (oauth.Binding, bool) {
			return oauth.Binding{Tenant: w.tenant, Principal: w.managed.ID}, w.bound
		}}
	w.login, err = oauth.New(config)
	w.must(err)
	w.plain, err = oauth.NewManaged(config)
	w.must(err)
	return w
}

func (w *world) populate(ctx context.Context) {
	w.t.Helper()
	var change identity.Change
	var err error
	w.app, change, err = w.svc.PreparePrincipal(identity.Spec{Tenant: w.tenant, Kind: principal.Service, Name: "app"})
	w.must(err)
	w.must(w.svc.Apply(ctx, nil, change))
	w.secret, _, change, err = w.svc.PrepareSecret(ctx, w.tenant, w.app.ID, identity.SecretSpec{})
	w.must(err)
	w.must(w.svc.Apply(ctx, nil, change))
	w.managed, change, err = w.svc.PreparePrincipal(identity.Spec{Tenant: w.tenant, Kind: principal.ManagedIdentity, Name: "site",
		Resource: "/subscriptions/s/resourceGroups/g/providers/Microsoft.Web/sites/site"})
	w.must(err)
	w.must(w.svc.Apply(ctx, nil, change))
	w.endpoint, _, change, err = w.svc.PrepareEndpointSecret(ctx, w.tenant, w.managed.ID, identity.SecretSpec{})
	w.must(err)
	w.must(w.svc.Apply(ctx, nil, change))
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// answer is a decoded reply.
type answer struct {
	status int
	header http.Header
	text   string
	body   map[string]any
}

func (w *world) do(h http.Handler, method, target string, form url.Values, headers ...string) answer {
	w.t.Helper()
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	r := httptest.NewRequest(method, target, body)
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header[headers[i]] = []string{headers[i+1]}
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	a := answer{status: rec.Code, header: rec.Header(), text: rec.Body.String()}
	if strings.HasPrefix(rec.Header().Get("Content-Type"), "application/json") {
		if err := json.Unmarshal(rec.Body.Bytes(), &a.body); err != nil {
			w.t.Fatalf("%s %s: %v in %s", method, target, err, a.text)
		}
	}
	return a
}

func (w *world) post(path string, form url.Values, headers ...string) answer {
	w.t.Helper()
	return w.do(w.login, http.MethodPost, "https://"+host+path, form, headers...)
}

func (w *world) get(path string) answer {
	w.t.Helper()
	return w.do(w.login, http.MethodGet, "https://"+host+path, nil)
}

// clientForm is a good request for a token.
func (w *world) clientForm() url.Values {
	return url.Values{"grant_type": {"client_credentials"}, "client_id": {w.app.AppID}, "client_secret": {w.secret.Reveal()},
		"scope": {"https://vault.test:8443/.default openid offline_access profile"}}
}
