package rotationtest

import (
	"context"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/rotation"
	"github.com/keywright/keywright/internal/rotator"
)

// Subject is a rotator with one strategy and a target.
type Subject struct {
	// Name is that of the subtests.
	Name    string
	Rotator rotator.Rotator
	// Admin is the credential by which changes are made; zero when accounts change their own.
	Admin rotator.Credential
	// Make makes accounts that nobody else uses, and the policy for them. Current is what the target accepts at first.
	Make func(t testing.TB) (p rotation.Policy, current rotator.Credential)
	// Login reports whether the target accepts a credential, without the rotator's code. An error is neither.
	Login func(ctx context.Context, c rotator.Credential) (bool, error)
	// Orphans counts what the target holds for the account beyond one credential; nil where that cannot be seen.
	Orphans func(account string) (int, error)
	// TTL is how long leases live; 0 means a second.
	TTL time.Duration
	// SideBySide is how many cases run at once; 0 means 24. Most of each is waiting for a lease to end.
	SideBySide int
}

// Options choose what of the matrix is run. The zero value has a process die once at every point.
type Options struct {
	// Sample is how many of the points are tried, chosen by Seed; 0 means all. Claim, when not nil, takes points in addition to the sample: those for
	// which it says true.
	Sample int
	Seed   uint64
	Claim  func(rotation.Point) bool
	// Stories is how many scenarios besides the plain one are told, chosen by Seed; 0 means all. Each is told once without a crash, which costs as much as one.
	Stories int
	// Pairs has a process die at every point of every scenario, in the place of every point once.
	Pairs bool
}

func (s *Subject) ttl() time.Duration {
	if s.TTL == 0 {
		return time.Second
	}
	return s.TTL
}

func (s *Subject) leasing() rotation.Leasing {
	t := s.ttl()
	return rotation.Leasing{TTL: t, Renew: t / 4, Slack: 10 * time.Millisecond, Margin: t / 10}
}

// pace is one at which a test does not wait, with calls as long as the leases allow.
func (s *Subject) pace() rotation.Pace {
	d := func(t time.Duration) rotation.Duration { return rotation.Duration(t) }
	return rotation.Pace{Base: d(5 * time.Millisecond), Cap: d(50 * time.Millisecond), Tries: 100, Attempt: d(5 * time.Minute), Call: d(s.ttl() / 2),
		Probe: d(5 * time.Millisecond), Settle: d(time.Millisecond), Look: d(20 * time.Millisecond)}
}
