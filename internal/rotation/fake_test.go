package rotation_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/vault"

	"github.com/keywright/keywright/internal/rotation"
)

// target is a system with accounts whose passwords change. It counts who is at work on an account.
type target struct {
	mu       sync.Mutex
	accounts map[string][]string
	busy     map[string]int
	overlaps int
	set      map[string]map[string]bool // attempt -> values
	logins   int
	// before and after hear of every verb; an error is what the caller gets.
	before, after func(verb string) error
	sessions      []rotator.Session
	down          bool
	// made holds the keys that the target issued.
	delay time.Duration
}

func newTarget(accounts ...string) *target {
	t := &target{accounts: map[string][]string{}, busy: map[string]int{}, set: map[string]map[string]bool{}}
	for _, a := range accounts {
		t.accounts[a] = nil
	}
	return t
}

func (t *target) give(account string, values ...string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.accounts[account] = values
}

func (t *target) accepts(account, value string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, v := range t.accounts[account] {
		if v == value {
			return true
		}
	}
	return false
}

// fake is the rotator of the target.
type fake struct {
	*target
	strategies []rotator.Strategy
}

func (f *fake) Describe() rotator.Description {
	return rotator.Description{Name: "fake", Title: "Fake", Strategies: f.strategies, SelfService: true, Evidence: rotator.AccountEvidence, Value: rotator.DefaultValue}
}

func (f *fake) Check(json.RawMessage) error { return nil }

func (f *fake) hook(verb string, do func() error) error {
	f.mu.Lock()
	before, after, down := f.before, f.after, f.down
	f.mu.Unlock()
	if down {
		return rotator.Fail(rotator.NotApplied, nil, "the target is down")
	}
	if before != nil {
		if err := before(verb); err != nil {
			return err
		}
	}
	if err := do(); err != nil {
		return err
	}
	if after != nil {
		return after(verb)
	}
	return nil
}

func (f *fake) Preflight(_ context.Context, _ *rotator.Target, p rotator.Plan) (*rotator.Report, error) {
	ids := map[string]string{}
	err := f.hook("preflight", func() error {
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, a := range p.Accounts {
			if _, ok := f.accounts[a]; !ok {
				return rotator.Fail(rotator.Misconfigured, nil, "there is no account %q", a)
			}
			ids[a] = "system/" + a
		}
		return nil
	})
	return &rotator.Report{Identities: ids, System: "fake 1"}, err
}

// change does something to one account, and notices when somebody else does too.
func (f *fake) change(ctx context.Context, account string, do func()) error {
	f.mu.Lock()
	f.busy[account]++
	if f.busy[account] > 1 {
		f.overlaps++
	}
	f.mu.Unlock()
	var err error
	select {
	case <-ctx.Done():
		err = ctx.Err()
	case <-time.After(f.delay):
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.busy[account]--
	if err == nil {
		do()
	}
	return err
}

func (f *fake) Set(ctx context.Context, t *rotator.Target, c rotator.Change) error {
	return f.hook("set", func() error {
		return f.change(ctx, c.Account, func() {
			values := []string{string(c.Value)}
			if c.Keep != nil {
				values = append(values, string(c.Keep.Value))
			}
			f.accounts[c.Account] = values
			if f.set[t.Attempt] == nil {
				f.set[t.Attempt] = map[string]bool{}
			}
			f.set[t.Attempt][string(c.Value)] = true
		})
	})
}

func (f *fake) Revoke(ctx context.Context, _ *rotator.Target, c rotator.Change) error {
	return f.hook("revoke", func() error {
		return f.change(ctx, c.Account, func() {
			f.accounts[c.Account] = nil
			if c.Keep != nil {
				f.accounts[c.Account] = []string{string(c.Keep.Value)}
			}
		})
	})
}

func (f *fake) Probe(_ context.Context, _ *rotator.Target, c rotator.Credential) (rotator.Logins, error) {
	var logins rotator.Logins
	err := f.hook("probe", func() error {
		verdict := rotator.Rejected
		if f.accepts(c.Account, string(c.Value)) {
			verdict = rotator.Accepted
		}
		logins = rotator.Logins{{Endpoint: "one", Verdict: verdict, Identity: "system/" + c.Account}}
		f.mu.Lock()
		f.logins++
		f.mu.Unlock()
		return nil
	})
	return logins, err
}

func (f *fake) Sessions(context.Context, *rotator.Target, string) ([]rotator.Session, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.sessions, nil
}

func (f *fake) Terminate(context.Context, *rotator.Target, string) (int, error) {
	return 0, f.hook("terminate", func() error { return nil })
}

// nobody is a ledger of an object that few read.
type nobody struct {
	mu      sync.Mutex
	holders map[vault.VersionID][]rotation.Holder
	whole   time.Time
}

func (n *nobody) Verdict(_ context.Context, _ rotation.Subject, old, _ vault.VersionID, _ time.Time, _ *rotation.Policy) (rotation.Verdict, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return rotation.Verdict{Safe: len(n.holders[old]) == 0, Waiting: n.holders[old], Whole: n.whole}, nil
}

func (n *nobody) hold(v vault.VersionID, who string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.holders == nil {
		n.holders = map[vault.VersionID][]rotation.Holder{}
	}
	n.holders[v] = append(n.holders[v], rotation.Holder{Principal: who})
}

func (n *nobody) letGo(v vault.VersionID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.holders, v)
}

func (*nobody) Seen(context.Context, rotation.Subject, vault.VersionID, []rotator.Session, time.Time) error {
	return nil
}

var errDied = errors.New("the process died")

func password(value []byte) (user, pass string, err error) {
	var v struct{ Username, Password string }
	if err := json.NewDecoder(bytes.NewReader(value)).Decode(&v); err != nil {
		return "", "", fmt.Errorf("a value that is no JSON")
	}
	return v.Username, v.Password, nil
}
