package rotatortest

import (
	"github.com/keywright/keywright/internal/rotator"
)

// path is one rotation by a strategy: what is set, what is revoked, and what the target accepts in between.
type path struct {
	f        *fixture
	strategy rotator.Strategy
	accounts []string
	// old is in use, next is the credential to come; idle is what the other account of a pair accepts before.
	old, next, idle rotator.Credential
}

// path makes fresh accounts for one rotation.
func (f *fixture) path(s rotator.Strategy) *path {
	f.t.Helper()
	p := &path{f: f, strategy: s}
	if s == rotator.Alternating {
		pair := f.s.Make(f.t, 2)
		p.old, p.idle = pair[0], pair[1]
		p.next = f.fresh(p.idle)
		p.accounts = []string{p.old.Account, p.idle.Account}
	} else {
		p.old = f.s.Make(f.t, 1)[0]
		p.next = f.fresh(p.old)
		p.accounts = []string{p.old.Account}
	}
	f.want(p.old, true, "before anything happened")
	return p
}

// turn is the rotation after this one.
func (p *path) turn() *path {
	n := &path{f: p.f, strategy: p.strategy, accounts: p.accounts, old: p.next}
	if p.strategy == rotator.Alternating {
		n.idle = p.old
		n.next = p.f.fresh(p.old)
	} else {
		n.next = p.f.fresh(p.next)
	}
	return n
}

func (p *path) plan() rotator.Plan {
	old := p.old
	return rotator.Plan{Strategy: p.strategy, Accounts: p.accounts, Current: &old, Next: p.next}
}

// setting is what Set gets, revoking what Revoke gets.
func (p *path) setting() rotator.Change {
	c := rotator.Change{Credential: p.next}
	if p.strategy == rotator.Dual {
		old := p.old
		c.Keep = &old
	}
	return c
}

func (p *path) revoking() rotator.Change {
	c := rotator.Change{Credential: p.old}
	if p.strategy != rotator.Alternating {
		next := p.next
		c.Keep = &next
	}
	return c
}

func (p *path) set() error    { return p.f.set(p.f.ctx(), p.f.target, p.setting()) }
func (p *path) revoke() error { return p.f.revoke(p.f.ctx(), p.f.target, p.revoking()) }

// overlaps reports whether the old credential lives on while the next one is set.
func (p *path) overlaps() bool { return p.strategy != rotator.Single }

// isSet, isRevoked and isUntouched check the target itself at the three places of a rotation.
func (p *path) isSet(when string) {
	p.f.t.Helper()
	p.f.want(p.next, true, when+": the new credential")
	p.f.want(p.old, p.overlaps(), when+": the old credential")
	if p.strategy == rotator.Alternating && p.idle.Value != nil {
		p.f.want(p.idle, false, when+": the value that the account had before")
	}
}

func (p *path) isRevoked(when string) {
	p.f.t.Helper()
	p.f.want(p.next, true, when+": the new credential")
	p.f.want(p.old, false, when+": the old credential")
}

func (p *path) isUntouched(when string) {
	p.f.t.Helper()
	p.f.want(p.next, false, when+": the new credential")
	p.f.want(p.old, true, when+": the old credential")
}

// snapshot describes the accounts apart from their credentials. An account that Revoke disabled is compared only once it is set again.
func (p *path) snapshot(accounts ...string) string {
	p.f.t.Helper()
	text := ""
	for _, a := range accounts {
		text += p.f.s.Snapshot(p.f.t, a) + "\n"
	}
	return text
}
