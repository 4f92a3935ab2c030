package rotation_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/guard/guardtest"
	"github.com/keywright/keywright/internal/rotation"
	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/secret"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// lender is the fake with accounts that are made and removed.
type lender struct {
	*fake
	// until is when the target itself ends each account.
	until map[string]time.Time
	// loans finds the lease of an account in the store.
	known func(account string) bool
	// unknown are the accounts that were made before anybody had written them down.
	unknown []string
}

func (l *lender) Describe() rotator.Description {
	d := l.fake.Describe()
	d.Strategies, d.SelfService = []rotator.Strategy{rotator.Dynamic}, false
	return d
}

func (l *lender) Provision(ctx context.Context, t *rotator.Target, c rotator.Credential, expires time.Time) error {
	return l.hook("provision", func() error {
		if l.known != nil && !l.known(c.Account) {
			l.unknown = append(l.unknown, c.Account)
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		l.accounts[c.Account] = []string{string(c.Value.Reveal())}
		l.until[c.Account] = expires
		return nil
	})
}

func (l *lender) Remove(ctx context.Context, t *rotator.Target, account string) error {
	return l.hook("remove", func() error {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.accounts, account)
		return nil
	})
}

func (l *lender) Provisioned(ctx context.Context, t *rotator.Target, prefix string) (list []string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for account := range l.accounts {
		if strings.HasPrefix(account, prefix) {
			list = append(list, account)
		}
	}
	slices.Sort(list)
	return list, nil
}

// lending is a world with a dynamic policy.
type lending struct {
	*world
	lender *lender
	engine *rotation.Engine
	user   *guard.Caller
}

func dynamicPolicy() rotation.Policy {
	return rotation.Policy{Strategy: rotator.Dynamic, Rotator: "fake", Format: rotation.Format{Kind: rotation.JSON}, Admin: &rotation.Reference{Name: "keeper"},
		Lease: &rotation.LeaseRules{TTL: d(time.Hour), MaxTTL: d(3 * time.Hour), Most: 5}}
}

func newLending(t *testing.T) *lending {
	return newLendingWith(t, guardtest.Options{Clock: clock.System{}})
}

func newLendingWith(t *testing.T, o guardtest.Options) *lending {
	w := &lending{world: newWorldWith(t, o)}
	w.target.accounts = map[string][]string{}
	w.lender = &lender{fake: w.fake, until: map[string]time.Time{}}
	w.engine = w.at(0, nil)
	_, err := w.secrets.Set(w.Ctx, w.Call(w.caller), "keeper", secret.Input{Value: []byte(`{"username":"keeper","password":"the-keeper"}`), Enabled: true})
	must(t, err)
	_, err = w.secrets.Set(w.Ctx, w.Call(w.caller), "reports", secret.Input{Value: []byte(`{"host":"db.test"}`), Enabled: true})
	must(t, err)
	p := dynamicPolicy()
	must(t, w.service(w.engine).SetPolicy(w.Ctx, w.Call(w.caller), "reports", &p))
	w.user = w.Caller(authz.SecretsUser)
	return w
}

// at is an engine of a process of its own, so much later.
func (w *lending) at(later time.Duration, fail func(rotation.Point) error) *rotation.Engine {
	w.T.Helper()
	c := w.newEngineAt(time.Now().Add(later)).Config
	c.Rotators, c.Failpoint, c.Node = []rotator.Rotator{w.lender}, fail, fmt.Sprint("node-", later, time.Now().UnixNano())
	e, err := rotation.New(c)
	must(w.T, err)
	return e
}

func (w *lending) lend(e *rotation.Engine, ttl time.Duration) (l *rotation.Loan, user, pass string, err error) {
	l, value, err := w.service(e).Lend(w.Ctx, w.Call(w.user), "reports", ttl)
	if err != nil {
		return nil, "", "", err
	}
	var v struct{ Host, Username, Password string }
	must(w.T, json.Unmarshal(value.Reveal(), &v))
	if v.Host != "db.test" {
		w.T.Errorf("the value is %+v: what else stands in the secret was lost", v)
	}
	return l, v.Username, v.Password, nil
}

func (w *lending) loan(id store.LoanID) *rotation.Loan {
	w.T.Helper()
	l, err := w.service(w.engine).GetLoan(w.Ctx, w.Call(w.caller), id)
	must(w.T, err)
	return l
}

func (w *lending) accounts() (list []string) {
	w.target.mu.Lock()
	defer w.target.mu.Unlock()
	for account := range w.target.accounts {
		list = append(list, account)
	}
	return list
}

// A lease has an account of its own, which works until the lease is over and is gone then.
func TestLease(t *testing.T) {
	w := newLending(t)
	s := w.service(w.engine)
	l, user, pass, err := w.lend(w.engine, 0)
	must(t, err)
	if !w.target.accepts(user, pass) || user != l.Account || !strings.HasSuffix(user, string(l.ID)) {
		t.Errorf("the login %s of the lease %s does not work", user, l.ID)
	}
	if l.State != rotation.LoanActive || l.Holder != string(w.user.Principal) || l.Expires.Sub(l.Issued) != time.Hour || !w.lender.until[user].Equal(l.Latest) {
		t.Errorf("the lease is %+v, and ends at the target at %s", l, w.lender.until[user])
	}
	if strings.Contains(w.log.String(), pass) {
		t.Error("the log has the password")
	}
	_, other, _, err := w.lend(w.engine, 2*time.Hour)
	must(t, err)
	if other == user {
		t.Error("two leases share an account")
	}
	must(t, w.engine.TendLoans(w.Ctx))
	if len(w.accounts()) != 2 {
		t.Errorf("there are the accounts %v before the leases are over", w.accounts())
	}
	later := w.at(time.Hour+time.Second, nil)
	must(t, later.TendLoans(w.Ctx))
	if got := w.accounts(); len(got) != 1 || got[0] != other {
		t.Errorf("after an hour there are the accounts %v, want %s", got, other)
	}
	if got := w.loan(l.ID); got.State != rotation.LoanRevoked || got.Why != rotation.LeaseExpired || got.Ended.IsZero() {
		t.Errorf("the lease ended as %+v", got)
	}
	// The secret itself is never rotated, and nobody runs it by accident.
	if _, err := s.Run(w.Ctx, w.Call(w.caller), "reports", rotation.Start{Cause: rotation.OnDemand}); !fault.Is(err, fault.Conflict) {
		t.Errorf("it was rotated: %v", err)
	}
	if h, err := s.Plan(w.Ctx, w.Call(w.caller), "reports"); err != nil || !h.Safe {
		t.Errorf("the rehearsal says %+v, %v", h, err)
	}
	if _, _, err := s.Lend(w.Ctx, w.Call(w.user), "keeper", 0); !fault.Is(err, fault.NotFound) {
		t.Errorf("leasing what has no policy: %v", err)
	}
}

func TestLeaseIsBoundedAndRenewed(t *testing.T) {
	w := newLending(t)
	s := w.service(w.engine)
	for _, ttl := range []time.Duration{-1, time.Second, 4 * time.Hour} {
		if _, _, _, err := w.lend(w.engine, ttl); !fault.Is(err, fault.Invalid) {
			t.Errorf("a lease of %s: %v", ttl, err)
		}
	}
	l, _, _, err := w.lend(w.engine, 0)
	must(t, err)
	if n, err := s.Renew(w.Ctx, w.Call(w.user), l.ID, time.Minute); err != nil || !n.Expires.Equal(l.Expires) {
		t.Errorf("a renewal made the lease end at %s (%v), want %s", n.Expires, err, l.Expires)
	}
	n, err := s.Renew(w.Ctx, w.Call(w.user), l.ID, 150*time.Minute)
	must(t, err)
	if n.Expires.After(l.Latest) || n.Expires.Before(l.Latest.Add(-31*time.Minute)) {
		t.Errorf("renewed until %s, and its latest end is %s", n.Expires, l.Latest)
	}
	late := w.at(2*time.Hour, nil)
	if n, err = w.service(late).Renew(w.Ctx, w.Call(w.user), l.ID, 3*time.Hour); err != nil || !n.Expires.Equal(l.Latest) {
		t.Errorf("renewed again until %s (%v), want %s", n.Expires, err, l.Latest)
	}
	if _, err := w.service(late).Renew(w.Ctx, w.Call(w.user), l.ID, time.Hour); !fault.Is(err, fault.Conflict) {
		t.Errorf("renewing beyond the maximum: %v", err)
	}
	if _, err := s.Renew(w.Ctx, w.Call(w.Caller(authz.SecretsUser)), l.ID, 0); !fault.Is(err, fault.Forbidden) {
		t.Errorf("somebody else renewed it: %v", err)
	}
	if _, err := s.Renew(w.Ctx, w.Call(w.Caller()), "00000000000000000000000000000000", 0); !fault.Is(err, fault.Forbidden) {
		t.Errorf("a stranger learns that a lease is not there: %v", err)
	}
	for range 4 {
		_, _, _, err := w.lend(w.engine, 0)
		must(t, err)
	}
	if _, _, _, err := w.lend(w.engine, 0); !fault.Is(err, fault.Throttled) {
		t.Errorf("a sixth of five leases: %v", err)
	}
}

// Who has a lease gives it back; who may revoke ends that of anybody; nobody else does.
func TestLeaseEndsByOrder(t *testing.T) {
	w := newLending(t)
	s := w.service(w.engine)
	mine, _, _, err := w.lend(w.engine, 0)
	must(t, err)
	theirs, _, _, err := w.lend(w.engine, 0)
	must(t, err)
	if _, err := s.EndLease(w.Ctx, w.Call(w.Caller(authz.SecretsUser)), mine.ID, ""); !fault.Is(err, fault.Forbidden) {
		t.Errorf("another user ended it: %v", err)
	}
	_, err = s.EndLease(w.Ctx, w.Call(w.user), mine.ID, "")
	must(t, err)
	_, err = s.EndLease(w.Ctx, w.Call(w.caller), theirs.ID, "they left")
	must(t, err)
	must(t, w.engine.TendLoans(w.Ctx))
	if n := len(w.accounts()); n != 0 {
		t.Errorf("%d accounts are left", n)
	}
	for id, want := range map[store.LoanID]rotation.Reason{mine.ID: rotation.LeaseReturned, theirs.ID: rotation.LeaseRevoked} {
		if l := w.loan(id); l.State != rotation.LoanRevoked || l.Why != want {
			t.Errorf("ended as %s, %s, want %s", l.State, l.Why, want)
		}
		if _, err := s.EndLease(w.Ctx, w.Call(w.caller), id, ""); !fault.Is(err, fault.Conflict) {
			t.Errorf("ending it again: %v", err)
		}
		if _, err := s.Renew(w.Ctx, w.Call(w.user), id, 0); !fault.Is(err, fault.Conflict) {
			t.Errorf("renewing what is over: %v", err)
		}
	}
}

// What cannot be removed is tried again, then stands on a list of which people hear, and goes when the target was put right.
func TestIrrevocableLease(t *testing.T) {
	w := newLending(t)
	l, _, _, err := w.lend(w.engine, 0)
	must(t, err)
	broken := rotator.Fail(rotator.Busy, nil, "too many connections")
	w.target.before = func(verb string) error {
		if verb == "remove" {
			return broken
		}
		return nil
	}
	_, err = w.service(w.engine).EndLease(w.Ctx, w.Call(w.user), l.ID, "")
	must(t, err)
	for i := range quick.Tries {
		if got := w.loan(l.ID); got.State != rotation.LoanRevoking || got.Tries != i {
			t.Fatalf("after %d tries it is %s", got.Tries, got.State)
		}
		must(t, w.at(time.Duration(i+1)*time.Second, nil).TendLoans(w.Ctx))
	}
	got := w.loan(l.ID)
	if got.State != rotation.LoanIrrevocable || got.LastError == nil || w.events(string(rotation.LeaseIrrevocable)) != 1 {
		t.Fatalf("it is %s with %+v, and people heard %d times", got.State, got.LastError, w.events(string(rotation.LeaseIrrevocable)))
	}
	must(t, w.at(2*time.Hour, nil).TendLoans(w.Ctx))
	if n := w.events(string(rotation.LeaseIrrevocable)); n != 1 {
		t.Errorf("people heard %d times", n)
	}
	w.target.before = nil
	_, err = w.service(w.engine).EndLease(w.Ctx, w.Call(w.caller), l.ID, "the broker is up")
	must(t, err)
	must(t, w.at(2*time.Hour, nil).TendLoans(w.Ctx))
	if got := w.loan(l.ID); got.State != rotation.LoanRevoked || len(w.accounts()) != 0 {
		t.Errorf("after the target was put right it is %s", got.State)
	}
	// A missing right does not get better by trying.
	l, _, _, err = w.lend(w.engine, 0)
	must(t, err)
	broken = rotator.Fail(rotator.Denied, nil, "permission denied")
	w.target.before = func(string) error { return broken }
	must(t, w.at(2*time.Hour, nil).TendLoans(w.Ctx))
	if got := w.loan(l.ID); got.State != rotation.LoanIrrevocable || got.Tries != 1 {
		t.Errorf("without the right to remove it is %s after %d tries", got.State, got.Tries)
	}
}

// A target that does not make the account leaves nothing behind, and the caller is told what to do.
func TestLeaseThatCannotBeMade(t *testing.T) {
	w := newLending(t)
	for _, c := range []struct {
		err  error
		want fault.Kind
	}{
		{rotator.Fail(rotator.Denied, nil, "permission denied"), fault.Conflict},
		{rotator.Fail(rotator.Busy, nil, "too many connections"), fault.Unavailable},
		{errors.New("the connection broke"), fault.Unavailable},
	} {
		w.target.after = func(verb string) error { // the account is there all the same
			if verb == "provision" {
				return c.err
			}
			return nil
		}
		if _, _, _, err := w.lend(w.engine, 0); !fault.Is(err, c.want) || !strings.Contains(err.Error(), c.err.Error()) {
			t.Errorf("%v: the caller is told %v", c.err, err)
		}
	}
	w.target.after = nil
	if len(w.accounts()) != 3 {
		t.Fatalf("there are the accounts %v", w.accounts())
	}
	must(t, w.at(time.Minute, nil).TendLoans(w.Ctx))
	if len(w.accounts()) != 0 {
		t.Errorf("the accounts %v are left", w.accounts())
	}
	// Nor is anything done for who does not wait any more.
	ctx, cancel := context.WithCancel(w.Ctx)
	w.target.after = func(string) error { cancel(); return nil }
	if _, _, err := w.service(w.engine).Lend(ctx, w.Call(w.user), "reports", 0); err == nil {
		t.Error("a lease was given to nobody")
	}
	w.target.after = nil
	must(t, w.at(time.Second, nil).TendLoans(w.Ctx))
	if len(w.accounts()) != 0 {
		list, _ := w.service(w.engine).Loans(w.Ctx, w.Call(w.caller), "", store.LoanQuery{Open: true})
		t.Errorf("the accounts %v are left to nobody: %+v", w.accounts(), list[0])
	}
}

// An account that no lease accounts for is removed; those of others, and those that only look alike, are not.
func TestOrphanedAccountsAreSwept(t *testing.T) {
	w := newLending(t)
	l, user, _, err := w.lend(w.engine, 0)
	must(t, err)
	prefix := strings.TrimSuffix(user, string(l.ID))
	late, lost := l.ID, prefix+"0123456789abcdef0123456789abcdef"
	_, err = w.service(w.engine).EndLease(w.Ctx, w.Call(w.user), late, "")
	must(t, err)
	must(t, w.engine.TendLoans(w.Ctx))
	w.target.give(user, "made after everybody had given it up")
	w.target.give(lost, "its row was lost with the store")
	young := prefix + string(vault.NewVersionID(time.Now())) // so was its row, and somebody uses it
	w.target.give(young, "x")
	_, live, _, err := w.lend(w.engine, 0)
	must(t, err)
	keep := []string{prefix + "short", "kw_000000000000_0123456789abcdef0123456789abcdef", "somebody"}
	for _, account := range keep {
		w.target.give(account, "x")
	}
	if n, err := w.engine.SweepLoans(w.Ctx); n != 2 || err != nil {
		t.Errorf("%d accounts were swept (%v), want 2", n, err)
	}
	got := w.accounts()
	slices.Sort(got)
	want := append(slices.Clone(keep), live, young)
	slices.Sort(want)
	if !slices.Equal(got, want) || w.events(string(rotation.LeaseOrphan)) != 2 {
		t.Errorf("the accounts are %v, want %v; %d events", got, want, w.events(string(rotation.LeaseOrphan)))
	}
	c := w.at(3*time.Hour+time.Second, nil).Config
	c.Node = w.engine.Node // another may not search so soon
	later, err := rotation.New(c)
	must(t, err)
	if _, err := later.SweepLoans(w.Ctx); err != nil || slices.Contains(w.accounts(), young) {
		t.Errorf("an account of a lease that must be over is left (%v)", err)
	}
}

// Wherever the process dies, every account at the target belongs to a lease that somebody holds, or is gone in the end; and none was made unknown.
func TestLeaseCrashes(t *testing.T) {
	var mu sync.Mutex
	reached := map[rotation.Point]bool{}
	t.Run("points", func(t *testing.T) {
		for _, point := range rotation.LoanPoints() {
			lost := strings.HasPrefix(string(point), "after call")
			t.Run(fmt.Sprintf("%s, replies lost %t", point, lost), func(t *testing.T) {
				t.Parallel()
				w := newLending(t)
				w.lender.known = func(account string) bool {
					list, err := w.service(w.engine).Loans(w.Ctx, w.Call(w.caller), "", store.LoanQuery{Open: true})
					return err == nil && slices.ContainsFunc(list, func(l *rotation.Loan) bool { return l.Account == account })
				}
				if lost {
					w.target.after = func(verb string) error { return errors.New("the reply of " + verb + " was lost") }
				}
				died := false
				fail := func(p rotation.Point) error {
					if p == point && !died {
						mu.Lock()
						defer mu.Unlock()
						died, reached[p] = true, true
					}
					if died {
						return errors.New("the process died")
					}
					return nil
				}
				_, _, _, err := w.lend(w.at(0, fail), time.Hour)
				if died && err == nil {
					t.Error("a process that died gave a lease")
				}
				if !died {
					_ = w.at(2*time.Hour, fail).TendLoans(w.Ctx)
				}
				w.target.after = nil
				// Whoever comes next finishes it, when the rights of the dead have run out.
				w.eventually("every account is gone", func() bool {
					for i := range 4 {
						must(t, w.at(5*time.Hour+time.Duration(i)*2*time.Hour, nil).TendLoans(w.Ctx))
					}
					list, err := w.service(w.engine).Loans(w.Ctx, w.Call(w.caller), "", store.LoanQuery{Open: true})
					must(t, err)
					return len(list) == 0
				})
				if got := w.accounts(); len(got) != 0 || len(w.lender.unknown) != 0 {
					t.Errorf("the accounts %v are left; %v were made before they were written down", got, w.lender.unknown)
				}
				if _, user, pass, err := w.lend(w.at(0, nil), time.Hour); err != nil || !w.target.accepts(user, pass) {
					t.Errorf("nothing can be leased any more: %v", err)
				}
			})
		}
	})
	for _, p := range rotation.LoanPoints() {
		// What is irrevocable is come by only after many tries, by the same code.
		if !reached[p] && !strings.HasSuffix(string(p), "irrevocable") {
			t.Errorf("no process died %s", p)
		}
	}
}

func TestDynamicPolicies(t *testing.T) {
	w := newLending(t)
	for name, c := range map[string]struct {
		edit func(*rotation.Policy)
		want string
	}{
		"no lease":      {func(p *rotation.Policy) { p.Lease = nil }, "lease: the strategy is"},
		"too short":     {func(p *rotation.Policy) { p.Lease.TTL = d(time.Second) }, "lease: leases of"},
		"maximum below": {func(p *rotation.Policy) { p.Lease.MaxTTL = d(time.Minute) }, "lease: leases of"},
		"too many":      {func(p *rotation.Policy) { p.Lease.Most = 1 << 20 }, "lease: "},
		"raw":           {func(p *rotation.Policy) { p.Format.Kind = rotation.Raw }, "format: the user name is another each time"},
		"accounts":      {func(p *rotation.Policy) { p.Accounts = []string{"a"} }, "accounts: each lease"},
		"schedule":      {func(p *rotation.Policy) { p.MaxAge = d(24 * time.Hour) }, "maxAge: each lease"},
		"no keeper":     {func(p *rotation.Policy) { p.Admin = nil }, "admin: "},
		"another":       {func(p *rotation.Policy) { p.Strategy, p.Accounts = rotator.Single, []string{"a"} }, "lease: the strategy is"},
	} {
		p := dynamicPolicy()
		c.edit(&p)
		err := w.service(w.engine).SetPolicy(w.Ctx, w.Call(w.caller), "reports", &p)
		if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}
