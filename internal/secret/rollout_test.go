package secret_test

import (
	"testing"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/rollout"
	"github.com/keywright/keywright/internal/secret"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// offer opens a rollout of the version whose first ring has the principal.
func (r *rotation) offer(id vault.VersionID, to principal.ID) error {
	open, err := rollout.New(id, r.first, []rollout.Ring{{Name: "canary", Principals: []principal.ID{to}}}, rollout.ReturnRules{})
	r.do(err)
	open.State, open.Opened = rollout.Open, 1
	return r.move(func(tx store.Tx, _ store.Op) error { return r.Offer(r.Ctx, tx, &open) })
}

// as expects what a caller reads who names no version, from the store and from the cache.
func (r *rotation) as(c *guard.Caller, want string) {
	r.T.Helper()
	for range 2 {
		_, got, err := r.svc.Get(r.Ctx, r.Call(c), named("db"), nil)
		if err != nil || string(got) != want {
			r.T.Errorf("reads %q, %v; want %q", got, err, want)
		}
	}
}

func TestARolloutGivesTheCandidateToItsRingsAlone(t *testing.T) {
	r := newRotation(t)
	canary, other := r.Caller(authz.VaultAdministrator), r.Caller(authz.VaultAdministrator)
	second := r.pend("two")
	r.as(canary, "one")
	r.do(r.offer(second, canary.Principal))
	r.as(canary, "two")
	r.as(other, "one")
	r.as(canary, "two")
	// Who has the candidate may ask for it by its id.
	r.reads(secret.Selector{Name: "db", Version: second}, "two")
	// A change without a version is one of what the caller would read.
	off := false
	item, err := r.svc.Update(r.Ctx, r.Call(canary), named("db"), secret.Change{Enabled: &off})
	r.do(err)
	if item.Version.ID != second {
		t.Errorf("the canary's update changed version %s, want %s", item.Version.ID, second)
	}
	r.as(other, "one")
	on := true
	_, err = r.svc.Update(r.Ctx, r.Call(canary), named("db"), secret.Change{Enabled: &on})
	r.do(err)

	r.do(r.move(func(tx store.Tx, _ store.Op) error { return r.Offer(r.Ctx, tx, nil) }))
	r.as(canary, "one")
	_, _, err = r.get(secret.Selector{Name: "db", Version: second})
	r.fails(err, fault.NotFound, "SecretNotFound")

	r.do(r.offer(second, canary.Principal))
	r.do(r.move(func(tx store.Tx, _ store.Op) error { return r.Promote(r.Ctx, tx, second, r.first) }))
	r.as(canary, "two")
	r.as(other, "two")
}

// Whoever writes ends the rollout of another version: what was written last is everyone's.
func TestAWriteEndsARollout(t *testing.T) {
	r := newRotation(t)
	canary := r.Caller(authz.VaultAdministrator)
	second := r.pend("two")
	r.do(r.offer(second, canary.Principal))
	r.as(canary, "two")
	r.set("db", "by hand")
	r.as(canary, "by hand")
	r.fails(r.offer(second, canary.Principal), fault.Conflict, secret.Superseded)
	r.as(canary, "by hand")
}

// A candidate is had by its label alone, and never from a cache by its id.
func TestACandidateIsForWhoAsksForIt(t *testing.T) {
	r := newRotation(t)
	second := r.pend("two")
	label := secret.Selector{Name: "db", Label: vault.Candidate}
	_, _, err := r.get(label)
	r.fails(err, fault.NotFound, "SecretNotFound")
	mark := func(id vault.VersionID) {
		r.Change(func(tx store.Tx) error {
			o, err := tx.Object(r.Ctx, r.Vault.ID, vault.Secret, "db")
			if err != nil {
				return err
			}
			return tx.PutObject(r.Ctx, o.With(vault.Candidate, id))
		})
	}
	mark(second)
	for range 2 {
		r.reads(label, "two")
		_, _, err = r.get(secret.Selector{Name: "db", Version: second})
		r.fails(err, fault.NotFound, "SecretNotFound")
		r.reads(named("db"), "one")
	}
	mark("")
	_, _, err = r.get(label)
	r.fails(err, fault.NotFound, "SecretNotFound")
}
