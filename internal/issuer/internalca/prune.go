package internalca

import (
	"context"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// recordsKept is how long the record of a certificate stays after its end: longer than any revocation list on which it has to stand once more (RFC 5280, section 3.3).
const recordsKept = 30 * 24 * time.Hour

// pruneAtOnce bounds the records of one transaction, and the authorities of one look: other writers wait for it.
const pruneAtOnce = 500

// Prune forgets certificates that ended a while ago, and everything of authorities whose own certificate was purged: nobody can ask for their signature any more. It
// returns how many certificates that were.
func Prune(ctx context.Context, s store.Store, now time.Time) (pruned int, err error) {
	for after := ""; ; {
		var page []*store.Authority
		var gone []bool
		err := s.View(ctx, func(tx store.Tx) (err error) {
			if page, err = tx.Authorities(ctx, after, pruneAtOnce); err != nil {
				return err
			}
			gone = make([]bool, len(page))
			for i, a := range page {
				if gone[i], err = isGone(ctx, tx, a); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return pruned, err
		}
		for i, a := range page {
			after = a.ID
			n, err := pruneAuthority(ctx, s, a, gone[i], now)
			if pruned += n; err != nil {
				return pruned, err
			}
		}
		if len(page) < pruneAtOnce {
			return pruned, nil
		}
	}
}

// isGone reports whether the version that an authority is, is no more. It is there for as long as its certificate can be recovered.
func isGone(ctx context.Context, tx store.Tx, a *store.Authority) (bool, error) {
	o, err := tx.Object(ctx, a.Vault, vault.Certificate, a.NameKey)
	if err == nil {
		_, err = tx.Version(ctx, o.ID, a.Version)
	}
	if fault.Is(err, fault.NotFound) {
		return true, nil
	}
	return false, err
}

// pruneAuthority drops what ended of one authority, or all of it.
func pruneAuthority(ctx context.Context, s store.Store, a *store.Authority, gone bool, now time.Time) (pruned int, err error) {
	endedBefore := now.Add(-recordsKept)
	if gone {
		endedBefore = time.Unix(1<<40, 0) // after every end that a certificate can have
	}
	for {
		n := 0
		err := s.Update(ctx, store.NewOp(now), func(tx store.Tx) (err error) {
			n, err = tx.DropIssuances(ctx, a.ID, endedBefore, pruneAtOnce)
			if err != nil || n == pruneAtOnce || !gone {
				return err
			}
			// Nothing comes behind it: an authority whose certificate is gone signs no more.
			if err = tx.DropAuthority(ctx, a.ID); fault.Is(err, fault.NotFound) {
				return nil
			}
			return err
		})
		if err != nil {
			return pruned, err
		}
		if pruned += n; n < pruneAtOnce {
			return pruned, nil
		}
	}
}
