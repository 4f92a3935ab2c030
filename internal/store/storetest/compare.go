package storetest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// How much is compared.
const (
	comparisons = 3
	updates     = 25
)

// Compare runs random histories on two engines, of updates that call every method that writes, rightly or wrongly, and fails where they answer differently, keep
// something else, or enter something else in the journal.
func Compare(t *testing.T, a, b Place) {
	seeds := uint64(comparisons)
	if everything() {
		seeds = 100
	}
	for seed := range seeds {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			var both [2]*env
			for i, place := range []Place{a, b} {
				faults := new(Faults)
				e := &env{T: t, ctx: t.Context(), open: place(t, faults), faults: faults, now: noon}
				e.s = e.open(t)
				t.Cleanup(func() {
					if err := e.s.Close(); err != nil {
						t.Errorf("closing the store: %v", err)
					}
				})
				newFixture().seed(e)
				both[i] = e
			}
			random := rand.New(rand.NewPCG(seed, 0))
			for range updates {
				compareUpdate(t, both, random)
			}
			if !t.Failed() {
				same(both[0], "the journal of the second engine", commits(both[1], 1, 0), commits(both[0], 1, 0)) // the first has an operation of its own
			}
		})
	}
}

// compareUpdate runs one update of a few mutations on both engines.
func compareUpdate(t *testing.T, both [2]*env, random *rand.Rand) {
	t.Helper()
	var picked []mutation
	var names []string
	for range 1 + random.IntN(3) {
		m := mutations[random.IntN(len(mutations))]
		picked, names = append(picked, m), append(names, m.name())
	}
	lose := random.IntN(8) == 0
	at := both[0].now.Add(time.Duration(1+random.IntN(1000)) * time.Millisecond)
	id := fmt.Sprintf("%016x%016x", random.Uint64(), random.Uint64())
	var errs [2]error
	var states [2]*state
	for i, e := range both {
		e.now = at
		errs[i] = e.s.Update(e.ctx, store.Op{ID: store.OpID(id), At: at}, func(tx store.Tx) error {
			for n, m := range picked {
				f := newFixture()
				if err := m.apply(e, f, fixedVersions{tx, id, n}); err != nil {
					return fmt.Errorf("%s: %w", m.name(), err)
				}
			}
			if lose {
				return fault.New(fault.Conflict, "changed my mind")
			}
			return nil
		})
		states[i] = newFixture().state(e)
	}
	what := fmt.Sprint(names)
	if x, y := describe(errs[0]), describe(errs[1]); x != y {
		t.Fatalf("%s: one engine answers %s, the other %s", what, x, y)
	}
	same(both[0], "after "+what+" the state of the second engine", states[1], states[0])
	if t.Failed() {
		t.FailNow()
	}
}

// describe is what callers see of an error.
func describe(err error) string {
	if e := fault.As(err); e != nil {
		return fmt.Sprintf("%v %q %q", e.Kind, e.Reason, e.Message)
	}
	return fmt.Sprint(err)
}

// fixedVersions gives new versions ids that are the same on both engines.
type fixedVersions struct {
	store.Tx
	op string
	n  int
}

func (f fixedVersions) AddVersion(ctx context.Context, v *vault.Version) error {
	v.ID = vault.VersionID(fmt.Sprintf("%s%02x", f.op[:30], f.n)) // the mutation may go on with it
	return f.Tx.AddVersion(ctx, v)
}
