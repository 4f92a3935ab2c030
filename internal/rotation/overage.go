package rotation

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// SecretTooOld is the event of a secret whose current version is older than allowed. It is emitted once for a version. Its data is a TooOldData.
const SecretTooOld EventType = "Keywright.SecretTooOld"

// TooOldData is what the event of a secret that is too old tells.
type TooOldData struct {
	Object  string          `json:"object"`
	Version vault.VersionID `json:"version"`
	Created time.Time       `json:"created"`
	Limit   Duration        `json:"limit"`
	LimitBy LimitSource     `json:"limitBy"`
}

// agesEvery is how often all secrets are looked at whose age is limited: a limit is a matter of days.
const agesEvery = time.Hour

// sweep remembers when ages were looked at last. Its zero value is ready.
type sweep struct {
	mu   sync.Mutex
	last time.Time
}

// due reports whether it is time, and takes the turn.
func (s *sweep) due(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if since := now.Sub(s.last); since >= 0 && since < agesEvery {
		return false
	}
	s.last = now
	return true
}

// aged names a secret that may be too old.
type aged struct {
	vault   *vault.Vault
	nameKey string
}

// TellAges emits the events of the secrets that are too old and of which nobody was told yet, and returns how many those were.
func (e *Engine) TellAges(ctx context.Context) (told int, err error) {
	byPolicy, err := e.agedByPolicy(ctx)
	if err != nil {
		return 0, err
	}
	byDefault, err := e.agedByDefault(ctx)
	if err != nil {
		return 0, err
	}
	var errs []error
	for _, a := range append(byPolicy, byDefault...) {
		if e.wall.paused(a.vault.Tenant) != 0 {
			continue // by a wrong date everything is too old
		}
		ok, err := e.tellAge(ctx, a)
		if errs = append(errs, err); ok {
			told++
		}
	}
	return told, errors.Join(errs...)
}

// agedByPolicy finds the secrets with a maximum of their own.
func (e *Engine) agedByPolicy(ctx context.Context) (list []aged, err error) {
	for p, err := range e.policies(ctx, store.PolicyQuery{Kind: vault.Secret}) {
		if err != nil {
			return nil, err
		}
		doc, err := readPolicy(p)
		if err != nil {
			return nil, err
		}
		if doc.Policy.MaxAge > 0 {
			list = append(list, aged{&vault.Vault{ID: p.Vault, Tenant: p.Tenant}, p.NameKey})
		}
	}
	return list, nil
}

// agedByDefault finds the secrets that are older than the default of their vault; whether that applies is looked at when they are told of.
func (e *Engine) agedByDefault(ctx context.Context) (list []aged, err error) {
	q := store.VaultQuery{Limit: pageSize}
	for {
		var page []*vault.Vault
		err := e.Store.View(ctx, func(tx store.Tx) (err error) {
			page, err = tx.Vaults(ctx, q)
			return err
		})
		if err != nil {
			return nil, err
		}
		for _, v := range page {
			limit, _ := e.defaultAge(v)
			if limit == 0 {
				continue
			}
			old, err := e.olderThan(ctx, v, e.now(v.Tenant).Add(-limit))
			if err != nil {
				return nil, err
			}
			list = append(list, old...)
		}
		if len(page) < q.Limit {
			return list, nil
		}
		q.After = page[len(page)-1].Name
	}
}

func (e *Engine) olderThan(ctx context.Context, v *vault.Vault, then time.Time) (list []aged, err error) {
	q := store.ObjectQuery{Vault: v.ID, Kind: vault.Secret, Limit: pageSize}
	for {
		var page []store.ObjectVersion
		err := e.Store.View(ctx, func(tx store.Tx) (err error) {
			page, err = tx.CurrentVersions(ctx, q)
			return err
		})
		if err != nil {
			return nil, err
		}
		for _, ov := range page {
			if ov.Version != nil && ov.Version.Attributes.Created.Before(then) && ov.Version.Attributes.Expires.IsZero() {
				list = append(list, aged{v, vault.NameKey(ov.Object.Name)})
			}
		}
		if len(page) < q.Limit {
			return list, nil
		}
		q.After = vault.NameKey(page[len(page)-1].Object.Name)
	}
}

// tellAge emits the event of one secret, if it is too old and nobody was told.
func (e *Engine) tellAge(ctx context.Context, a aged) (told bool, err error) {
	op := store.NewOp(e.now(a.vault.Tenant))
	id := string(vault.NewVersionID(op.At))
	look := func(tx store.Tx, emits bool) error {
		told = false
		o, err := live(ctx, tx, a.vault.ID, a.nameKey)
		if isMissing(err) || err == nil && o.Current == "" {
			return nil
		}
		if err != nil {
			return err
		}
		v, err := tx.Vault(ctx, o.Vault)
		if err != nil || v.Deleted != nil {
			return err
		}
		ver, err := tx.Version(ctx, o.ID, o.Current)
		if err != nil {
			return err
		}
		p, doc, err := kept(ctx, tx, v, o)
		if err != nil {
			return err
		}
		limit, by := e.limit(v, ver, doc, op.At)
		if limit == 0 || op.At.Sub(ver.Attributes.Created) <= limit || doc.State.Told == ver.ID {
			return nil
		}
		told = true
		if !emits {
			return nil
		}
		doc.State.Told = ver.ID
		data, err := json.Marshal(TooOldData{Object: p.NameKey, Version: ver.ID, Created: ver.Attributes.Created, Limit: Duration(limit), LimitBy: by})
		if err != nil {
			return err
		}
		tx.Emit(store.Event{ID: id, Type: string(SecretTooOld), Tenant: v.Tenant, Vault: v.ID, Subject: p.NameKey, At: op.At, Data: data})
		return keep(ctx, tx, p, doc)
	}
	// Most were told of already, and a look does not hold up writers.
	if err := e.Store.View(ctx, func(tx store.Tx) error { return look(tx, false) }); err != nil || !told {
		return false, err
	}
	err = e.Store.Update(ctx, op, func(tx store.Tx) error { return look(tx, true) })
	return told && err == nil, err
}
