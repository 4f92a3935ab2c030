package acme

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"log/slog"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/issuer"
	"github.com/keywright/keywright/internal/issuer/internalca"
	"github.com/keywright/keywright/internal/issuer/internalca/recordstest"
	"github.com/keywright/keywright/internal/redact"
)

// memory keeps everything in the process.
type memory struct {
	mu             sync.Mutex
	accounts       map[string]Account
	orders         map[string]Order
	authorizations map[string]Authorization
	// lose makes the next change of an order happen and be reported lost.
	lose bool
}

func newMemory() *memory {
	return &memory{accounts: map[string]Account{}, orders: map[string]Order{}, authorizations: map[string]Authorization{}}
}

func absent() error { return fault.New(fault.NotFound, "there is no such thing") }

func find[T any](m *memory, in map[string]T, is func(T) bool) (T, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(in)) {
		if is(in[id]) {
			return in[id], nil
		}
	}
	var none T
	return none, absent()
}

func update[T any](m *memory, in map[string]T, id string, change func(*T) error) (T, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v, ok := in[id]
	if !ok {
		return v, absent()
	}
	if err := change(&v); err != nil {
		return v, err
	}
	in[id] = v
	return v, nil
}

func (m *memory) CreateAccount(_ context.Context, a Account) error {
	if _, err := m.AccountByKey(context.Background(), a.Thumbprint); err == nil {
		return fault.New(fault.Conflict, "the key has an account")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.accounts[a.ID] = a
	return nil
}

func (m *memory) Account(_ context.Context, id string) (Account, error) {
	return find(m, m.accounts, func(a Account) bool { return a.ID == id })
}

func (m *memory) AccountByKey(_ context.Context, print string) (Account, error) {
	return find(m, m.accounts, func(a Account) bool { return a.Thumbprint == print })
}

func (m *memory) UpdateAccount(_ context.Context, id string, change func(*Account) error) (Account, error) {
	return update(m, m.accounts, id, func(a *Account) error {
		if err := change(a); err != nil {
			return err
		}
		for other, b := range m.accounts {
			if other != id && b.Thumbprint == a.Thumbprint {
				return fault.New(fault.Conflict, "another account has the key")
			}
		}
		return nil
	})
}

func (m *memory) CreateOrder(_ context.Context, o Order, authorizations []Authorization) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if o.Replaces != "" {
		for id, before := range m.orders {
			if before.Serial != o.Replaces {
				continue
			}
			if before.Replaced != "" && m.orders[before.Replaced].Status != statusInvalid {
				return fault.New(fault.Conflict, "it was replaced already")
			}
			before.Replaced = o.ID
			m.orders[id] = before
		}
	}
	m.orders[o.ID] = o
	for _, a := range authorizations {
		m.authorizations[a.ID] = a
	}
	return nil
}

func (m *memory) Order(_ context.Context, id string) (Order, error) {
	return find(m, m.orders, func(o Order) bool { return o.ID == id })
}

func (m *memory) OrderBySerial(_ context.Context, serial string) (Order, error) {
	return find(m, m.orders, func(o Order) bool { return o.Serial == serial && serial != "" })
}

func (m *memory) UpdateOrder(_ context.Context, id string, change func(*Order) error) (Order, error) {
	o, err := update(m, m.orders, id, change)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.lose && o.Status == statusValid {
		m.lose = false
		return Order{}, fault.New(fault.Unavailable, "the store is away")
	}
	return o, err
}

func (m *memory) Delivered(context.Context, *Order) error { return nil }

func (m *memory) Authorization(_ context.Context, id string) (Authorization, error) {
	a, err := find(m, m.authorizations, func(a Authorization) bool { return a.ID == id })
	a.Challenges = slices.Clone(a.Challenges)
	return a, err
}

func (m *memory) UpdateAuthorization(_ context.Context, id string, change func(*Authorization) error) (Authorization, error) {
	return update(m, m.authorizations, id, func(a *Authorization) error {
		a.Challenges = slices.Clone(a.Challenges)
		return change(a)
	})
}

// authority signs with an internal CA, as a composition would have it.
type authority struct {
	*internalca.CA
	records *recordstest.Memory
	issued  int
}

func (a *authority) Issue(ctx context.Context, s Signing) ([]*x509.Certificate, error) {
	a.issued++
	result, err := a.Begin(ctx, issuer.Request{ID: s.OrderID, CSR: s.CSR, Profile: s.Profile, NotAfter: s.NotAfter})
	return result.Chain, err
}

func (a *authority) Revoke(ctx context.Context, c *x509.Certificate, reason issuer.Reason) error {
	if r, err := a.records.BySerial(ctx, internalca.SerialText(c.SerialNumber)); err == nil && r.Revoked != nil {
		return fault.New(fault.Conflict, "it is revoked already")
	}
	return a.CA.Revoke(ctx, c, reason)
}

func (a *authority) RenewalWindow(ctx context.Context, key []byte, serial *big.Int) (issuer.Window, error) {
	r, err := a.records.BySerial(ctx, internalca.SerialText(serial))
	if err != nil || !bytes.Equal(key, a.Certificate().SubjectKeyId) {
		return issuer.Window{}, fault.New(fault.NotFound, "There is no such certificate.")
	}
	c, err := x509.ParseCertificate(r.DER)
	if err != nil {
		return issuer.Window{}, err
	}
	return a.CA.RenewalWindow(ctx, c)
}

// rules know one customer, refuse a domain, and trust another.
type rules struct {
	mu        sync.Mutex
	mac       redact.Bytes
	forbidden string
	// bound refuses accounts without a binding; doubted is a name that is not trusted any more.
	bound   bool
	doubted string
	// life bounds certificates.
	life time.Duration
}

func (r *rules) RequiresBinding() bool { return r.bound }

func (r *rules) Bind(_ context.Context, id string, verify func([]byte) bool) (string, error) {
	if id != "customer" || !verify(r.mac.Reveal()) {
		return "", fault.New(fault.Unauthenticated, "the binding is not accepted")
	}
	return id, nil
}

func (r *rules) Allow(_ context.Context, _ Account, identifiers []Identifier, profile string) (Permission, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := Permission{Trusted: true, Rule: "customer", Profile: profile, Life: r.life}
	for _, i := range identifiers {
		if strings.HasSuffix(i.Value, r.forbidden) {
			return Permission{}, fault.New(fault.Forbidden, "%s is not yours", i.Value)
		}
		p.Trusted = p.Trusted && strings.HasSuffix(i.Value, ".trusted.test") && i.Value != r.doubted
	}
	return p, nil
}

// network resolves every name to this machine and has the records of a test.
type network struct {
	mu  sync.Mutex
	txt map[string][]string
}

func (n *network) LookupTXT(_ context.Context, name string) ([]string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.txt[name] == nil {
		return nil, &net.DNSError{Name: name, IsNotFound: true}
	}
	return n.txt[name], nil
}

func (*network) LookupNetIP(_ context.Context, _, name string) ([]netip.Addr, error) {
	if strings.HasSuffix(name, ".nowhere.test") {
		return nil, &net.DNSError{Name: name, IsNotFound: true}
	}
	return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
}

// world is a server on loopback, with what a client has around itself: pages and handshakes.
type world struct {
	server    *door.Door
	url       string
	client    *http.Client
	store     *memory
	authority *authority
	rules     *rules
	network   *network
	clock     *clock.Manual
	roots     *x509.CertPool

	mu    sync.Mutex
	pages map[string]string
	certs map[string]*tls.Certificate
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// settings are those of the door and of its one issuer.
type settings struct {
	Config
	Issuer
}

func newWorld(t testing.TB, change func(*settings)) *world {
	t.Helper()
	w := &world{store: newMemory(), rules: &rules{mac: redact.Bytes("0123456789abcdef0123456789abcdef"), forbidden: "forbidden.test"}, network: &network{txt: map[string][]string{}},
		clock: clock.NewManual(time.Now().UTC()), pages: map[string]string{}, certs: map[string]*tls.Certificate{}, roots: x509.NewCertPool()}
	key := newKey(t)
	root, err := internalca.SelfSign(internalca.Root{Subject: pkix.Name{CommonName: "Door Test"}, NotBefore: w.clock.Now().Add(-time.Hour), NotAfter: w.clock.Now().AddDate(10, 0, 0)}, key)
	if err != nil {
		t.Fatal(err)
	}
	w.roots.AddCert(root)
	w.authority = &authority{records: new(recordstest.Memory)}
	if w.authority.CA, err = internalca.New(internalca.Config{Certificate: root, Key: crypto.Signer(key), Profiles: internalca.Profiles(), Default: "server", Records: w.authority.records,
		Clock: w.clock}); err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(http.HandlerFunc(w.page))
	t.Cleanup(web.Close)
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.TLS = &tls.Config{GetConfigForClient: w.handshake}
	secure.StartTLS()
	t.Cleanup(secure.Close)
	front := httptest.NewUnstartedServer(nil)
	front.StartTLS()
	t.Cleanup(front.Close)
	w.url, w.client = front.URL+Root+"/shop/ca", front.Client()
	c := settings{Config: Config{Clock: w.clock, Logger: slog.New(slog.DiscardHandler), Validator: &Validator{Resolver: w.network, Allow: netip.Addr.IsLoopback, HTTPPort: port(t, web), TLSPort: port(t, secure)}},
		Issuer: Issuer{URL: w.url, Store: w.store, Authority: w.authority, Rules: w.rules, Profiles: map[string]string{"server": "for servers", "client": "for clients"}}}
	if change != nil {
		change(&c)
	}
	c.Find = func(r *door.Request) (*Issuer, error) {
		if r.Params.Get("vault") != "shop" || r.Params.Get("issuer") != "ca" {
			return nil, fault.New(fault.NotFound, "there is no such issuer")
		}
		return &c.Issuer, nil
	}
	if w.server, err = New(c.Config); err != nil {
		t.Fatal(err)
	}
	front.Config.Handler = w.server
	return w
}

func port(t testing.TB, s *httptest.Server) int {
	t.Helper()
	n, err := strconv.Atoi(s.URL[strings.LastIndex(s.URL, ":")+1:])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (w *world) page(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	text, ok := w.pages[r.URL.Path]
	w.mu.Unlock()
	switch {
	case !ok:
		http.NotFound(rw, r)
	case strings.HasPrefix(text, "http"):
		http.Redirect(rw, r, text, http.StatusFound)
	default:
		_, _ = rw.Write([]byte(text + "\n"))
	}
}

func (w *world) handshake(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if c := w.certs[hello.ServerName]; c != nil && slices.Contains(hello.SupportedProtos, acmeTLS) {
		return &tls.Config{Certificates: []tls.Certificate{*c}, NextProtos: []string{acmeTLS}}, nil
	}
	return nil, nil
}
