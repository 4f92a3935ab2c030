package authz

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/vault"
)

func TestDutiesOfRoles(t *testing.T) {
	want := map[string]Duty{
		SecretsUser:            CanUse,
		KeywrightSecretsWriter: CanChange,
		KeywrightApprover:      CanApprove,
		KeywrightAuditor:       CanAudit,
		VaultReader:            NoDuty,
		Reader:                 NoDuty,
		SecretsOfficer:         CanUse | CanChange,
		PurgeOperator:          CanChange,
		Owner:                  CanUse | CanChange | CanApprove | CanAudit,
	}
	for id, duty := range want {
		r, _ := BuiltinRole(id)
		if got := DutiesOf(Allows(r)); got != duty {
			t.Errorf("%s: %s, want %s", r.Name, got, duty)
		}
	}
}

func TestConflicts(t *testing.T) {
	hold := func(role, scope string, from, to int) Holding {
		r, _ := BuiltinRole(role)
		g := &principal.Grant{Scope: scope}
		if from != 0 {
			g.NotBefore = epoch.Add(time.Duration(from) * time.Hour)
		}
		if to != 0 {
			g.Expires = epoch.Add(time.Duration(to) * time.Hour)
		}
		h, err := HoldingOf(g, r)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	rules := []Rule{{CanChange, CanApprove, Refuse}, {CanChange, CanAudit, Flag}, {CanUse, CanChange, Off}}
	group := "/subscriptions/" + sub1 + "/resourceGroups/dev"
	cases := []struct {
		name     string
		holdings []Holding
		want     []string
	}{
		{"one duty", []Holding{hold(KeywrightApprover, "/", 0, 0)}, nil},
		{"a rule that is off", []Holding{hold(SecretsOfficer, "/", 0, 0)}, nil},
		{"at nested scopes", []Holding{hold(KeywrightApprover, "/", 0, 0), hold(SecretsOfficer, vaultID, 0, 0)}, []string{"refuse " + vaultID}},
		{"the wider one second", []Holding{hold(SecretsOfficer, vaultID+"/secrets/a", 0, 0), hold(KeywrightApprover, group, 0, 0)}, []string{"refuse " + vaultID + "/secrets/a"}},
		{"at scopes apart", []Holding{hold(KeywrightApprover, vaultID+"2", 0, 0), hold(SecretsOfficer, vaultID, 0, 0)}, nil},
		{"one after the other", []Holding{hold(KeywrightApprover, "/", 0, 2), hold(SecretsOfficer, vaultID, 2, 0)}, nil},
		{"an hour together", []Holding{hold(KeywrightApprover, "/", 0, 3), hold(SecretsOfficer, vaultID, 2, 0)}, []string{"refuse " + vaultID}},
		{"one grant with both", []Holding{hold(Owner, group, 0, 0)}, []string{"refuse " + group, "flag " + group}},
		{"a policy and a grant", []Holding{hold(KeywrightAuditor, group, 0, 0),
			HoldingOfPolicy(&vault.AccessPolicy{Secrets: []string{"set"}}, &vault.Vault{Subscription: sub1, ResourceGroup: "dev", Name: "demo"})}, []string{"flag " + vaultID}},
		{"a grant that is never live", []Holding{hold(KeywrightApprover, "/", 3, 2), hold(SecretsOfficer, vaultID, 0, 0)}, nil},
	}
	for _, c := range cases {
		conflicts := Conflicts(c.holdings, rules)
		var got []string
		refused := false
		for _, f := range conflicts {
			got = append(got, string(f.Rule.Stance)+" "+f.Scope.String())
			refused = refused || f.Rule.Stance == Refuse
			if !strings.Contains(f.String(), "both "+f.Rule.A.String()+" and "+f.Rule.B.String()) {
				t.Errorf("%s: message %q", c.name, f)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
		if err := CheckConflicts(conflicts); refused != fault.Is(err, fault.Forbidden) {
			t.Errorf("%s: CheckConflicts = %v", c.name, err)
		}
	}
}

func TestRulesOfDuties(t *testing.T) {
	if err := CheckRules(DefaultRules()); err != nil {
		t.Errorf("the default rules are wrong: %v", err)
	}
	for name, rules := range map[string][]Rule{
		"one duty":       {{CanUse, CanUse, Flag}},
		"none":           {{NoDuty, CanUse, Flag}},
		"joined":         {{CanUse | CanAudit, CanChange, Flag}},
		"unknown stance": {{CanUse, CanChange, "maybe"}},
		"twice":          {{CanUse, CanChange, Flag}, {CanChange, CanUse, Off}},
	} {
		if err := CheckRules(rules); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
