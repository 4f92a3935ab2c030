package key_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/key"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// tenYears are policies, with how often each rotates in ten years. latest is the longest time from a version to the next one that its policy lets pass.
var tenYears = []struct {
	name          string
	spec          key.Spec
	policy        func(*testing.T) key.Policy
	latest        time.Duration
	fewest, most  int
	told, expires bool
}{
	// Told 45 days before the expiry, rotated 30 days before it.
	{"yearly", ec, func(t *testing.T) key.Policy {
		return key.Policy{Expiry: period(t, "P1Y"), Rotate: &key.Trigger{BeforeExpiry: period(t, "P30D")}, Notify: &key.Trigger{BeforeExpiry: period(t, "P45D")}}
	}, 336 * day, 10, 11, true, true},
	{"monthly", oct, func(t *testing.T) key.Policy { return key.Policy{Rotate: &key.Trigger{AfterCreate: period(t, "P1M")}} }, 31 * day, 98, 121, false, false},
	// Rotated long before anybody would be told.
	{"quarterly", key.Spec{Kty: "EC-HSM", Curve: "P-384"}, func(t *testing.T) key.Policy {
		return key.Policy{Expiry: period(t, "P1Y"), Rotate: &key.Trigger{AfterCreate: period(t, "P90D")}}
	}, 90 * day, 37, 41, false, true},
	// The tightest that is allowed: 28 days, rotated 7 days before their end, told a week before that.
	{"tightest", oct, func(t *testing.T) key.Policy {
		return key.Policy{Expiry: period(t, "P28D"), Rotate: &key.Trigger{BeforeExpiry: period(t, "P7D")}, Notify: &key.Trigger{BeforeExpiry: period(t, "P14D")}}
	}, 21 * day, 134, 174, true, true},
	{"two-years", ec, func(t *testing.T) key.Policy {
		return key.Policy{Expiry: period(t, "P2Y"), Rotate: &key.Trigger{BeforeExpiry: period(t, "P3M")}, Notify: &key.Trigger{BeforeExpiry: period(t, "P4M")}}
	}, 641 * day, 5, 6, true, true},
}

// look is how often the test looks what is due; a server looks every minute.
const look = 6 * day

// TestTenYearsOfRotations goes over ten years: every key is rotated before its policy's limit, none twice for one version, nothing expires while it
// is current, and of each expiry that comes near somebody is told once.
func TestTenYearsOfRotations(t *testing.T) {
	w := newWorld(t, nil)
	for i := range tenYears {
		k := &tenYears[i]
		w.make(k.name, k.spec)
		_, _, err := w.svc.SetPolicy(w.Ctx, w.call(), k.name, k.policy(t))
		w.do(err)
	}
	expiries, rotations := w.svc.Expiries(), 0
	for end := noon.AddDate(10, 0, 0); w.now.Now().Before(end); {
		w.now.Advance(look)
		// Who looks for expiries has not seen the rotations of the same minute yet.
		_, expired, err := expiries.Tell(w.Ctx)
		w.do(err)
		if expired > 0 {
			t.Fatalf("a current key expired by %s", w.now.Now())
		}
		n, err := w.svc.RotateDue(w.Ctx)
		w.do(err)
		rotations += n
	}
	told := w.warnings()
	for i := range tenYears {
		k := &tenYears[i]
		l, err := w.svc.Versions(w.Ctx, w.call(), k.name, key.Page{Limit: 1000})
		w.do(err)
		rotations -= len(l.Items) - 1
		if n := len(l.Items) - 1; n < k.fewest || n > k.most {
			t.Errorf("%s: rotated %d times, want %d to %d", k.name, n, k.fewest, k.most)
		}
		for i := 1; i < len(l.Items); i++ {
			ver, next := l.Items[i-1].Version, l.Items[i].Version
			if gap := next.Attributes.Created.Sub(ver.Attributes.Created); gap > k.latest+look || gap < 7*day || next.Previous != ver.ID {
				t.Errorf("%s: version %d came %s after the one before it", k.name, i, gap)
			}
			if e := ver.Attributes.Expires; !e.IsZero() && !next.Attributes.Created.Before(e) {
				t.Errorf("%s: version %d came after the one before it had expired", k.name, i)
			}
			if i > 1 && ver.Attributes.Expires.IsZero() == k.expires {
				t.Errorf("%s: version %d expires at %s", k.name, i-1, ver.Attributes.Expires)
			}
			want := 0
			if k.told && !ver.Attributes.Expires.IsZero() {
				want = 1
			}
			if n := told[ver.ID]; n != want {
				t.Errorf("%s: %d warnings of the expiry of version %d, want %d", k.name, n, i-1, want)
			}
		}
	}
	if rotations != 0 {
		t.Errorf("%d rotations more than there are versions", rotations)
	}
}

// warnings counts the near-expiry events by version.
func (w *world) warnings() map[vault.VersionID]int {
	w.T.Helper()
	told := map[vault.VersionID]int{}
	w.do(w.Store.View(w.Ctx, func(tx store.Tx) error {
		commits, err := tx.Commits(w.Ctx, 0, 0)
		for _, c := range commits {
			for _, e := range c.Events {
				if e.Type != "Microsoft.KeyVault.KeyNearExpiry" {
					continue
				}
				var data struct {
					Version vault.VersionID
					EXP     int64
				}
				w.do(json.Unmarshal(e.Data, &data))
				told[data.Version]++
				if lead := time.Unix(data.EXP, 0).Sub(e.At); lead <= 0 || lead > 124*day {
					w.T.Errorf("told %s ahead", lead)
				}
			}
		}
		return err
	}))
	return told
}
