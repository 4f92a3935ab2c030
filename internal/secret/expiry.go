package secret

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"strconv"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// DefaultNearExpiry is how long before its expiry Key Vault tells of a secret.
const DefaultNearExpiry = 30 * 24 * time.Hour

// MaxNearExpiry bounds what can be asked for in its place.
const MaxNearExpiry = 365 * 24 * time.Hour

// NearExpiryTag names the tag by which a vault, or a version of a secret, asks to be told of so many days before the expiry. That of the
// version goes first. Every client of both protocols can set tags.
const NearExpiryTag = "near-expiry-days"

// expiriesAtOnce bounds the events of one transaction.
const expiriesAtOnce = 100

// farInterval is how often versions are looked at that expire later than the usual time ahead, for the few that want to be told earlier.
const farInterval = time.Hour

// Expiries finds current versions of secrets that are about to expire, or have expired, and emits their events: each once for an expiry,
// whatever crashes. It belongs to one background job, which calls Tell again and again.
type Expiries struct {
	service *Service
	far     time.Time
}

// NewExpiries returns what tells of expiries.
func NewExpiries(s *Service) *Expiries { return &Expiries{service: s} }

// Tell emits what is due and returns how many events that were.
func (x *Expiries) Tell(ctx context.Context) (near, expired int, err error) {
	now := x.service.Clock.Now()
	expired, err = x.stage(ctx, store.ExpiryQuery{Stage: store.Expired, Before: now}, now)
	if err != nil {
		return 0, expired, err
	}
	if err := x.skip(ctx, now); err != nil {
		return 0, expired, err
	}
	ahead := store.ExpiryQuery{Stage: store.NearExpiry, AfterExpiry: now, Before: now.Add(DefaultNearExpiry)}
	if far := now.Sub(x.far) >= farInterval || now.Before(x.far); far {
		x.far, ahead.Before = now, now.Add(MaxNearExpiry)
	}
	near, err = x.stage(ctx, ahead, now)
	return near, expired, err
}

// skip leaves out what expired when it was not current any more.
func (x *Expiries) skip(ctx context.Context, now time.Time) error {
	for {
		skipped := 0
		err := x.service.Store.Update(ctx, store.NewOp(now), func(tx store.Tx) (err error) {
			skipped, err = tx.SkipExpiries(ctx, now, expiriesAtOnce)
			return err
		})
		if err != nil || skipped < expiriesAtOnce {
			return err
		}
	}
}

// stage goes through the versions that a query selects, page by page.
func (x *Expiries) stage(ctx context.Context, q store.ExpiryQuery, now time.Time) (told int, err error) {
	q.Kind, q.Limit = vault.Secret, expiriesAtOnce
	for {
		// Most pages have nothing to tell, and a look does not hold up writers.
		var page []store.ObjectVersion
		due := 0
		err := x.service.Store.View(ctx, func(tx store.Tx) (err error) {
			page, due, err = x.tell(ctx, tx, q, now, false)
			return err
		})
		if err != nil {
			return told, err
		}
		if due > 0 {
			if err := x.service.Store.Update(ctx, store.NewOp(now), func(tx store.Tx) (err error) {
				_, due, err = x.tell(ctx, tx, q, now, true)
				return err
			}); err != nil {
				return told, err
			}
			told += due
		}
		if len(page) < q.Limit {
			return told, nil
		}
		last := page[len(page)-1].Version
		q.AfterExpiry, q.AfterVersion = last.Attributes.Expires, last.ID
	}
}

// tell emits the events of a page, or only counts them.
func (x *Expiries) tell(ctx context.Context, tx store.Tx, q store.ExpiryQuery, now time.Time, emits bool) (page []store.ObjectVersion, due int, err error) {
	page, err = tx.Expiring(ctx, q)
	if err != nil {
		return nil, 0, err
	}
	vaults := make(map[vault.ID]*vault.Vault)
	for _, ov := range page {
		v := vaults[ov.Object.Vault]
		if v == nil {
			if v, err = tx.Vault(ctx, ov.Object.Vault); fault.Is(err, fault.NotFound) {
				continue
			} else if err != nil {
				return nil, 0, err
			}
			vaults[v.ID] = v
		}
		// A deleted vault tells nothing. When it is recovered, it does.
		if v.Deleted != nil || q.Stage == store.NearExpiry && ov.Version.Attributes.Expires.Sub(now) > nearExpiry(v, ov.Version) {
			continue
		}
		due++
		if !emits {
			continue
		}
		if err := tellOne(ctx, tx, q.Stage, v, ov, now); err != nil {
			return nil, 0, err
		}
	}
	return page, due, nil
}

func tellOne(ctx context.Context, tx store.Tx, stage store.ExpiryStage, v *vault.Vault, ov store.ObjectVersion, now time.Time) error {
	t := NearExpiry
	if stage == store.Expired {
		t = Expired
		// Who was down while it came near is not told so any more.
		if err := tx.TellExpiry(ctx, ov.Object.ID, ov.Version.ID, store.NearExpiry); err != nil {
			return err
		}
	}
	if err := tx.TellExpiry(ctx, ov.Object.ID, ov.Version.ID, stage); err != nil {
		return err
	}
	return emitAs(tx, expiryID(t, ov.Version), now, t, v, ov.Object, ov.Version)
}

// expiryID names the event of one expiry of a version, the same whenever it is made.
func expiryID(t EventType, ver *vault.Version) string {
	b := append([]byte(t), 0)
	b = append(b, ver.ID...)
	b = binary.BigEndian.AppendUint64(b, uint64(ver.Attributes.Expires.UnixMicro()))
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:16])
}

// nearExpiry is how long before its expiry a version is told of.
func nearExpiry(v *vault.Vault, ver *vault.Version) time.Duration {
	for _, tags := range []map[string]string{ver.Tags, v.Tags} {
		days, err := strconv.Atoi(tags[NearExpiryTag])
		if d := time.Duration(days) * 24 * time.Hour; err == nil && days > 0 && days <= int(MaxNearExpiry/(24*time.Hour)) {
			return d
		}
	}
	return DefaultNearExpiry
}
