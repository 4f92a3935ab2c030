package issuertest

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/issuer"
)

// Subject is an issuer under test.
type Subject struct {
	// Open returns a handle. Each call is another process that speaks to the same authority. Required.
	Open func(t *testing.T) issuer.Issuer
	// Roots verify what was issued, or are nil where each certificate vouches for itself.
	Roots *x509.CertPool
	// Now is the present for the issuer. Required.
	Now func() time.Time
	// Name makes a DNS name that the issuer certifies. Required.
	Name func(n int) string
	// Learn is told of each request's key before the request is made; nil if nobody wants to know.
	Learn func(r issuer.Request, key crypto.Signer)
	// Sign is the authority outside of an issuer that merges: it returns what it gives for a request. Required for those.
	Sign func(t *testing.T, r issuer.Request) []*x509.Certificate
	// Patience is how long a pending request may take; two minutes if zero.
	Patience time.Duration
}

// suite is a Subject with what cases share.
type suite struct {
	Subject
	count atomic.Int64
}

// Run runs every case as a subtest.
func Run(t *testing.T, subject Subject) {
	if subject.Patience == 0 {
		subject.Patience = 2 * time.Minute
	}
	s := &suite{Subject: subject}
	d := subject.Open(t).Describe()
	for name, c := range map[string]func(*testing.T){
		"Issues": s.issues, "Refuses": s.refuses, "UnknownToken": s.unknownToken, "GivenUp": s.givenUp, "Together": s.together, "Renews": s.renews,
	} {
		t.Run(name, c)
	}
	if d.Repeats {
		t.Run("Repeats", s.repeats)
	}
	if d.Waits {
		t.Run("Pending", s.pending)
	}
	if d.Merges {
		t.Run("Merges", s.merges)
	}
	i := subject.Open(t)
	if _, ok := i.(issuer.Canceller); ok {
		t.Run("Cancels", s.cancels)
	}
	if _, ok := i.(issuer.Revoker); ok {
		t.Run("Revokes", s.revokes)
	}
	if _, ok := i.(issuer.Advisor); ok {
		t.Run("Advises", s.advises)
	}
	if _, ok := i.(issuer.Merger); ok != d.Merges {
		t.Errorf("the description says Merges: %v, and the methods say %v", d.Merges, ok)
	}
}

var rsaKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

// Request makes a request for a fresh name and key.
func (s *suite) request(t *testing.T, key crypto.Signer) issuer.Request {
	t.Helper()
	n := int(s.count.Add(1))
	if key == nil {
		var err error
		if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			t.Fatal(err)
		}
	}
	r := issuer.Request{ID: fmt.Sprintf("request-%d", n), CSR: csr(t, key, s.Name(n))}
	if s.Learn != nil {
		s.Learn(r, key)
	}
	return r
}

func csr(t *testing.T, key crypto.Signer, names ...string) *x509.CertificateRequest {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: names}, key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificateRequest(der)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// obtain goes on until there is a chain; each step asks another handle.
func (s *suite) obtain(t *testing.T, r issuer.Request) []*x509.Certificate {
	t.Helper()
	result, err := s.Open(t).Begin(t.Context(), r)
	deadline := time.Now().Add(s.Patience)
	for ; err == nil && result.Pending != nil; result, err = s.Open(t).Poll(t.Context(), r, result.Pending.Token) {
		s.checkResult(t, result)
		if time.Now().After(deadline) {
			t.Fatalf("still pending after %v: %s", s.Patience, result.Pending.Detail)
		}
		if merger, ok := s.Open(t).(issuer.Merger); ok {
			result, err = merger.Merge(t.Context(), r, s.Sign(t, r))
			break
		}
		time.Sleep(min(result.Pending.RetryAfter, 20*time.Millisecond))
	}
	if err != nil {
		t.Fatalf("%s: %v", r.ID, err)
	}
	s.checkResult(t, result)
	s.checkChain(t, r, result.Chain)
	return result.Chain
}

func (s *suite) checkResult(t *testing.T, result issuer.Result) {
	t.Helper()
	if (result.Pending == nil) == (len(result.Chain) == 0) {
		t.Fatalf("the result has %d certificates and pending is %v", len(result.Chain), result.Pending)
	}
	if p := result.Pending; p != nil && (len(p.Token) == 0 || len(p.Token) > issuer.MaxToken || p.Detail == "" || p.RetryAfter < 0) {
		t.Errorf("the pending request is %+v", p)
	}
}

// checkChain verifies as a peer would.
func (s *suite) checkChain(t *testing.T, r issuer.Request, chain []*x509.Certificate) {
	t.Helper()
	leaf, between := chain[0], x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	roots := s.Roots
	if roots == nil {
		roots = x509.NewCertPool()
		roots.AddCert(leaf)
	}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: s.Now(), DNSName: r.CSR.DNSNames[0],
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
		t.Errorf("%s: %v", r.ID, err)
	}
	if !leaf.PublicKey.(interface{ Equal(crypto.PublicKey) bool }).Equal(r.CSR.PublicKey) {
		t.Errorf("%s: the certificate is for another key", r.ID)
	}
	if !slices.Equal(leaf.DNSNames, r.CSR.DNSNames) {
		t.Errorf("%s: the names are %v, want %v", r.ID, leaf.DNSNames, r.CSR.DNSNames)
	}
	if leaf.IsCA {
		t.Errorf("%s: the leaf is an authority", r.ID)
	}
	if leaf.SerialNumber.Sign() <= 0 || len(leaf.SerialNumber.Bytes()) > 20 || leaf.SerialNumber.BitLen() < 40 {
		t.Errorf("%s: the serial number is %x", r.ID, leaf.SerialNumber)
	}
	d := s.Open(t).Describe()
	if !r.NotAfter.IsZero() && !d.ChoosesLifetime && leaf.NotAfter.After(r.NotAfter) {
		t.Errorf("%s: ends at %v, later than %v", r.ID, leaf.NotAfter, r.NotAfter)
	}
}

func (s *suite) issues(t *testing.T) {
	key, err := rsaKey()
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]crypto.Signer{"RSA": key, "P-256": nil, "P-384": p384} {
		t.Run(name, func(t *testing.T) {
			r := s.request(t, key)
			r.NotAfter = s.Now().Add(24 * time.Hour)
			s.obtain(t, r)
		})
	}
}

func (s *suite) refuses(t *testing.T) {
	good := s.request(t, nil)
	tampered := good
	raw := bytes.Clone(good.CSR.Raw)
	raw[len(raw)-1] ^= 1
	if parsed, err := x509.ParseCertificateRequest(raw); err == nil {
		tampered.CSR = parsed
	} else {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	nobody, weak, noID, longID, noCSR := good, good, good, good, good
	nobody.CSR = csr(t, mustKey(t))
	weak.CSR = csr(t, key, s.Name(0))
	noID.ID = ""
	longID.ID = string(bytes.Repeat([]byte("a"), 129))
	noCSR.CSR = nil
	for name, r := range map[string]issuer.Request{"tampered": tampered, "no names": nobody, "weak key": weak, "no id": noID, "long id": longID, "no request": noCSR} {
		result, err := s.Open(t).Begin(t.Context(), r)
		if !fault.Is(err, fault.Invalid) || result.Chain != nil || result.Pending != nil {
			t.Errorf("%s: %+v, %v; want an invalid request", name, result, err)
		}
	}
}

func mustKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (s *suite) unknownToken(t *testing.T) {
	for _, token := range []string{"", "nonsense", "{}", "\x00", "https://127.0.0.1:1/order/1", string(bytes.Repeat([]byte("a"), issuer.MaxToken+1))} {
		result, err := s.Open(t).Poll(t.Context(), s.request(t, nil), []byte(token))
		if !fault.Is(err, fault.NotFound) && !fault.Is(err, fault.Invalid) || result.Chain != nil || result.Pending != nil {
			t.Errorf("token %.20q: %+v, %v", token, result, err)
		}
	}
}

// givenUp: whoever goes away gets an error with a kind, soon.
func (s *suite) givenUp(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	begun := time.Now()
	if _, err := s.Open(t).Begin(ctx, s.request(t, nil)); err == nil || fault.As(err) == nil {
		t.Errorf("a request that was given up gave %v", err)
	}
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("giving up took %v", took)
	}
}

func (s *suite) together(t *testing.T) {
	var wg sync.WaitGroup
	serials := make([]string, 3)
	for n := range serials {
		r := s.request(t, nil)
		wg.Go(func() { serials[n] = s.obtain(t, r)[0].SerialNumber.String() })
	}
	wg.Wait()
	slices.Sort(serials)
	if len(slices.Compact(serials)) != 3 {
		t.Errorf("serial numbers repeat: %v", serials)
	}
}

func (s *suite) renews(t *testing.T) {
	first := s.request(t, nil)
	before := s.obtain(t, first)[0]
	key := mustKey(t)
	second := s.request(t, key)
	second.CSR = csr(t, key, first.CSR.DNSNames...)
	second.Previous = before
	if s.Learn != nil {
		s.Learn(second, key)
	}
	if after := s.obtain(t, second)[0]; after.SerialNumber.Cmp(before.SerialNumber) == 0 {
		t.Error("the renewed certificate has the serial number of the one before")
	}
}

func (s *suite) repeats(t *testing.T) {
	r := s.request(t, nil)
	first, second := s.obtain(t, r), s.obtain(t, r)
	if !first[0].Equal(second[0]) {
		t.Error("the same request got two certificates")
	}
}

// pending: a token is good for another process, more than once, and not for another request.
func (s *suite) pending(t *testing.T) {
	r := s.request(t, nil)
	result, err := s.Open(t).Begin(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	s.checkResult(t, result)
	if result.Pending == nil {
		return
	}
	for range 2 {
		again, err := s.Open(t).Poll(t.Context(), r, result.Pending.Token)
		if err != nil {
			t.Fatal(err)
		}
		s.checkResult(t, again)
	}
	other := s.request(t, nil)
	if result, err := s.Open(t).Poll(t.Context(), other, result.Pending.Token); err == nil && result.Chain != nil {
		t.Error("one request's token gave another one's chain")
	}
}

func (s *suite) merges(t *testing.T) {
	merger := s.Open(t).(issuer.Merger)
	r, other := s.request(t, nil), s.request(t, nil)
	chain := s.Sign(t, r)
	for name, certificates := range map[string][]*x509.Certificate{
		"nothing": nil, "another request's": s.Sign(t, other), "the chain alone": chain[1:], "a stranger's with it": append(s.Sign(t, other)[:1:1], chain...),
		"two for one key": append(s.Sign(t, r)[:1:1], chain...),
	} {
		if result, err := merger.Merge(t.Context(), r, certificates); !fault.Is(err, fault.Invalid) || result.Chain != nil {
			t.Errorf("%s: %+v, %v", name, result, err)
		}
	}
	reversed := slices.Clone(chain)
	slices.Reverse(reversed)
	for name, certificates := range map[string][]*x509.Certificate{"in order": chain, "reversed": reversed, "twice": append(chain[:len(chain):len(chain)], chain...)} {
		result, err := merger.Merge(t.Context(), r, certificates)
		if err != nil || !slices.EqualFunc(result.Chain, chain, (*x509.Certificate).Equal) {
			t.Errorf("%s: %v, %v", name, result.Chain, err)
		}
	}
	if result, err := merger.Merge(t.Context(), r, chain[:1]); err != nil || len(result.Chain) != 1 {
		t.Errorf("the leaf alone: %v", err)
	}
}

func (s *suite) cancels(t *testing.T) {
	r := s.request(t, nil)
	result, err := s.Open(t).Begin(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if result.Pending == nil {
		return
	}
	for range 2 {
		if err := s.Open(t).(issuer.Canceller).Cancel(t.Context(), r, result.Pending.Token); err != nil {
			t.Error(err)
		}
	}
}

func (s *suite) revokes(t *testing.T) {
	leaf := s.obtain(t, s.request(t, nil))[0]
	revoker := s.Open(t).(issuer.Revoker)
	for _, unknown := range []issuer.Reason{-1, 6, 7, 8, 11} {
		if err := revoker.Revoke(t.Context(), leaf, unknown); !fault.Is(err, fault.Invalid) {
			t.Errorf("reason %d: %v", unknown, err)
		}
	}
	for range 2 {
		if err := revoker.Revoke(t.Context(), leaf, issuer.Superseded); err != nil {
			t.Error(err)
		}
	}
}

func (s *suite) advises(t *testing.T) {
	leaf := s.obtain(t, s.request(t, nil))[0]
	w, err := s.Open(t).(issuer.Advisor).RenewalWindow(t.Context(), leaf)
	if err != nil {
		t.Fatal(err)
	}
	if !w.Start.Before(w.End) || w.Start.Before(leaf.NotBefore) || w.End.After(leaf.NotAfter) || !w.AskAgain.After(s.Now()) {
		t.Errorf("the window is %+v for a life from %v to %v", w, leaf.NotBefore, leaf.NotAfter)
	}
}
