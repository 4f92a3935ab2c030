package rotation_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/keywright/keywright/client"
	"github.com/keywright/keywright/client/api"
	"github.com/keywright/keywright/e2e/process"
)

// The programs of the change of an authority, which are the test program started again: a server with mutual TLS, or some clients of such servers. Each takes its certificate and the
// trust bundle from the vault, by its own name.
const (
	mutualEnv = "KEYWRIGHT_ROTATION_MUTUAL" // servers, clients, or deaf servers, which read once and never again
	namesEnv  = "KEYWRIGHT_ROTATION_NAMES"  // whose certificates
	peersEnv  = "KEYWRIGHT_ROTATION_PEERS"  // the addresses of servers, in the order of their names
	paceEnv   = "KEYWRIGHT_ROTATION_PACE"   // the pause between two handshakes of one client
	// mutualLong is how many times the root changes in the long version.
	mutualLong = "KEYWRIGHT_ROTATION_AUTHORITY"
)

const (
	mutualServers = 5
	mutualClients = 50
	mutualBundle  = "root-trust"
	// How long a client and a server may take at most from when they hear of a new version until they use it.
	slowestClient, slowestServer = 2 * time.Second, 200 * time.Millisecond
)

// mutualMain is the program.
func mutualMain(role string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	names := strings.Split(os.Getenv(namesEnv), ",")
	if role != "clients" {
		return serveMutual(ctx, names[0], role == "deaf")
	}
	pace, err := time.ParseDuration(os.Getenv(paceEnv))
	if err != nil {
		return err
	}
	var peers []peer
	for i, address := range strings.Split(os.Getenv(peersEnv), ",") {
		peers = append(peers, peer{serverName(i), address})
	}
	var running sync.WaitGroup
	var good, bad atomic.Int64
	for i, name := range names {
		self, err := newMutual(ctx, name, slowestClient, false)
		if err != nil {
			return err
		}
		running.Go(func() {
			defer self.close()
			for n := i; ctx.Err() == nil; n++ {
				to := peers[n%len(peers)]
				if err := self.shake(ctx, to); err == nil {
					good.Add(1)
				} else if ctx.Err() == nil {
					bad.Add(1)
					fmt.Printf("failed %s at %s: %v\n", name, to.name, err)
				}
				time.Sleep(pace)
			}
		})
	}
	fmt.Println("running")
	running.Wait()
	fmt.Printf("handshakes %d %d\n", good.Load(), bad.Load())
	return nil
}

type peer struct{ name, address string }

func serverName(i int) string { return "server-" + strconv.Itoa(i) }

// mutual is one party: its certificate and what it trusts, which it loads anew whenever the vault has others.
type mutual struct {
	values [2]*client.Value
	config atomic.Pointer[tls.Config]
	// slowest is how long it takes at most to load.
	slowest time.Duration
	done    sync.WaitGroup
	cancel  context.CancelFunc
}

// newMutual reads both, as an instance of its own. A deaf one says that it uses them, and never reads again.
func newMutual(ctx context.Context, name string, slowest time.Duration, deaf bool) (*mutual, error) {
	c, err := client.ConfigFromEnv(os.Getenv)
	if err != nil {
		return nil, err
	}
	c.Instance = name
	k, err := client.New(c)
	if err != nil {
		return nil, err
	}
	v := k.Vault(os.Getenv("KEYWRIGHT_VAULT_NAME"))
	m := &mutual{slowest: slowest}
	for i, secret := range []string{name, mutualBundle} {
		if m.values[i], err = client.NewValue(ctx, client.ValueConfig{Vault: v, Name: secret}); err != nil {
			return nil, err
		}
	}
	if err := m.load(); err != nil {
		return nil, err
	}
	ctx, m.cancel = context.WithCancel(ctx)
	if deaf {
		time.Sleep(500 * time.Millisecond) // for its acknowledgements to arrive
		m.close()
		return m, nil
	}
	m.done.Go(func() { m.follow(ctx) })
	return m, nil
}

func (m *mutual) close() {
	m.cancel()
	m.done.Wait()
	for _, v := range m.values {
		v.Close()
	}
}

func (m *mutual) follow(ctx context.Context) {
	for {
		cert, trust := m.values[0].Changed(), m.values[1].Changed()
		// Nobody reloads at once, and no two at the same time.
		time.Sleep(rand.N(m.slowest))
		// What changed while it was loaded is loaded, too.
		if err := m.load(); err != nil {
			fmt.Println("failed to load:", err)
		}
		select {
		case <-cert:
		case <-trust:
		case <-ctx.Done():
			return
		}
	}
}

// load takes what is current for all handshakes from here on, and says so.
func (m *mutual) load() error {
	own, trust := m.values[0].Begin(), m.values[1].Begin()
	text := []byte(own.Secret().Value.Reveal())
	pair, err := tls.X509KeyPair(text, text)
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(trust.Secret().Value.Reveal())) {
		err = errors.Join(err, errors.New("the trust bundle has no certificates"))
	}
	if err != nil {
		own.Failed()
		trust.Failed()
		return err
	}
	m.config.Store(&tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair}, RootCAs: pool, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
		SessionTicketsDisabled: true})
	own.Succeeded()
	trust.Succeeded()
	return nil
}

// shake makes one handshake. In TLS 1.3 a client hears what its server thinks of its certificate with the first byte.
func (m *mutual) shake(ctx context.Context, to peer) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	config := m.config.Load().Clone()
	config.ServerName = to.name
	conn, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", to.address)
	if err != nil {
		return err
	}
	defer conn.Close()
	if end, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(end)
	}
	_, err = conn.Read(make([]byte, 1))
	return err
}

// serveMutual answers each client that it trusts with a byte, and its handshakes that failed with a line.
func serveMutual(ctx context.Context, name string, deaf bool) error {
	self, err := newMutual(ctx, name, slowestServer, deaf)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { l.Close() })
	fmt.Println("listening", l.Addr())
	outer := &tls.Config{MinVersion: tls.VersionTLS13, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return self.config.Load(), nil }}
	for {
		conn, err := l.Accept()
		if err != nil {
			return nil
		}
		go func() {
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
			c := tls.Server(conn, outer)
			if err := c.HandshakeContext(ctx); err != nil {
				// A client that ends hangs up in the midst of its handshake.
				if ctx.Err() == nil && !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, io.EOF) {
					fmt.Println("failed a handshake:", err)
				}
				return
			}
			_, _ = c.Write([]byte{1})
			_ = c.CloseWrite()
		}()
	}
}

// party is a program that was started.
type party struct {
	t       testing.TB
	process *process.Process
	log     *written
}

func (n *node) party(role string, names []string, more ...string) *party {
	n.t.Helper()
	self, err := os.Executable()
	if err != nil {
		n.t.Fatal(err)
	}
	p := &party{t: n.t, log: &written{}}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), mutualEnv+"="+role, namesEnv+"="+strings.Join(names, ","))
	cmd.Env = append(cmd.Env, more...)
	for name, value := range n.env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	cmd.Stdout, cmd.Stderr = p.log, p.log
	if p.process, err = process.Start(role, cmd); err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { _ = p.process.Stop(syscall.SIGKILL, 10*time.Second) })
	return p
}

// line waits for a line that begins so and returns the rest of it.
func (p *party) line(begins string) (rest string) {
	p.t.Helper()
	err := p.process.Await(context.Background(), time.Minute, func() bool {
		text, _ := p.log.all()
		for s := bufio.NewScanner(strings.NewReader(text)); s.Scan(); {
			if after, ok := strings.CutPrefix(s.Text(), begins); ok {
				rest = strings.TrimSpace(after)
				return true
			}
		}
		return false
	})
	if err != nil {
		text, _ := p.log.all()
		p.t.Fatalf("no line %q: %v\n%s", begins, err, text)
	}
	return rest
}

// fleet are the parties of a test.
type fleet struct {
	*node
	servers, clients []*party
}

// certify makes a root, an intermediate, an issuer, and a certificate for each name.
func (n *node) certify(names []string) {
	n.t.Helper()
	ctx, certs := context.Background(), n.vault.Certificates()
	issuer := func(name, certificate, profile string) {
		provider := "Keywright CA"
		_, err := certs.SetIssuer(ctx, name, client.SetCertificateIssuer{Provider: &provider, Options: map[string]string{"certificate": certificate, "profile": profile}})
		n.must(err)
	}
	create := func(name string, by api.CertificateIssuerRef, dns ...string) {
		op, err := certs.Create(ctx, name, client.CreateCertificate{Policy: &api.CertificatePolicy{Issuer: &by, ContentType: "application/x-pem-file",
			X509: &api.CertificateX509{Subject: "CN=" + name, DNS: dns}, Key: &api.CertificateKey{Type: "EC", Curve: "P-256"}}})
		n.must(err)
		op, err = certs.Wait(ctx, op.Name, func(*client.CertificateOperation) {})
		if n.must(err); op.Status != "completed" {
			n.t.Fatalf("the certificate %q was not made: %+v", name, op)
		}
	}
	create("root", api.CertificateIssuerRef{Name: "Self", Type: "root"})
	issuer("roots", "root", "intermediate")
	create("issuing", api.CertificateIssuerRef{Name: "roots", Type: "intermediate"})
	issuer("corporate", "issuing", "mutual")
	for _, name := range names {
		create(name, api.CertificateIssuerRef{Name: "corporate"}, name)
	}
}

func (n *node) must(err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatal(err)
	}
}

// muster starts the servers and the clients. The last server is deaf when that is asked for.
func muster(t *testing.T, deaf bool) *fleet {
	f := &fleet{node: startNode(t)}
	var servers, clients []string
	for i := range mutualServers {
		servers = append(servers, serverName(i))
	}
	for i := range mutualClients {
		clients = append(clients, fmt.Sprintf("client-%02d", i))
	}
	f.certify(slices.Concat(servers, clients))
	_, err := f.vault.Certificates().PublishTrust(t.Context(), "root", api.PublishTrust{Bundle: mutualBundle})
	f.must(err)
	var addresses []string
	for i, name := range servers {
		role := "servers"
		if deaf && i == mutualServers-1 {
			role = "deaf"
		}
		f.servers = append(f.servers, f.party(role, []string{name}))
	}
	for _, s := range f.servers {
		addresses = append(addresses, s.line("listening "))
	}
	for names := range slices.Chunk(clients, mutualClients/5) {
		f.clients = append(f.clients, f.party("clients", names, peersEnv+"="+strings.Join(addresses, ","), paceEnv+"=200ms"))
	}
	for _, c := range f.clients {
		c.line("running")
	}
	return f
}

// await follows a run until it is as wanted.
func (f *fleet) await(id, what string, is func(*api.Rotation) bool) *api.Rotation {
	f.t.Helper()
	var last *api.Rotation
	for end := time.Now().Add(90 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		r, err := f.vault.Rotation(context.Background(), id)
		f.must(err)
		if last = r; is(r) {
			return r
		}
	}
	f.t.Fatalf("the change did not come to %s: %s (%s), waits for %v, error %+v", what, last.State, last.Reason, last.Waiting, last.LastError)
	return nil
}

// judge ends everybody and counts: no handshake may have failed.
func (f *fleet) judge() (good int) {
	f.t.Helper()
	bad := 0
	for _, p := range f.clients {
		_ = p.process.Stop(syscall.SIGTERM, 20*time.Second)
		text, _ := p.log.all()
		g, b := 0, 0
		if at := strings.LastIndex(text, "handshakes "); at < 0 {
			f.t.Errorf("a program of clients did not end in order:\n%s", text)
		} else if _, err := fmt.Sscanf(text[at:], "handshakes %d %d", &g, &b); err != nil {
			f.t.Error(err)
		}
		good, bad = good+g, bad+b
	}
	for _, p := range slices.Concat(f.clients, f.servers) {
		_ = p.process.Stop(syscall.SIGTERM, 20*time.Second)
		if text, _ := p.log.all(); strings.Contains(text, "failed") {
			f.t.Errorf("a party failed:\n%.2000s", text)
		}
	}
	if bad > 0 || good == 0 {
		f.t.Errorf("%d handshakes succeeded, %d failed", good, bad)
	}
	return good
}

// trusted are the versions of the root that are.
func (f *fleet) trusted() []string {
	f.t.Helper()
	ca, err := f.vault.Certificates().Authority(context.Background(), "root")
	f.must(err)
	return ca.Line[0].Trusted
}

// bundled is how many certificates the trust bundle has. Who reads it is one more consumer, so this comes last.
func (f *fleet) bundled() int {
	f.t.Helper()
	s, err := f.vault.Get(context.Background(), mutualBundle)
	f.must(err)
	return strings.Count(s.Value.Reveal(), "BEGIN CERTIFICATE")
}

// Fifty clients and five servers with mutual TLS reload what they are told of. The root changes under them, with an intermediate and every certificate, and no handshake fails.
func TestAuthorityChange(t *testing.T) {
	t.Parallel()
	f := muster(t, false)
	changes := 1
	if text := os.Getenv(mutualLong); text != "" {
		var err error
		changes, err = strconv.Atoi(text)
		f.must(err)
	}
	for range changes {
		before := f.trusted()
		r, err := f.vault.Certificates().ChangeAuthority(t.Context(), "root", api.ChangeAuthority{Cause: api.OnDemand})
		f.must(err)
		began := time.Now()
		r = f.await(r.ID, "its end", func(r *api.Rotation) bool { return !r.Open })
		if r.State != api.RunDone || len(r.Succession.Certificates) != mutualServers+mutualClients {
			t.Errorf("the change ended as %s (%s), with %d certificates", r.State, r.Reason, len(r.Succession.Certificates))
		}
		if now := f.trusted(); len(now) != 1 || now[0] == before[0] {
			t.Errorf("the versions %q of the root are trusted, before it was %q", now, before)
		}
		t.Logf("the root changed in %s", time.Since(began).Round(time.Millisecond))
	}
	t.Logf("%d handshakes", f.judge())
	if n := f.bundled(); n != 1 {
		t.Errorf("the trust bundle has %d certificates", n)
	}
}

// One of the servers never reloads: the change waits and names it, nothing fails, and the way back is open.
func TestAuthorityChangeWaits(t *testing.T) {
	t.Parallel()
	f := muster(t, true)
	before := f.trusted()
	r, err := f.vault.Certificates().ChangeAuthority(t.Context(), "root", api.ChangeAuthority{Cause: api.OnDemand})
	f.must(err)
	alone := func(r *api.Rotation) bool { return len(r.Waiting) == 1 && r.Reason == "ConsumersLeft" }
	r = f.await(r.ID, "the wait for one server", alone)
	if deaf := serverName(mutualServers - 1); r.State != "trusting" || r.Waiting[0].Instance != deaf {
		t.Errorf("in %s it waits for %+v, want %s", r.State, r.Waiting[0], deaf)
	}
	time.Sleep(2 * time.Second)
	if r, err = f.vault.Rotation(t.Context(), r.ID); err != nil || len(r.Waiting) != 1 || r.State != "trusting" {
		t.Errorf("it went on to %s, waiting for %v (%v)", r.State, r.Waiting, err)
	}
	if now := f.trusted(); len(now) != 2 || now[0] != before[0] {
		t.Errorf("meanwhile the versions %q are trusted", now)
	}
	_, err = f.vault.OrderRotation(t.Context(), r.ID, api.OrderRotation{Order: api.AbortOrder, Note: "the server has to be seen to first"})
	f.must(err)
	r = f.await(r.ID, "its end", func(r *api.Rotation) bool { return !r.Open })
	if now := f.trusted(); r.State != api.RunAborted || !slices.Equal(now, before) {
		t.Errorf("it ended as %s, with %q trusted, want %q", r.State, now, before)
	}
	t.Logf("%d handshakes", f.judge())
	if n := f.bundled(); n != 1 {
		t.Errorf("the trust bundle has %d certificates", n)
	}
}
