package tenancy_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/keywright/keywright/internal/audit"
	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/secret"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/tenancy"
	"github.com/keywright/keywright/internal/tenancy/tenancytest"
	"github.com/keywright/keywright/internal/vault"
)

func ptr[T any](v T) *T { return &v }

func TestNewVaultHasTheDefaults(t *testing.T) {
	w := tenancytest.New(t)
	v := w.Home.MakeVault("first")
	if v.RetentionDays != 90 || v.Access != vault.AccessByRole || v.PurgeProtection || !v.Network.PublicAccess || v.Location != tenancytest.Location {
		t.Errorf("made %+v", v)
	}
	found, err := w.Tenancy.Vault(w.Ctx, w.Home.Owner.Call(""), w.Home.Vault("FIRST"))
	w.Must(err)
	if found.ID != v.ID || len(w.Audit.Records(authz.VaultWrite)) != 1 {
		t.Errorf("found %v, %d records", found.ID, len(w.Audit.Records(authz.VaultWrite)))
	}
}

func TestWhatAVaultCannotBe(t *testing.T) {
	w := tenancytest.New(t)
	w.Home.MakeVault("there")
	policy := vault.AccessPolicy{Tenant: w.Home.ID, Principal: vault.NewGUID(), Secrets: []string{"get"}}
	for name, tt := range map[string]struct {
		vault string
		spec  tenancy.VaultSpec
		want  fault.Reason
	}{
		"short name":               {"ab", tenancy.VaultSpec{}, "VaultNameNotValid"},
		"short retention":          {"new", tenancy.VaultSpec{RetentionDays: ptr(6)}, "BadRequest"},
		"long retention":           {"new", tenancy.VaultSpec{RetentionDays: ptr(91)}, "BadRequest"},
		"other retention":          {"there", tenancy.VaultSpec{RetentionDays: ptr(89)}, "BadRequest"},
		"protection taken back":    {"there", tenancy.VaultSpec{PurgeProtection: ptr(false)}, "BadRequest"},
		"without soft-delete":      {"new", tenancy.VaultSpec{SoftDelete: ptr(false)}, "BadRequest"},
		"other tenant":             {"new", tenancy.VaultSpec{Tenant: vault.NewTenantID()}, "BadRequest"},
		"other location":           {"there", tenancy.VaultSpec{Location: "elsewhere"}, tenancy.InvalidResourceLocation},
		"unknown permission":       {"new", tenancy.VaultSpec{Policies: &[]vault.AccessPolicy{{Tenant: w.Home.ID, Principal: vault.NewGUID(), Secrets: []string{"steal"}}}}, "InvalidAccessPolicy"},
		"policy of another tenant": {"new", tenancy.VaultSpec{Policies: &[]vault.AccessPolicy{{Tenant: vault.NewTenantID(), Principal: vault.NewGUID()}}}, "BadRequest"},
		"two policies for one":     {"new", tenancy.VaultSpec{Policies: &[]vault.AccessPolicy{policy, policy}}, "BadRequest"},
		"too many policies":        {"new", tenancy.VaultSpec{Policies: ptr(make([]vault.AccessPolicy, 1025))}, "BadRequest"},
		"too many addresses":       {"new", tenancy.VaultSpec{Network: &vault.NetworkRules{Addresses: make([]netip.Prefix, 1001)}}, "BadRequest"},
		"too many subnets":         {"new", tenancy.VaultSpec{Network: &vault.NetworkRules{Subnets: make([]vault.Subnet, 201)}}, "BadRequest"},
		"no subnet":                {"new", tenancy.VaultSpec{Network: &vault.NetworkRules{Subnets: []vault.Subnet{{ID: "/subscriptions/x"}}}}, "BadRequest"},
		"too many tags":            {"new", tenancy.VaultSpec{Tags: manyTags(51)}, "InvalidTags"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := w.Tenancy.PutVault(w.Ctx, w.Home.Owner.Call(""), w.Home.Vault(tt.vault), tt.spec)
			if e := fault.As(err); e == nil || e.Reason != tt.want {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

func manyTags(n int) map[string]string {
	tags := map[string]string{}
	for i := range n {
		tags[strings.Repeat("t", i+1)] = ""
	}
	return tags
}

func TestNamesAreGlobal(t *testing.T) {
	w := tenancytest.New(t)
	other := w.Tenant("other")
	w.Home.MakeVault("mine")
	put := func(owner *tenancytest.Person, ref tenancy.VaultRef) error {
		_, _, err := w.Tenancy.PutVault(w.Ctx, owner.Call(""), ref, tenancy.VaultSpec{})
		return err
	}
	w.Reason(put(other.Owner, other.Vault("Mine")), tenancy.VaultAlreadyExists)
	_, _, err := w.Tenancy.PutGroup(w.Ctx, w.Home.Owner.Call(""), tenancy.GroupRef{Subscription: w.Home.Subscription, Group: "two"}, "local", nil)
	w.Must(err)
	w.Reason(put(w.Home.Owner, tenancy.VaultRef{GroupRef: tenancy.GroupRef{Subscription: w.Home.Subscription, Group: "two"}, Name: "mine"}), tenancy.VaultAlreadyExists)
	w.Must(w.Tenancy.DeleteVault(w.Ctx, w.Home.Owner.Call(""), w.Home.Vault("mine")))
	w.Reason(put(w.Home.Owner, w.Home.Vault("mine")), tenancy.VaultAlreadyExists)
	w.Reason(put(other.Owner, other.Vault("mine")), tenancy.VaultAlreadyExists)
	a, err := w.Tenancy.CheckName(w.Ctx, other.Owner.Call(""), other.Subscription, "mine")
	w.Must(err)
	if a.Reason != "AlreadyExists" {
		t.Errorf("the name of a deleted vault is %+v", a)
	}
	w.Must(w.Tenancy.PurgeVault(w.Ctx, w.Home.Owner.Call(""), w.Home.Subscription, "local", "mine"))
	w.Must(put(other.Owner, other.Vault("mine")))
}

// Another tenant's things look exactly like things that do not exist, whoever asks.
func TestNothingCrossesTenants(t *testing.T) {
	w := tenancytest.New(t)
	other := w.Tenant("other")
	w.Home.MakeVault("secret")
	ctx := w.Ctx
	for name, try := range map[string]func(sub vault.SubscriptionID, v string) error{
		"get": func(sub vault.SubscriptionID, v string) error {
			_, err := w.Tenancy.Vault(ctx, other.Owner.Call(""), tenancy.VaultRef{GroupRef: tenancy.GroupRef{Subscription: sub, Group: "dev"}, Name: v})
			return err
		},
		"patch": func(sub vault.SubscriptionID, v string) error {
			_, err := w.Tenancy.PatchVault(ctx, other.Owner.Call(""), tenancy.VaultRef{GroupRef: tenancy.GroupRef{Subscription: sub, Group: "dev"}, Name: v}, tenancy.VaultSpec{})
			return err
		},
		"delete": func(sub vault.SubscriptionID, v string) error {
			return w.Tenancy.DeleteVault(ctx, other.Owner.Call(""), tenancy.VaultRef{GroupRef: tenancy.GroupRef{Subscription: sub, Group: "dev"}, Name: v})
		},
		"list": func(sub vault.SubscriptionID, _ string) error {
			_, err := w.Tenancy.ListVaults(ctx, other.Owner.Call(""), tenancy.GroupRef{Subscription: sub}, tenancy.Page{})
			return err
		},
		"group": func(sub vault.SubscriptionID, _ string) error {
			_, err := w.Tenancy.Group(ctx, other.Owner.Call(""), tenancy.GroupRef{Subscription: sub, Group: "dev"})
			return err
		},
		"subscription": func(sub vault.SubscriptionID, _ string) error {
			_, err := w.Tenancy.Subscription(ctx, other.Owner.Call(""), sub)
			return err
		},
		"put subscription": func(sub vault.SubscriptionID, _ string) error {
			_, err := w.Tenancy.PutSubscription(ctx, other.Owner.Call(""), sub, "mine")
			return err
		},
		"delete group": func(sub vault.SubscriptionID, _ string) error {
			return w.Tenancy.DeleteGroup(ctx, other.Owner.Call(""), tenancy.GroupRef{Subscription: sub, Group: "dev"})
		},
		"purge": func(sub vault.SubscriptionID, v string) error {
			return w.Tenancy.PurgeVault(ctx, other.Owner.Call(""), sub, "local", v)
		},
	} {
		absent := vault.NewSubscriptionID()
		foreign, missing := try(w.Home.Subscription, "secret"), try(absent, "secret")
		if foreign == nil || missing == nil || strings.ReplaceAll(foreign.Error(), string(w.Home.Subscription), string(absent)) != missing.Error() {
			t.Errorf("%s: a foreign subscription says %v, a missing one %v", name, foreign, missing)
		}
	}
	// In one's own subscription, a foreign vault's name is like any other that is not there.
	_, foreign := w.Tenancy.Vault(ctx, other.Owner.Call(""), other.Vault("secret"))
	_, missing := w.Tenancy.Vault(ctx, other.Owner.Call(""), other.Vault("absent"))
	if strings.ReplaceAll(foreign.Error(), "secret", "absent") != missing.Error() {
		t.Errorf("a foreign vault says %v, a missing one %v", foreign, missing)
	}
}

func TestSubscriptions(t *testing.T) {
	w := tenancytest.New(t)
	made, err := w.Tenancy.PutSubscription(w.Ctx, w.Home.Owner.Call(""), "", "first")
	w.Must(err)
	renamed, err := w.Tenancy.PutSubscription(w.Ctx, w.Home.Owner.Call(""), made.ID, "second")
	w.Must(err)
	if found, err := w.Tenancy.Subscription(w.Ctx, w.Home.Owner.Call(""), made.ID); err != nil || found.Name != "second" || !renamed.Created.Equal(made.Created) {
		t.Errorf("renamed to %+v, %v", found, err)
	}
	chosen := vault.NewSubscriptionID()
	if _, err := w.Tenancy.FoundSubscription(w.Ctx, w.Home.ID, chosen, "the operator's choice"); err != nil {
		t.Error(err)
	}
}

// TestSpecKeepsNothingOfItsCaller changes what a caller gave, after it was stored.
func TestSpecKeepsNothingOfItsCaller(t *testing.T) {
	w := tenancytest.New(t)
	tags := map[string]string{"a": "b"}
	network := vault.OpenNetwork()
	network.Addresses = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	network.Subnets = []vault.Subnet{{ID: "/subscriptions/" + string(w.Home.Subscription) + "/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/n/subnets/s"}}
	policies := []vault.AccessPolicy{{Tenant: w.Home.ID, Principal: vault.NewGUID(), Secrets: []string{"get"}}}
	v, _, err := w.Tenancy.PutVault(w.Ctx, w.Home.Owner.Call(""), w.Home.Vault("kept"),
		tenancy.VaultSpec{Tags: tags, Network: &network, Policies: &policies, Access: vault.AccessByPolicy})
	w.Must(err)
	want := v.Clone()
	tags["a"], policies[0].Secrets[0] = "x", "x"
	network.Addresses[0], network.Subnets[0].ID = netip.Prefix{}, "x"
	if diff := cmp.Diff(want, v, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
		t.Errorf("the caller's changes show in the vault:\n%s", diff)
	}
}

func TestDeletingDropsGrantsAndRecoveringDoesNotBringThemBack(t *testing.T) {
	w := tenancytest.New(t)
	v := w.Home.MakeVault("kept")
	reader := w.Home.Person("reader")
	w.Home.Grant(reader, authz.SecretsUser, v.Scope())
	w.Home.Grant(reader, authz.SecretsUser, v.Scope()+"/secrets/one")
	above := w.Home.Grant(reader, authz.Reader, "/subscriptions/"+string(w.Home.Subscription))
	w.Must(w.Tenancy.DeleteVault(w.Ctx, w.Home.Owner.Call(""), w.Home.Vault("kept")))
	if _, err := w.Guard.View(w.Ctx, "kept"); !fault.Is(err, fault.NotFound) {
		t.Errorf("a deleted vault is served: %v", err)
	}
	back, err := w.Tenancy.RecoverVault(w.Ctx, w.Home.Owner.Call(""), w.Home.Vault("kept"))
	w.Must(err)
	if back.ID != v.ID || back.Deleted != nil {
		t.Errorf("recovered %+v", back)
	}
	w.Must(w.Store.View(w.Ctx, func(tx store.Tx) error {
		left, err := tx.GrantsOf(w.Ctx, w.Home.ID, reader.Principal.ID)
		if len(left) != 1 || left[0].ID != above.ID {
			t.Errorf("%d grants are left", len(left))
		}
		return err
	}))
}

func TestPurgeDestroysEverything(t *testing.T) {
	w := tenancytest.New(t)
	v := w.Home.MakeVault("doomed")
	w.Home.Grant(w.Home.Owner, authz.VaultAdministrator, v.Scope())
	call := w.Home.Owner.Call("")
	view, err := w.Guard.View(w.Ctx, "doomed")
	w.Must(err)
	call.Vault = view
	const objects = 230 // more than two batches
	for i := range objects {
		_, err := w.Secrets.Set(w.Ctx, call, "s"+strings.Repeat("x", i%100)+string(rune('a'+i/100)), secret.Input{Value: []byte("v"), Enabled: true})
		w.Must(err)
	}
	_, err = w.Secrets.Delete(w.Ctx, call, "sa")
	w.Must(err)
	w.Must(w.Tenancy.DeleteVault(w.Ctx, w.Home.Owner.Call(""), w.Home.Vault("doomed")))
	w.Must(w.Tenancy.PurgeVault(w.Ctx, w.Home.Owner.Call(""), w.Home.Subscription, "local", "doomed"))
	w.Must(w.Store.View(w.Ctx, func(tx store.Tx) error {
		if _, err := tx.Vault(w.Ctx, v.ID); !fault.Is(err, fault.NotFound) {
			t.Errorf("the vault is left: %v", err)
		}
		keys, err := tx.WrappedKeys(w.Ctx, store.VaultKey, string(v.ID))
		if err != nil || len(keys) > 0 {
			t.Errorf("%d keys are left: %v", len(keys), err)
		}
		graves, err := tx.Tombstones(w.Ctx, "", 1000)
		if len(graves) != objects+1 {
			t.Errorf("%d tombstones, want %d: one for each object, and the vault's", len(graves), objects+1)
		}
		return err
	}))
	if n := len(w.Audit.Records(authz.DeletedVaultPurge)); n < 4 {
		t.Errorf("%d records of the purge", n)
	}
}

func TestPurgeProtection(t *testing.T) {
	w := tenancytest.New(t)
	_, _, err := w.Tenancy.PutVault(w.Ctx, w.Home.Owner.Call(""), w.Home.Vault("safe"), tenancy.VaultSpec{PurgeProtection: ptr(true), RetentionDays: ptr(7)})
	w.Must(err)
	w.Must(w.Tenancy.DeleteVault(w.Ctx, w.Home.Owner.Call(""), w.Home.Vault("safe")))
	w.Reason(w.Tenancy.PurgeVault(w.Ctx, w.Home.Owner.Call(""), w.Home.Subscription, "local", "safe"), tenancy.PurgeProtected)
	swept, err := w.Tenancy.Sweep(w.Ctx)
	w.Must(err)
	if swept.Vaults != 0 {
		t.Errorf("swept %+v before the retention is over", swept)
	}
	w.Clock.Advance(7 * 24 * time.Hour)
	_, err = w.Tenancy.RecoverVault(w.Ctx, w.Home.Owner.Call(""), w.Home.Vault("safe"))
	w.Reason(err, tenancy.DeletedVaultNotFound)
	swept, err = w.Tenancy.Sweep(w.Ctx)
	w.Must(err)
	records := w.Audit.Records(authz.DeletedVaultPurge)
	if last := records[len(records)-1]; swept.Vaults != 1 || last.Caller.Kind != "System" || last.VaultName != "safe" {
		t.Errorf("swept %+v; last record %+v", swept, last)
	}
}

func TestSweepPurgesObjects(t *testing.T) {
	w := tenancytest.New(t)
	_, _, err := w.Tenancy.PutVault(w.Ctx, w.Home.Owner.Call(""), w.Home.Vault("short"), tenancy.VaultSpec{RetentionDays: ptr(7)})
	w.Must(err)
	view, err := w.Guard.View(w.Ctx, "short")
	w.Must(err)
	w.Home.Grant(w.Home.Owner, authz.SecretsOfficer, view.Vault.Scope())
	view, err = w.Guard.View(w.Ctx, "short")
	w.Must(err)
	call := w.Home.Owner.Call("")
	call.Vault = view
	for _, name := range []string{"old", "young", "live"} {
		_, err := w.Secrets.Set(w.Ctx, call, name, secret.Input{Value: []byte("v"), Enabled: true})
		w.Must(err)
	}
	_, err = w.Secrets.Delete(w.Ctx, call, "old")
	w.Must(err)
	w.Clock.Advance(24 * time.Hour)
	_, err = w.Secrets.Delete(w.Ctx, call, "young")
	w.Must(err)
	w.Clock.Advance(6 * 24 * time.Hour)
	purged := make(chan struct{})
	var once sync.Once
	t.Cleanup(w.Store.Watch(func(*store.Commit) { once.Do(func() { close(purged) }) }))
	w.Tenancy.Start(w.Ctx)
	w.Tenancy.Start(w.Ctx)
	select {
	case <-purged:
	case <-time.After(30 * time.Second):
		t.Error("nothing was purged")
	}
	w.Tenancy.Stop()
	w.Tenancy.Stop()
	records := w.Audit.Records(authz.SecretPurge)
	if len(records) != 1 || records[0].ObjectName != "old" {
		t.Fatalf("records %+v", records)
	}
	w.Must(w.Store.View(w.Ctx, func(tx store.Tx) error {
		for name, there := range map[string]bool{"old": false, "young": true, "live": true} {
			if _, err := tx.Object(w.Ctx, view.Vault.ID, vault.Secret, name); (err == nil) != there {
				t.Errorf("%s: %v", name, err)
			}
		}
		return nil
	}))
}

// What somebody purges and makes anew between the sweep's look and its transaction stays, and no record says that it was purged.
func TestSweepLeavesWhatWasMadeMeanwhile(t *testing.T) {
	w := tenancytest.New(t)
	v := w.Home.MakeVault("held")
	call := officer(w, "held")
	_, err := w.Secrets.Set(w.Ctx, call, "back", secret.Input{Value: []byte("v"), Enabled: true})
	w.Must(err)
	_, err = w.Secrets.Delete(w.Ctx, call, "back")
	w.Must(err)
	w.Clock.Advance(v.Retention())
	var once sync.Once
	w.Audit.Sealing = func(r *audit.Record) {
		if r.Caller.Kind != "System" {
			return
		}
		once.Do(func() {
			w.Must(w.Secrets.Purge(w.Ctx, call, "back"))
			_, err := w.Secrets.Set(w.Ctx, call, "back", secret.Input{Value: []byte("w"), Enabled: true})
			w.Must(err)
		})
	}
	purges := committed(w, authz.SecretPurge)
	swept, err := w.Tenancy.Sweep(w.Ctx)
	w.Must(err)
	if swept.Objects != 0 || purges() != 1 {
		t.Errorf("swept %+v, with %d records of a purge", swept, purges())
	}
	_, _, err = w.Secrets.Get(w.Ctx, call, secret.Selector{Name: "back"}, nil)
	w.Must(err)
}

// A vault that somebody purges while the sweep is at its objects leaves it nothing to do, and no failure.
func TestSweepOvertakenByAPurge(t *testing.T) {
	w := tenancytest.New(t)
	v := w.Home.MakeVault("held")
	call := officer(w, "held")
	for _, name := range []string{"one", "two"} {
		_, err := w.Secrets.Set(w.Ctx, call, name, secret.Input{Value: []byte("v"), Enabled: true})
		w.Must(err)
		_, err = w.Secrets.Delete(w.Ctx, call, name)
		w.Must(err)
	}
	w.Clock.Advance(v.Retention())
	var once sync.Once
	w.Audit.Sealing = func(r *audit.Record) {
		if r.Caller.Kind != "System" {
			return
		}
		once.Do(func() {
			owner := w.Home.Owner.Call("")
			w.Must(w.Tenancy.DeleteVault(w.Ctx, owner, w.Home.Vault("held")))
			w.Must(w.Tenancy.PurgeVault(w.Ctx, owner, w.Home.Subscription, tenancytest.Location, "held"))
		})
	}
	swept, err := w.Tenancy.Sweep(w.Ctx)
	w.Must(err)
	if swept.Objects != 0 {
		t.Errorf("swept %+v", swept)
	}
}

// officer returns a call of the owner, who may do everything with the secrets of the vault.
func officer(w *tenancytest.World, name string) *guard.Call {
	view, err := w.Guard.View(w.Ctx, name)
	w.Must(err)
	w.Home.Grant(w.Home.Owner, authz.SecretsOfficer, view.Vault.Scope())
	call := w.Home.Owner.Call("")
	call.Vault, err = w.Guard.View(w.Ctx, name)
	w.Must(err)
	return call
}

// committed counts the records of an action that are committed from now on.
func committed(w *tenancytest.World, action authz.Action) func() int {
	n := 0
	w.Cleanup(w.Store.Watch(func(c *store.Commit) {
		if strings.Contains(string(c.Audit), action.String()) {
			n++
		}
	}))
	return func() int { return n }
}

// Many objects that cannot be purged keep none of those behind them.
func TestSweepGoesOnBehindWhatFails(t *testing.T) {
	w := tenancytest.New(t)
	v := w.Home.MakeVault("stuck")
	call := officer(w, "stuck")
	const stuck = 105 // more than the sweep reads at once
	for i := range stuck + 1 {
		name := fmt.Sprintf("o%03d", i)
		_, err := w.Secrets.Set(w.Ctx, call, name, secret.Input{Value: []byte("v"), Enabled: true})
		w.Must(err)
		w.Clock.Advance(time.Second)
		_, err = w.Secrets.Delete(w.Ctx, call, name)
		w.Must(err)
	}
	w.Clock.Advance(v.Retention())
	last := fmt.Sprintf("o%03d", stuck)
	w.Audit.Refusing = func(r *audit.Record) error {
		if r.Caller.Kind == "System" && r.ObjectName != last {
			return fault.New(fault.Unavailable, "no key")
		}
		return nil
	}
	swept, err := w.Tenancy.Sweep(w.Ctx)
	if swept.Objects != 1 {
		t.Errorf("swept %+v", swept)
	}
	if err == nil || !strings.Contains(err.Error(), "105 objects") || strings.Count(err.Error(), "no key") != 10 {
		t.Errorf("the failures are told as: %v", err)
	}
	w.Audit.Refusing = nil
	swept, err = w.Tenancy.Sweep(w.Ctx)
	w.Must(err)
	if swept.Objects != stuck {
		t.Errorf("the next sweep purged %+v", swept)
	}
}

// What is over its retention does not come back, whether the sweep has seen it or not.
func TestNothingIsRecoveredAfterItsRetention(t *testing.T) {
	w := tenancytest.New(t)
	v := w.Home.MakeVault("late")
	call := officer(w, "late")
	for _, name := range []string{"early", "late"} {
		_, err := w.Secrets.Set(w.Ctx, call, name, secret.Input{Value: []byte("v"), Enabled: true})
		w.Must(err)
		_, err = w.Secrets.Delete(w.Ctx, call, name)
		w.Must(err)
	}
	w.Clock.Advance(v.Retention() - time.Microsecond)
	_, err := w.Secrets.Recover(w.Ctx, call, "early")
	w.Must(err)
	w.Clock.Advance(time.Microsecond)
	_, err = w.Secrets.Recover(w.Ctx, call, "late")
	w.Reason(err, "SecretNotFound")
	if !fault.Is(err, fault.NotFound) {
		t.Errorf("got %v", err)
	}

	w.Must(w.Tenancy.DeleteVault(w.Ctx, w.Home.Owner.Call(""), w.Home.Vault("late")))
	w.Clock.Advance(v.Retention())
	_, err = w.Tenancy.RecoverVault(w.Ctx, w.Home.Owner.Call(""), w.Home.Vault("late"))
	w.Reason(err, tenancy.DeletedVaultNotFound)
	if !fault.Is(err, fault.NotFound) {
		t.Errorf("got %v", err)
	}
}

// Two purges of one vault write the records of one, whichever makes which step.
func TestRacingPurgesRecordEachStepOnce(t *testing.T) {
	for overtaken := range 3 { // the step of the first purge before which the second does all that is left
		w := tenancytest.New(t)
		w.Home.MakeVault("raced")
		w.Must(w.Tenancy.DeleteVault(w.Ctx, w.Home.Owner.Call(""), w.Home.Vault("raced")))
		purge := func() error {
			return w.Tenancy.PurgeVault(w.Ctx, w.Home.Owner.Call(""), w.Home.Subscription, "local", "raced")
		}
		sealed, racing := 0, false
		w.Audit.Sealing = func(r *audit.Record) {
			if r.Action != authz.DeletedVaultPurge.String() || racing {
				return
			}
			if sealed++; sealed == overtaken+1 {
				racing = true
				w.Must(purge())
				racing = false
			}
		}
		records := committed(w, authz.DeletedVaultPurge)
		err := purge()
		if overtaken == 0 {
			w.Reason(err, tenancy.DeletedVaultNotFound) // it did nothing, and a refusal of its own says so
		} else {
			w.Must(err)
		}
		if n := records(); n != 2 { // the key, and the empty vault
			t.Errorf("overtaken at step %d: %d records of the purge are committed, want 2", overtaken, n)
		}
	}
}

// A purge that is cut off after any transaction is finished by the sweep, and nobody can recover the rest.
func TestPurgeSurvivesBeingCutOff(t *testing.T) {
	w := tenancytest.New(t)
	v := w.Home.MakeVault("torn")
	w.Must(w.Tenancy.DeleteVault(w.Ctx, w.Home.Owner.Call(""), w.Home.Vault("torn")))
	ctx, cancel := context.WithCancel(w.Ctx)
	stop := w.Store.Watch(func(c *store.Commit) {
		for _, ch := range c.Changes {
			if ch.Kind == store.KeyChanged {
				cancel()
			}
		}
	})
	err := w.Tenancy.PurgeVault(ctx, w.Home.Owner.Call(""), w.Home.Subscription, "local", "torn")
	stop()
	if !errors.Is(err, context.Canceled) && err == nil {
		t.Fatal("the purge was not cut off")
	}
	_, err = w.Tenancy.RecoverVault(w.Ctx, w.Home.Owner.Call(""), w.Home.Vault("torn"))
	w.Reason(err, tenancy.DeletedVaultNotFound)
	_, err = w.Tenancy.Sweep(w.Ctx)
	w.Must(err)
	w.Must(w.Store.View(w.Ctx, func(tx store.Tx) error {
		if _, err := tx.Vault(w.Ctx, v.ID); !fault.Is(err, fault.NotFound) {
			t.Errorf("the vault is left: %v", err)
		}
		return nil
	}))
}

func TestChangingAccessTakesMoreThanWriting(t *testing.T) {
	w := tenancytest.New(t)
	v := w.Home.MakeVault("plain")
	worker := w.Home.Person("worker")
	w.Home.Grant(worker, authz.VaultContributor, v.Scope())
	_, err := w.Tenancy.PatchVault(w.Ctx, worker.Call(""), w.Home.Vault("plain"), tenancy.VaultSpec{Tags: map[string]string{"a": "b"}})
	w.Must(err)
	_, err = w.Tenancy.PatchVault(w.Ctx, worker.Call(""), w.Home.Vault("plain"), tenancy.VaultSpec{Access: vault.AccessByPolicy})
	w.Reason(err, authz.AuthorizationFailed)
	_, err = w.Tenancy.PatchVault(w.Ctx, w.Home.Owner.Call(""), w.Home.Vault("plain"), tenancy.VaultSpec{Access: vault.AccessByPolicy})
	w.Must(err)
}

func TestNetworkRulesCanBeGrantedAlone(t *testing.T) {
	w := tenancytest.New(t)
	v := w.Home.MakeVault("walled")
	id := vault.NewGUID()
	_, _, err := w.Access.PutRole(w.Ctx, w.Home.Owner.Call(""), "/", principal.Role{ID: id, Name: "wall builder", AssignableScopes: []string{"/"},
		Permissions: []principal.Permission{{Actions: []string{"Keywright/vaults/networkRules/write"}}}})
	w.Must(err)
	builder := w.Home.Person("builder")
	w.Home.Grant(builder, id, v.Scope())
	rule, err := tenancy.ParseAddressRule("203.0.113.7")
	w.Must(err)
	_, err = w.Tenancy.PatchVault(w.Ctx, builder.Call(""), w.Home.Vault("walled"), tenancy.VaultSpec{Network: &vault.NetworkRules{Addresses: []netip.Prefix{rule}}})
	w.Must(err)
	_, err = w.Tenancy.PatchVault(w.Ctx, builder.Call(""), w.Home.Vault("walled"), tenancy.VaultSpec{Tags: map[string]string{}})
	w.Reason(err, authz.AuthorizationFailed)
}

// A change of the rules starts from those that are there when it is stored.
func TestNetworkChangesAtTheSameTimeBothCount(t *testing.T) {
	w := tenancytest.New(t)
	w.Home.MakeVault("walled")
	change := func(address string, meanwhile func()) (*vault.Vault, error) {
		return w.Tenancy.ChangeNetwork(w.Ctx, w.Home.Owner.Call(""), w.Home.Vault("walled"), func(rules *vault.NetworkRules) error {
			meanwhile()
			rules.Addresses = append(rules.Addresses, netip.MustParsePrefix(address))
			return nil
		})
	}
	var once sync.Once
	v, err := change("203.0.113.1/32", func() {
		once.Do(func() {
			_, err := change("203.0.113.2/32", func() {})
			w.Must(err)
		})
	})
	w.Must(err)
	if len(v.Network.Addresses) != 2 {
		t.Errorf("the rules are %v", v.Network.Addresses)
	}
	stranger := w.Home.Person("stranger")
	_, err = w.Tenancy.ChangeNetwork(w.Ctx, stranger.Call(""), w.Home.Vault("walled"), func(*vault.NetworkRules) error {
		t.Error("somebody who may not read the vault is shown its rules")
		return nil
	})
	w.Reason(err, authz.AuthorizationFailed)
}

func TestMakingAVaultChangesNone(t *testing.T) {
	w := tenancytest.New(t)
	spec := tenancy.VaultSpec{Tags: map[string]string{"made": "first"}}
	_, err := w.Tenancy.MakeVault(w.Ctx, w.Home.Owner.Call(""), w.Home.Vault("once"), spec)
	w.Must(err)
	spec.Tags["made"] = "again"
	_, err = w.Tenancy.MakeVault(w.Ctx, w.Home.Owner.Call(""), w.Home.Vault("once"), spec)
	w.Reason(err, tenancy.VaultAlreadyExists)
	_, err = w.Tenancy.MakeVault(w.Ctx, w.Home.Person("stranger").Call(""), w.Home.Vault("once"), spec)
	w.Reason(err, authz.AuthorizationFailed)
}

func TestDeletingAGroup(t *testing.T) {
	w := tenancytest.New(t)
	w.Home.MakeVault("within")
	p, created, err := w.Tenancy.AssignIdentity(w.Ctx, w.Home.Owner.Call(""), tenancy.ResourceRef{GroupRef: w.Home.Group, Type: tenancy.Site, Name: "web"})
	w.Must(err)
	if !created || p.Kind != principal.ManagedIdentity {
		t.Errorf("made %+v", p)
	}
	w.Must(w.Tenancy.DeleteGroup(w.Ctx, w.Home.Owner.Call(""), w.Home.Group))
	_, err = w.Tenancy.RecoverVault(w.Ctx, w.Home.Owner.Call(""), w.Home.Vault("within"))
	w.Reason(err, tenancy.GroupNotFound)
	_, _, err = w.Tenancy.PutGroup(w.Ctx, w.Home.Owner.Call(""), w.Home.Group, "local", nil)
	w.Must(err)
	_, err = w.Tenancy.RecoverVault(w.Ctx, w.Home.Owner.Call(""), w.Home.Vault("within"))
	w.Must(err)
	left, _, err := w.Tenancy.Identity(w.Ctx, w.Home.Owner.Call(""), tenancy.ResourceRef{GroupRef: w.Home.Group, Type: tenancy.Site, Name: "web"})
	w.Must(err)
	if left != nil {
		t.Errorf("the identity is left: %+v", left)
	}
}

func TestListsShowWhatTheCallerMaySee(t *testing.T) {
	w := tenancytest.New(t)
	for _, name := range []string{"aaa", "bbb", "ccc", "ddd"} {
		w.Home.MakeVault(name)
	}
	reader := w.Home.Person("reader")
	w.Home.Grant(reader, authz.Reader, scope(w, "bbb"))
	w.Home.Grant(reader, authz.Reader, scope(w, "ddd"))
	list, err := w.Tenancy.ListVaults(w.Ctx, reader.Call(""), tenancy.GroupRef{Subscription: w.Home.Subscription}, tenancy.Page{Limit: 1})
	w.Must(err)
	if len(list.Vaults) != 1 || list.Vaults[0].Name != "bbb" || list.Next != "bbb" {
		t.Errorf("first page %+v", list)
	}
	list, err = w.Tenancy.ListVaults(w.Ctx, reader.Call(""), tenancy.GroupRef{Subscription: w.Home.Subscription}, tenancy.Page{Limit: 1, After: list.Next})
	w.Must(err)
	if len(list.Vaults) != 1 || list.Vaults[0].Name != "ddd" || list.Next != "" {
		t.Errorf("second page %+v", list)
	}
	subs, err := w.Tenancy.Subscriptions(w.Ctx, reader.Call(""))
	w.Must(err)
	if len(subs) != 1 {
		t.Errorf("%d subscriptions", len(subs))
	}
	subs, err = w.Tenancy.Subscriptions(w.Ctx, w.Home.Person("nobody").Call(""))
	w.Must(err)
	if len(subs) != 0 {
		t.Errorf("nobody sees %d subscriptions", len(subs))
	}
}

// The policies of a vault follow a plain model: one set of words for each holder.
func TestPolicyChanges(t *testing.T) {
	w := tenancytest.New(t)
	_, _, err := w.Tenancy.PutVault(w.Ctx, w.Home.Owner.Call(""), w.Home.Vault("words"), tenancy.VaultSpec{Access: vault.AccessByPolicy})
	w.Must(err)
	holders := []string{vault.NewGUID(), vault.NewGUID()}
	model := map[string]map[string]bool{}
	rapid.Check(t, func(r *rapid.T) {
		how := rapid.SampledFrom([]tenancy.PolicyChange{tenancy.AddPolicies, tenancy.ReplacePolicies, tenancy.SetPolicies, tenancy.RemovePolicies}).Draw(r, "how")
		who := rapid.SampledFrom(holders).Draw(r, "who")
		words := rapid.SliceOfDistinct(rapid.SampledFrom([]string{"get", "List", "SET"}), rapid.ID).Draw(r, "words")
		v, err := w.Tenancy.ChangePolicies(w.Ctx, w.Home.Owner.Call(""), w.Home.Vault("words"), how,
			[]vault.AccessPolicy{{Tenant: w.Home.ID, Principal: strings.ToUpper(who), Secrets: words}})
		if err != nil {
			r.Fatal(err)
		}
		if model[who] == nil || how == tenancy.ReplacePolicies || how == tenancy.SetPolicies {
			model[who] = map[string]bool{}
		}
		for _, word := range words {
			model[who][strings.ToLower(word)] = how != tenancy.RemovePolicies
		}
		got := map[string]map[string]bool{}
		for _, p := range v.Policies {
			got[p.Principal] = map[string]bool{}
			for _, word := range p.Secrets {
				got[p.Principal][word] = true
			}
		}
		for _, holder := range holders {
			for _, word := range []string{"get", "list", "set"} {
				if got[holder][word] != model[holder][word] {
					r.Fatalf("after %s: got %v, want %v", how, got, model)
				}
			}
			if p, ok := got[holder]; ok && len(p) == 0 {
				r.Fatal("a policy without words is left")
			}
		}
	})
}

func FuzzParseAddressRule(f *testing.F) {
	for _, s := range []string{"203.0.113.7", "203.0.113.9/24", "2001:db8::/32", "::ffff:1.2.3.4", "1.2.3.4/33", "fe80::1%eth0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := tenancy.ParseAddressRule(s)
		if err != nil {
			return
		}
		again, err := tenancy.ParseAddressRule(p.String())
		if err != nil || again != p || p.Masked() != p || p.Addr().Is4In6() {
			t.Errorf("%q -> %v -> %v, %v", s, p, again, err)
		}
	})
}

func scope(w *tenancytest.World, name string) string {
	at, err := w.Home.Vault(name).Scope()
	w.Must(err)
	return at.String()
}

// Times go with the policy that states them. Changes of permissions alone, which is all that Azure's API knows, leave them.
func TestPolicyTimes(t *testing.T) {
	w := tenancytest.New(t)
	_, _, err := w.Tenancy.PutVault(w.Ctx, w.Home.Owner.Call(""), w.Home.Vault("words"), tenancy.VaultSpec{Access: vault.AccessByPolicy})
	w.Must(err)
	until := w.Clock.Now().Add(time.Hour)
	for _, step := range []struct {
		how     tenancy.PolicyChange
		expires time.Time
		want    []time.Time
	}{
		{tenancy.SetPolicies, until, []time.Time{until}},
		{tenancy.AddPolicies, time.Time{}, []time.Time{until}},
		{tenancy.ReplacePolicies, time.Time{}, []time.Time{until}},
		{tenancy.SetPolicies, time.Time{}, []time.Time{{}}},
	} {
		v, err := w.Tenancy.ChangePolicies(w.Ctx, w.Home.Owner.Call(""), w.Home.Vault("words"), step.how,
			[]vault.AccessPolicy{{Tenant: w.Home.ID, Principal: string(w.Home.Owner.Principal.ID), Secrets: []string{"get"}, Expires: step.expires}})
		w.Must(err)
		var got []time.Time
		for _, p := range v.Policies {
			got = append(got, p.Expires)
		}
		if len(got) != 1 || !got[0].Equal(step.want[0]) {
			t.Errorf("after %s the policies end at %v, want %v", step.how, got, step.want)
		}
	}
	v, err := w.Tenancy.ChangePolicies(w.Ctx, w.Home.Owner.Call(""), w.Home.Vault("words"), tenancy.SetPolicies,
		[]vault.AccessPolicy{{Tenant: w.Home.ID, Principal: string(w.Home.Owner.Principal.ID)}})
	if err != nil || len(v.Policies) != 0 {
		t.Errorf("a policy without permissions is kept: %v, %v", v.Policies, err)
	}
}
