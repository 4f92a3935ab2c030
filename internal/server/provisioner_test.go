package server

import (
	"strings"
	"testing"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// What sets machines up reads from a vault for as long as its owner lets it, by a switch that Resource Manager's clients set.
func TestVaultSwitchesGateProvisioners(t *testing.T) {
	x := startTarget(t)
	x.make()
	arm := x.fronts()["arm"]
	switches := map[string]string{"enabledForDeployment": authz.KeywrightMachineProvisioner, "enabledForTemplateDeployment": authz.KeywrightTemplateProvisioner,
		"enabledForDiskEncryption": authz.KeywrightDiskProvisioner}
	at := arm.base + "/subscriptions/" + string(x.estate.Subscription) + "/resourceGroups/" + devGroup + "/providers/Microsoft.KeyVault/vaults/" + devVault + "?" + arm.query
	set := func(property, value string) {
		t.Helper()
		if r := x.send("PATCH", at, x.token(t, arm.resource), `{"properties":{"`+property+`":`+value+`}}`); r.status != 200 || !strings.Contains(r.body, `"`+property+`":`+value) {
			t.Fatal(r)
		}
	}
	for property, role := range switches {
		provisioner := x.newPerson(x.estate.Tenant, "provisioner-"+strings.ToLower(property))
		x.grant(provisioner, role)
		token := x.tokenOf(provisioner, x.vaultResource())
		read := func(want int) {
			t.Helper()
			r := x.send("GET", x.namedVault(devVault)+"/secrets/exists?api-version=7.6", token, "")
			if r.status != want || want == 403 && !strings.Contains(r.body, property) {
				t.Errorf("%s: %d %s, want %d", property, r.status, r.body, want)
			}
			if r := x.send("PUT", x.namedVault(devVault)+"/secrets/exists?api-version=7.6", token, `{"value":"x"}`); r.status != 403 {
				t.Errorf("%s: writes: %d %s", property, r.status, r.body)
			}
			if r := x.send("GET", x.namedVault(devVault)+"/secrets?api-version=7.6", token, ""); r.status != 403 {
				t.Errorf("%s: lists: %d %s", property, r.status, r.body)
			}
		}
		read(403)
		for _, model := range []vault.AccessModel{vault.AccessByRole, vault.AccessByPolicy} {
			x.change(func(tx store.Tx) error {
				v, err := tx.VaultByName(t.Context(), devVault)
				if err != nil {
					return err
				}
				v.Access = model
				return tx.PutVault(t.Context(), v)
			})
			set(property, "true")
			read(200)
			set(property, "false")
			read(403)
		}
		x.change(func(tx store.Tx) error {
			v, err := tx.VaultByName(t.Context(), devVault)
			if err != nil {
				return err
			}
			v.Access = vault.AccessByRole
			return tx.PutVault(t.Context(), v)
		})
	}
}
