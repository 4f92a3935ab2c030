package composition_test

import (
	"testing"

	"github.com/keywright/keywright/internal/composition"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

func (w *world) uses(part string, version vault.VersionID) []composition.Use {
	w.T.Helper()
	list, err := w.svc.Uses(w.Ctx, w.Vault.ID, part, version)
	w.must(err)
	return list
}

// revoke ends a version, as a rotation does.
func (w *world) revoke(name string, id vault.VersionID) {
	w.T.Helper()
	w.Change(func(tx store.Tx) error {
		o, err := tx.Object(w.Ctx, w.Vault.ID, vault.Secret, name)
		if err != nil {
			return err
		}
		ver, err := tx.Version(w.Ctx, o.ID, id)
		if err != nil {
			return err
		}
		next := *ver
		next.State, next.Attributes.Enabled = vault.Retired, false
		return tx.PutVersion(w.Ctx, &next)
	})
}

// A template that is deleted leaves its values with those who read them: of what they are made stays known, until nothing of it is left to revoke.
func TestWhatADeletedTemplateMadeIsRemembered(t *testing.T) {
	w := newWorld(t)
	user, first := w.set("user", "app"), w.set("db", "one")
	w.must(w.compose("url", "{{user}}:{{db}}"))
	_, made := w.read("url")
	second := w.set("db", "two")
	w.must(w.svc.Sweep(w.Ctx))
	_, latest := w.read("url")
	w.must(w.svc.Delete(w.Ctx, w.Call(w.caller), "url"))

	check := func(when string) {
		t.Helper()
		if u := w.uses("db", first); len(u) != 1 || u[0].Version != made || u[0].Replacing != latest {
			t.Errorf("%s: the old part is in %+v", when, u)
		}
		if u := w.uses("db", second); len(u) != 1 || u[0].Version != latest || u[0].Replacing != "" {
			t.Errorf("%s: the current part is in %+v", when, u)
		}
	}
	check("after the deletion")
	w.must(w.service().Sweep(w.Ctx))
	check("after a look by another process")
	if _, err := w.svc.Get(w.Ctx, w.Call(w.caller), "url"); !fault.Is(err, fault.NotFound) || fault.As(err).Reason != composition.NotFound {
		t.Errorf("the deleted template: %v", err)
	}
	if err := w.svc.Delete(w.Ctx, w.Call(w.caller), "url"); !fault.Is(err, fault.NotFound) {
		t.Errorf("deleting it again: %v", err)
	}
	w.must(w.compose("copy", "{{url}}")) // and url is made of nothing any more, so that there is no ring:
	w.set("other", "x")
	w.must(w.compose("other", "{{copy}}"))

	// Somebody sets a value by hand: from then on who reads that holds none of the parts.
	byHand := w.set("url", "by hand")
	if u := w.uses("db", second); len(u) != 1 || u[0].Version != latest || u[0].Replacing != byHand || u[0].Since.IsZero() {
		t.Errorf("after a value that was set by hand: %+v", u)
	}

	// A backup holds it, too.
	blob := w.backup("url")
	w.purge("url")
	_ = w.service().Sweep(w.Ctx) // which cannot make the copy of what is gone
	if u := w.uses("db", first); len(u) != 0 {
		t.Errorf("after the purge: %+v", u)
	}
	w.must(w.restore(w.caller, blob))
	w.must(w.service().Sweep(w.Ctx))
	if u := w.uses("db", first); len(u) != 1 || u[0].Version != made {
		t.Errorf("after the restore: %+v", u)
	}

	// What is revoked needs no evidence any more; the value of which a part is left does.
	w.revoke("db", first)
	w.must(w.service().Sweep(w.Ctx))
	if u := w.uses("user", user); len(u) != 2 {
		t.Errorf("the other part of the same values: %+v", u)
	}
	w.revoke("user", user)
	w.must(w.service().Sweep(w.Ctx))
	if u := w.uses("user", user); len(u) != 1 || u[0].Version != latest {
		t.Errorf("one value has parts that can be revoked: %+v", u)
	}
	w.revoke("db", second)
	w.must(w.service().Sweep(w.Ctx))
	w.must(w.Store.View(w.Ctx, func(tx store.Tx) error {
		o, err := tx.Object(w.Ctx, w.Vault.ID, vault.Secret, "url")
		if err != nil {
			return err
		}
		if packed, err := w.svc.Pack(w.Ctx, tx, o); err != nil || packed != nil {
			t.Errorf("nothing is left to revoke, and remembered is %s, %v", packed, err)
		}
		return nil
	}))
}

// A template that is set again goes on with what was remembered.
func TestATemplateThatComesBack(t *testing.T) {
	w := newWorld(t)
	first := w.set("db", "one")
	w.must(w.compose("url", "{{db}}"))
	w.must(w.svc.Delete(w.Ctx, w.Call(w.caller), "url"))
	w.set("db", "two")
	w.must(w.compose("url", "x{{db}}"))
	_, newest := w.read("url")
	if u := w.uses("db", first); len(u) != 1 || u[0].Replacing != newest {
		t.Errorf("%+v", u)
	}
}
