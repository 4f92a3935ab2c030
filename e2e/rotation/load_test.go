package rotation_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"

	"github.com/keywright/keywright/client"
	"github.com/keywright/keywright/client/api"
	"github.com/keywright/keywright/internal/rotation"
	"github.com/keywright/keywright/internal/rotator"
)

// The environment replaces the sample's counts.
const (
	rotationsEnv  = "KEYWRIGHT_ROTATION_ROTATIONS"
	operationsEnv = "KEYWRIGHT_ROTATION_OPERATIONS"
	loginsEnv     = "KEYWRIGHT_ROTATION_LOGINS"
	// ttlEnv is how long an application keeps a value before it asks again.
	ttlEnv = "KEYWRIGHT_ROTATION_TTL"
)

// The load of each target. Every killEach-th rotation loses its server.
const (
	applications = 4
	workersEach  = 2
	perLogin     = 20
	killEach     = 3
	// loginsBetween is the least number of new logins between the setting of each value and the revocation of the one before.
	loginsBetween = 100
	// enough logins after the promotion let the slow application move on. The old value cannot go before, however slow the machine is.
	enough = loginsBetween + 2*applications*workersEach
)

type counts struct {
	rotations, operations, logins int64
	ttl                           time.Duration
}

func number(t *testing.T, name string, sample int64) int64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return sample
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 1 {
		t.Fatalf("%s=%q: want a positive number", name, text)
	}
	return n
}

// TestLoad changes credentials under applications that read them with Azure's SDK, as often as it caches, and log in all the time.
func TestLoad(t *testing.T) {
	c := counts{rotations: number(t, rotationsEnv, 3), operations: number(t, operationsEnv, 5000), logins: number(t, loginsEnv, 500), ttl: 500 * time.Millisecond}
	if text := os.Getenv(ttlEnv); text != "" {
		var err error
		if c.ttl, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	for _, plan := range []struct {
		name, system string
		strategy     rotator.Strategy
	}{
		{"postgres-alternating", "postgres", rotator.Alternating}, {"rabbitmq-alternating", "rabbitmq", rotator.Alternating},
		{"mariadb-dual", "mysql", rotator.Dual}, {"redis-dual", "redis", rotator.Dual}, {"postgres-single-candidate", "postgres", rotator.Single},
	} {
		t.Run(plan.name, func(t *testing.T) {
			t.Parallel()
			newLoad(t, systems[plan.system](t), plan.strategy, c).run()
		})
	}
}

type load struct {
	t         *testing.T
	system    *system
	node      *node
	strategy  rotator.Strategy
	want      counts
	name      string
	policy    rotation.Policy
	overlap   bool
	candidate bool

	operations, logins, rejected, rejectedAgain, otherErrors atomic.Int64
	firstOther                                               sync.Once

	// fewest are the new logins between a set and its revocation, longest is from a kill to the promotion.
	fewest  int64
	longest time.Duration
	kills   int

	// slow goes on with the value that it has until enough have logged in, and that value has to wait for it. Nil without an overlap.
	slow *application

	mu sync.Mutex
	// times are the new logins since the last rotation began.
	times []moment
}

func newLoad(t *testing.T, s *system, strategy rotator.Strategy, c counts) *load {
	l := &load{t: t, system: s, strategy: strategy, want: c, name: "db", overlap: strategy != rotator.Single, candidate: strategy == rotator.Single, fewest: 1 << 62}
	l.node = startNode(t)
	l.node.set("administrator", s.admin)
	p, first := s.accounts(t, strategy)
	p.Admin = &rotation.Reference{Name: "administrator"}
	d := func(t time.Duration) rotation.Duration { return rotation.Duration(t) }
	p.CacheTTL, p.MaxConnectionLife = d(c.ttl), d(c.ttl)
	if l.overlap {
		p.Grace = d(3 * c.ttl)
	} else {
		p.AcceptGap, p.Candidate = false, true
	}
	l.node.protect(l.name, p, first)
	l.policy = p
	return l
}

// moment is one new login, from its begin to its success.
type moment struct{ begin, end time.Time }

// between forgets the logins up to now, and counts those that lie whole between two instants.
func (l *load) between(from, to time.Time) (n int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range l.times {
		if m.begin.After(from) && m.end.Before(to) {
			n++
		}
	}
	l.times = l.times[:0]
	return n
}

func (l *load) run() {
	ctx, cancel := context.WithCancel(l.t.Context())
	defer cancel()
	began := time.Now()
	var apps sync.WaitGroup
	for i := range applications {
		app, err := l.application(i)
		if err != nil {
			l.t.Fatal(err)
		}
		if l.overlap && i == 0 {
			l.slow = app
		} else {
			apps.Go(func() { app.poll(ctx) })
		}
		for range workersEach {
			apps.Go(func() {
				for ctx.Err() == nil {
					app.work(ctx)
				}
			})
		}
	}
	var err error
	for i := int64(0); i < l.want.rotations && err == nil; i++ {
		err = l.rotate(ctx, i%killEach == killEach-1)
	}
	for err == nil && (l.operations.Load() < l.want.operations || l.logins.Load() < l.want.logins) {
		time.Sleep(100 * time.Millisecond)
	}
	cancel()
	apps.Wait()
	if err != nil {
		l.t.Error(err)
	}
	between := ""
	if l.overlap {
		between = fmt.Sprintf(" (at least %d between each set and its revocation)", l.fewest)
	}
	l.t.Logf("%d rotations (%d with a kill -9), %d operations, %d new logins%s; %d rejected, %d after a retry; other errors %d; recovery at most %v; %v in all",
		l.want.rotations, l.kills, l.operations.Load(), l.logins.Load(), between, l.rejected.Load(), l.rejectedAgain.Load(), l.otherErrors.Load(), l.longest.Round(time.Millisecond), time.Since(began).Round(time.Second))
	l.judge()
}

func (l *load) judge() {
	if n := l.rejected.Load(); l.overlap && n > 0 {
		l.t.Errorf("%d logins were rejected", n)
	}
	if n := l.rejectedAgain.Load(); n > 0 {
		l.t.Errorf("%d logins were rejected after their retry", n)
	}
	if n := l.otherErrors.Load(); n > l.logins.Load()/1000 {
		l.t.Errorf("%d other errors", n)
	}
	if l.overlap && l.fewest < loginsBetween {
		l.t.Errorf("only %d new logins between a set and its revocation, want %d", l.fewest, loginsBetween)
	}
	if most := leaseTTL + 10*time.Second; l.longest > most {
		l.t.Errorf("a rotation was over %v after the server was killed, want %v", l.longest, most)
	}
}

// rotate makes one rotation, and returns when what it replaced is gone.
func (l *load) rotate(ctx context.Context, kill bool) error {
	var run *api.Rotation
	if err := retry(ctx, func() (err error) {
		run, err = l.node.vault.Rotate(ctx, l.name, api.StartRotation{Cause: "on-demand"})
		return err
	}); err != nil {
		return fmt.Errorf("starting a rotation: %w", err)
	}
	var killed time.Time
	if kill {
		time.Sleep(rand.N(150 * time.Millisecond)) // the run is in the midst of its steps
		l.node.kill()
		killed = time.Now()
		l.kills++
		if err := l.node.launch(""); err != nil {
			return err
		}
	}
	promoted := false
	var since int64 // the logins when the old value was first seen to be about to go
	if err := retry(ctx, func() error {
		open, err := l.node.open(ctx, l.name)
		if err != nil {
			return err
		}
		rotating := false
		for _, r := range open {
			rotating = rotating || r.Kind == "rotation"
			if r.State == "stuck" {
				return fmt.Errorf("a %s is stuck: %s %+v", r.Kind, r.Reason, r.LastError)
			}
		}
		if !rotating && !promoted {
			promoted = true
			if kill {
				l.longest = max(l.longest, time.Since(killed))
			}
			since = l.logins.Load()
		}
		if l.slow != nil && promoted && l.logins.Load() >= since+enough {
			if err := l.slow.read(ctx); err != nil {
				return err
			}
		}
		if len(open) > 0 {
			return fmt.Errorf("a %s stands in %s (%s)", open[0].Kind, open[0].State, open[0].Reason)
		}
		return nil
	}); err != nil || !l.overlap {
		return err
	}
	return l.count(ctx, run.ID)
}

// count reads in the journals when the target had acknowledged the new value, and when the old one was about to go, and counts the logins of the time between.
func (l *load) count(ctx context.Context, id string) error {
	var set, revoked time.Time
	if err := retry(ctx, func() error {
		run, err := l.node.vault.Rotation(ctx, id)
		if err != nil {
			return err
		}
		for _, s := range run.Steps {
			if s.From == string(rotation.Setting) {
				set = s.At // the last, where it was set more than once
			}
		}
		for r, err := range l.node.vault.Rotations(ctx, client.RotationFilter{Name: l.name, Kind: "revocation"}) {
			if err != nil {
				return err
			}
			if r.Parent != id {
				continue
			}
			if r, err = l.node.vault.Rotation(ctx, r.ID); err != nil {
				return err
			}
			for _, s := range r.Steps {
				if s.To == string(rotation.Revoking) && (revoked.IsZero() || s.At.Before(revoked)) {
					revoked = s.At
				}
			}
			return nil
		}
		return fmt.Errorf("the rotation %s has no revocation", id)
	}); err != nil {
		return err
	}
	if set.IsZero() || revoked.IsZero() {
		return fmt.Errorf("the journals of the rotation %s do not show when it was set (%s) and the old value revoked (%s)", id, set, revoked)
	}
	n := l.between(set, revoked)
	l.fewest = min(l.fewest, n)
	return nil
}

// application is one that reads its credential by Azure's SDK and keeps it for the time of its cache.
type application struct {
	*load
	client   *azsecrets.Client
	instance string

	mu      sync.Mutex
	current rotator.Credential
}

func (l *load) application(i int) (*application, error) {
	a := &application{load: l, instance: fmt.Sprintf("app-%d", i)}
	var err error
	if a.client, err = l.node.sdk(named(a.instance)); err != nil {
		return nil, err
	}
	return a, retry(l.t.Context(), func() error { return a.read(l.t.Context()) })
}

// named gives requests the instance that an operator configures for each of several processes behind one address.
func named(instance string) func(http.RoundTripper) http.RoundTripper {
	return func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			r.Header.Set("X-Keywright-Instance", instance)
			return next.RoundTrip(r)
		})
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func (a *application) read(ctx context.Context) error {
	got, err := a.client.GetSecret(ctx, a.name, "", nil)
	if err != nil {
		return err
	}
	c, err := credential(*got.Value)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.current = c
	return nil
}

// poll reads the credential as often as the cache asks. Without an answer the old one stays in use.
func (a *application) poll(ctx context.Context) {
	for ctx.Err() == nil {
		_ = a.read(ctx)
		select {
		case <-ctx.Done():
		case <-time.After(a.want.ttl * 9 / 10):
		}
	}
}

// work logs in anew and works for a while.
func (a *application) work(ctx context.Context) {
	a.mu.Lock()
	c := a.current
	a.mu.Unlock()
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
	defer cancel()
	begin := time.Now()
	s, refused, err := a.system.dial(bounded, c)
	if refused {
		a.rejected.Add(1)
		s, refused, err = a.again(bounded, c)
		if refused {
			a.rejectedAgain.Add(1)
			return
		}
	}
	if err != nil {
		a.other(err)
		return
	}
	defer s.Close()
	a.logins.Add(1)
	if a.overlap {
		a.load.mu.Lock()
		a.times = append(a.times, moment{begin, time.Now()})
		a.load.mu.Unlock()
	}
	for range perLogin {
		if err := s.Operate(bounded); err != nil {
			a.other(err)
			return
		}
		a.operations.Add(1)
	}
}

// again is the one retry of an application that understands candidates: what is current now, where it has changed, else the candidate.
func (a *application) again(ctx context.Context, tried rotator.Credential) (session, bool, error) {
	for end := time.Now().Add(15 * time.Second); ; time.Sleep(20 * time.Millisecond) { // a server that is being restarted is no answer
		next, err := a.next(ctx, tried)
		if err == nil {
			return a.system.dial(ctx, next)
		}
		if time.Now().After(end) {
			return nil, false, err
		}
	}
}

func (a *application) next(ctx context.Context, tried rotator.Credential) (rotator.Credential, error) {
	if err := a.read(ctx); err != nil {
		return rotator.Credential{}, err
	}
	a.mu.Lock()
	now := a.current
	a.mu.Unlock()
	if string(now.Value) != string(tried.Value) || !a.candidate {
		return now, nil
	}
	got, err := a.node.vault.GetVersion(ctx, a.name, client.Selector{Label: string(rotation.Candidate)})
	if err != nil {
		return rotator.Credential{}, err // or it was promoted in between: the next look shows it
	}
	return credential(string(got.Bytes()))
}

func (a *application) other(err error) {
	if errors.Is(err, context.Canceled) {
		return
	}
	a.otherErrors.Add(1)
	a.firstOther.Do(func() { a.t.Logf("the first of other errors: %v", err) })
}
