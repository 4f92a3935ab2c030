package rotation

import (
	"context"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// acyclic refuses a policy that makes secrets wait for each other in a ring.
func acyclic(ctx context.Context, tx store.Tx, v *vault.Vault, o *vault.Object, p *Policy) error {
	const most = 1000
	seen, todo := map[vault.ObjectID]bool{}, []*vault.Object{}
	follow := func(v *vault.Vault, own bool, p *Policy) error {
		for _, ref := range p.DependsOn {
			parent, err := find(ctx, tx, v, ref)
			if isMissing(err) && !own {
				continue // what an ancestor waited for was deleted, and will not change any more
			}
			if err != nil {
				return err
			}
			if parent.ID == o.ID {
				return fault.New(fault.Invalid, "the secret %q would wait for itself, by way of %q: drop one of the dependencies", o.Name, clip(ref.Name)).Because("DependencyCycle")
			}
			if !seen[parent.ID] {
				seen[parent.ID] = true
				todo = append(todo, parent)
			}
		}
		return nil
	}
	if err := follow(v, true, p); err != nil {
		return err
	}
	for len(todo) > 0 {
		if len(seen) > most {
			return fault.New(fault.Invalid, "the secret %q would wait for more than %d others: whether for itself too cannot be told; drop some of the dependencies", o.Name, most).Because("TooManyDependencies")
		}
		next := todo[0]
		todo = todo[1:]
		stored, err := tx.Policy(ctx, next.ID)
		if isMissing(err) {
			continue
		}
		if err != nil {
			return err
		}
		doc, err := readPolicy(stored)
		if err != nil {
			return err
		}
		there, err := tx.Vault(ctx, next.Vault)
		if err != nil {
			return err
		}
		if err := follow(there, false, &doc.Policy); err != nil {
			return err
		}
	}
	return nil
}

// find finds the secret that a policy of the vault names.
func find(ctx context.Context, tx store.Tx, v *vault.Vault, ref Reference) (*vault.Object, error) {
	if ref.Vault != "" {
		there, err := tx.VaultByName(ctx, ref.Vault)
		if isMissing(err) || err == nil && there.Tenant != v.Tenant {
			return nil, fault.New(fault.NotFound, "the vault %q was not found", clip(ref.Vault))
		}
		if err != nil {
			return nil, err
		}
		v = there
	}
	return live(ctx, tx, v.ID, ref.Name)
}
