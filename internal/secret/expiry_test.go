package secret_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/guard/guardtest"
	"github.com/keywright/keywright/internal/object"
	"github.com/keywright/keywright/internal/secret"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

const days = 24 * time.Hour

// expiryWorld is a world that tells of expiries.
type expiryWorld struct {
	*world
	now      *clock.Manual
	expiries *object.Expiries
	// heard is the place in the journal behind which events are new.
	heard store.Position
}

func newExpiryWorld(t *testing.T) *expiryWorld {
	now := clock.NewManual(time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC))
	w := &expiryWorld{world: newWorld(t, guardtest.Options{Clock: now}, nil), now: now}
	w.expiries = w.svc.Expiries()
	return w
}

func (w *expiryWorld) expires(name string, in time.Duration, tags map[string]string) secret.Item {
	w.T.Helper()
	item, err := w.svc.Set(w.Ctx, w.call(), name, secret.Input{Value: []byte("CANARY"), Enabled: true, Tags: tags, Expires: w.now.Now().Add(in)})
	w.do(err)
	return item
}

// tells expects the events of expiries since the last call, as "near NAME" and "expired NAME".
func (w *expiryWorld) tells(want ...string) {
	w.T.Helper()
	_, _, err := w.expiries.Tell(w.Ctx)
	w.do(err)
	// What expires at one instant is told in any order.
	got := w.events()
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		w.T.Errorf("events %s, want %s", got, want)
	}
}

// events lists the new events of expiries.
func (w *expiryWorld) events() []string {
	w.T.Helper()
	list := []string{}
	w.do(w.Store.View(w.Ctx, func(tx store.Tx) error {
		commits, err := tx.Commits(w.Ctx, w.heard, 0)
		for _, c := range commits {
			w.heard = c.Position
			for _, e := range c.Events {
				switch e.Type {
				case secret.NearExpiry:
					list = append(list, "near "+e.Subject)
				case secret.Expired:
					list = append(list, "expired "+e.Subject)
				default:
					continue
				}
				var data struct {
					VaultName, ObjectType, Version string
					EXP                            int64
				}
				if json.Unmarshal(e.Data, &data) != nil || data.VaultName != guardtest.VaultName || data.ObjectType != "Secret" || data.Version == "" || data.EXP == 0 ||
					len(e.ID) != 32 || strings.Contains(string(e.Data), "CANARY") {
					w.T.Errorf("the event %s carries %s", e.ID, e.Data)
				}
			}
		}
		return err
	}))
	return list
}

func TestExpiriesAreToldOnce(t *testing.T) {
	w := newExpiryWorld(t)
	w.expires("soon", 29*days, nil)
	w.expires("later", 31*days, nil)
	w.set("never", "x")
	w.tells("near soon")
	w.tells()
	w.now.Advance(days)
	w.tells("near later") // to the instant
	w.now.Advance(27 * days)
	w.tells()
	w.now.Advance(2 * days)
	w.tells("expired soon")
	w.tells()
	// A new process tells nothing twice.
	w.expiries = w.svc.Expiries()
	w.tells()
	w.now.Advance(days)
	w.tells("expired later")
}

func TestExpiriesOfWhatIsNotThere(t *testing.T) {
	w := newExpiryWorld(t)
	w.expires("rotated", 10*days, nil)
	w.expires("rotated", 90*days, nil)
	w.expires("deleted", 10*days, nil)
	_, err := w.svc.Delete(w.Ctx, w.call(), "deleted")
	w.do(err)
	w.tells()
	w.now.Advance(11 * days)
	w.tells()
	_, err = w.svc.Recover(w.Ctx, w.call(), "deleted")
	w.do(err)
	w.tells("expired deleted") // not that it is near any more
	w.EditVault(func(v *vault.Vault) {
		v.Deleted = &vault.Deletion{At: w.now.Now(), PurgeAt: w.now.Now().Add(90 * days)}
	})
	w.now.Advance(60 * days)
	w.tells()
	w.EditVault(func(v *vault.Vault) { v.Deleted = nil })
	w.tells("near rotated")
}

func TestAnotherExpiryIsToldAnew(t *testing.T) {
	w := newExpiryWorld(t)
	w.expires("db", 10*days, nil)
	w.tells("near db")
	later := w.now.Now().Add(40 * days)
	_, err := w.svc.Update(w.Ctx, w.call(), named("db"), secret.Change{Expires: &later})
	w.do(err)
	w.tells()
	w.now.Advance(11 * days)
	w.tells("near db")
	w.now.Advance(29 * days)
	w.tells("expired db")
}

func TestTimeAheadIsConfigured(t *testing.T) {
	w := newExpiryWorld(t)
	w.EditVault(func(v *vault.Vault) { v.Tags = map[string]string{object.NearExpiryTag: "10"} })
	w.expires("vaults", 11*days, nil)
	w.expires("own", 61*days, map[string]string{object.NearExpiryTag: "60"})
	w.expires("wrong", 11*days, map[string]string{object.NearExpiryTag: "soon"})
	w.expires("bounded", 11*days, map[string]string{object.NearExpiryTag: "99999999999999999999"})
	w.tells()
	w.now.Advance(days)
	w.tells("near vaults", "near wrong", "near bounded", "near own")
	w.tells()
}

// More expire at once than one transaction takes.
func TestManyExpireAtOnce(t *testing.T) {
	w := newExpiryWorld(t)
	for n := range 250 {
		in := 5 * days
		if n%50 == 0 {
			in = 40 * days // these stay
		}
		w.expires(fmt.Sprint("s", n), in, nil)
	}
	near, expired, err := w.expiries.Tell(w.Ctx)
	if near != 245 || expired != 0 || err != nil || len(w.events()) != 245 {
		t.Errorf("told %d and %d, %v", near, expired, err)
	}
	w.now.Advance(6 * days)
	near, expired, err = w.expiries.Tell(w.Ctx)
	if near != 0 || expired != 245 || err != nil || len(w.events()) != 245 {
		t.Errorf("told %d and %d, %v", near, expired, err)
	}
}

// broken is a store that cannot be read while it is set to.
type broken struct {
	store.Store
	views, fails int
}

func (b *broken) View(ctx context.Context, fn func(store.Tx) error) error {
	if b.views++; b.views == b.fails {
		return errors.New("the store does not answer")
	}
	return b.Store.View(ctx, fn)
}

// A look that fails is made again at once, and not only when the next long look is due.
func TestLongLookThatFailsIsMadeAgain(t *testing.T) {
	now := clock.NewManual(time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC))
	b := &broken{}
	w := &expiryWorld{world: newWorld(t, guardtest.Options{Clock: now, Wrap: func(s store.Store) store.Store { b.Store = s; return b }}, nil), now: now}
	w.expiries = w.svc.Expiries()
	w.expires("far", 50*days, map[string]string{object.NearExpiryTag: "60"})
	b.views, b.fails = 0, 2 // the second look is for what comes near
	if _, _, err := w.expiries.Tell(w.Ctx); err == nil {
		t.Fatal("the store was not asked")
	}
	w.tells("near far")
}
