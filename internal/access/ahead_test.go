package access_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/keywright/keywright/internal/access"
	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// queue is a store that counts what is read while others wait for their turn to write, and lets something happen once, after duties were judged ahead.
type queue struct {
	store.Store
	happens func()
	reads   int
}

func (q *queue) View(ctx context.Context, fn func(store.Tx) error) error {
	r := &reading{}
	err := q.Store.View(ctx, func(tx store.Tx) error {
		r.Tx = tx
		return fn(r)
	})
	if happens := q.happens; happens != nil && r.judged {
		q.happens = nil
		happens()
	}
	return err
}

func (q *queue) Update(ctx context.Context, op store.Op, fn func(store.Tx) error) error {
	return q.Store.Update(ctx, op, func(tx store.Tx) error {
		r := &reading{Tx: tx}
		err := fn(r)
		q.reads = r.rows
		return err
	})
}

// reading counts rows of what is judged by.
type reading struct {
	store.Tx
	rows   int
	judged bool
}

// Head is asked for where duties are judged ahead.
func (r *reading) Head(ctx context.Context) (store.Position, error) {
	r.judged = true
	return r.Tx.Head(ctx)
}

func (r *reading) GrantsOf(ctx context.Context, t vault.TenantID, p principal.ID) ([]*principal.Grant, error) {
	list, err := r.Tx.GrantsOf(ctx, t, p)
	r.rows += len(list) + 1
	return list, err
}

func (r *reading) GrantsUnder(ctx context.Context, t vault.TenantID, scope string) ([]*principal.Grant, error) {
	list, err := r.Tx.GrantsUnder(ctx, t, scope)
	r.rows += len(list) + 1
	return list, err
}

func (r *reading) GroupsOf(ctx context.Context, t vault.TenantID, p principal.ID) ([]principal.ID, error) {
	list, err := r.Tx.GroupsOf(ctx, t, p)
	r.rows += len(list) + 1
	return list, err
}

func (r *reading) Members(ctx context.Context, t vault.TenantID, p principal.ID) ([]principal.ID, error) {
	list, err := r.Tx.Members(ctx, t, p)
	r.rows += len(list) + 1
	return list, err
}

func (r *reading) Vaults(ctx context.Context, q store.VaultQuery) ([]*vault.Vault, error) {
	list, err := r.Tx.Vaults(ctx, q)
	r.rows += len(list) + 1
	return list, err
}

func (r *reading) Commits(ctx context.Context, after store.Position, limit int) ([]*store.Commit, error) {
	list, err := r.Tx.Commits(ctx, after, limit)
	r.rows += len(list) + 1
	return list, err
}

// crowd makes a group whose members hold so many grants each.
func (w *world) crowd(members, grants int) *principal.Principal {
	g := w.Home.Other(principal.GroupKind, "crowd")
	for i := range members {
		id := w.Home.Other(principal.User, fmt.Sprint("member-", i)).ID
		w.Home.Join(g, id)
		w.Must(w.Store.Update(w.Ctx, store.NewOp(w.Clock.Now()), func(tx store.Tx) error {
			for range grants {
				err := tx.PutGrant(w.Ctx, &principal.Grant{ID: vault.NewGUID(), Tenant: w.Home.ID, Scope: w.vault.Scope() + "/secrets/" + fmt.Sprint("s", i), Role: authz.SecretsUser, Principal: id})
				if err != nil {
					return err
				}
			}
			return nil
		}))
	}
	return g
}

// on is the service over a store of the test's.
func (w *world) on(q *queue) *access.Service {
	q.Store = w.Store
	c := w.Guard.Config
	c.Store = q
	g, err := guard.New(c)
	w.Must(err)
	svc, err := access.New(access.Config{Guard: g, Store: q, Clock: w.Access.Clock})
	w.Must(err)
	return svc
}

// However much a tenant has granted: who writes reads little, so that nobody waits for it.
func TestTheWriterReadsLittle(t *testing.T) {
	w := newWorld(t)
	owner := w.Home.Owner.Call("")
	g := w.crowd(60, 10)
	q := &queue{}
	svc := w.on(q)
	const most = 10
	check := func(what string) {
		t.Helper()
		if q.reads > most {
			t.Errorf("%s: %d rows are read while others wait", what, q.reads)
		}
	}
	_, err := svc.Assign(w.Ctx, owner, access.Assignment{Role: authz.SecretsOfficer, Principal: g.ID, Scope: w.vault.Scope()})
	w.Must(err)
	check("a grant to everybody in a group")
	sub := "/subscriptions/" + string(w.Home.Subscription)
	role := principal.Role{ID: vault.NewGUID(), Name: "Lister", AssignableScopes: []string{sub},
		Permissions: []principal.Permission{{DataActions: []string{"Microsoft.KeyVault/vaults/secrets/readMetadata/action"}}}}
	_, _, err = svc.PutRole(w.Ctx, owner, sub, role)
	w.Must(err)
	_, err = svc.Assign(w.Ctx, owner, access.Assignment{Role: role.ID, Principal: g.ID, Scope: sub})
	w.Must(err)
	role.Description = "changed"
	_, _, err = svc.PutRole(w.Ctx, owner, sub, role)
	w.Must(err)
	check("the change of a role")
	_, err = svc.DeleteRole(w.Ctx, owner, sub, role.ID)
	w.Reason(err, access.RoleDefinitionInUse)
	check("the removal of a role")
}

// What is granted while it is judged counts: judged anew within the transaction when that is little, from the beginning when it is not.
func TestWhatIsGrantedMeanwhileCounts(t *testing.T) {
	for name, members := range map[string]int{"little": 1, "much": 30} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			owner := w.Home.Owner.Call("")
			w.Must(w.Access.SetRules(w.Ctx, owner, []authz.Rule{{A: authz.CanChange, B: authz.CanApprove, Stance: authz.Refuse}}))
			g := w.crowd(members, 10)
			q := &queue{happens: func() {
				_, err := w.assign(access.Assignment{Role: authz.KeywrightApprover, Principal: g.ID, Scope: "/"})
				w.Must(err)
			}}
			svc := w.on(q)
			_, err := svc.Assign(w.Ctx, owner, access.Assignment{Role: authz.SecretsOfficer, Principal: g.ID, Scope: w.vault.Scope()})
			w.Reason(err, "ConflictingDuties")
			if q.happens != nil {
				t.Error("nothing happened meanwhile")
			}
		})
	}
}

// Whoever is disturbed all the time is told, and stores nothing.
func TestAnUnquietTenant(t *testing.T) {
	w := newWorld(t)
	g := w.crowd(30, 10)
	q := &unquiet{}
	q.happens = func() {
		_, err := w.assign(access.Assignment{Role: authz.SecretsUser, Principal: w.Home.Other(principal.User, vault.NewGUID()).ID})
		w.Must(err)
	}
	q.Store = w.Store
	c := w.Guard.Config
	c.Store = q
	gd, err := guard.New(c)
	w.Must(err)
	svc, err := access.New(access.Config{Guard: gd, Store: q, Clock: w.Access.Clock})
	w.Must(err)
	id := vault.NewGUID()
	_, err = svc.Assign(w.Ctx, w.Home.Owner.Call(""), access.Assignment{ID: id, Role: authz.SecretsOfficer, Principal: g.ID, Scope: w.vault.Scope()})
	w.Reason(err, store.StaleRevision)
	if _, err := w.Access.Assignment(w.Ctx, w.Home.Owner.Call(""), w.vault.Scope(), id); err == nil {
		t.Error("it was stored")
	}
}

// unquiet lets something happen before each write.
type unquiet struct {
	store.Store
	happens func()
}

func (u *unquiet) Update(ctx context.Context, op store.Op, fn func(store.Tx) error) error {
	u.happens()
	return u.Store.Update(ctx, op, fn)
}
