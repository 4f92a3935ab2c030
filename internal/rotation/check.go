package rotation

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/vault"
)

var errMore = errors.New("there is more behind its end")

// Bounds of policies.
const (
	// MinValueLength is the fewest characters of a value: 16 of 62 letters and digits are 95 bits.
	MinValueLength = 16
	// MaxValueLength is the longest that the engine makes; several targets cut or refuse longer ones.
	MaxValueLength = 128
	// MinAlphabet is the fewest different characters.
	MinAlphabet     = 10
	maxAccounts     = 2
	maxDependencies = 32
	maxTextBytes    = 4096
)

// Surroundings are what a policy is checked against.
type Surroundings struct {
	// Rotator is the description of the policy's rotator; nil when the server has none of that name.
	Rotator *rotator.Description
	// Creates is true when the target of this rotator makes its values.
	Creates bool
	// Provisions is true when the rotator can make accounts and remove them.
	Provisions bool
	// Config checks the target's configuration.
	Config func() error
	// Schedule checks the text of a schedule.
	Schedule func(string) error
	// Rollout checks the words for the rollout engine; nil when the server has none.
	Rollout func([]byte) error
}

// Check reports everything that is wrong with a policy, each mistake with its cure.
func (p *Policy) Check(s Surroundings) []Mistake {
	c := &checker{p: p, s: s}
	c.strategy()
	c.accounts()
	c.format()
	c.value()
	c.times()
	c.deadline()
	c.references()
	c.manual()
	c.lease()
	c.function()
	c.authority()
	c.rollout()
	return c.found
}

// Invalid joins mistakes into one error, or nil.
func Invalid(mistakes []Mistake) error {
	if len(mistakes) == 0 {
		return nil
	}
	lines := make([]string, len(mistakes))
	for i, m := range mistakes {
		lines[i] = m.String()
	}
	return fault.New(fault.Invalid, "the rotation policy cannot be used:\n  %s", strings.Join(lines, "\n  ")).Because("PolicyInvalid")
}

type checker struct {
	p     *Policy
	s     Surroundings
	found []Mistake
}

func (c *checker) add(member, cure, problem string, args ...any) {
	c.found = append(c.found, Mistake{Member: member, Problem: fmt.Sprintf(problem, args...), Cure: cure})
}

func (c *checker) strategy() {
	p := c.p
	tr, known := strategies[p.Strategy]
	if !known {
		c.add("strategy", "use one of "+strings.Join(strategyNames(), ", "), "%q is not a strategy", clip(string(p.Strategy)))
	} else if tr.refused != "" {
		c.add("strategy", tr.cure, "%s", tr.refused)
	}
	switch d := c.s.Rotator; {
	case d == nil && p.Strategy == rotator.Manual && p.Rotator == "":
		return // a person changes the target, and nothing can look whether it worked
	case d == nil:
		c.add("rotator", "see the list of rotators", "there is no rotator %q", clip(p.Rotator))
		return
	case known && p.Strategy != rotator.Manual && !d.Supports(p.Strategy):
		c.add("strategy", "use one of "+joinStrategies(d.Strategies), "%s cannot keep %q safe", d.Title, p.Strategy)
	}
	if c.s.Config != nil {
		if err := c.s.Config(); err != nil {
			c.add("target", "correct the configuration", "%s", sentence(err))
		}
	}
	if p.Strategy == rotator.Single && !p.AcceptGap && !p.Candidate {
		c.add("acceptGap", "choose a strategy with an overlap, publish a candidate, or accept the gap by this member",
			"single replaces the only value: logins with the old one fail until consumers have read the new one")
	}
	if p.Strategy != rotator.Single && p.AcceptGap {
		c.add("acceptGap", "leave it out", "%q has no gap", p.Strategy)
	}
	if p.Strategy != rotator.Single && p.Candidate {
		c.add("candidate", "leave it out", "%q needs none: the old credential stays accepted", p.Strategy)
	}
}

func (c *checker) accounts() {
	p, tr := c.p, strategies[c.p.Strategy]
	if n := len(p.Accounts); tr.accounts > 0 && n != tr.accounts {
		c.add("accounts", fmt.Sprintf("name %d", tr.accounts), "%q works with %d account(s) and %d are named", p.Strategy, tr.accounts, n)
	}
	if len(p.Accounts) > maxAccounts {
		c.add("accounts", "name one or a pair", "%d accounts are too many", len(p.Accounts))
	}
	for i, a := range p.Accounts {
		if a == "" {
			c.add("accounts", "name the login", "an account has no name")
		}
		if slices.Contains(p.Accounts[:i], a) {
			c.add("accounts", "name two different logins", "%q stands there twice", clip(a))
		}
	}
	if tr.slots > 0 && len(p.Slots) != tr.slots || tr.slots == 0 && len(p.Slots) > 0 {
		c.add("slots", fmt.Sprintf("name %d", tr.slots), "%q works with %d named slot(s) and %d are named", p.Strategy, tr.slots, len(p.Slots))
	}
	if len(p.Slots) == 2 && p.Slots[0] == p.Slots[1] {
		c.add("slots", "name two different slots", "%q stands there twice", clip(p.Slots[0]))
	}
	if p.MaxKeys != 0 && (p.Strategy != rotator.NKeys || p.MaxKeys < 2) {
		c.add("maxKeys", "give 2 or more, and only with n-keys", "%d cannot be kept", p.MaxKeys)
	}
	if p.Concurrency < 0 {
		c.add("concurrency", "give 1 or more, or leave it out", "%d is not a number of runs", p.Concurrency)
	}
}

func (c *checker) format() {
	f := c.p.Format
	switch f.Kind {
	case JSON:
		if u, p := f.members(); u == p {
			c.add("format", "name two different members", "user name and password are both %q", clip(u))
		}
	case Raw, URL:
		if f.Username != "" || f.Password != "" {
			c.add("format", "leave the members out, or use the kind json", "a value of the kind %s has no members", f.Kind)
		}
		if f.Kind == Raw && (c.p.Strategy == rotator.Alternating || strategies[c.p.Strategy].leased) {
			c.add("format", "use the kind json or url", "the user name is another each time, and a raw value does not tell it to the consumers")
		}
	default:
		c.add("format", "use raw, json or url", "%q is not a kind of value", clip(string(f.Kind)))
	}
}

func (c *checker) value() {
	v := c.p.Value
	if v == nil {
		return
	}
	if c.s.Creates {
		c.add("value", "leave it out", "the target makes its values by itself")
	}
	if v.Length < MinValueLength || v.Length > MaxValueLength {
		c.add("value", fmt.Sprintf("give %d to %d characters", MinValueLength, MaxValueLength), "a length of %d is not safe", v.Length)
	}
	seen := make(map[rune]bool)
	var lower, upper, digit bool
	for _, r := range v.Alphabet {
		if r <= ' ' || r > '~' || seen[r] {
			c.add("value", "give each visible ASCII character once", "the alphabet holds a character twice, or one that targets read in different ways")
			return
		}
		seen[r] = true
		lower, upper, digit = lower || isLower(byte(r)), upper || isUpper(byte(r)), digit || isDigit(byte(r))
	}
	if len(seen) < MinAlphabet {
		c.add("value", fmt.Sprintf("give %d or more", MinAlphabet), "an alphabet of %d characters is too small", len(seen))
	}
	if !lower && !upper {
		c.add("value", "add letters", "a value begins with a letter, and the alphabet has none")
	}
	if v.Classes && (!lower || !upper || !digit) {
		c.add("value", "add what is missing", "one lower-case letter, one upper-case letter and one digit are asked for, and the alphabet does not have them all")
	}
}

func (c *checker) times() {
	p := c.p
	if p.Schedule != "" && c.s.Schedule != nil {
		if err := c.s.Schedule(p.Schedule); err != nil {
			c.add("schedule", "correct the rule", "%s", sentence(err))
		}
	}
	if p.Validity > 0 && p.BeforeExpiry >= p.Validity {
		c.add("beforeExpiry", "start later, or let versions live longer", "a run would start %s before the end of versions that live %s", p.BeforeExpiry, p.Validity)
	}
	if p.Validity > 0 && p.MaxAge > p.Validity {
		c.add("maxAge", "give at most the validity", "versions expire after %s and may become %s old", p.Validity, p.MaxAge)
	}
	if !strategies[p.Strategy].overlap {
		return
	}
	// A pool drains within half of the grace, and a cached value is asked for again three times within it: each may fail once.
	if p.MaxConnectionLife > 0 && p.Grace < 2*p.MaxConnectionLife {
		c.add("grace", fmt.Sprintf("give %s or more", 2*p.MaxConnectionLife), "%s is less than twice the longest life of a connection, %s", p.Grace, p.MaxConnectionLife)
	}
	if p.CacheTTL > 0 && p.Grace < 3*p.CacheTTL {
		c.add("grace", fmt.Sprintf("give %s or more", 3*p.CacheTTL), "%s is less than three times as long as consumers keep a value, %s", p.Grace, p.CacheTTL)
	}
}

func (c *checker) deadline() {
	p := c.p
	switch p.overdue() {
	case Hold, Force, DisableThenDelete:
	default:
		c.add("overdue", "use hold, force or disable-then-delete", "%q is not something a deadline does", clip(string(p.Overdue.Then)))
	}
	if p.Deadline == 0 && p.Overdue.Then != "" {
		c.add("overdue", "give a deadline", "nothing ever becomes overdue without one")
	}
	if p.Deadline > 0 && p.Deadline < p.Grace+p.Observation {
		c.add("deadline", fmt.Sprintf("give %s or more", p.Grace+p.Observation), "%s is before the grace and the observation are over", p.Deadline)
	}
}

func (c *checker) references() {
	p := c.p
	if p.Admin != nil {
		if err := vault.CheckObjectName(p.Admin.Name); err != nil {
			c.add("admin", "name the secret of the administrator's credential", "%s", sentence(err))
		}
	} else if d := c.s.Rotator; d != nil && !d.SelfService && p.Strategy != rotator.Manual && p.Function == nil {
		c.add("admin", "name the secret of an administrator's credential", "accounts of %s cannot change themselves", d.Title)
	}
	if len(p.DependsOn) > maxDependencies {
		c.add("dependsOn", fmt.Sprintf("name at most %d", maxDependencies), "%d secrets are too many", len(p.DependsOn))
	}
	for i, r := range p.DependsOn {
		if err := vault.CheckObjectName(r.Name); err != nil {
			c.add("dependsOn", "name a secret", "%s", sentence(err))
		}
		if slices.Contains(p.DependsOn[:i], r) {
			c.add("dependsOn", "name it once", "%q stands there twice", clip(r.Name))
		}
	}
}

func (c *checker) manual() {
	m := c.p.Manual
	if (c.p.Strategy == rotator.Manual) != (m != nil) {
		c.add("manual", "give this member with the strategy manual, and only with it", "the strategy is %q", clip(string(c.p.Strategy)))
	}
	if m == nil {
		return
	}
	if strings.TrimSpace(m.Assignee) == "" {
		c.add("manual", "name an assignee", "nobody would be asked")
	}
	if len(m.Assignee)+len(m.Team)+len(m.Instructions) > maxTextBytes {
		c.add("manual", fmt.Sprintf("write at most %d bytes", maxTextBytes), "its texts are too long")
	}
	if m.Escalate > m.within() {
		c.add("manual", "give at most "+m.within().String(), "the team would be told before the task is opened")
	}
}

// lease checks what a dynamic policy has, and that it has nothing that is about one credential that changes.
func (c *checker) lease() {
	p, l := c.p, c.p.Lease
	if strategies[p.Strategy].leased != (l != nil) {
		c.add("lease", "give this member with the strategy dynamic, and only with it", "the strategy is %q", clip(string(p.Strategy)))
	}
	if l != nil {
		if l.TTL < MinLease || l.MaxTTL < l.TTL || l.MaxTTL > MaxLease {
			c.add("lease", fmt.Sprintf("give a ttl of %s or more, and a maxTTL from that to %s", MinLease, MaxLease), "leases of %s that live up to %s cannot be kept", l.TTL, l.MaxTTL)
		}
		if l.Most < 0 || l.Most > MostLeases {
			c.add("lease", fmt.Sprintf("give at most %d for most", MostLeases), "%d leases at once cannot be kept", l.Most)
		}
	}
	if !strategies[p.Strategy].leased {
		return
	}
	if c.s.Rotator != nil && !c.s.Provisions {
		c.add("strategy", "use another strategy", "%s makes no accounts", c.s.Rotator.Title)
	}
	if p.Admin == nil && (c.s.Rotator == nil || c.s.Rotator.SelfService) {
		c.add("admin", "name the secret of an administrator's credential", "somebody has to make the accounts")
	}
	given := map[string]bool{"accounts": len(p.Accounts) > 0, "schedule": p.Schedule != "", "beforeExpiry": p.BeforeExpiry != 0, "maxAge": p.MaxAge != 0,
		"validity": p.Validity != 0, "grace": p.Grace != 0, "observation": p.Observation != 0, "deadline": p.Deadline != 0, "terminate": p.Terminate, "approval": p.Approval,
		"dependsOn": len(p.DependsOn) > 0, "overwriteDrift": p.OverwriteDrift, "maxConnectionLife": p.MaxConnectionLife != 0, "cacheTTL": p.CacheTTL != 0}
	for _, member := range sortedKeys(given) {
		if given[member] {
			c.add(member, "leave it out", "each lease has an account of its own, which never changes")
		}
	}
}

func (c *checker) rollout() {
	p := c.p
	if len(p.Rollout) == 0 {
		return
	}
	if !strategies[p.Strategy].overlap {
		c.add("rollout", "choose a strategy with an overlap", "%q never has two credentials accepted at once", p.Strategy)
	}
	if c.s.Rollout == nil {
		c.add("rollout", "leave it out", "this server has no rollouts")
	} else if err := c.s.Rollout(p.Rollout); err != nil {
		c.add("rollout", "correct it", "%s", sentence(err))
	}
}

func (m *Manual) within() Duration {
	if m.Within == 0 {
		return DefaultWithin
	}
	return m.Within
}

// sentence is what of an error is meant for the caller.
func sentence(err error) string {
	if e := fault.As(err); e != nil {
		return e.Message
	}
	return err.Error()
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// clip shortens what a caller wrote for use in a message.
func clip(s string) string {
	const most = 64
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

func isLower(b byte) bool { return b >= 'a' && b <= 'z' }
func isUpper(b byte) bool { return b >= 'A' && b <= 'Z' }
func isDigit(b byte) bool { return b >= '0' && b <= '9' }

// later returns the later of two instants.
func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
