package contracttest

import (
	"context"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/rotator/contract"
	"github.com/keywright/keywright/internal/rotator/rotatortest"
)

// With gives a function the site, which nobody else uses meanwhile.
type With func(func(*Site))

// serial tells the accounts of one test program apart.
var serial atomic.Int64

// NewAccounts adds accounts with hostile names to the site.
func (with With) NewAccounts(_ *testing.T, n int) (made []rotator.Credential) {
	with(func(s *Site) {
		for range n {
			name := rotatortest.HostileName + strconv.FormatInt(serial.Add(1), 10)
			s.Make(name, "the first value")
			made = append(made, rotator.Credential{Account: name, Value: redact.Bytes("the first value")})
		}
	})
	return made
}

// Subject is what the conformance suite of rotators needs to know of a site. How it is reached, who may give it orders, what is logged and which
// configurations are broken is left to the caller.
func (with With) Subject(r rotator.Rotator) rotatortest.Subject {
	return rotatortest.Subject{
		Rotator:    r,
		Strategies: contract.Strategies,
		Make:       with.NewAccounts,
		Login: func(_ context.Context, _ string, c rotator.Credential) (ok bool, err error) {
			with(func(s *Site) { ok, err = s.Accepts(c.Account, string(c.Value.Reveal())) })
			return ok, err
		},
		Snapshot: func(_ *testing.T, name string) (text string) {
			with(func(s *Site) { text = s.Describe(name) })
			return text
		},
		Absent: "nobody",
		RefusedValue: func(*testing.T) redact.Bytes {
			with(func(s *Site) { s.Breached[Digest("known to everybody")] = true })
			return redact.Bytes("known to everybody")
		},
		LockOut: func(_ *testing.T, name string) func() {
			with(func(s *Site) { s.Accounts[name].Locked = true })
			return func() { with(func(s *Site) { s.Accounts[name].Locked = false }) }
		},
		Shadow: func(_ *testing.T, c rotator.Credential) func() {
			with(func(s *Site) {
				s.Make("somebody else", "another")
				s.Accounts[c.Account].Becomes = "somebody else"
			})
			return func() { with(func(s *Site) { s.Accounts[c.Account].Becomes = "" }) }
		},
		Unequal: func(_ *testing.T, accounts []string) {
			with(func(s *Site) { s.Accounts[accounts[1]].Doors = []string{"vault"} })
		},
	}
}
