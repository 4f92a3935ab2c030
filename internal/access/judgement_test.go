package access_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/keywright/keywright/internal/access"
	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/tenancy"
	"github.com/keywright/keywright/internal/vault"
)

// counting counts how often a judgement reads vaults, and how many.
type counting struct {
	store.Tx
	reads, vaults int
}

// watched counts what is read in views.
type watched struct {
	store.Store
	seen counting
}

func (s *watched) View(ctx context.Context, fn func(store.Tx) error) error {
	return s.Store.View(ctx, func(tx store.Tx) error {
		c := counting{Tx: tx}
		err := fn(&c)
		s.seen.reads, s.seen.vaults = s.seen.reads+c.reads, s.seen.vaults+c.vaults
		return err
	})
}

// Vaults implements store.Vaults.
func (c *counting) Vaults(ctx context.Context, q store.VaultQuery) ([]*vault.Vault, error) {
	list, err := c.Tx.Vaults(ctx, q)
	c.reads, c.vaults = c.reads+1, c.vaults+len(list)
	return list, err
}

// TestJudgingReadsVaultsOnce judges what reaches many members of a group: the vaults must not be read for each of them, as every
// other writer waits meanwhile.
func TestJudgingReadsVaultsOnce(t *testing.T) {
	w := newWorld(t)
	owner := w.Home.Owner.Call("")
	outer, inner := w.Home.Other(principal.GroupKind, "outer"), w.Home.Other(principal.GroupKind, "inner")
	for i := range 20 {
		w.Home.Join(inner, w.Home.Person(fmt.Sprint("member-", i)).Principal.ID)
	}
	_, err := w.assign(access.Assignment{Role: authz.KeywrightApprover, Principal: outer.ID, Scope: "/"})
	w.Must(err)
	policy := func(name string) *vault.Vault {
		t.Helper()
		_, _, err := w.Tenancy.PutVault(w.Ctx, owner, w.Home.Vault(name), tenancy.VaultSpec{Access: vault.AccessByPolicy})
		w.Must(err)
		v, err := w.Tenancy.ChangePolicies(w.Ctx, owner, w.Home.Vault(name), tenancy.AddPolicies,
			[]vault.AccessPolicy{{Tenant: w.Home.ID, Principal: string(inner.ID), Secrets: []string{"set"}}})
		w.Must(err)
		return v
	}
	for i := range 4 {
		policy(fmt.Sprint("policies-", i))
	}
	last := policy("policies-last")
	s := &watched{Store: w.Store}
	svc, err := access.New(access.Config{Guard: w.Guard, Store: s, Clock: w.Access.Clock})
	w.Must(err)
	stands, err := svc.JudgePolicies(w.Ctx, last)
	w.Must(err)
	w.Must(w.Store.View(w.Ctx, func(tx store.Tx) error { return stands(w.Ctx, tx) }))
	if c := s.seen; c.vaults > 1 || c.reads > 1 {
		t.Errorf("the policies of one vault were judged by %d vaults in %d reads", c.vaults, c.reads)
	}
	// Everybody in the inner group would come to change what it approves.
	w.Must(w.Access.SetRules(w.Ctx, owner, []authz.Rule{{A: authz.CanChange, B: authz.CanApprove, Stance: authz.Refuse}}))
	s.seen = counting{}
	joins, err := svc.JudgeMember(w.Ctx, outer, inner)
	w.Must(err)
	var refused error
	w.Must(w.Store.View(w.Ctx, func(tx store.Tx) error {
		refused = joins(w.Ctx, tx, store.NewOp(w.Clock.Now()))
		return nil
	}))
	w.Reason(refused, "ConflictingDuties")
	if c := s.seen; c.reads != 1 {
		t.Errorf("the vaults were read %d times for 20 members", c.reads)
	}
}
