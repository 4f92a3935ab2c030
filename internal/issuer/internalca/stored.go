package internalca

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/issuer"
	"github.com/keywright/keywright/internal/store"
)

// StoredConfig says where the records of an authority are. All members are required.
type StoredConfig struct {
	Store store.Store
	// Authority is whose records they are. It is made known to the store with the first of them.
	Authority store.Authority
	Clock     clock.Clock
}

// stored keeps records in the store.
type stored struct{ StoredConfig }

// NewStored returns the records of an authority, which are a Journaled.
func NewStored(c StoredConfig) (Records, error) {
	if c.Store == nil || c.Clock == nil || c.Authority.ID == "" {
		return nil, errors.New("internalca: stored records need a store, a clock and an authority with an id")
	}
	return stored{c}, nil
}

// Journaled are records that can be added to as a part of a transaction of the caller's.
type Journaled interface {
	Records
	// AuthorityID is the authority's in the store.
	AuthorityID() string
	AddTo(ctx context.Context, tx store.Tx, r Record) error
}

// AuthorityID implements Journaled.
func (s stored) AuthorityID() string { return s.Authority.ID }

func (s stored) update(ctx context.Context, fn func(tx store.Tx) error) error {
	return s.Store.Update(ctx, store.NewOp(s.Clock.Now()), fn)
}

// Add keeps a record.
func (s stored) Add(ctx context.Context, r Record) error {
	return s.update(ctx, func(tx store.Tx) error { return s.AddTo(ctx, tx, r) })
}

// AddTo implements Journaled.
func (s stored) AddTo(ctx context.Context, tx store.Tx, r Record) error {
	i := &store.Issuance{Authority: s.Authority.ID, Serial: r.Serial, Request: r.RequestID, Profile: r.Profile, DER: r.DER, NotAfter: r.NotAfter}
	if r.Revoked != nil {
		i.Revoked, i.Reason = r.Revoked.At, int(r.Revoked.Reason)
	}
	if err := tx.AddAuthority(ctx, &s.Authority); err != nil {
		return err
	}
	return tx.AddIssuance(ctx, i)
}

// BySerial finds a record.
func (s stored) BySerial(ctx context.Context, serial string) (Record, error) {
	return s.find(ctx, func(tx store.Tx) (*store.Issuance, error) { return tx.Issuance(ctx, s.Authority.ID, serial) })
}

// ByRequest finds a record.
func (s stored) ByRequest(ctx context.Context, id string) (Record, error) {
	return s.find(ctx, func(tx store.Tx) (*store.Issuance, error) { return tx.IssuanceByRequest(ctx, s.Authority.ID, id) })
}

func (s stored) find(ctx context.Context, look func(store.Tx) (*store.Issuance, error)) (r Record, err error) {
	err = s.Store.View(ctx, func(tx store.Tx) error {
		i, err := look(tx)
		if err == nil {
			r = recordOf(i)
		}
		return err
	})
	return r, err
}

func recordOf(i *store.Issuance) Record {
	r := Record{Serial: i.Serial, RequestID: i.Request, Profile: i.Profile, DER: i.DER, NotAfter: i.NotAfter}
	if !i.Revoked.IsZero() {
		r.Revoked = &Revocation{At: i.Revoked, Reason: issuer.Reason(i.Reason)}
	}
	return r
}

// Revoke marks a record.
func (s stored) Revoke(ctx context.Context, serial string, r Revocation) error {
	return s.update(ctx, func(tx store.Tx) error { return tx.RevokeIssuance(ctx, s.Authority.ID, serial, r.At, int(r.Reason)) })
}

// revokedAtOnce is how many records one view reads, so that no list holds a view open for long.
const revokedAtOnce = 500

// Revoked goes over the marked records, in the order of their ends.
func (s stored) Revoked(ctx context.Context, endAfter time.Time) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		q := store.RevokedQuery{Authority: s.Authority.ID, EndAfter: endAfter, Limit: revokedAtOnce}
		for {
			var page []*store.Issuance
			err := s.Store.View(ctx, func(tx store.Tx) (err error) {
				page, err = tx.RevokedIssuances(ctx, q)
				return err
			})
			if err != nil {
				yield(Record{}, err)
				return
			}
			for _, i := range page {
				if !yield(recordOf(i), nil) {
					return
				}
			}
			if len(page) < q.Limit {
				return
			}
			q.After = page[len(page)-1]
		}
	}
}

// NextCRLNumber counts.
func (s stored) NextCRLNumber(ctx context.Context) (n int64, err error) {
	err = s.update(ctx, func(tx store.Tx) error {
		if err := tx.AddAuthority(ctx, &s.Authority); err != nil {
			return err
		}
		n, err = tx.NextCRLNumber(ctx, s.Authority.ID)
		return err
	})
	return n, err
}
