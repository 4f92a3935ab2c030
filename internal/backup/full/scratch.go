package full

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/keywright/keywright/internal/archive"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/keyring"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Scratch is a store of either engine that was opened for a load.
type Scratch interface {
	store.Store
	store.Loader
}

// Prover restores backups to look at them.
type Prover struct {
	// Open makes a new store, and a function that takes it away again.
	Open func() (Scratch, func() error, error)
	// Keys opens the keyring over a store that was loaded, and returns what closes it.
	Keys func(ctx context.Context, s store.Store) (*keyring.Keyring, func() error, error)
	// Audit looks at the checkpoints that a store keeps, and returns how many hold.
	Audit func(ctx context.Context, tx store.Tx, problem func(format string, args ...any)) (int64, error)
}

// Prove restores a backup and opens so many of its values, all of them when sample is 0. An error means that nobody can say; what is wrong with the backup stands in the report.
func (p *Prover) Prove(ctx context.Context, from *archive.Reader, sample int) (report *Report, err error) {
	began := time.Now()
	scratch, discard, err := p.Open()
	if err != nil {
		return nil, fmt.Errorf("making a scratch store: %w", err)
	}
	defer func() {
		if e := discard(); err == nil {
			err = e
		}
	}()
	r := &Report{Header: from.Header}
	if err := CheckSealed(from); err != nil {
		r.Problem("%v", fault.As(err).Message)
	}
	loaded, err := scratch.Load(ctx, from, nil)
	if fault.Is(err, fault.Invalid) {
		r.Problem("%v", fault.As(err).Message)
		return r, nil
	}
	if err != nil {
		return nil, err
	}
	r.Tables, r.Rows, r.Tombstones = from.End().Tables, loaded.Rows, loaded.Tombstones
	if n := loaded.Buried + loaded.BuriedVaults; n > 0 {
		r.Problem("%d objects or vaults are in it although it has tombstones of them", n)
	}
	if err := p.look(ctx, scratch, r, sample); err != nil {
		return nil, err
	}
	r.Took = time.Since(began)
	return r, nil
}

func (p *Prover) look(ctx context.Context, s store.Store, r *Report, sample int) (err error) {
	if err := s.View(ctx, func(tx store.Tx) error {
		r.Checkpoints, err = p.Audit(ctx, tx, r.Problem)
		return err
	}); err != nil {
		return err
	}
	keys, closeKeys, err := p.Keys(ctx, s)
	if fault.Is(err, fault.Invalid) {
		r.Problem("its root keys do not open: %s", fault.As(err).Message)
		return nil
	}
	if err != nil {
		return err
	}
	defer func() {
		if e := closeKeys(); err == nil {
			err = e
		}
	}()
	l := &look{ctx: ctx, store: s, keys: keys, r: r, share: 1}
	for _, t := range r.Tables {
		if t.Name == "versions" && sample > 0 && int64(sample) < t.Rows {
			l.share = float64(sample) / float64(t.Rows)
		}
	}
	if r.Keys, err = keys.OpenAll(ctx, func(row *store.WrappedKey, err error) {
		r.Problem("the %s key %s of %s does not open: %v", row.Purpose, row.ID, row.Owner, err)
	}); err != nil {
		return err
	}
	return l.vaults()
}

// look is a walk through everything in a store.
type look struct {
	ctx   context.Context
	store store.Store
	keys  *keyring.Keyring
	r     *Report
	// share is the part of the versions that is opened.
	share float64
}

// atOnce is how many records are read in one transaction.
const atOnce = 256

func (l *look) vaults() error {
	var tenants []*vault.Tenant
	if err := l.store.View(l.ctx, func(tx store.Tx) (err error) { tenants, err = tx.Tenants(l.ctx); return err }); err != nil {
		return err
	}
	for _, t := range tenants {
		for _, deleted := range []bool{false, true} {
			q := store.VaultQuery{Tenant: t.ID, Deleted: deleted, Limit: atOnce}
			for {
				var page []*vault.Vault
				if err := l.store.View(l.ctx, func(tx store.Tx) (err error) { page, err = tx.Vaults(l.ctx, q); return err }); err != nil {
					return err
				}
				for _, v := range page {
					l.r.Vaults++
					if err := l.objects(v); err != nil {
						return err
					}
					q.After = v.Name
				}
				if len(page) < atOnce {
					break
				}
			}
		}
	}
	return nil
}

func (l *look) objects(v *vault.Vault) error {
	for _, kind := range vault.Kinds() {
		for _, deleted := range []bool{false, true} {
			q := store.ObjectQuery{Vault: v.ID, Kind: kind, Deleted: deleted, Limit: atOnce}
			for {
				var page []*vault.Object
				if err := l.store.View(l.ctx, func(tx store.Tx) (err error) { page, err = tx.Objects(l.ctx, q); return err }); err != nil {
					return err
				}
				for _, o := range page {
					l.r.Objects++
					if err := l.versions(v, o); err != nil {
						return err
					}
					q.After = o.Name
				}
				if len(page) < atOnce {
					break
				}
			}
		}
	}
	return nil
}

func (l *look) versions(v *vault.Vault, o *vault.Object) error {
	var after vault.VersionID
	current := o.Current == ""
	for {
		var page []*vault.Version
		if err := l.store.View(l.ctx, func(tx store.Tx) (err error) { page, err = tx.Versions(l.ctx, o.ID, after, atOnce); return err }); err != nil {
			return err
		}
		for _, version := range page {
			l.r.Versions++
			after, current = version.ID, current || version.ID == o.Current
			if version.Value.Key != "" && (l.share == 1 || rand.Float64() < l.share) {
				if err := l.open(v, o, version); err != nil {
					return err
				}
			}
		}
		if len(page) < atOnce {
			break
		}
	}
	if !current {
		l.r.Problem("the %s %q of the vault %q has a current version that is not there", o.Kind, o.Name, v.Name)
	}
	return nil
}

func (l *look) open(v *vault.Vault, o *vault.Object, version *vault.Version) error {
	plain, err := l.keys.Open(l.ctx, keyring.Place{Tenant: v.Tenant, Vault: v.ID, Object: o.ID, Version: version.ID}, version.Value)
	clear(plain)
	if l.ctx.Err() != nil {
		return l.ctx.Err()
	}
	if err != nil {
		l.r.Problem("the version %s of the %s %q in the vault %q does not open: %v", version.ID, o.Kind, o.Name, v.Name, err)
		return nil
	}
	l.r.Opened++
	return nil
}
