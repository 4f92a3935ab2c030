package cert_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"slices"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/cert"
	"github.com/keywright/keywright/internal/certfile"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/issuer"
	"github.com/keywright/keywright/internal/vault"
)

// authority is an issuer that takes its time. Each call does the next of the steps, the last one again and again.
type authority struct {
	t     testing.TB
	now   *clock.Manual
	root  *x509.Certificate
	key   *ecdsa.PrivateKey
	steps []step
	calls []call
	given []string // tokens of orders that were given up
}

// step is what the authority does in a call.
type step func(ctx context.Context, r issuer.Request) (issuer.Result, error)

// call is one that came.
type call struct {
	verb  string
	id    string
	token string
	csr   []byte
	at    time.Time
}

func (w *world) newAuthority(steps ...step) *authority {
	w.T.Helper()
	a := &authority{t: w.T, now: w.now, steps: steps}
	var err error
	a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	w.do(err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Slow Authority"}, NotBefore: noon.Add(-day), NotAfter: noon.AddDate(20, 0, 0), IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	w.do(err)
	a.root, err = x509.ParseCertificate(der)
	w.do(err)
	w.issuers["slow"] = a
	provider := "slow"
	_, err = w.svc.SetIssuer(w.Ctx, w.call(), "slow", cert.SettingsChange{Provider: &provider})
	w.do(err)
	return a
}

// sign issues what a request asks for.
func (a *authority) sign(csr *x509.CertificateRequest) []*x509.Certificate {
	a.t.Helper()
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		a.t.Fatal(err)
	}
	now := a.now.Now()
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: serial, Subject: csr.Subject, DNSNames: csr.DNSNames, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(90 * day)},
		a.root, csr.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return []*x509.Certificate{leaf, a.root}
}

func (a *authority) Describe() issuer.Description {
	return issuer.Description{Name: "slow", Waits: true, Repeats: true}
}

func (a *authority) Begin(ctx context.Context, r issuer.Request) (issuer.Result, error) {
	return a.next(ctx, "begin", r, nil)
}

func (a *authority) Poll(ctx context.Context, r issuer.Request, token []byte) (issuer.Result, error) {
	return a.next(ctx, "poll", r, token)
}

func (a *authority) Cancel(_ context.Context, _ issuer.Request, token []byte) error {
	a.given = append(a.given, string(token))
	return nil
}

func (a *authority) next(ctx context.Context, verb string, r issuer.Request, token []byte) (issuer.Result, error) {
	a.calls = append(a.calls, call{verb, r.ID, string(token), r.CSR.Raw, a.now.Now()})
	do := a.steps[0]
	if len(a.steps) > 1 {
		a.steps = a.steps[1:]
	}
	return do(ctx, r)
}

// What the authority does.
func (a *authority) issue(_ context.Context, r issuer.Request) (issuer.Result, error) {
	return issuer.Result{Chain: a.sign(r.CSR)}, nil
}

func pending(after time.Duration) step {
	return func(context.Context, issuer.Request) (issuer.Result, error) {
		return issuer.Result{Pending: &issuer.Pending{Token: []byte("order-1"), RetryAfter: after, Detail: "The authority looks at it."}}, nil
	}
}

func refusing(err error) step {
	return func(context.Context, issuer.Request) (issuer.Result, error) { return issuer.Result{}, err }
}

// due does what is due.
func (w *world) due() {
	w.T.Helper()
	_, err := w.svc.Due(w.Ctx)
	w.do(err)
}

func TestIssuerThatWaits(t *testing.T) {
	w := newWorld(t)
	a := w.newAuthority(pending(5*time.Minute), pending(0))
	a.steps = append(a.steps, a.issue)
	begun := w.create("web", policy("slow"))
	select {
	case <-w.svc.Woken():
	default:
		t.Error("nobody was woken")
	}
	if len(a.calls) != 0 {
		t.Errorf("the issuer was asked within the request: %v", a.calls)
	}
	w.due()
	w.due() // not yet
	if op := w.operation("web"); len(a.calls) != 1 || op.Status != cert.InProgress || op.Details != "The authority looks at it." {
		t.Fatalf("after the first look: %d calls, %+v", len(a.calls), op)
	}
	w.now.Advance(5 * time.Minute)
	w.due()
	w.now.Advance(10 * time.Second)
	w.due()
	if op := w.operation("web"); op.Status != cert.Completed {
		t.Fatalf("%+v after %v", op, a.calls)
	}
	want := []struct{ verb, token string }{{"begin", ""}, {"poll", "order-1"}, {"poll", "order-1"}}
	if len(a.calls) != len(want) {
		t.Fatalf("calls %v", a.calls)
	}
	for i, c := range a.calls {
		if c.verb != want[i].verb || c.token != want[i].token || c.id != string(begun.Version) || !bytes.Equal(c.csr, begun.CSR) {
			t.Errorf("call %d is %s with the token %q for %s", i, c.verb, c.token, c.id)
		}
	}
	it, _, f := w.get("web")
	if it.Version.ID != begun.Version || len(f.Chain) != 2 || !bytes.Equal(f.Chain[1], a.root.Raw) || !it.Version.Attributes.Expires.Equal(noon.Add(90*day+5*time.Minute+10*time.Second)) {
		t.Errorf("version %s with %d certificates until %s", it.Version.ID, len(f.Chain), it.Version.Attributes.Expires)
	}
}

func TestIssuerIsAskedEverMoreSlowly(t *testing.T) {
	w := newWorld(t)
	down := fault.New(fault.Unavailable, "the authority is down")
	busy := fault.New(fault.Throttled, "the authority is busy")
	busy.RetryAfter = 2 * time.Hour
	a := w.newAuthority(refusing(down), refusing(down), refusing(down), refusing(busy), refusing(down))
	a.steps = append(a.steps, a.issue)
	w.create("web", policy("slow"))
	for range 5 * 60 {
		w.due()
		if w.operation("web").Status != cert.InProgress {
			break
		}
		w.now.Advance(time.Minute / 2)
	}
	w.now.Advance(4 * time.Hour)
	w.due()
	w.now.Advance(time.Hour)
	w.due()
	if op := w.operation("web"); op.Status != cert.Completed {
		t.Fatalf("%+v after %v", op, a.calls)
	}
	var pauses []time.Duration
	for i := 1; i < 4; i++ {
		pauses = append(pauses, a.calls[i].at.Sub(a.calls[i-1].at))
	}
	if !slices.Equal(pauses, []time.Duration{30 * time.Second, time.Minute, 2 * time.Minute}) {
		t.Errorf("pauses of %v", pauses)
	}
	if p := a.calls[4].at.Sub(a.calls[3].at); p < 2*time.Hour {
		t.Errorf("an authority that wanted two hours was asked after %s", p)
	}
}

// An authority that stays away ends the operation, but not the certificate.
func TestIssuerThatStaysAway(t *testing.T) {
	w := newWorld(t)
	a := w.newAuthority(refusing(fault.New(fault.Unavailable, "the authority is down")))
	w.create("web", policy("slow"))
	for range 16 {
		w.due()
		w.now.Advance(12 * time.Hour)
	}
	if op := w.operation("web"); op.Status != cert.Failed || op.Message != "the authority is down" || op.Code == "" {
		t.Errorf("after %d calls: %+v", len(a.calls), op)
	}
	if n := len(a.calls); n != 15 {
		t.Errorf("%d calls in seven days, every half of which was looked at", n)
	}
}

// A renewal that is refused leaves what there is, and is tried again.
func TestRenewalIsTriedAgain(t *testing.T) {
	w := newWorld(t)
	a := w.newAuthority()
	a.steps = []step{a.issue, refusing(fault.New(fault.Forbidden, "the account has no money")), a.issue}
	w.create("web", policy("slow"))
	w.due()
	first, _, _ := w.get("web")
	w.now.Advance(73 * day)
	w.due() // begins
	w.due() // is refused
	op := w.operation("web")
	if it, _, _ := w.get("web"); op.Status != cert.Failed || op.Message != "the account has no money" || !op.Renewal || it.Version.ID != first.Version.ID {
		t.Fatalf("%+v, current %s", op, it.Version.ID)
	}
	for range 8 {
		w.now.Advance(6 * time.Hour)
		w.due()
	}
	if it, _, _ := w.get("web"); it.Version.ID == first.Version.ID {
		t.Errorf("not renewed after two days and %d calls: %s", len(a.calls), w.operation("web").Status)
	}
	if len(a.calls) != 3 {
		t.Errorf("%d calls; want 3", len(a.calls))
	}
}

// A crash after the authority has heard of the request, and before that is stored, asks for the same again.
func TestCrashBetweenBeginAndPoll(t *testing.T) {
	w := newWorld(t)
	a := w.newAuthority()
	ctx, crash := context.WithCancel(w.Ctx)
	a.steps = []step{func(context.Context, issuer.Request) (issuer.Result, error) {
		crash()
		return pending(time.Minute)(nil, issuer.Request{})
	}, pending(time.Minute), a.issue}
	begun := w.create("web", policy("slow"))
	w.svc.Due(ctx)
	if op := w.operation("web"); op.Token != nil || len(a.calls) != 1 {
		t.Fatalf("the crash lost nothing: %+v", op)
	}
	w.now.Advance(time.Hour)
	w.due()
	w.now.Advance(time.Hour)
	w.due()
	if op := w.operation("web"); op.Status != cert.Completed {
		t.Fatalf("%+v after %v", op, a.calls)
	}
	for i, verb := range []string{"begin", "begin", "poll"} {
		if c := a.calls[i]; c.verb != verb || c.id != string(begun.Version) || !bytes.Equal(c.csr, begun.CSR) {
			t.Errorf("call %d is %s of %s", i, c.verb, c.id)
		}
	}
}

// A store that is away for a moment, when what the authority gave is to be stored, does not put the operation off for long.
func TestStoreThatIsAwayForAMoment(t *testing.T) {
	w := newWorld(t)
	a := w.newAuthority(pending(time.Minute))
	a.steps = append(a.steps, func(ctx context.Context, r issuer.Request) (issuer.Result, error) {
		w.lost.Store(1)
		return a.issue(ctx, r)
	}, a.issue)
	w.create("web", policy("slow"))
	w.due()
	w.now.Advance(time.Minute)
	w.due()
	if op := w.operation("web"); op.Status != cert.InProgress || w.errors.Len() == 0 {
		t.Fatalf("nothing was lost: %+v", op)
	}
	w.now.Advance(15 * time.Second)
	w.due()
	if op := w.operation("web"); op.Status != cert.Completed {
		t.Errorf("a moment later it is %+v", op)
	}
}

// Whoever cancels while the authority answers comes first; what it gave can be merged all the same.
func TestCancelDuringPoll(t *testing.T) {
	w := newWorld(t)
	a := w.newAuthority(pending(time.Minute))
	var late []*x509.Certificate
	a.steps = append(a.steps, func(_ context.Context, r issuer.Request) (issuer.Result, error) {
		_, op, err := w.svc.Cancel(w.Ctx, w.call(), "web")
		w.do(err)
		if op.Status != cert.Cancelled || !op.Cancelled {
			t.Errorf("%+v", op)
		}
		late = a.sign(r.CSR)
		return issuer.Result{Chain: late}, nil
	})
	begun := w.create("web", policy("slow"))
	w.due()
	w.now.Advance(time.Minute)
	w.due()
	if w.errors.Len() > 0 {
		t.Errorf("to come second was logged as an error: %s", &w.errors)
	}
	if op := w.operation("web"); op.Status != cert.Cancelled || !op.Cancelled {
		t.Fatalf("%+v", op)
	}
	if !slices.Equal(a.given, []string{"order-1"}) {
		t.Errorf("orders given up: %q", a.given)
	}
	if it, _, f := w.get("web"); it.Object.Current != "" || f.Leaf != nil {
		t.Error("the cancelled version was made")
	}
	n := len(a.calls)
	w.now.Advance(day)
	w.due()
	if len(a.calls) != n {
		t.Error("the authority was asked after the end")
	}
	it, err := w.svc.Merge(w.Ctx, w.call(), "web", late, cert.Input{Tags: map[string]string{"by": "hand"}})
	w.do(err)
	if it.Version.ID != begun.Version || it.Version.Tags["by"] != "hand" || it.Object.Current != begun.Version {
		t.Errorf("merged %s with %v", it.Version.ID, it.Version.Tags)
	}
	s, value := w.secretOf("web")
	if s.Version.ID != begun.Version || len(value) == 0 || s.Version.Tags["by"] != "hand" {
		t.Errorf("the secret is %s with %v", s.Version.ID, s.Version.Tags)
	}
}

func TestMergeRules(t *testing.T) {
	w := newWorld(t)
	a := w.newAuthority(pending(time.Hour))
	merge := func(name string, chain []*x509.Certificate) error {
		_, err := w.svc.Merge(w.Ctx, w.call(), name, chain, cert.Input{})
		return err
	}
	request := func(op *cert.Operation) *x509.CertificateRequest {
		csr, err := certfile.ReadRequest(op.CSR)
		w.do(err)
		return csr
	}
	named := w.create("named", policy("slow"))
	w.fails(merge("named", a.sign(request(named))), fault.Forbidden, "")
	w.due()
	w.fails(merge("named", a.sign(request(named))), fault.Forbidden, "")

	first, other := w.create("mine", policy("Unknown")), w.create("other", policy("Unknown"))
	w.fails(merge("mine", a.sign(request(other))), fault.Invalid, issuer.ReasonMismatch)
	w.fails(merge("mine", []*x509.Certificate{a.root}), fault.Invalid, issuer.ReasonMismatch)
	chain := a.sign(request(first))
	slices.Reverse(chain)
	w.do(merge("mine", chain))
	it, _, f := w.get("mine")
	if it.Version.ID != first.Version || !bytes.Equal(f.Leaf, chain[1].Raw) || !bytes.Equal(f.Chain[0], f.Leaf) {
		t.Errorf("the leaf is not first of %d", len(f.Chain))
	}
	w.fails(merge("mine", chain), fault.NotFound, cert.NoOperation)
	w.fails(merge("none", chain), fault.NotFound, "CertificateNotFound")
	if _, _, err := w.svc.Cancel(w.Ctx, w.call(), "mine"); !fault.Is(err, fault.Invalid) {
		t.Errorf("cancelling what is completed: %v", err)
	}
}

func TestDeletedOperationLeavesNothing(t *testing.T) {
	w := newWorld(t)
	a := w.newAuthority(pending(time.Hour))
	a.steps = append(a.steps, a.issue)
	begun := w.create("web", policy("slow"))
	w.due()
	_, _, err := w.svc.Create(w.Ctx, w.call(), "web", cert.Input{})
	w.fails(err, fault.Conflict, cert.InProgressReason)
	_, removed, err := w.svc.DeleteOperation(w.Ctx, w.call(), "web")
	w.do(err)
	if removed.Version != begun.Version || !slices.Equal(a.given, []string{"order-1"}) {
		t.Errorf("removed %s, gave up %q", removed.Version, a.given)
	}
	_, _, err = w.svc.Operation(w.Ctx, w.call(), "web", "")
	w.fails(err, fault.NotFound, cert.NoOperation)
	_, _, err = w.svc.DeleteOperation(w.Ctx, w.call(), "web")
	w.fails(err, fault.NotFound, cert.NoOperation)
	w.now.Advance(2 * time.Hour)
	w.due()
	if len(a.calls) != 1 {
		t.Errorf("the authority was asked %d times", len(a.calls))
	}
	_, err = w.svc.Merge(w.Ctx, w.call(), "web", a.sign(must(certfile.ReadRequest(begun.CSR))(t)), cert.Input{})
	w.fails(err, fault.NotFound, cert.NoOperation)
	again := w.create("web", nil)
	w.due()
	if it, _, _ := w.get("web"); it.Version.ID != again.Version {
		t.Errorf("version %s of the operation %s", it.Version.ID, again.Version)
	}
	list, err := w.svc.Versions(w.Ctx, w.call(), "web", cert.Page{Limit: 10})
	w.do(err)
	var ids []vault.VersionID
	for _, it := range list.Items {
		ids = append(ids, it.Version.ID)
	}
	if !slices.Equal(ids, []vault.VersionID{again.Version}) {
		t.Errorf("versions %v; want the completed one alone", ids)
	}
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}
