package secret_test

import (
	"context"
	"testing"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/guard/guardtest"
	"github.com/keywright/keywright/internal/secret"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// rotation is a secret with the version "one" and the engine's moves of it.
type rotation struct {
	*world
	*secret.Rotation
	first vault.VersionID
}

func newRotation(t *testing.T) *rotation {
	w := newWorld(t, guardtest.Options{}, nil)
	item := w.set("db", "one")
	return &rotation{w, w.svc.Rotation(w.call().Vault.Vault, "db", item.Object.ID), item.Version.ID}
}

// move runs a move in a transaction of its own.
func (r *rotation) move(fn func(tx store.Tx, op store.Op) error) error {
	op := store.NewOp(r.Clock.Now())
	return r.Store.Update(r.Ctx, op, func(tx store.Tx) error { return fn(tx, op) })
}

// pend prepares a version of the value.
func (r *rotation) pend(value string) vault.VersionID {
	r.T.Helper()
	var id vault.VersionID
	r.do(r.move(func(tx store.Tx, op store.Op) error {
		ver, err := r.Seal(r.Ctx, op, secret.Input{Value: []byte(value), Enabled: true})
		if err != nil {
			return err
		}
		id = ver.ID
		return r.Pend(r.Ctx, tx, ver)
	}))
	return id
}

func TestRotationPromotesAVersionThatNobodySawBefore(t *testing.T) {
	r := newRotation(t)
	second := r.pend("two")
	r.reads(named("db"), "one")
	_, _, err := r.get(secret.Selector{Name: "db", Version: second})
	r.fails(err, fault.NotFound, "SecretNotFound")
	if _, value, err := r.Open(r.Ctx, second); err != nil || string(value) != "two" {
		t.Errorf("the engine reads %q, %v", value, err)
	}
	err = r.move(func(tx store.Tx, op store.Op) error {
		ver, err := r.Seal(r.Ctx, op, secret.Input{Value: []byte("three")})
		if err != nil {
			return err
		}
		return r.Pend(r.Ctx, tx, ver)
	})
	r.fails(err, fault.Conflict, "")

	r.do(r.move(func(tx store.Tx, _ store.Op) error { return r.Promote(r.Ctx, tx, second, r.first) }))
	r.reads(named("db"), "two")
	r.reads(secret.Selector{Name: "db", Label: vault.Previous}, "one")

	r.do(r.move(func(tx store.Tx, op store.Op) error { return r.Retire(r.Ctx, tx, r.first, vault.Retiring, op) }))
	r.reads(secret.Selector{Name: "db", Version: r.first}, "one")
	r.do(r.move(func(tx store.Tx, op store.Op) error { return r.Retire(r.Ctx, tx, r.first, vault.Retired, op) }))
	_, _, err = r.get(secret.Selector{Name: "db", Version: r.first})
	r.fails(err, fault.Forbidden, "SecretDisabled")
	err = r.move(func(tx store.Tx, op store.Op) error { return r.Retire(r.Ctx, tx, second, vault.Retired, op) })
	r.fails(err, fault.Conflict, "")
}

func TestAnotherWriteSupersedesARotation(t *testing.T) {
	r := newRotation(t)
	second := r.pend("two")
	r.set("db", "by hand")
	err := r.move(func(tx store.Tx, _ store.Op) error { return r.Promote(r.Ctx, tx, second, r.first) })
	r.fails(err, fault.Conflict, secret.Superseded)
	r.reads(named("db"), "by hand")
	r.do(r.move(func(tx store.Tx, op store.Op) error { return r.Abandon(r.Ctx, tx, second, op) }))
	_, _, err = r.get(secret.Selector{Name: "db", Version: second})
	r.fails(err, fault.NotFound, "SecretNotFound")
	list, err := r.svc.Versions(r.Ctx, r.call(), "db", secret.Page{})
	if err != nil || len(list.Items) != 2 {
		t.Errorf("%d versions are listed, %v; want 2", len(list.Items), err)
	}
	r.reads(named("db"), "by hand")
	// There is room for the next one.
	r.pend("four")
}

func TestRotationReturnsToTheVersionBefore(t *testing.T) {
	r := newRotation(t)
	second := r.pend("two")
	r.do(r.move(func(tx store.Tx, _ store.Op) error { return r.Promote(r.Ctx, tx, second, r.first) }))
	r.reads(named("db"), "two")
	r.do(r.move(func(tx store.Tx, op store.Op) error { return r.Return(r.Ctx, tx, second, r.first, op) }))
	r.reads(named("db"), "one")
	_, _, err := r.get(secret.Selector{Name: "db", Version: second})
	r.fails(err, fault.Forbidden, "SecretDisabled")
	err = r.move(func(tx store.Tx, op store.Op) error { return r.Return(r.Ctx, tx, second, r.first, op) })
	r.fails(err, fault.Conflict, secret.Superseded)
}

func TestRotationNeverTouchesAnotherSecretOfTheName(t *testing.T) {
	r := newRotation(t)
	w := r.world
	_, err := w.svc.Delete(w.Ctx, w.call(), "db")
	w.do(err)
	w.do(w.svc.Purge(w.Ctx, w.call(), "db"))
	w.set("db", "another")
	err = r.move(func(tx store.Tx, op store.Op) error { return r.Abandon(r.Ctx, tx, r.first, op) })
	w.fails(err, fault.NotFound, "SecretNotFound")
}

// What a registered function writes waits until it was proved.
func TestWritesThatPend(t *testing.T) {
	pends := true
	w := newWorld(t, guardtest.Options{}, func(c *secret.Config) {
		c.Pends = func(_ context.Context, _ store.Tx, _ *guard.Call, o *vault.Object, _ *vault.Version) ([]vault.Label, error) {
			if !pends || o.Current == "" {
				return nil, nil
			}
			return []vault.Label{vault.Pending}, nil
		}
	})
	first := w.set("db", "one")
	second := w.set("db", "two")
	if second.Version.Previous != first.Version.ID {
		t.Errorf("the writer was told of a version behind %q", second.Version.Previous)
	}
	w.reads(named("db"), "one")
	pends = false
	w.set("db", "three")
	w.reads(named("db"), "three")
}

// A backup that was made during a rotation is restored without it.
func TestRestoreGivesUpWhatWasPending(t *testing.T) {
	r := newRotation(t)
	second := r.pend("two")
	w := r.world
	blob, err := w.svc.Backup(w.Ctx, w.call(), "db")
	w.do(err)
	_, err = w.svc.Delete(w.Ctx, w.call(), "db")
	w.do(err)
	w.do(w.svc.Purge(w.Ctx, w.call(), "db"))
	item, err := w.svc.Restore(w.Ctx, w.call(), blob)
	w.do(err)
	if item.Object.LabelOf(vault.Pending) != "" {
		t.Error("the restored secret has a pending version")
	}
	w.reads(named("db"), "one")
	_, _, err = w.get(secret.Selector{Name: "db", Version: second})
	w.fails(err, fault.NotFound, "SecretNotFound")
}
