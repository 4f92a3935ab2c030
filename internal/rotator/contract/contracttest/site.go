// Package contracttest is the reference receiver of package contract: a small system of its own with accounts, which obeys orders as the contract
// wants it. Tests put it behind a web service or into a program.
package contracttest

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/rotator/contract"
)

// Site is a system with accounts. It is plain data, which a test may keep in a file; who shares one takes turns.
type Site struct {
	ID       string
	Accounts map[string]*Account
	// Breached are digests of values that the site's policy refuses.
	Breached map[string]bool
	Next     int
	// Patience is how many times an order that changes something is answered with pending before it is done.
	Patience int
	Waited   map[string]int
}

// Account is one login.
type Account struct {
	ID     string
	Hashes []string
	Doors  []string
	Locked bool
	// Becomes is the account that logins really become.
	Becomes string
}

// NewSite returns a site without accounts.
func NewSite() *Site {
	return &Site{ID: "site-" + rand.Text(), Accounts: map[string]*Account{}, Breached: map[string]bool{}, Waited: map[string]int{}}
}

// Digest is how the site keeps values.
func Digest(value string) string {
	sum := sha256.Sum256([]byte(value))
	return hex.EncodeToString(sum[:])
}

// Make adds an account.
func (s *Site) Make(name, value string) {
	s.Next++
	s.Accounts[name] = &Account{ID: strconv.Itoa(s.Next), Hashes: []string{Digest(value)}, Doors: []string{"front", "yard"}}
}

// Accepts is the site's own login.
func (s *Site) Accepts(name, value string) (ok bool, err error) {
	a := s.Accounts[name]
	if a == nil {
		return false, nil
	}
	if a.Locked {
		return false, fmt.Errorf("%q is locked out", name)
	}
	return slices.Contains(a.Hashes, Digest(value)), nil
}

// Describe is an account apart from its credential.
func (s *Site) Describe(name string) string {
	a := s.Accounts[name]
	return fmt.Sprint(a.ID, a.Doors, a.Locked, a.Becomes)
}

// Obey does what an order says. value fetches the value of a part.
func (s *Site) Obey(o *contract.Order, now time.Time, value func(*contract.Part) (string, error)) contract.Reply {
	if o.Contract != contract.Version {
		return refuse(contract.Misconfigured, "this receiver knows version 1 of the contract")
	}
	if !now.Before(o.Deadline) {
		return refuse("", "the order came too late")
	}
	if o.Step == contract.Preflight {
		return s.preflight(o.Plan)
	}
	a := s.Accounts[o.Credential.Account]
	switch {
	case a == nil && o.Step == contract.Revoke:
		return contract.Reply{Answer: contract.Done} // what is gone accepts nothing
	case a == nil && o.Step == contract.Probe:
		return contract.Reply{Answer: contract.Rejected}
	case a == nil:
		return refuse(contract.Misconfigured, "there is no such account")
	case o.Step == contract.Probe:
		return s.probe(o, a, value)
	}
	if s.Waited[o.Key()] < s.Patience {
		s.Waited[o.Key()]++
		return contract.Reply{Answer: contract.Pending, RetryAfter: 1}
	}
	var accepted []string
	wanted := []*contract.Part{o.Keep}
	if o.Step == contract.Set {
		wanted = append(wanted, o.Credential)
	}
	for _, p := range wanted {
		if p == nil {
			continue
		}
		text, err := value(p)
		if err != nil {
			return refuse("", err.Error())
		}
		if s.Breached[Digest(text)] {
			return contract.Reply{Answer: contract.Rejected, Message: "everybody knows it"}
		}
		accepted = append(accepted, Digest(text))
	}
	a.Hashes = accepted // the state, not the step to it: a repetition is harmless
	return contract.Reply{Answer: contract.Done}
}

func (s *Site) preflight(p *contract.Plan) contract.Reply {
	r := contract.Reply{Answer: contract.Done, System: "reference receiver 1", Identities: map[string]string{}}
	var doors []string
	for i, name := range p.Accounts {
		a := s.Accounts[name]
		if a == nil {
			return refuse(contract.Misconfigured, "there is no such account")
		}
		if i > 0 && p.Strategy == rotator.Alternating && !slices.Equal(doors, a.Doors) {
			return refuse(contract.Misconfigured, "the accounts do not open the same doors")
		}
		doors = a.Doors
		r.Identities[name] = s.identity(a)
	}
	return r
}

func (s *Site) identity(a *Account) string { return s.ID + ":" + a.ID }

func (s *Site) probe(o *contract.Order, a *Account, value func(*contract.Part) (string, error)) contract.Reply {
	text, err := value(o.Credential)
	if err != nil {
		return refuse("", err.Error())
	}
	switch {
	case a.Locked:
		return refuse(contract.Busy, "the account is locked out")
	case !slices.Contains(a.Hashes, Digest(text)):
		return contract.Reply{Answer: contract.Rejected}
	case a.Becomes != "":
		return contract.Reply{Answer: contract.Unknown, Identity: s.identity(s.Accounts[a.Becomes]), Message: "the login became somebody else"}
	}
	return contract.Reply{Answer: contract.Done, Identity: s.identity(a)}
}

func refuse(why contract.Reason, message string) contract.Reply {
	return contract.Reply{Answer: contract.NotApplied, Reason: why, Message: message}
}
