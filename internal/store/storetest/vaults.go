package storetest

import (
	"strings"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

var vaultCases = []testCase{
	{name: "Vaults/RoundTrip", run: vaultsRoundTrip},
	{name: "Vaults/NotFound", run: func(e *env) {
		missing(e, map[string]func(tx store.Tx) error{
			"Vault":       func(tx store.Tx) error { _, err := tx.Vault(e.ctx, "x"); return err },
			"VaultByName": func(tx store.Tx) error { _, err := tx.VaultByName(e.ctx, "x"); return err },
		}, map[string]func(tx store.Tx) error{
			"DeleteVault": func(tx store.Tx) error { return tx.DeleteVault(e.ctx, "x") },
		})
	}},
	{name: "Vaults/CompareAndSwap", run: func(e *env) {
		f := newFixture()
		swaps(e, f, func(tx store.Tx, revision int64) error {
			c := f.vault.Clone()
			c.Revision = revision
			return tx.PutVault(e.ctx, c)
		}, func(s *state) int64 { return s.Vaults[0].Revision })
	}},
	{name: "Vaults/NamesAreUniqueOverAllTenants", run: vaultNames},
	{name: "Vaults/Query", run: vaultsQuery},
}

func vaultsRoundTrip(e *env) {
	f := newFixture()
	f.seed(e)
	f.vault.Revision = 1
	same(e, "by id", read(e, func(tx store.Tx) (*vault.Vault, error) { return tx.Vault(e.ctx, f.vault.ID) }), f.vault)
	got := read(e, func(tx store.Tx) (*vault.Vault, error) { return tx.VaultByName(e.ctx, strings.ToUpper(f.vault.Name)) })
	same(e, "by name", got, f.vault)
	// Zero times and absent parts stay so.
	bare := &vault.Vault{ID: vault.NewID(noon), Name: "bare", Tenant: f.tenant.ID}
	e.update(func(tx store.Tx) error { return tx.PutVault(e.ctx, bare) })
	bare.Revision = 1
	same(e, "the bare vault", read(e, func(tx store.Tx) (*vault.Vault, error) { return tx.Vault(e.ctx, bare.ID) }), bare)
	e.update(func(tx store.Tx) error { return tx.DeleteVault(e.ctx, bare.ID) })
	is(e, "the removed vault", readErr(e, func(tx store.Tx) (*vault.Vault, error) { return tx.Vault(e.ctx, bare.ID) }), fault.NotFound)
	e.update(func(tx store.Tx) error { return tx.PutVault(e.ctx, &vault.Vault{ID: vault.NewID(noon), Name: "Bare"}) })
}

func vaultNames(e *env) {
	f := newFixture()
	f.seed(e)
	v := newVault(f, strings.ToUpper(f.vault.Name))
	v.Tenant = "other"
	err := e.try(func(tx store.Tx) error { return tx.PutVault(e.ctx, v) })
	is(e, "a taken name", err, fault.Conflict)
	if fault.As(err).Reason == store.StaleRevision {
		e.Error("a taken name is reported as a stale revision")
	}
}

func vaultsQuery(e *env) {
	f := newFixture()
	put := func(name string, change func(*vault.Vault)) {
		v := newVault(f, name)
		change(v)
		e.update(func(tx store.Tx) error { return tx.PutVault(e.ctx, v) })
	}
	deleted := func(after time.Duration) func(*vault.Vault) {
		return func(v *vault.Vault) { v.Deleted = &vault.Deletion{At: noon, PurgeAt: noon.Add(after)} }
	}
	put("C1", func(*vault.Vault) {})
	put("a1", func(*vault.Vault) {})
	put("b1", func(v *vault.Vault) { v.Tenant = "other" })
	put("d1", func(v *vault.Vault) { v.Subscription = "other" })
	put("e1", func(v *vault.Vault) { v.ResourceGroup = "other" })
	put("g1", deleted(time.Hour))
	put("f1", deleted(2*time.Hour))
	for _, c := range []struct {
		name, want string
		q          store.VaultQuery
	}{
		{"all live", "a1 b1 C1 d1 e1", store.VaultQuery{}},
		{"tenant", "a1 C1 d1 e1", store.VaultQuery{Tenant: f.tenant.ID}},
		{"subscription", "a1 b1 C1 e1", store.VaultQuery{Subscription: f.sub.ID}},
		{"group", "a1 b1 C1", store.VaultQuery{Subscription: f.sub.ID, ResourceGroup: strings.ToUpper(f.group.Name)}},
		{"limit", "a1 b1", store.VaultQuery{Limit: 2}},
		{"after", "C1 d1 e1", store.VaultQuery{After: "B1"}},
		{"deleted", "f1 g1", store.VaultQuery{Deleted: true}},
		{"deleted of another", "", store.VaultQuery{Deleted: true, Tenant: "other"}},
		{"over at", "g1", store.VaultQuery{Deleted: true, PurgeBefore: noon.Add(time.Hour)}},
		{"over before", "", store.VaultQuery{Deleted: true, PurgeBefore: noon.Add(time.Hour - time.Microsecond)}},
	} {
		var names []string
		for _, v := range read(e, func(tx store.Tx) ([]*vault.Vault, error) { return tx.Vaults(e.ctx, c.q) }) {
			names = append(names, v.Name)
		}
		if got := strings.Join(names, " "); got != c.want {
			e.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
