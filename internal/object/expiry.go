package object

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

// DefaultNearExpiry is how long before its expiry Key Vault tells of an object.
const DefaultNearExpiry = 30 * 24 * time.Hour

// MaxNearExpiry bounds what can be asked for in its place.
const MaxNearExpiry = 365 * 24 * time.Hour

// NearExpiryTag names the tag by which a vault, or a version of an object, asks to be told of so many days before the expiry. That of the
// version goes first. Every client of both protocols can set tags.
const NearExpiryTag = "near-expiry-days"

// expiriesAtOnce bounds the events of one transaction.
const expiriesAtOnce = 100

// farInterval is how often versions are looked at that expire later than the usual time ahead, for the few that want to be told earlier.
const farInterval = time.Hour

// Expiries finds current versions of one kind of objects that are about to expire, or have expired, and emits their events: each once for an expiry,
// whatever crashes. It belongs to one background job, which calls Tell again and again.
type Expiries struct {
	objects *Objects
	// far is when those that expire later than usual were last looked at to the end.
	far time.Time
}

// Expiries returns what tells of expiries.
func (l Lifecycle) Expiries() *Expiries { return &Expiries{objects: l.objects} }

// Tell emits what is due and returns how many events that were.
func (x *Expiries) Tell(ctx context.Context) (near, expired int, err error) {
	now := x.objects.Clock.Now()
	expired, err = x.stage(ctx, store.ExpiryQuery{Stage: store.Expired, Before: now}, now)
	if err != nil {
		return 0, expired, err
	}
	if err := x.skip(ctx, now); err != nil {
		return 0, expired, err
	}
	ahead := store.ExpiryQuery{Stage: store.NearExpiry, AfterExpiry: now, Before: now.Add(DefaultNearExpiry)}
	far := now.Sub(x.far) >= farInterval || now.Before(x.far)
	if far {
		ahead.Before = now.Add(MaxNearExpiry)
	}
	near, err = x.stage(ctx, ahead, now)
	if far && err == nil {
		x.far = now
	}
	return near, expired, err
}

// skip leaves out what expired when it was not current any more.
func (x *Expiries) skip(ctx context.Context, now time.Time) error {
	for {
		skipped := 0
		err := x.objects.Store.Update(ctx, store.NewOp(now), func(tx store.Tx) (err error) {
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
	q.Kind, q.Limit = x.objects.Kind.Kind, expiriesAtOnce
	for {
		// Most pages have nothing to tell, and a look does not hold up writers.
		var page []store.ObjectVersion
		due := 0
		err := x.objects.Store.View(ctx, func(tx store.Tx) (err error) {
			page, due, err = x.tell(ctx, tx, q, now, false)
			return err
		})
		if err != nil {
			return told, err
		}
		if due > 0 {
			if err := x.objects.Store.Update(ctx, store.NewOp(now), func(tx store.Tx) (err error) {
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
		if v.Deleted != nil {
			continue
		}
		if q.Stage == store.NearExpiry {
			switch ahead, err := x.objects.ahead(ctx, tx, v, Item(ov)); {
			case err != nil:
				return nil, 0, err
			case ov.Version.Attributes.Expires.Sub(now) > ahead:
				continue
			}
		}
		due++
		if !emits {
			continue
		}
		if err := x.objects.tell(ctx, tx, q.Stage, v, Item(ov), now); err != nil {
			return nil, 0, err
		}
	}
	return page, due, nil
}

func (s *Objects) tell(ctx context.Context, tx store.Tx, stage store.ExpiryStage, v *vault.Vault, it Item, now time.Time) error {
	e := NearExpiry
	if stage == store.Expired {
		e = Expired
		// Who was down while it came near is not told so any more.
		if err := tx.TellExpiry(ctx, it.Object.ID, it.Version.ID, store.NearExpiry); err != nil {
			return err
		}
	}
	if err := tx.TellExpiry(ctx, it.Object.ID, it.Version.ID, stage); err != nil {
		return err
	}
	return s.Emit(tx, expiryID(s.Kind.EventType(e), it.Version), now, e, v, it)
}

// expiryID names the event of one expiry of a version, the same whenever it is made.
func expiryID(eventType string, ver *vault.Version) string {
	b := append([]byte(eventType), 0)
	b = append(b, ver.ID...)
	b = binary.BigEndian.AppendUint64(b, uint64(ver.Attributes.Expires.UnixMicro()))
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:16])
}

// ahead is how long before its expiry a version is told of: as its own tag says, else as its service knows, else as the vault's tag says.
func (s *Objects) ahead(ctx context.Context, tx store.Tx, v *vault.Vault, it Item) (time.Duration, error) {
	if d, ok := tagged(it.Version.Tags); ok {
		return d, nil
	}
	if s.Ahead != nil {
		if d, err := s.Ahead(ctx, tx, it); err != nil || d > 0 {
			return d, err
		}
	}
	if d, ok := tagged(v.Tags); ok {
		return d, nil
	}
	return DefaultNearExpiry, nil
}

func tagged(tags map[string]string) (time.Duration, bool) {
	days, err := strconv.Atoi(tags[NearExpiryTag])
	d := time.Duration(days) * 24 * time.Hour
	return d, err == nil && days > 0 && days <= int(MaxNearExpiry/(24*time.Hour))
}
