package tenancy_test

import (
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/keyring"
	"github.com/keywright/keywright/internal/object"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/tenancy"
	"github.com/keywright/keywright/internal/vault"
)

func (c *customer) hold(spec tenancy.HoldSpec) *object.Hold {
	c.TB.Helper()
	h, err := c.Tenancy.Hold(c.Ctx, c.boss.Call("HoldPlace"), c.home.Vault("billing"), spec)
	c.Must(err)
	return h
}

// What is held is purged by nobody: not by who may purge, and not when its retention is over. When the hold ends, it is.
func TestWhatIsHeldIsNotPurged(t *testing.T) {
	c := newCustomer(t)
	c.set("held", "value")
	c.set("free", "value")
	end := c.Clock.Now().Add(200 * day)
	c.hold(tenancy.HoldSpec{Kind: vault.Secret, Name: "HELD", Why: "case 4711", Until: end})
	for _, name := range []string{"held", "free"} {
		_, err := c.Secrets.Delete(c.Ctx, c.in("billing"), name)
		c.Must(err)
	}
	err := c.Secrets.Purge(c.Ctx, c.in("billing"), "held")
	c.Reason(err, object.Held)
	if !strings.Contains(err.Error(), "case 4711") || !strings.Contains(err.Error(), end.Format(time.DateOnly)) {
		t.Errorf("the refusal says neither why nor until when: %v", err)
	}
	c.Clock.Advance(100 * day)
	_, err = c.Tenancy.Sweep(c.Ctx)
	c.Must(err)
	deleted := func(name string) error {
		_, err := c.Secrets.GetDeleted(c.Ctx, c.in("billing"), name)
		return err
	}
	if err := deleted("free"); !fault.Is(err, fault.NotFound) {
		t.Errorf("what is not held is not purged when its retention is over: %v", err)
	}
	c.Must(deleted("held"))
	if records := c.Audit.Records(authz.SecretPurge); len(records) == 0 || !strings.Contains(records[len(records)-1].Operation+records[0].Operation, "Purge") {
		t.Error("nothing was recorded")
	}
	c.Clock.Advance(101 * day)
	_, err = c.Tenancy.Sweep(c.Ctx)
	c.Must(err)
	if err := deleted("held"); !fault.Is(err, fault.NotFound) {
		t.Errorf("what was held is not purged after the hold's end: %v", err)
	}
}

func TestHeldVaultIsNotPurged(t *testing.T) {
	c := newCustomer(t)
	c.set("one", "value")
	ref := c.home.Vault("billing")
	whole := c.hold(tenancy.HoldSpec{Why: "an audit"})
	c.Clock.Advance(time.Second)
	one := c.hold(tenancy.HoldSpec{Kind: vault.Secret, Name: "one", Why: "a case"})
	holds, err := c.Tenancy.Holds(c.Ctx, c.boss.Call("HoldList"), ref)
	c.Must(err)
	if len(holds) != 2 || holds[0].Why != "an audit" || holds[1].Name != "one" || holds[1].ByName == "" || holds[1].By != c.boss.Principal.ID {
		t.Errorf("the holds are %+v", holds)
	}
	_, err = c.Secrets.Delete(c.Ctx, c.in("billing"), "one")
	c.Must(err)
	c.Must(c.Tenancy.LiftHold(c.Ctx, c.boss.Call("HoldLift"), ref, one.ID))
	c.Reason(c.Secrets.Purge(c.Ctx, c.in("billing"), "one"), object.Held)

	v := c.in("billing").Vault.Vault
	c.Must(c.Tenancy.DeleteVault(c.Ctx, c.boss.Call("VaultDelete"), ref))
	purge := func() error {
		return c.Tenancy.PurgeVault(c.Ctx, c.boss.Call("VaultPurge"), v.Subscription, v.Location, v.Name)
	}
	c.Reason(purge(), object.Held)
	c.Clock.Advance(400 * day)
	_, err = c.Tenancy.Sweep(c.Ctx)
	c.Must(err)
	_, err = c.Tenancy.RecoverVault(c.Ctx, c.boss.Call("VaultRecover"), ref)
	c.Must(err)
	c.Must(c.Tenancy.LiftHold(c.Ctx, c.boss.Call("HoldLift"), ref, whole.ID))
	c.Must(c.Tenancy.DeleteVault(c.Ctx, c.boss.Call("VaultDelete"), ref))
	c.Must(purge())
}

func TestWhoMayHold(t *testing.T) {
	c := newCustomer(t)
	c.set("one", "value")
	ref := c.home.Vault("billing")
	spec := tenancy.HoldSpec{Why: "a case"}
	h := c.hold(spec)
	officer, keeper, contributor := c.home.Person("officer"), c.home.Person("keeper"), c.home.Person("contributor")
	c.home.Grant(officer, authz.VaultAdministrator, "/")
	c.home.Grant(contributor, authz.Contributor, "/")
	c.home.Grant(officer, authz.Reader, "/")
	c.home.Grant(keeper, authz.KeywrightRecordsManager, "/")
	for what, try := range map[string]func() error{
		"place": func() error { _, err := c.Tenancy.Hold(c.Ctx, officer.Call("HoldPlace"), ref, spec); return err },
		"lift":  func() error { return c.Tenancy.LiftHold(c.Ctx, officer.Call("HoldLift"), ref, h.ID) },
		"place as contributor": func() error {
			_, err := c.Tenancy.Hold(c.Ctx, contributor.Call("HoldPlace"), ref, spec)
			return err
		},
		"lift as contributor": func() error { return c.Tenancy.LiftHold(c.Ctx, contributor.Call("HoldLift"), ref, h.ID) },
		"list":                func() error { _, err := c.Tenancy.Holds(c.Ctx, officer.Call("HoldList"), ref); return err },
		"shredded": func() error {
			_, err := c.Tenancy.Shredded(c.Ctx, officer.Call("VaultShredded"), ref, true)
			return err
		},
		"rotate": func() error {
			_, err := c.Tenancy.RotateKeys(c.Ctx, officer.Call("KeyringRotate"), keyring.AuditLayer, nil)
			return err
		},
	} {
		if err := try(); !fault.Is(err, fault.Forbidden) {
			t.Errorf("%s without the right of its own: %v", what, err)
		}
	}
	c.Must(c.Tenancy.LiftHold(c.Ctx, keeper.Call("HoldLift"), ref, h.ID))
	for what, bad := range map[string]tenancy.HoldSpec{"no reason": {}, "no name": {Kind: vault.Secret, Why: "x"}, "over": {Why: "x", Until: c.Clock.Now()},
		"long": {Why: strings.Repeat("x", 2000)}} {
		if _, err := c.Tenancy.Hold(c.Ctx, keeper.Call("HoldPlace"), ref, bad); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := c.Tenancy.Hold(c.Ctx, keeper.Call("HoldPlace"), ref, tenancy.HoldSpec{Kind: vault.Key, Name: "one", Why: "x"}); !fault.Is(err, fault.NotFound) {
		t.Errorf("a hold of what is not there: %v", err)
	}
	stranger := c.Tenant("other").Owner
	if _, err := c.Tenancy.Holds(c.Ctx, stranger.Call("HoldList"), ref); err == nil {
		t.Error("another tenant sees holds")
	}
}

// Whoever may purge learns until when backups could undo it; and afterwards what was purged is listed until then.
func TestBackupsOutliveAPurge(t *testing.T) {
	c := newCustomer(t)
	c.set("copied", "value")
	c.set("single", "value")
	_, err := c.Secrets.Backup(c.Ctx, c.in("billing"), "copied")
	c.Must(err)
	for name, want := range map[string]bool{"copied": true, "single": false} {
		_, err := c.Secrets.Delete(c.Ctx, c.in("billing"), name)
		c.Must(err)
		b, err := c.Secrets.Backups(c.Ctx, c.in("billing"), name)
		c.Must(err)
		if b.Any != want || !b.Until.IsZero() {
			t.Errorf("the backups of %s: %+v", name, b)
		}
		c.Must(c.Secrets.Purge(c.Ctx, c.in("billing"), name))
	}
	for all, want := range map[bool]int{false: 1, true: 2} {
		list, err := c.Tenancy.Shredded(c.Ctx, c.boss.Call("VaultShredded"), c.home.Vault("billing"), all)
		c.Must(err)
		if len(list) != want {
			t.Errorf("all %v: %+v", all, list)
		}
	}
	c.Must(c.Store.View(c.Ctx, func(tx store.Tx) error { // a need of another object does not count
		b, err := object.BackupsOf(c.Ctx, tx, c.in("billing").Vault.Vault.ID, "none", c.Clock.Now(), c.Clock.Now())
		if b.Any {
			t.Error("an object that was never there has backups")
		}
		return err
	}))
	// A backup of the whole installation holds what was purged after it, and nothing that was purged before.
	end := c.Clock.Now().Add(30 * day)
	c.Clock.Advance(time.Minute)
	c.Must(c.Store.Update(c.Ctx, store.NewOp(c.Clock.Now()), func(tx store.Tx) error {
		return tx.PutBackup(c.Ctx, &store.Backup{ID: strings.Repeat("0a", 16), Kind: store.FullBackup, Made: c.Clock.Now(), Expires: end})
	}))
	c.Clock.Advance(time.Minute)
	c.set("whole", "value")
	_, err = c.Secrets.Delete(c.Ctx, c.in("billing"), "whole")
	c.Must(err)
	b, err := c.Secrets.Backups(c.Ctx, c.in("billing"), "whole")
	c.Must(err)
	if !b.Any || !b.Until.Equal(end) {
		t.Errorf("with a backup of the installation: %+v, want one until %v", b, end)
	}
	c.Must(c.Secrets.Purge(c.Ctx, c.in("billing"), "whole"))
	list, err := c.Tenancy.Shredded(c.Ctx, c.boss.Call("VaultShredded"), c.home.Vault("billing"), false)
	c.Must(err)
	if len(list) != 2 {
		t.Errorf("recoverable: %+v", list)
	}
}

func TestTenantsKeysAreRotated(t *testing.T) {
	c := newCustomer(t)
	c.set("one", "value")
	operator := c.home.Person("operator")
	c.home.Grant(operator, authz.KeywrightKeyOperator, "/")
	for _, layer := range keyring.Layers() {
		made, err := c.Tenancy.RotateKeys(c.Ctx, operator.Call("KeyringRotate"), layer, nil)
		switch layer {
		case keyring.RootLayer:
			if !fault.Is(err, fault.Forbidden) {
				t.Errorf("a tenant rotated the root key: %v", err)
			}
			continue
		case keyring.VaultLayer, keyring.DataLayer:
			if made < 2 {
				t.Errorf("%d keys in the layer %s of two vaults or more", made, layer)
			}
		default:
			if made != 1 {
				t.Errorf("%d keys in the layer %s", made, layer)
			}
		}
		c.Must(err)
		c.opens("one", "value")
	}
	_, err := c.Keys.Maintain(c.Ctx)
	c.Must(err)
	c.opens("one", "value")
	states, err := c.Tenancy.KeyStates(c.Ctx, operator.Call("KeyringStatus"))
	c.Must(err)
	for _, s := range states {
		if s.Moving != 0 {
			t.Errorf("the layer %s is %+v", s.Layer, s)
		}
	}
	if n := len(c.Audit.Records(authz.KeyringRotate)); n < len(keyring.Layers()) {
		t.Errorf("%d records of rotations", n)
	}
	ref := c.home.Vault("billing")
	if _, err := c.Tenancy.RotateKeys(c.Ctx, operator.Call("KeyringRotate"), keyring.AuditLayer, &ref); !fault.Is(err, fault.Invalid) {
		t.Errorf("the audit keys of a vault: %v", err)
	}
	if made, err := c.Tenancy.RotateKeys(c.Ctx, operator.Call("KeyringRotate"), keyring.VaultLayer, &ref); err != nil || made != 1 {
		t.Errorf("one vault: %d, %v", made, err)
	}
}
