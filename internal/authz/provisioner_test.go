package authz

import (
	"strings"
	"testing"

	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/vault"
)

// Each switch admits its own provisioner, in vaults of either access model, to what it is for, and to nothing else.
func TestProvisionersReadByTheSwitch(t *testing.T) {
	switches := map[string]func(*vault.Vault){
		KeywrightMachineProvisioner:  func(v *vault.Vault) { v.EnabledForDeployment = true },
		KeywrightTemplateProvisioner: func(v *vault.Vault) { v.EnabledForTemplateDeployment = true },
		KeywrightDiskProvisioner:     func(v *vault.Vault) { v.EnabledForDiskEncryption = true },
	}
	allowed := map[string]Set{KeywrightMachineProvisioner: SetOf(SecretGet), KeywrightTemplateProvisioner: SetOf(SecretGet),
		KeywrightDiskProvisioner: SetOf(SecretGet, KeyGet, KeyUnwrap)}
	for _, model := range []vault.AccessModel{vault.AccessByRole, vault.AccessByPolicy} {
		for role := range switches {
			for on, set := range switches {
				v := &vault.Vault{Tenant: tenants[0], Subscription: sub1, ResourceGroup: "dev", Name: "demo", Access: model, Network: vault.OpenNetwork()}
				set(v)
				s := Compile(Facts{Tenant: v.Tenant, Vault: v, Grants: []*principal.Grant{{ID: "g", Tenant: v.Tenant, Scope: "/subscriptions/" + sub1, Role: role, Principal: people[0]}}})
				who := Caller{Tenant: v.Tenant, Principal: people[0]}
				e := NewEffective(who, s, epoch)
				for _, a := range Actions() {
					want := role == on && allowed[role].Has(a)
					d := Decide(Request{Caller: who, Action: a}, s, epoch)
					if d.Allowed != want || e.Allows(a, "", "", epoch) != want {
						t.Errorf("%s vault, %s with the switch of %s: %s (%s) is %v, want %v", model, role, on, a, d.Code, d.Allowed, want)
					}
					if allowed[role].Has(a) && !want && (d.Code != NotEnabled || !strings.Contains(d.Reason(), "is not enabled for")) {
						t.Errorf("refused as %s: %s", d.Code, d.Reason())
					}
					if err := Refusal(Request{Caller: who, Action: a}, d, v); allowed[role].Has(a) && !want && !strings.Contains(err.Error(), provisioners[role].property()) {
						t.Errorf("the refusal does not name the switch: %v", err)
					}
				}
			}
		}
	}
}
