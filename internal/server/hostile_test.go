package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/e2e/transcript"
	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/identity"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// target is a development server under attack, with its log at the debug level.
type target struct {
	*Dev
	t      testing.TB
	dir    string
	client *http.Client
	log    *transcript.Buffer
}

// startTarget starts a server. Its client reaches every host name there.
func startTarget(t testing.TB) *target {
	t.Helper()
	return startTracedTarget(t, "")
}

// startTracedTarget starts one that sends its traces to a collector, if there is one.
func startTracedTarget(t testing.TB, collector string) *target {
	t.Helper()
	return startTargetIn(t, filepath.Join(t.TempDir(), "d"), func(c *DevConfig) { c.TraceEndpoint = collector })
}

// startTargetIn starts one in a directory, with another configuration.
func startTargetIn(t testing.TB, dir string, edit func(*DevConfig)) *target {
	t.Helper()
	x := &target{t: t, dir: dir, log: &transcript.Buffer{}}
	config := DevConfig{Listen: "127.0.0.1:0", Config: Config{Dir: x.dir, AuditReserveBytes: 1 << 20, AuditSegmentBytes: 1 << 20,
		Logger: slog.New(slog.NewJSONHandler(x.log, &slog.HandlerOptions{Level: slog.LevelDebug}))}}
	edit(&config)
	var err error
	x.Dev, err = StartDev(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.Close() })
	pem, err := os.ReadFile(x.CAFile())
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	dial := &net.Dialer{}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, MaxIdleConnsPerHost: 16, DisableCompression: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return dial.DialContext(ctx, network, x.address())
		}}
	t.Cleanup(transport.CloseIdleConnections)
	x.client = &http.Client{Transport: transport, Timeout: 30 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return x
}

// mounted finds every door of the server by looking at the dispatcher itself: a door that is added there is tested, or
// the test fails.
func (x *target) mounted() map[string][]door.Route {
	x.t.Helper()
	d, err := x.doors()
	if err != nil {
		x.t.Fatal(err)
	}
	handlers := map[string]http.Handler{"vault": d.vault, "login": d.login, "arm": d.arm, "graph": d.graph, "nativ": d.nativ, "acme": d.acme}
	fields := reflect.TypeFor[dispatch]()
	for i := range fields.NumField() {
		if f := fields.Field(i); f.Type == reflect.TypeFor[http.Handler]() && handlers[f.Name] == nil {
			x.t.Errorf("the door %q of the dispatcher is not tested: add it here", f.Name)
		}
	}
	routes := make(map[string][]door.Route)
	for name, h := range handlers {
		one, ok := h.(interface {
			Table() (name string, routes []door.Route)
		})
		if !ok {
			x.t.Fatalf("the door %q is a %T: teach this test to find its routes", name, h)
		}
		word, table := one.Table()
		if len(table) == 0 {
			x.t.Errorf("the door %q has no routes", name)
		}
		routes[word] = table
	}
	return routes
}

// reply is an answer with its body read.
type reply struct {
	status int
	header http.Header
	body   string
	head   bool
}

// send sends a request to a host of the server.
func (x *target) send(method, url, token, body string) reply {
	x.t.Helper()
	r, err := http.NewRequestWithContext(x.t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		x.t.Fatalf("%s %s: %v", method, url, err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	return x.roundTrip(r)
}

func (x *target) roundTrip(r *http.Request) reply {
	x.t.Helper()
	resp, err := x.client.Do(r)
	if err != nil {
		x.t.Fatalf("%s %s: %v", r.Method, r.URL, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		x.t.Fatalf("%s %s: %v", r.Method, r.URL, err)
	}
	return reply{status: resp.StatusCode, header: resp.Header, body: string(b), head: r.Method == http.MethodHead}
}

// person is somebody who can get tokens.
type person struct {
	tenant vault.TenantID
	id     principal.ID
	app    string
	secret redact.String
}

// newPerson makes a service principal without any grant.
func (x *target) newPerson(tenant vault.TenantID, name string) person {
	x.t.Helper()
	ctx := x.t.Context()
	p, put, err := x.core.identity.PreparePrincipal(identity.Spec{Tenant: tenant, Kind: principal.Service, Name: name})
	if err != nil {
		x.t.Fatal(err)
	}
	x.change(func(tx store.Tx) error { return put(ctx, tx) })
	secret, _, put, err := x.core.identity.PrepareSecret(ctx, tenant, p.ID, identity.SecretSpec{Name: "test"})
	if err != nil {
		x.t.Fatal(err)
	}
	x.change(func(tx store.Tx) error { return put(ctx, tx) })
	return person{tenant, p.ID, p.AppID, secret}
}

func (x *target) tokenOf(p person, resource string) string {
	x.t.Helper()
	tok, err := x.core.identity.ClientCredentials(x.t.Context(), identity.ClientRequest{Tenant: p.tenant, ClientID: p.app, Secret: p.secret, Resource: resource})
	if err != nil {
		x.t.Fatal(err)
	}
	return tok.Access.Reveal()
}

// grant gives somebody a role everywhere in the tenant.
func (x *target) grant(p person, role string) {
	op := store.NewOp(time.Now())
	x.change(func(tx store.Tx) error {
		return tx.PutGrant(x.t.Context(), &principal.Grant{ID: vault.NewGUID(), Tenant: p.tenant, Scope: "/", Role: role, Principal: p.id,
			PrincipalKind: principal.Service, Created: op.At, Updated: op.At})
	})
}

func (x *target) change(fn func(store.Tx) error) {
	x.t.Helper()
	if err := x.core.store.Update(x.t.Context(), store.NewOp(time.Now()), fn); err != nil {
		x.t.Fatal(err)
	}
}

// newTenant makes another tenant with a subscription and a vault of the name.
func (x *target) newTenant(vaultName string) (vault.TenantID, vault.SubscriptionID) {
	x.t.Helper()
	ctx, op := x.t.Context(), store.NewOp(time.Now())
	id := vault.NewTenantID()
	keys, err := x.core.keys.NewTenantKeys(ctx, id, op.At)
	if err != nil {
		x.t.Fatal(err)
	}
	x.change(func(tx store.Tx) error {
		return errors.Join(tx.PutTenant(ctx, &vault.Tenant{ID: id, Name: "other", Created: op.At}), putKeys(ctx, tx, keys...))
	})
	if err := x.core.identity.EnsureKeys(ctx, id); err != nil {
		x.t.Fatal(err)
	}
	subscription := vault.NewSubscriptionID()
	x.change(func(tx store.Tx) error {
		return tx.PutSubscription(ctx, &vault.Subscription{ID: subscription, Tenant: id, Name: "other", Created: op.At})
	})
	x.newVault(id, subscription, "dev", vaultName)
	return id, subscription
}

// newVault makes a vault, and its group where it is new.
func (x *target) newVault(tenant vault.TenantID, subscription vault.SubscriptionID, group, name string) {
	x.t.Helper()
	ctx, op := x.t.Context(), store.NewOp(time.Now())
	v := &vault.Vault{ID: vault.NewID(op.At), Tenant: tenant, Subscription: subscription, ResourceGroup: group, Name: name, Location: "local",
		Access: vault.AccessByRole, Network: vault.OpenNetwork(), RetentionDays: 90, Created: op.At, Updated: op.At}
	key, err := x.core.keys.NewVaultKey(ctx, tenant, v.ID, op.At)
	if err != nil {
		x.t.Fatal(err)
	}
	x.change(func(tx store.Tx) error {
		return errors.Join(tx.PutResourceGroup(ctx, &vault.ResourceGroup{Subscription: subscription, Name: group, Location: "local", Created: op.At}),
			tx.PutVault(ctx, v), putKeys(ctx, tx, key))
	})
}

// vaultURL is the named address of a vault; vaultResource is what tokens for it are for.
func (x *target) namedVault(name string) string {
	return "https://" + name + "." + x.names.suffix + x.names.port
}
func (x *target) vaultResource() string { return "https://" + x.names.suffix + x.names.port }
