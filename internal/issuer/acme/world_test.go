package acme

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/letsencrypt/pebble/v2/acme"
	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/core"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
	"github.com/miekg/dns"

	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/redact"
)

// The authority is Pebble, Let's Encrypt's own small one, within this process. It validates for real: it resolves names at the name server below, connects to
// the ports of the solvers, and refuses some nonces on purpose.
type world struct {
	url       string
	tlsRoot   *x509.CertPool
	roots     *x509.CertPool
	rootNames []string
	names     *nameServer
	http      *HTTP01
	alpn      *TLSALPN01
	dns       *DNS01
}

const (
	bindingID  = "customer-1"
	bindingKey = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
)

func TestMain(m *testing.M) {
	// Pebble waits some seconds before it looks, unless it is told not to, and uses old authorizations again by chance.
	for name, value := range map[string]string{"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "5", "PEBBLE_AUTHZREUSE": "0"} {
		if err := os.Setenv(name, value); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

// newWorld starts everything on loopback. With bind, accounts must be those of a customer.
func newWorld(t *testing.T, bind bool) *world {
	t.Helper()
	if raceDetector {
		t.Skip("SKIPPED, NOT PASSED: Pebble races with itself under the race detector; make test runs this without")
	}
	w := &world{names: newNameServer(t), http: new(HTTP01), alpn: new(TLSALPN01)}
	web := httptest.NewServer(w.http)
	t.Cleanup(web.Close)
	listener, err := tls.Listen("tcp4", "127.0.0.1:0", w.alpn.Hook(&tls.Config{Certificates: []tls.Certificate{{}}}))
	if err != nil {
		t.Fatal(err)
	}
	var handshakes sync.WaitGroup
	t.Cleanup(func() { listener.Close(); handshakes.Wait() })
	handshakes.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			handshakes.Go(func() {
				_ = conn.(*tls.Conn).Handshake() // the authority says what came of it
				_ = conn.Close()
			})
		}
	})
	provider, err := NewRFC2136(RFC2136Config{Server: w.names.address, KeyName: "keywright.", KeySecret: nameServerKey})
	if err != nil {
		t.Fatal(err)
	}
	if w.dns, err = NewDNS01(provider, 0, clock.System{}); err != nil {
		t.Fatal(err)
	}

	quiet := log.New(io.Discard, "", 0)
	store := db.NewMemoryStore()
	if bind {
		if err := store.AddExternalAccountKeyByID(bindingID, bindingKey); err != nil {
			t.Fatal(err)
		}
	}
	authority := ca.New(quiet, store, "", "ecdsa", 1, 1, map[string]ca.Profile{"default": {Description: "ninety days", ValidityPeriod: 90 * 24 * 3600},
		"short": {Description: "six days", ValidityPeriod: 6 * 24 * 3600}})
	validation := va.New(quiet, port(t, web.Listener.Addr()), port(t, listener.Addr()), false, w.names.address, store)
	front := wfe.New(quiet, store, validation, authority, []string{"pebble.test"}, false, bind, 0, 0)
	server := httptest.NewTLSServer(letGo(store, front.Handler()))
	t.Cleanup(func() { closeSoon(t, server) })
	w.url = server.URL + wfe.DirectoryPath
	w.tlsRoot = x509.NewCertPool()
	w.tlsRoot.AddCert(server.Certificate())
	w.roots = x509.NewCertPool()
	for n := range authority.GetNumberOfRootCerts() {
		c, err := x509.ParseCertificate(authority.GetRootCert(n).DER)
		if err != nil {
			t.Fatal(err)
		}
		w.roots.AddCert(c)
		w.rootNames = append(w.rootNames, c.Subject.CommonName)
	}
	return w
}

// letGo holds a request that gives an authorization up until Pebble has looked at its challenges. Pebble forgets to unlock those that it does not show of an
// authorization that is deactivated: its validation would then wait for ever for the challenge with the authorization locked, whoever looks at the order for
// the authorization with the store locked, and after that every request of every test.
func letGo(store *db.MemoryStore, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if id, ok := strings.CutPrefix(r.URL.Path, "/authZ/"); ok && r.Method == http.MethodPost {
			text, err := io.ReadAll(r.Body)
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			r.Body = io.NopCloser(bytes.NewReader(text))
			if a := store.GetAuthorizationByID(id); a != nil && givesUp(text) {
				for beingLookedAt(a) && r.Context().Err() == nil {
					time.Sleep(time.Millisecond)
				}
			}
		}
		next.ServeHTTP(w, r)
	})
}

// givesUp reports whether a signed request is not one that only reads (RFC 8555, sections 6.3 and 7.5.2).
func givesUp(text []byte) bool {
	var signed struct{ Payload string }
	return json.Unmarshal(text, &signed) == nil && signed.Payload != ""
}

func beingLookedAt(a *core.Authorization) bool {
	a.RLock()
	defer a.RUnlock()
	return slices.ContainsFunc(a.Challenges, func(c *core.Challenge) bool {
		c.RLock()
		defer c.RUnlock()
		return c.Status == acme.StatusProcessing
	})
}

// closeSoon closes a server, and says so when a request never ends.
func closeSoon(t *testing.T, server *httptest.Server) {
	closed := make(chan struct{})
	go func() { server.Close(); close(closed) }()
	select {
	case <-closed:
	case <-time.After(time.Minute):
		t.Error("the authority still answers a request after a minute")
	}
}

func port(t *testing.T, a net.Addr) int {
	t.Helper()
	_, text, err := net.SplitHostPort(a.String())
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// elsewhere hides a key as one that is kept by a service.
type elsewhere struct{ crypto.Signer }

func (w *world) config(t *testing.T, solvers map[string]Solver) Config {
	t.Helper()
	return Config{Directory: w.url, Roots: w.tlsRoot, Key: elsewhere{newKey(t)}, AgreeToTerms: true, Contact: []string{"mailto:ops@example.test"},
		Solvers: solvers, Clock: clock.System{}}
}

func open(t *testing.T, config Config) *Issuer {
	t.Helper()
	i, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// nameServerKey signs updates.
const nameServerKey redact.String = "c2VjcmV0LW9mLXRoZS1uYW1lLXNlcnZlcnMtdXBkYXRlcw=="

// nameServer is a primary for the zone test. that takes signed updates (RFC 2136) and says 127.0.0.1 for every name.
type nameServer struct {
	address string
	mu      sync.Mutex
	records map[string][]string
	updates int
	// hidden are names whose records are not shown yet.
	hidden map[string]bool
}

func newNameServer(t *testing.T) *nameServer {
	t.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &nameServer{address: listener.Addr().String(), records: map[string][]string{}, hidden: map[string]bool{}}
	started := make(chan struct{})
	server := &dns.Server{Listener: listener, Handler: dns.HandlerFunc(s.serve), TsigSecret: map[string]string{"keywright.": nameServerKey.Reveal()},
		NotifyStartedFunc: func() { close(started) }, MsgAcceptFunc: func(dns.Header) dns.MsgAcceptAction { return dns.MsgAccept }}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.ActivateAndServe() }) // ends with Shutdown
	<-started
	t.Cleanup(func() {
		if err := server.Shutdown(); err != nil {
			t.Error(err)
		}
		serving.Wait()
	})
	return s
}

func (s *nameServer) serve(w dns.ResponseWriter, q *dns.Msg) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := new(dns.Msg)
	m.SetReply(q)
	m.Authoritative = true
	name := dns.CanonicalName(q.Question[0].Name)
	switch {
	case q.Opcode == dns.OpcodeUpdate:
		m.Rcode = s.update(w, q)
		if tsig := q.IsTsig(); tsig != nil {
			m.SetTsig(tsig.Hdr.Name, tsig.Algorithm, 300, int64(tsig.TimeSigned))
		}
	case q.Question[0].Qtype == dns.TypeTXT && !s.hidden[name]:
		for _, value := range s.records[name] {
			m.Answer = append(m.Answer, record(name, value))
		}
	case q.Question[0].Qtype == dns.TypeA:
		m.Answer = append(m.Answer, &dns.A{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeA, Class: dns.ClassINET}, A: net.IPv4(127, 0, 0, 1)})
	case q.Question[0].Qtype == dns.TypeSOA && name == "test.":
		m.Answer = append(m.Answer, &dns.SOA{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeSOA, Class: dns.ClassINET}, Ns: "ns.test.", Mbox: "ops.test."})
	}
	_ = w.WriteMsg(m) // whoever asked has gone away
}

func (s *nameServer) update(w dns.ResponseWriter, q *dns.Msg) int {
	if q.IsTsig() == nil || w.TsigStatus() != nil {
		return dns.RcodeNotAuth
	}
	if dns.CanonicalName(q.Question[0].Name) != "test." {
		return dns.RcodeNotZone
	}
	s.updates++
	for _, rr := range q.Ns {
		txt, ok := rr.(*dns.TXT)
		if !ok {
			return dns.RcodeRefused
		}
		name := dns.CanonicalName(txt.Hdr.Name)
		kept := s.records[name][:0:0]
		for _, value := range s.records[name] {
			if value != txt.Txt[0] {
				kept = append(kept, value)
			}
		}
		if txt.Hdr.Class == dns.ClassINET {
			kept = append(kept, txt.Txt[0])
		}
		s.records[name] = kept
	}
	return dns.RcodeSuccess
}

// left counts the records that stand there.
func (s *nameServer) left() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, values := range s.records {
		n += len(values)
	}
	return n
}
