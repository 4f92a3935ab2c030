package vault_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/keywright/keywright/internal/vault"
)

func full() *vault.Vault {
	return &vault.Vault{ID: "i", Tenant: "t", Subscription: "s", ResourceGroup: "G", Name: "Shop", Tags: map[string]string{"a": "b"},
		Policies: []vault.AccessPolicy{{Principal: "p", Secrets: []string{"get"}, Keys: []string{"sign"}, Certificates: []string{"list"}, Storage: []string{"set"}}}, RetentionDays: 7, Deleted: &vault.Deletion{At: noon},
		Network: vault.NetworkRules{Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, Subnets: []vault.Subnet{{ID: "n"}}}}
}

// TestCloneSharesNothing changes every part of a clone that others could still read.
func TestCloneSharesNothing(t *testing.T) {
	v := full()
	c := v.Clone()
	if diff := cmp.Diff(v, c, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
		t.Fatalf("a clone differs:\n%s", diff)
	}
	c.Tags["a"] = "x"
	c.Policies[0].Secrets[0], c.Policies[0].Keys[0], c.Policies[0].Certificates[0], c.Policies[0].Storage[0] = "x", "x", "x", "x"
	c.Policies[0].Principal = "x"
	c.Network.Addresses[0] = netip.Prefix{}
	c.Network.Subnets[0].ID = "x"
	c.Deleted.At = noon.Add(1)
	if diff := cmp.Diff(full(), v, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
		t.Errorf("the clone's changes show in the original:\n%s", diff)
	}
}

func TestVaultSays(t *testing.T) {
	v := full()
	if got, want := v.Scope(), "/subscriptions/s/resourceGroups/G/providers/Microsoft.KeyVault/vaults/Shop"; got != want {
		t.Errorf("scope %q; want %q", got, want)
	}
	if got := v.Retention(); got != 7*24*time.Hour {
		t.Errorf("retention %s", got)
	}
	if n := vault.OpenNetwork(); !n.PublicAccess || !n.DefaultAllow {
		t.Errorf("an open network is %+v", n)
	}
}
