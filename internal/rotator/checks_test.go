package rotator_test

import (
	"testing"

	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/rotator"
)

func TestPlanFits(t *testing.T) {
	strategies := []rotator.Strategy{rotator.Single, rotator.Alternating, rotator.Dynamic}
	for name, c := range map[string]struct {
		strategy rotator.Strategy
		accounts []string
		fits     bool
	}{
		"one account":                {rotator.Single, []string{"a"}, true},
		"a pair":                     {rotator.Alternating, []string{"b", "a"}, true},
		"accounts of leases":         {rotator.Dynamic, nil, true},
		"another strategy":           {rotator.Dual, []string{"a"}, false},
		"no account":                 {rotator.Single, nil, false},
		"two accounts for one":       {rotator.Single, []string{"a", "b"}, false},
		"half a pair":                {rotator.Alternating, []string{"a"}, false},
		"a pair of one":              {rotator.Alternating, []string{"a", "a"}, false},
		"others than what changes":   {rotator.Single, []string{"b"}, false},
		"a pair without the changed": {rotator.Alternating, []string{"b", "c"}, false},
	} {
		p := rotator.Plan{Strategy: c.strategy, Accounts: c.accounts, Next: rotator.Credential{Account: "a"}}
		if err := p.Fits("the target", strategies); (err == nil) != c.fits || err != nil && rotator.ClassOf(err) != rotator.Misconfigured {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPlanSpares(t *testing.T) {
	p := rotator.Plan{Accounts: []string{"a", "b"}}
	if err := p.Spares(rotator.Credential{Account: "admin"}); err != nil {
		t.Error(err)
	}
	if err := p.Spares(rotator.Credential{Account: "b"}); err == nil || rotator.ClassOf(err) != rotator.Misconfigured {
		t.Errorf("an administrator that changes itself: %v", err)
	}
}

func TestPlanCrowded(t *testing.T) {
	current := &rotator.Credential{Value: redact.Bytes("current")}
	for _, c := range []struct {
		strategy  rotator.Strategy
		current   *rotator.Credential
		strangers int
		crowded   bool
	}{
		{rotator.Dual, current, 0, false},
		{rotator.Dual, current, 1, true},
		{rotator.Dual, nil, 1, false}, // it may be the current one
		{rotator.Dual, nil, 2, true},
		{rotator.Single, current, 2, false}, // all go anyway
	} {
		p := rotator.Plan{Strategy: c.strategy, Current: c.current, Next: rotator.Credential{Value: redact.Bytes("next")}}
		crowded := p.Crowded(func(known ...redact.Bytes) int {
			if want := map[bool]int{true: 1, false: 2}[c.current == nil]; len(known) != want {
				t.Errorf("%+v: %d values are known, want %d", c, len(known), want)
			}
			return c.strangers
		})
		if crowded != c.crowded {
			t.Errorf("%+v: crowded is %v", c, crowded)
		}
	}
}

func TestLoginsWork(t *testing.T) {
	login := func(v rotator.Verdict) rotator.Login {
		return rotator.Login{Endpoint: "x:1", Verdict: v, Detail: "its words"}
	}
	accepted, rejected, unknown := login(rotator.Accepted), login(rotator.Rejected), login(rotator.Unknown)
	for _, c := range []struct {
		logins rotator.Logins
		works  bool
		class  rotator.Class
	}{
		{rotator.Logins{accepted, accepted}, true, 0},
		{rotator.Logins{accepted, rejected}, false, rotator.Misconfigured},
		{rotator.Logins{accepted, unknown, rejected}, false, rotator.NotApplied},
		{rotator.Logins{login(rotator.Verdict(9))}, false, rotator.NotApplied},
	} {
		if err := c.logins.Works("app"); (err == nil) != c.works || err != nil && rotator.ClassOf(err) != c.class {
			t.Errorf("%+v: %v", c.logins, err)
		}
	}
}
