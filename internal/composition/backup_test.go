package composition_test

import (
	"strings"
	"testing"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

func (w *world) backup(name string) []byte {
	w.T.Helper()
	blob, err := w.secrets.Backup(w.Ctx, w.Call(w.caller), name)
	w.must(err)
	return blob
}

func (w *world) purge(name string) {
	w.T.Helper()
	_, err := w.secrets.Delete(w.Ctx, w.Call(w.caller), name)
	w.must(err)
	w.must(w.secrets.Purge(w.Ctx, w.Call(w.caller), name))
}

func (w *world) restore(c *guard.Caller, blob []byte) error {
	w.T.Helper()
	_, err := w.secrets.Restore(w.Ctx, w.Call(c), blob)
	return err
}

// A composed secret comes back from its backup with its template, and with what is known of who holds the parts; what changed meanwhile is made anew.
func TestBackupsHoldTheTemplate(t *testing.T) {
	w := newWorld(t)
	first := w.set("user", "app")
	w.must(w.compose("url", "x://{{user}}"))
	blob := w.backup("url")
	w.purge("url")
	second := w.set("user", "other")
	w.must(w.restore(w.caller, blob))
	c, err := w.svc.Get(w.Ctx, w.Call(w.caller), "url")
	w.must(err)
	if c.Template != "x://{{user}}" {
		t.Errorf("the template is %q", c.Template)
	}
	w.must(w.service().Sweep(w.Ctx))
	if got, _ := w.read("url"); got != "x://other" {
		t.Errorf("the restored value is %q", got)
	}
	for _, part := range []struct {
		version vault.VersionID
		current bool
	}{{first, false}, {second, true}} {
		uses, err := w.svc.Uses(w.Ctx, w.Vault.ID, "user", part.version)
		w.must(err)
		if len(uses) != 1 || (uses[0].Replacing == "") != part.current {
			t.Errorf("version %s of the part is used in %+v", part.version, uses)
		}
	}
	// Without a template nothing comes back, not even one of a purged secret of that name.
	w.must(w.svc.Delete(w.Ctx, w.Call(w.caller), "url"))
	plain := w.backup("url")
	w.purge("url")
	w.must(w.restore(w.caller, plain))
	if _, err := w.svc.Get(w.Ctx, w.Call(w.caller), "url"); !fault.Is(err, fault.NotFound) {
		t.Errorf("a secret without a template has one after its restore: %v", err)
	}
}

// Into another vault only who may read the parts there brings a template, and no restore closes a ring.
func TestRestoringATemplateIsNoWayAround(t *testing.T) {
	w := newWorld(t)
	w.set("user", "app")
	w.must(w.compose("url", "x://{{user}}"))
	blob := w.backup("url")
	w.purge("url")
	w.set("url", "plain")
	w.must(w.compose("user", "{{url}}"))
	w.purge("url")
	if err := w.restore(w.caller, blob); !fault.Is(err, fault.Invalid) {
		t.Errorf("a ring was closed: %v", err)
	}
	w.Vault = w.AddVault(w.Vault.Tenant, w.Vault.Subscription, "second")
	admin := w.Caller(authz.VaultAdministrator)
	w.caller = admin
	w.set("user", "theirs")
	restorer := &principal.Role{ID: vault.NewGUID(), Tenant: w.Vault.Tenant, Name: "restorer", AssignableScopes: []string{"/"},
		Permissions: []principal.Permission{{DataActions: []string{"Microsoft.KeyVault/vaults/secrets/restore/action"}}}}
	w.Change(func(tx store.Tx) error { return tx.PutRole(w.Ctx, restorer) })
	half := w.Caller(restorer.ID)
	w.must(w.secrets.AdmitRestore(w.Ctx, w.Call(half)))
	if err := w.restore(half, blob); !fault.Is(err, fault.Forbidden) {
		t.Errorf("a part that the caller may not read: %v", err)
	}
	w.must(w.restore(admin, blob))
	if err := w.service().Sweep(w.Ctx); err == nil || !strings.Contains(err.Error(), `"user"`) {
		t.Errorf("the first vault misses a part, and the sweep says %v", err)
	}
	if got, _ := w.read("url"); got != "x://theirs" {
		t.Errorf("the value is %q", got)
	}
}
