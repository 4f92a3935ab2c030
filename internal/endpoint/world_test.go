package endpoint_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/cert"
	"github.com/keywright/keywright/internal/certfile"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/endpoint"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/guard/guardtest"
	"github.com/keywright/keywright/internal/issuer"
	"github.com/keywright/keywright/internal/issuer/external"
	"github.com/keywright/keywright/internal/issuer/selfsigned"
	"github.com/keywright/keywright/internal/key"
	"github.com/keywright/keywright/internal/mail"
	"github.com/keywright/keywright/internal/secret"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

const day = 24 * time.Hour

// world is a vault with certificates, a small internet with names and nodes, and the service that watches it.
type world struct {
	*guardtest.World
	svc   *endpoint.Service
	certs *cert.Service
	// secrets has the files that servers are given.
	secrets *secret.Service
	admin   *guard.Caller
	now     *clock.Manual

	mu sync.Mutex
	// names are those of DNS, nodes where the addresses of the documentation network really are.
	names map[string][]netip.Addr
	nodes map[string]string
	// seen and letters are what the ledger and the outbox were given.
	seen    []endpoint.Presented
	letters []mail.Letter
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{now: clock.NewManual(noon), names: map[string][]netip.Addr{}, nodes: map[string]string{}}
	w.World = guardtest.New(t, guardtest.Options{Clock: w.now})
	keys, err := key.New(key.Config{Guard: w.Guard, Store: w.Store, Keys: w.Keys, Clock: w.Clock, Logger: slog.New(slog.DiscardHandler)})
	w.do(err)
	w.secrets, err = secret.New(secret.Config{Guard: w.Guard, Store: w.Store, Keys: w.Keys, Clock: w.Clock})
	w.do(err)
	w.certs, err = cert.New(cert.Config{Guard: w.Guard, Store: w.Store, Sealing: w.Keys, Clock: w.Clock, Logger: slog.New(slog.DiscardHandler), Keys: keys, Secrets: w.secrets, Issuers: w})
	w.do(err)
	w.Watch(keys.Changed)
	w.Watch(w.secrets.Changed)
	w.Watch(w.certs.Changed)
	w.admin = w.Caller(authz.VaultAdministrator)
	w.svc = w.open("node-1", nil)
	return w
}

// open makes another worker on the same store.
func (w *world) open(node string, edit func(*endpoint.Config)) *endpoint.Service {
	w.T.Helper()
	c := endpoint.Config{Guard: w.Guard, Store: w.Store, Clock: w.now, Logger: slog.New(slog.DiscardHandler), Dial: w.dial, Lookup: w.lookup, Roots: x509.NewCertPool(), Node: node,
		Evidence: w, Jitter: func(time.Duration) time.Duration { return 0 },
		Mail: func(_ context.Context, _ store.Tx, l mail.Letter) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.letters = append(w.letters, l)
			return nil
		}}
	if edit != nil {
		edit(&c)
	}
	s, err := endpoint.New(c)
	w.do(err)
	return s
}

// Issuer implements cert.Issuers.
func (w *world) Issuer(_ context.Context, o cert.Order) (issuer.Issuer, error) {
	if o.Ref.Is(cert.UnknownIssuer) {
		return external.New(external.Config{Clock: w.now})
	}
	return selfsigned.New(selfsigned.Config{Clock: w.now, Signer: func(ctx context.Context, _ issuer.Request) (crypto.Signer, error) { return o.Signer(ctx) }})
}

// Seen implements endpoint.Evidence.
func (w *world) Seen(_ context.Context, p endpoint.Presented) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen = append(w.seen, p)
	return nil
}

func (w *world) lookup(_ context.Context, host string) ([]netip.Addr, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if list, ok := w.names[host]; ok {
		return list, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}

func (w *world) dial(ctx context.Context, network, address string) (net.Conn, error) {
	w.mu.Lock()
	at, ok := w.nodes[address]
	w.mu.Unlock()
	if !ok {
		return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ECONNREFUSED}
	}
	return (&net.Dialer{}).DialContext(ctx, network, at)
}

func (w *world) do(err error) {
	w.T.Helper()
	if err != nil {
		w.T.Fatal(err)
	}
}

func (w *world) call() *guard.Call { w.T.Helper(); return w.Call(w.admin) }

func (w *world) fails(err error, kind fault.Kind) {
	w.T.Helper()
	if !fault.Is(err, kind) {
		w.T.Errorf("got %v (%v), want %v", err, fault.Of(err), kind)
	}
}

// resolve says which addresses a name has.
func (w *world) resolve(host string, addresses ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.names[host] = nil
	for _, a := range addresses {
		w.names[host] = append(w.names[host], netip.MustParseAddr(a))
	}
}

// ca is an authority.
type ca struct {
	t    testing.TB
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

var serial atomic.Int64

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func newRoot(t testing.TB, name string) *ca {
	t.Helper()
	root := &ca{t: t, key: newKey(t)}
	template := authority(name)
	root.cert = root.sign(template, template, root.key.Public())
	return root
}

func authority(name string) *x509.Certificate {
	return &x509.Certificate{SerialNumber: big.NewInt(serial.Add(1)), Subject: pkix.Name{CommonName: name}, NotBefore: noon.AddDate(-1, 0, 0), NotAfter: noon.AddDate(20, 0, 0), IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
}

func (a *ca) sign(template, parent *x509.Certificate, public any) *x509.Certificate {
	a.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return c
}

func (a *ca) intermediate(name string) *ca {
	a.t.Helper()
	made := &ca{t: a.t, key: newKey(a.t)}
	made.cert = a.sign(authority(name), a.cert, made.key.Public())
	return made
}

// chain is a certificate with its key and those above it, the root among them.
type chain struct {
	key   *ecdsa.PrivateKey
	certs []*x509.Certificate
}

// issue makes a certificate for shop.example that lives for 90 days from an instant.
func (a *ca) issue(from time.Time, above []*x509.Certificate, edit func(*x509.Certificate)) *chain {
	a.t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(serial.Add(1)), Subject: pkix.Name{CommonName: "shop.example"}, DNSNames: []string{"shop.example"}, NotBefore: from,
		NotAfter: from.Add(90 * day), KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	if edit != nil {
		edit(template)
	}
	c := &chain{key: newKey(a.t)}
	c.certs = append([]*x509.Certificate{a.sign(template, a.cert, c.key.Public())}, above...)
	return c
}

// served is what a server is given: the first n certificates of the chain.
func (c *chain) served(n int) *tls.Certificate {
	s := &tls.Certificate{PrivateKey: c.key}
	for _, one := range c.certs[:n] {
		s.Certificate = append(s.Certificate, one.Raw)
	}
	return s
}

// imports stores a chain in the vault as a certificate's newest version.
func (w *world) imports(name string, c *chain) vault.VersionID {
	w.T.Helper()
	b, err := certfile.New(c.key, c.certs, false)
	w.do(err)
	pem, err := certfile.WritePEM(b)
	w.do(err)
	it, _, err := w.certs.Import(w.Ctx, w.call(), name, cert.File{Value: pem}, cert.Input{})
	w.do(err)
	return it.Version.ID
}

// node is a server of TLS.
type node struct {
	config  tls.Config
	serving atomic.Pointer[tls.Certificate]
}

// serve starts a node at an address of the documentation network. before is what it says before TLS begins.
func (w *world) serve(address string, first *tls.Certificate, before func(net.Conn) error) *node {
	w.T.Helper()
	n := &node{}
	n.serving.Store(first)
	n.config.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return n.serving.Load(), nil }
	w.listen(address, func(conn net.Conn) {
		if before != nil {
			if before(conn) != nil {
				return
			}
		}
		tls.Server(conn, &n.config).Handshake() // the client says what came of it
	})
	return n
}

// listen serves connections to an address of the documentation network.
func (w *world) listen(address string, each func(net.Conn)) {
	w.T.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	w.do(err)
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				continue
			}
			all.Go(func() {
				defer conn.Close()
				conn.SetDeadline(time.Now().Add(time.Minute))
				each(conn)
			})
		}
	})
	w.T.Cleanup(func() { l.Close(); all.Wait() })
	w.mu.Lock()
	defer w.mu.Unlock()
	w.nodes[address] = l.Addr().String()
}

// down ends a node for those who connect.
func (w *world) down(address string) (up func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	was := w.nodes[address]
	delete(w.nodes, address)
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.nodes[address] = was
	}
}

func (w *world) set(spec endpoint.Spec) *endpoint.Endpoint {
	w.T.Helper()
	e, err := w.svc.Set(w.Ctx, w.call(), spec)
	w.do(err)
	return e
}

func (w *world) check(name string) *endpoint.Endpoint {
	w.T.Helper()
	e, err := w.svc.Check(w.Ctx, w.call(), name)
	w.do(err)
	return e
}

func (w *world) due() int {
	w.T.Helper()
	n, err := w.svc.Due(w.Ctx)
	w.do(err)
	return n
}

func (w *world) get(name string) *endpoint.Endpoint {
	w.T.Helper()
	e, err := w.svc.Get(w.Ctx, w.call(), name)
	w.do(err)
	return e
}

// told is an event of an endpoint.
type told struct {
	Type    string
	At      time.Time
	Subject string
	endpoint.EventData
}

// events returns what was told since the beginning.
func (w *world) events() (list []told) {
	w.T.Helper()
	w.do(w.Store.View(w.Ctx, func(tx store.Tx) error {
		list = nil
		commits, err := tx.Commits(w.Ctx, 0, 0)
		for _, c := range commits {
			for _, e := range c.Events {
				if !strings.HasPrefix(e.Type, "Keywright.Endpoint") {
					continue
				}
				one := told{Type: e.Type, At: e.At, Subject: e.Subject}
				if err := json.Unmarshal(e.Data, &one.EventData); err != nil {
					return err
				}
				list = append(list, one)
			}
		}
		return err
	}))
	return list
}

// kinds are the alarms of an endpoint, those that nobody has to hear of yet in brackets.
func kinds(e *endpoint.Endpoint) (list []string) {
	for _, a := range e.Alarms {
		text := string(a.Kind)
		if a.Raised.IsZero() {
			text = "(" + text + ")"
		}
		list = append(list, text)
	}
	return list
}
