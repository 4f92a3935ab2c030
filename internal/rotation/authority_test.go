package rotation_test

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/cert"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/guard/guardtest"
	"github.com/keywright/keywright/internal/issuer"
	"github.com/keywright/keywright/internal/issuer/internalca"
	"github.com/keywright/keywright/internal/key"
	"github.com/keywright/keywright/internal/rotation"
	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/secret"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// estate is an installation with a root, an intermediate, certificates below both, and those who use them: clients with a trust bundle and servers with a certificate.
type estate struct {
	*guardtest.World
	secrets  *secret.Service
	keys     *key.Service
	certs    *cert.Service
	log      *syncBuffer
	caller   *guard.Caller
	approver *guard.Caller
	engine   *rotation.Engine

	mu sync.Mutex
	// refuse is what the issuer of a certificate says, by the issuer's name; it may be nil.
	refuse  func(issuer string) error
	clients []*trusting
	servers []*serving
	unread  bool
	// asked counts the questions to the ledger, lose how many of them it does not answer.
	asked, lose int
	// broken is what no consumer may ever see.
	broken []string
	// careless is true once a person has taken the blame for consumers that are left.
	careless bool
}

// trusting is a client: it trusts what stands in the version of the bundle that it read last.
type trusting struct {
	name, bundle string
	version      vault.VersionID
	roots        *x509.CertPool
	frozen       bool
}

// serving is a server: it shows the version of its certificate that it read last.
type serving struct {
	name    string
	version vault.VersionID
	chain   []*x509.Certificate
	frozen  bool
}

func newEstate(t testing.TB) *estate {
	t.Helper()
	e := &estate{World: guardtest.New(t, guardtest.Options{Clock: clock.System{}}), log: &syncBuffer{}}
	quiet := slog.New(slog.DiscardHandler)
	var err error
	e.secrets, err = secret.New(secret.Config{Guard: e.Guard, Store: e.Store, Keys: e.Keys, Clock: e.Clock,
		Pends: func(ctx context.Context, tx store.Tx, call *guard.Call, o *vault.Object, ver *vault.Version) ([]vault.Label, error) {
			return e.engine.Pends(ctx, tx, call, o, ver)
		}})
	must(t, err)
	e.keys, err = key.New(key.Config{Guard: e.Guard, Store: e.Store, Keys: e.Keys, Clock: e.Clock, Logger: quiet})
	must(t, err)
	e.certs, err = cert.New(cert.Config{Guard: e.Guard, Store: e.Store, Sealing: e.Keys, Clock: e.Clock, Logger: quiet, Keys: e.keys, Secrets: e.secrets, Issuers: e})
	must(t, err)
	for _, changed := range []func(*store.Commit){e.secrets.Changed, e.keys.Changed, e.certs.Changed} {
		e.Watch(changed)
	}
	e.caller, e.approver = e.Caller(authz.VaultAdministrator), e.Caller(authz.VaultAdministrator, authz.KeywrightApprover)
	e.engine = e.worker(nil)
	return e
}

func (e *estate) worker(fail func(rotation.Point) error) *rotation.Engine {
	e.T.Helper()
	leases := rotation.Leasing{TTL: crashLease, Renew: crashLease / 4, Slack: 10 * time.Millisecond, Margin: 50 * time.Millisecond}
	pace := quick
	pace.Call = d(400 * time.Millisecond)
	w, err := rotation.New(rotation.Config{Store: e.Store, Guard: e.Guard, Secrets: e.secrets, Certificates: e.certs, Evidence: e, Clock: e.Clock,
		Logger: slog.New(slog.NewTextHandler(e.log, nil)), Node: vault.NewGUID(), Pace: pace, Leasing: leases, Failpoint: fail})
	must(e.T, err)
	return w
}

// Issuer implements cert.Issuers.
func (e *estate) Issuer(ctx context.Context, o cert.Order) (issuer.Issuer, error) {
	e.mu.Lock()
	refuse := e.refuse
	e.mu.Unlock()
	if refuse != nil {
		if err := refuse(o.Ref.Name); err != nil {
			return nil, err
		}
	}
	if o.Ref.Is(cert.SelfIssuer) {
		return internalca.NewRootIssuer(internalca.RootConfig{Clock: e.Clock, Signer: func(ctx context.Context, _ issuer.Request) (crypto.Signer, error) { return o.Signer(ctx) }})
	}
	a, err := o.Authority(ctx, o.Settings.Options[cert.AuthorityOption])
	if err != nil {
		return nil, err
	}
	return e.authorityOf(a), nil
}

// authorityOf is the issuer that signs with a certificate.
func (e *estate) authorityOf(a *cert.Authority) issuer.Issuer {
	records, err := internalca.NewStored(internalca.StoredConfig{Store: e.Store, Clock: e.Clock,
		Authority: store.Authority{ID: string(a.Version), Tenant: e.Vault.Tenant, Vault: e.Vault.ID, NameKey: "x", Version: a.Version}})
	must(e.T, err)
	ca, err := internalca.New(internalca.Config{Certificate: a.Chain[0], Parents: a.Chain[1:], Key: a.Key, Profiles: internalca.Profiles(), Default: "mutual", Records: records, Clock: e.Clock})
	must(e.T, err)
	return ca
}

func (e *estate) call() *guard.Call { e.T.Helper(); return e.Call(e.caller) }

func (e *estate) service() *rotation.Service { return rotation.NewService(e.engine) }

// authority makes a certificate that signs, and an issuer of the name signs-NAME for it.
func (e *estate) authority(name string, by cert.IssuerRef) {
	e.T.Helper()
	e.create(name, by)
	provider := "CA"
	_, err := e.certs.SetIssuer(e.Ctx, e.call(), "signs-"+name, cert.SettingsChange{Provider: &provider, Options: map[string]string{cert.AuthorityOption: name}})
	must(e.T, err)
}

func (e *estate) create(name string, by cert.IssuerRef) {
	e.T.Helper()
	p := &cert.Policy{Issuer: by, X509: cert.X509Props{Subject: "CN=" + name, DNS: []string{name + ".example"}}, Key: cert.KeyProps{Kty: "EC"}}
	if by.Type == cert.RootType || by.Type == cert.IntermediateType {
		p.X509.DNS = nil
	}
	_, _, err := e.certs.Create(e.Ctx, e.call(), name, cert.Input{Policy: p})
	must(e.T, err)
	if _, op, err := e.certs.Operation(e.Ctx, e.call(), name, ""); err != nil || op.Status != cert.Completed {
		e.T.Fatalf("the certificate %q was not made: %+v, %v", name, op, err)
	}
}

// build makes root -> issuing -> web-1, web-2, and root -> direct, the root's trust bundle, and consumers of all of them.
func (e *estate) build(p *rotation.Policy) {
	e.T.Helper()
	e.authority("root", cert.IssuerRef{Name: cert.SelfIssuer, Type: cert.RootType})
	e.authority("issuing", cert.IssuerRef{Name: "signs-root", Type: cert.IntermediateType})
	for _, leaf := range []string{"web-1", "web-2"} {
		e.create(leaf, cert.IssuerRef{Name: "signs-issuing"})
	}
	e.create("direct", cert.IssuerRef{Name: "signs-root"})
	_, err := e.service().PublishTrust(e.Ctx, e.call(), "root", "", p)
	must(e.T, err)
	for i := range 3 {
		e.clients = append(e.clients, &trusting{name: fmt.Sprint("client-", i), bundle: "root-trust"})
	}
	for _, leaf := range []string{"web-1", "web-2", "direct"} {
		e.servers = append(e.servers, &serving{name: leaf})
	}
	for e.refreshOne() {
	}
	e.handshakes("at the beginning")
}

func (e *estate) current(kind vault.Kind, name string) (o *vault.Object, ver *vault.Version) {
	must(e.T, e.Store.View(e.Ctx, func(tx store.Tx) (err error) {
		if o, err = tx.Object(e.Ctx, e.Vault.ID, kind, name); err == nil {
			ver, err = tx.Version(e.Ctx, o.ID, o.Current)
		}
		return err
	}))
	return o, ver
}

// refreshOne lets one of the consumers that are behind read what is current, whichever. It returns false when none is.
func (e *estate) refreshOne() bool {
	var behind []func()
	for _, c := range e.clients {
		o, ver := e.current(vault.Secret, c.bundle)
		if c.frozen && c.version != "" || c.version == ver.ID {
			continue
		}
		behind = append(behind, func() {
			_, value, err := e.secrets.Rotation(e.Vault, o.Name, o.ID).Open(e.Ctx, ver.ID)
			must(e.T, err)
			c.version, c.roots = ver.ID, x509.NewCertPool()
			if !c.roots.AppendCertsFromPEM(value) {
				e.broken = append(e.broken, "a trust bundle has no certificates")
			}
		})
	}
	for _, s := range e.servers {
		_, ver := e.current(vault.Certificate, s.name)
		if s.frozen && s.version != "" || s.version == ver.ID {
			continue
		}
		behind = append(behind, func() {
			f, err := cert.Describe(ver)
			must(e.T, err)
			s.version = ver.ID
			s.chain, err = f.Certificates()
			must(e.T, err)
		})
	}
	if len(behind) == 0 {
		return false
	}
	behind[rand.N(len(behind))]()
	return true
}

// handshakes has every client verify every server, with what each has at this moment.
func (e *estate) handshakes(when string) {
	for _, s := range e.servers {
		between := x509.NewCertPool()
		for _, c := range s.chain[1:] {
			between.AddCert(c)
		}
		for _, c := range e.clients {
			_, err := s.chain[0].Verify(x509.VerifyOptions{Roots: c.roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
			if err != nil && !e.careless {
				e.broken = append(e.broken, fmt.Sprintf("%s: %s does not trust %s: %v", when, c.name, s.name, err))
			}
		}
	}
}

// Verdict implements rotation.Evidence: consumers move one at a time, as often as somebody asks for them.
func (e *estate) Verdict(_ context.Context, o rotation.Subject, old, _ vault.VersionID, _ time.Time, _ *rotation.Policy) (v rotation.Verdict, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.asked++; e.asked <= e.lose {
		return v, fault.New(fault.Unavailable, "the ledger does not answer")
	}
	e.refreshOne()
	e.handshakes("at " + o.NameKey)
	for _, c := range e.clients {
		if o.Kind == "" && vault.NameKey(c.bundle) == o.NameKey && c.version == old {
			v.Waiting = append(v.Waiting, rotation.Holder{Principal: "app", Instance: c.name})
		}
	}
	for _, s := range e.servers {
		if o.Kind == vault.Secret && vault.NameKey(s.name) == o.NameKey && s.version == old {
			v.Waiting = append(v.Waiting, rotation.Holder{Principal: "app", Instance: s.name})
		}
	}
	v.Safe = len(v.Waiting) == 0
	return v, nil
}

// Seen implements rotation.Evidence.
func (*estate) Seen(context.Context, rotation.Subject, vault.VersionID, []rotator.Session, time.Time) error {
	return nil
}

// Read implements rotation.Readers.
func (e *estate) Read(context.Context, rotation.Subject) (bool, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return !e.unread, nil
}

func (e *estate) change(start rotation.Start) *rotation.Run {
	e.T.Helper()
	r, err := e.service().ChangeAuthority(e.Ctx, e.call(), "root", start)
	must(e.T, err)
	return r
}

func (e *estate) run(id store.RunID) *rotation.Run {
	e.T.Helper()
	r, err := e.service().GetRun(e.Ctx, e.call(), id)
	must(e.T, err)
	return r
}

// order is given by somebody else than who asked for the change.
func (e *estate) order(id store.RunID, k rotation.OrderKind) error {
	_, err := e.service().Order(e.Ctx, e.Call(e.approver), id, rotation.Order{Kind: k, Note: "it has to be"})
	return err
}

// drive takes the run to its end; each look says what a person does meanwhile.
func (e *estate) drive(id store.RunID, w *rotation.Engine, look func(*rotation.Run) *rotation.Engine) (*rotation.Run, error) {
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(2 * time.Millisecond) {
		r := e.run(id)
		if !r.Open() {
			return r, nil
		}
		if time.Now().After(end) {
			return r, fmt.Errorf("it does not end: %s in %s (%s), stuck in %q, tries %d, waits for %v, error %+v\n%s", r.Kind, r.State, r.Reason, r.Stuck, r.Tries, r.Waiting, r.LastError, e.log.String())
		}
		if next := look(r); next != nil {
			w = next
		}
		if r.NextAt.IsZero() || r.NextAt.After(time.Now()) {
			continue
		}
		if err := w.Drive(e.Ctx, id); err != nil {
			return r, err
		}
		e.mu.Lock()
		e.handshakes("after a step in " + string(r.State))
		e.mu.Unlock()
	}
}

// settled looks at what is left when the change is over. kept is true when the authorities from before are to be back.
func (e *estate) settled(r *rotation.Run, before map[string]vault.VersionID, kept bool) error {
	var errs []error
	wrong := func(text string, args ...any) { errs = append(errs, fmt.Errorf(text, args...)) }
	for e.refreshOne() {
		e.handshakes("at the end")
	}
	line, err := e.certs.Line(e.Ctx, e.Vault, "root")
	if err != nil {
		return err
	}
	for _, h := range line {
		o, ver := e.current(vault.Certificate, h.Name)
		switch {
		case h.Run != "" || h.Busy:
			wrong("the authority %s still belongs to the run %q, busy %v", h.Name, h.Run, h.Busy)
		case !slices.Equal(h.Trusted, []vault.VersionID{h.Issues}) || h.Issues != o.Current:
			wrong("of the authority %s, %v are trusted, %s signs and %s is current", h.Name, h.Trusted, h.Issues, o.Current)
		case (o.Current == before[h.Name]) != kept:
			wrong("the authority %s has the version from before: %v, want %v", h.Name, o.Current == before[h.Name], kept)
		case !ver.Attributes.Enabled || ver.State != "":
			wrong("the version of the authority %s that signs is %q", h.Name, ver.State)
		}
		if o.Labels[vault.Pending] != "" {
			wrong("a version of %s is still pending", h.Name)
		}
	}
	for _, bundle := range []string{"root-trust"} {
		o, ver := e.current(vault.Secret, bundle)
		_, value, err := e.secrets.Rotation(e.Vault, o.Name, o.ID).Open(e.Ctx, ver.ID)
		if err != nil {
			return err
		}
		if n := strings.Count(string(value), "BEGIN CERTIFICATE"); n != 1 || ver.ContentType != rotation.BundleType {
			wrong("the trust bundle has %d certificates, and the type %q", n, ver.ContentType)
		}
		if o.Labels[vault.Pending] != "" {
			wrong("a version of the bundle is still pending")
		}
	}
	for _, s := range e.servers {
		if _, ver := e.current(vault.Certificate, s.name); !ver.Attributes.Enabled {
			wrong("the certificate %s is disabled", s.name)
		}
	}
	for _, b := range e.broken {
		wrong("%s", b)
	}
	return errors.Join(errs...)
}

func (e *estate) versions() map[string]vault.VersionID {
	all := map[string]vault.VersionID{}
	for _, name := range []string{"root", "issuing", "web-1", "web-2", "direct"} {
		o, _ := e.current(vault.Certificate, name)
		all[name] = o.Current
	}
	return all
}

// story is a change of an authority as it may go.
type story struct {
	name   string
	policy rotation.Policy
	start  rotation.Start
	// prepare sets the stage, person acts whenever somebody looks.
	prepare func(e *estate)
	person  func(e *estate, r *rotation.Run) error
	// back is true for one that ends with the authorities from before.
	back bool
}

// once gives an order when the run is in the state.
func once(in rotation.State, k rotation.OrderKind) func(*estate, *rotation.Run) error {
	return func(e *estate, r *rotation.Run) error {
		if r.State != in || slices.ContainsFunc(r.Orders, func(o rotation.Order) bool { return o.Kind == k }) {
			return nil
		}
		return e.order(r.ID, k)
	}
}

// fails has issuers refuse as long as the run has no order.
func fails(by string, err error) func(*estate) {
	return func(e *estate) {
		e.refuse = func(name string) error {
			if name == by {
				return err
			}
			return nil
		}
	}
}

// cure ends the refusals when the run is in the state, and gives the order.
func cure(in rotation.State, k rotation.OrderKind) func(*estate, *rotation.Run) error {
	return func(e *estate, r *rotation.Run) error {
		if r.State == in {
			e.mu.Lock()
			e.refuse = nil
			e.mu.Unlock()
		}
		return once(in, k)(e, r)
	}
}

// thaw gives the order, and lets those move who did not.
func thaw(in rotation.State, k rotation.OrderKind) func(*estate, *rotation.Run) error {
	return func(e *estate, r *rotation.Run) error {
		err := once(in, k)(e, r)
		if r.State == in && err == nil {
			e.mu.Lock()
			defer e.mu.Unlock()
			for _, c := range e.clients {
				c.frozen = false
			}
			for _, s := range e.servers {
				s.frozen = false
			}
		}
		return err
	}
}

var onDemand = rotation.Start{Cause: rotation.OnDemand}

var stories = []story{
	{name: "plain", start: onDemand},
	{name: "by approval", policy: rotation.Policy{Approval: true}, start: onDemand, person: once(rotation.Approval, rotation.ApproveOrder)},
	{name: "a leak", start: rotation.Start{Cause: rotation.Leaked}, prepare: func(e *estate) { e.careless = true }},
	{name: "the ledger is away", start: onDemand, prepare: func(e *estate) { e.lose = 3 }},
	{name: "aborted while it is made", start: onDemand, prepare: func(e *estate) {
		fails(cert.SelfIssuer, fault.New(fault.Unavailable, "the issuer is away"))(e)
	}, person: func(e *estate, r *rotation.Run) error {
		if r.State == rotation.Stuck { // the person was slow
			return once(rotation.Stuck, rotation.AbortOrder)(e, r)
		}
		return once(rotation.Making, rotation.AbortOrder)(e, r)
	}, back: true},
	{name: "aborted while it is trusted", start: onDemand, prepare: func(e *estate) { e.clients[0].frozen = true }, person: thaw(rotation.Trusting, rotation.AbortOrder), back: true},
	{name: "aborted while certificates spread", start: onDemand, prepare: func(e *estate) { e.servers[0].frozen = true }, person: thaw(rotation.Deploying, rotation.AbortOrder),
		back: true},
	{name: "stuck, and replayed", start: onDemand, prepare: func(e *estate) {
		fails(cert.SelfIssuer, fault.New(fault.Invalid, "the policy makes no sense"))(e)
	}, person: cure(rotation.Stuck, rotation.ReplayOrder)},
	{name: "stuck, and aborted", start: onDemand, prepare: func(e *estate) {
		fails(cert.SelfIssuer, fault.New(fault.Invalid, "the policy makes no sense"))(e)
	}, person: cure(rotation.Stuck, rotation.AbortOrder), back: true},
	{name: "forced", start: onDemand, prepare: func(e *estate) { e.clients[0].frozen, e.careless = true, true },
		person: func(e *estate, r *rotation.Run) error {
			if r.State == rotation.Trusting && r.Reason == rotation.ConsumersLeft && len(r.Waiting) == 1 {
				return e.order(r.ID, rotation.ForceOrder)
			}
			return nil
		}},
}

// tell tells a story, in which the first worker dies at a point, or nobody at "". It returns the points that were come by.
func (s *story) tell(t testing.TB, at rotation.Point) map[rotation.Point]bool {
	e := newEstate(t)
	p := s.policy
	e.build(&p)
	if s.prepare != nil {
		s.prepare(e)
	}
	before := e.versions()
	var mu sync.Mutex
	passed, died := map[rotation.Point]bool{}, false
	pass := func(first bool) func(rotation.Point) error {
		return func(p rotation.Point) error {
			mu.Lock()
			defer mu.Unlock()
			passed[p] = true
			if died = died || p == at; died && first {
				return errDied
			}
			return nil
		}
	}
	second := e.worker(pass(false))
	id := e.change(s.start).ID
	r, err := e.drive(id, e.worker(pass(true)), func(r *rotation.Run) *rotation.Engine {
		if s.person != nil {
			if err := s.person(e, r); err != nil && !fault.Is(err, fault.Conflict) {
				t.Errorf("the order: %v", err)
			}
		}
		mu.Lock()
		defer mu.Unlock()
		if died {
			return second
		}
		return nil
	})
	if err != nil {
		t.Error(err)
		return passed
	}
	want := rotation.Done
	if s.back {
		want = rotation.Aborted
	}
	if r.State != want {
		t.Errorf("the change ended as %s (%s, %+v), want %s", r.State, r.Reason, r.LastError, want)
	}
	if err := e.settled(r, before, s.back); err != nil {
		t.Error(err)
	}
	return passed
}

// sampledCrashes is how many of the crashes a quick run has.
const sampledCrashes = 12

// However a change of an authority goes, and wherever the process dies in it, every client trusts every server at every moment. The points are those of the state
// machine, so that no new state can be forgotten.
func TestAuthorityCrashMatrix(t *testing.T) {
	type crash struct {
		story *story
		at    rotation.Point
	}
	var mu sync.Mutex
	first := map[rotation.Point]*story{}
	t.Run("stories", func(t *testing.T) {
		for i := range stories {
			s := &stories[i]
			t.Run(s.name, func(t *testing.T) {
				t.Parallel()
				for p := range s.tell(t, "") {
					mu.Lock()
					if first[p] == nil || i < slices.IndexFunc(stories, func(o story) bool { return o.name == first[p].name }) {
						first[p] = s
					}
					mu.Unlock()
				}
			})
		}
	})
	var crashes []crash
	for _, p := range rotation.Points(store.AuthorityRun) {
		if first[p] == nil {
			t.Errorf("no story comes by %q: tell one", p)
			continue
		}
		crashes = append(crashes, crash{first[p], p})
	}
	if testing.Short() {
		return
	}
	if os.Getenv(everyCrash) != "all" {
		seed := rand.Uint64()
		t.Logf("a sample of the %d crashes, with the seed %d", len(crashes), seed)
		rand.New(rand.NewPCG(seed, 0)).Shuffle(len(crashes), func(i, j int) { crashes[i], crashes[j] = crashes[j], crashes[i] })
		crashes = crashes[:min(len(crashes), sampledCrashes)]
	}
	t.Run("crashes", func(t *testing.T) {
		for _, c := range crashes {
			t.Run(c.story.name+"/"+string(c.at), func(t *testing.T) {
				t.Parallel()
				if !c.story.tell(t, c.at)[c.at] {
					t.Log("this time the story did not come by, and nobody died")
				}
			})
		}
	})
}
