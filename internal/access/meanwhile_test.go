package access_test

import (
	"context"
	"testing"

	"github.com/keywright/keywright/internal/access"
	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// meanwhile lets something happen once, behind the first look.
type meanwhile struct {
	store.Store
	happens func()
}

func (m *meanwhile) View(ctx context.Context, fn func(store.Tx) error) error {
	err := m.Store.View(ctx, fn)
	if happens := m.happens; happens != nil {
		m.happens = nil
		happens()
	}
	return err
}

// Whoever may remove a role at the scopes that it had must not remove one that has others by then.
func TestRoleThatReachesFurtherIsNotRemoved(t *testing.T) {
	w := newWorld(t)
	local := w.Home.Person("local")
	w.Home.Grant(local, authz.Owner, w.vault.Scope())
	owner, sub := w.Home.Owner.Call(""), "/subscriptions/"+string(w.Home.Subscription)
	role := principal.Role{ID: vault.NewGUID(), Name: "Lister", AssignableScopes: []string{w.vault.Scope()},
		Permissions: []principal.Permission{{DataActions: []string{"Microsoft.KeyVault/vaults/secrets/readMetadata/action"}}}}
	_, _, err := w.Access.PutRole(w.Ctx, owner, sub, role)
	w.Must(err)
	between := &meanwhile{Store: w.Store, happens: func() {
		wider := role
		wider.AssignableScopes = []string{sub}
		_, _, err := w.Access.PutRole(w.Ctx, owner, sub, wider)
		w.Must(err)
	}}
	late, err := access.New(access.Config{Guard: w.Guard, Store: between, Clock: w.Access.Clock})
	w.Must(err)
	_, err = late.DeleteRole(w.Ctx, local.Call(""), w.vault.Scope(), role.ID)
	w.Reason(err, store.StaleRevision)
	_, err = w.Access.Role(w.Ctx, owner, sub, role.ID)
	w.Must(err)
	_, err = w.Access.DeleteRole(w.Ctx, owner, sub, role.ID)
	w.Must(err)
}
