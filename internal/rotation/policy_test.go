package rotation

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/vault"
)

var able = &rotator.Description{Name: "db", Title: "A database", Strategies: []rotator.Strategy{rotator.Single, rotator.Dual, rotator.Alternating, rotator.TwoKey, rotator.NKeys}}

func around() Surroundings {
	return Surroundings{Rotator: able, Schedule: func(s string) error {
		if s == "bad" {
			return errors.New("it is bad")
		}
		return nil
	}}
}

func whole() Policy {
	return Policy{Strategy: rotator.Alternating, Rotator: "db", Admin: &Reference{Name: "admin"}, Accounts: []string{"a", "b"}, Format: Format{Kind: JSON},
		Schedule: "every 30d", Grace: Duration(time.Hour)}
}

func TestWholePolicyHasNoMistake(t *testing.T) {
	p := whole()
	if found := p.Check(around()); len(found) > 0 {
		t.Errorf("%v", found)
	}
}

// Each mistake is found, and says what to do.
func TestMistakes(t *testing.T) {
	for _, c := range []struct {
		name, member string
		edit         func(*Policy)
	}{
		{"no such strategy", "strategy", func(p *Policy) { p.Strategy = "triple" }},
		{"leased, not rotated", "strategy", func(p *Policy) { p.Strategy = rotator.Dynamic }},
		{"one account of a pair", "accounts", func(p *Policy) { p.Accounts = p.Accounts[:1] }},
		{"twice the same account", "accounts", func(p *Policy) { p.Accounts = []string{"a", "a"} }},
		{"single that says nothing of its gap", "acceptGap", func(p *Policy) { p.Strategy, p.Accounts = rotator.Single, p.Accounts[:1] }},
		{"a gap where there is none", "acceptGap", func(p *Policy) { p.AcceptGap = true }},
		{"two keys without slots", "slots", func(p *Policy) { p.Strategy, p.Accounts = rotator.TwoKey, p.Accounts[:1] }},
		{"a raw value that hides the user", "format", func(p *Policy) { p.Format = Format{Kind: Raw} }},
		{"no format", "format", func(p *Policy) { p.Format = Format{} }},
		{"a value that is too short", "value", func(p *Policy) { p.Value = &rotator.ValueRules{Length: 8, Alphabet: rotator.DefaultValue.Alphabet} }},
		{"an alphabet without letters", "value", func(p *Policy) { p.Value = &rotator.ValueRules{Length: 32, Alphabet: "0123456789-_"} }},
		{"a control character", "value", func(p *Policy) { p.Value = &rotator.ValueRules{Length: 32, Alphabet: "abcdefghij\n"} }},
		{"classes that the alphabet lacks", "value", func(p *Policy) { p.Value = &rotator.ValueRules{Length: 32, Alphabet: "abcdefghijklm", Classes: true} }},
		{"a schedule that is none", "schedule", func(p *Policy) { p.Schedule = "bad" }},
		{"a lead longer than the life", "beforeExpiry", func(p *Policy) { p.Validity, p.BeforeExpiry = Duration(day), Duration(2*day) }},
		{"connections that outlive the grace", "grace", func(p *Policy) { p.MaxConnectionLife = Duration(31 * time.Minute) }},
		{"values kept longer than the grace", "grace", func(p *Policy) { p.CacheTTL = Duration(21 * time.Minute) }},
		{"a deadline within the grace", "deadline", func(p *Policy) { p.Deadline = Duration(time.Minute) }},
		{"a consequence without a deadline", "overdue", func(p *Policy) { p.Overdue.Then = Force }},
		{"an unknown consequence", "overdue", func(p *Policy) { p.Deadline, p.Overdue.Then = Duration(2*time.Hour), "explode" }},
		{"nobody who may change it", "admin", func(p *Policy) { p.Admin = nil }},
		{"a parent twice", "dependsOn", func(p *Policy) { p.DependsOn = []Reference{{Name: "x"}, {Name: "x"}} }},
		{"a task for nobody", "manual", func(p *Policy) { p.Strategy, p.Accounts, p.Manual = rotator.Manual, nil, &Manual{} }},
		{"a rollout on a server without", "rollout", func(p *Policy) { p.Rollout = json.RawMessage(`{}`) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := whole()
			c.edit(&p)
			found := p.Check(around())
			if len(found) == 0 || found[0].Member != c.member && !containsMember(found, c.member) {
				t.Fatalf("%v, want a mistake in %s", found, c.member)
			}
			for _, m := range found {
				if m.Problem == "" || m.Cure == "" {
					t.Errorf("%+v does not say what to do", m)
				}
			}
		})
	}
}

func containsMember(list []Mistake, member string) bool {
	for _, m := range list {
		if m.Member == member {
			return true
		}
	}
	return false
}

func TestAllMistakesAtOnce(t *testing.T) {
	p := whole()
	p.Accounts, p.Schedule, p.Format = nil, "bad", Format{}
	if found := p.Check(around()); len(found) != 3 {
		t.Errorf("%d mistakes, want 3: %v", len(found), found)
	}
	_, found := ParsePolicy([]byte(`{"stratgy":"dual","grace":"soon","accounts":7,"rotator":"db"}`))
	if len(found) != 3 {
		t.Errorf("%d mistakes of form, want 3: %v", len(found), found)
	}
}

// A misspelled member does not keep the mistakes of the others from being told, and what could not be read is not told twice.
func TestMistakesOfFormHideNoOthers(t *testing.T) {
	found := CheckDocument([]byte(`{"strategy":"duel","grace":"soon","acounts":["a"],"rotator":"db","format":{"kind":"raw"},"deadline":"-1h"}`),
		func(*Policy) Surroundings { return around() })
	var members []string
	for _, m := range found {
		members = append(members, m.Member)
	}
	for member, want := range map[string]int{"strategy": 1, "grace": 1, "acounts": 1, "deadline": 1} {
		n := 0
		for _, m := range members {
			if m == member {
				n++
			}
		}
		if n != want {
			t.Errorf("%q is told of %d times among %v", member, n, found)
		}
	}
	if found := CheckDocument([]byte(`[]`), func(*Policy) Surroundings { return around() }); len(found) != 1 {
		t.Errorf("of what is no object: %v", found)
	}
}

func TestPolicyOfTheStoreReadsItself(t *testing.T) {
	p := whole()
	p.Manual, p.Overdue = &Manual{Assignee: "x", Remind: []Duration{Duration(day)}}, Overdue{Then: Force}
	doc, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	again, found := ParsePolicy(doc)
	if len(found) > 0 {
		t.Fatalf("%s: %v", doc, found)
	}
	if second, _ := json.Marshal(again); string(second) != string(doc) {
		t.Errorf("%s became %s", doc, second)
	}
}

func FuzzParsePolicy(f *testing.F) {
	doc, _ := json.Marshal(whole())
	f.Add(doc)
	f.Add([]byte(`{"grace":"1d12h","format":{"kind":"raw"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, found := ParsePolicy(data)
		if (p == nil) != (len(found) > 0) {
			t.Fatalf("%v and %v", p, found)
		}
		if p != nil {
			p.Check(around())
		}
	})
}

func FuzzParseDuration(f *testing.F) {
	for _, s := range []string{"90d", "1d12h", "36h", "15m30s", "0s", "36500d", "-1h", "d", "1.5h"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseDuration(s)
		if err != nil {
			return
		}
		if d < 0 {
			t.Fatalf("%q is %v", s, d)
		}
		if again, err := ParseDuration(d.String()); err != nil || again != d {
			t.Errorf("%q -> %s -> %v, %v", s, d, again, err)
		}
	})
}

// The planner finds the place of the next value, or says why there is none that is safe.
func TestPlans(t *testing.T) {
	places := map[vault.VersionID]Place{"n": {Account: "a"}, "n-1": {Account: "b"}}
	facts := func(edit func(*Facts)) *Facts {
		f := &Facts{Current: "n", Places: places, Rotator: able}
		if edit != nil {
			edit(f)
		}
		return f
	}
	policy := func(s rotator.Strategy, edit func(*Policy)) *Policy {
		p := whole()
		p.Strategy = s
		if s != rotator.Alternating {
			p.Accounts = p.Accounts[:1]
		}
		if edit != nil {
			edit(&p)
		}
		return &p
	}
	keys := func(p *Policy) { p.Slots = []string{"key1", "key2"} }
	slot := func(s string) func(*Facts) {
		return func(f *Facts) { f.Places = map[vault.VersionID]Place{"n": {Account: "a", Slot: s}} }
	}
	for _, c := range []struct {
		name    string
		policy  *Policy
		facts   *Facts
		urgent  bool
		next    Place
		keep    vault.VersionID
		refused Reason
		end     vault.VersionID
	}{
		{name: "single changes its one account", policy: policy(rotator.Single, nil), facts: facts(nil), next: Place{Account: "a"}},
		{name: "dual keeps the current one", policy: policy(rotator.Dual, nil), facts: facts(nil), next: Place{Account: "a"}, keep: "n"},
		{name: "alternating takes the other account", policy: policy(rotator.Alternating, nil), facts: facts(nil), next: Place{Account: "b"}},
		{name: "alternating back", policy: policy(rotator.Alternating, nil), facts: facts(func(f *Facts) { f.Current = "n-1" }), next: Place{Account: "a"}},
		{name: "two keys regenerate the other slot", policy: policy(rotator.TwoKey, keys), facts: facts(slot("key1")), next: Place{Account: "a", Slot: "key2"}, keep: "n"},
		{name: "two keys of which the current one is unknown", policy: policy(rotator.TwoKey, keys), facts: facts(nil), refused: PlanUnsafe},
		{name: "no spare place while a revocation is open", policy: policy(rotator.Dual, nil), facts: facts(func(f *Facts) { f.Revoking = []vault.VersionID{"n-1"} }), refused: AwaitingRevocation},
		{name: "nor for the other user", policy: policy(rotator.Alternating, nil), facts: facts(func(f *Facts) { f.Revoking = []vault.VersionID{"n-1"} }), refused: AwaitingRevocation},
		{name: "an emergency goes on", policy: policy(rotator.Alternating, nil), facts: facts(func(f *Facts) { f.Revoking = []vault.VersionID{"n-1"} }), urgent: true, next: Place{Account: "b"}},
		{name: "single has none to wait for", policy: policy(rotator.Single, nil), facts: facts(func(f *Facts) { f.Revoking = []vault.VersionID{"n-1"} }), next: Place{Account: "a"}},
		{name: "what nobody ended is ended first", policy: policy(rotator.Alternating, nil), facts: facts(func(f *Facts) { f.Previous = "n-1" }), refused: AwaitingRevocation, end: "n-1"},
		{name: "what is gone is in nobody's way", policy: policy(rotator.Alternating, nil), facts: facts(func(f *Facts) { f.Previous, f.PreviousGone = "n-1", true }), next: Place{Account: "b"}},
		{name: "an account that the policy does not name", policy: policy(rotator.Alternating, func(p *Policy) { p.Accounts = []string{"x", "y"} }), facts: facts(nil), refused: PlanUnsafe},
		{name: "a value that is no credential", policy: policy(rotator.Dual, nil), facts: facts(func(f *Facts) { f.Unreadable = "it is empty" }), refused: PlanUnsafe},
		{name: "a target that cannot", policy: policy(rotator.Dual, nil), facts: facts(func(f *Facts) { f.Rotator = &rotator.Description{Title: "X"} }), refused: PlanUnsafe},
		{name: "no rotator", policy: policy(rotator.Dual, nil), facts: facts(func(f *Facts) { f.Rotator = nil }), refused: PlanUnsafe},
		{name: "as many keys as there can be", policy: policy(rotator.NKeys, nil), facts: facts(func(f *Facts) { f.Keys = 2 }), refused: AwaitingRevocation},
	} {
		t.Run(c.name, func(t *testing.T) {
			plan, refusal := MakePlan(c.policy, c.facts, c.urgent)
			if c.refused != "" {
				if refusal == nil || refusal.Reason != c.refused || refusal.End != c.end || refusal.Message == "" {
					t.Errorf("%+v, want a refusal with %s", refusal, c.refused)
				}
				return
			}
			if refusal != nil || plan.Next != c.next || plan.Keep != c.keep {
				t.Errorf("%+v, %+v, want %+v keeping %q", plan, refusal, c.next, c.keep)
			}
		})
	}
}

func TestGeneratedValues(t *testing.T) {
	seen := map[string]bool{}
	for range 200 {
		v, err := generate(rotator.ValueRules{Length: 20, Alphabet: "abcXYZ019-_", Classes: true})
		if err != nil {
			t.Fatal(err)
		}
		s := string(v.Reveal())
		if len(s) != 20 || !strings.ContainsAny(s[:1], "abcXYZ") || !strings.ContainsAny(s, "abc") || !strings.ContainsAny(s, "XYZ") || !strings.ContainsAny(s, "019") || seen[s] {
			t.Fatalf("a value against its rules, or one that came twice")
		}
		seen[s] = true
	}
}

func TestFormats(t *testing.T) {
	f := Format{Kind: JSON, Username: "user", Password: "pw"}
	value, err := f.compose([]byte(`{"host":"h","user":"a","pw":"old","port":5432}`), "b", []byte(`n"ew`))
	if err != nil {
		t.Fatal(err)
	}
	l, err := f.parse(value)
	if err != nil || l.account != "b" || string(l.value) != `n"ew` || !strings.Contains(string(value), `"port":5432`) {
		t.Errorf("%s: %v", value, err)
	}
	for _, bad := range []string{"", "x", `{}`, `{"pw":7}`, `{"pw":"x","user":[]}`} {
		if _, err := f.parse([]byte(bad)); err == nil {
			t.Errorf("%q is a credential", bad)
		}
	}
}

// Every state that calls is in the crash matrix four times, and every reason has a word.
func TestPointsCoverTheMachine(t *testing.T) {
	for _, s := range steps() {
		if s.call != "" && (s.enter == nil || s.result == nil || !s.call.External()) {
			t.Errorf("the state %s has a call and lacks what makes it", s.state)
		}
		if stepOf(s.state).state != s.state {
			t.Errorf("%s stands twice", s.state)
		}
	}
}
