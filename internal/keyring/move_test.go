package keyring_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/keyring"
	"github.com/keywright/keywright/internal/seal"
	"github.com/keywright/keywright/internal/seal/shamir"
	"github.com/keywright/keywright/internal/store"
)

// breaking is a store whose nth update from now on does not come back: it is lost, or stored and reported lost, and the process is dead from then on.
type breaking struct {
	store.Store
	left   int
	stored bool
	dead   bool
}

var errDead = fault.New(fault.Unavailable, "the process died here")

func (b *breaking) Update(ctx context.Context, op store.Op, fn func(store.Tx) error) error {
	if b.dead {
		return errDead
	}
	if b.left--; b.left >= 0 {
		return b.Store.Update(ctx, op, fn)
	}
	b.dead = true
	if b.stored {
		if err := b.Store.Update(ctx, op, fn); err != nil {
			return err
		}
	}
	return errDead
}

func (b *breaking) Committed(ctx context.Context, id store.OpID) (bool, error) {
	if b.dead {
		return false, errDead
	}
	return b.Store.Committed(ctx, id)
}

// The process dies at every write of a move, which is lost or stored. Afterwards one of the seals opens everything, and the move can be brought to its end.
func TestMoveSurvivesDeathAtEveryWrite(t *testing.T) {
	for kill := range 4 {
		for _, stored := range []bool{false, true} {
			t.Run(fmt.Sprintf("write %d, stored %v", kill, stored), func(t *testing.T) {
				w := newWorld(t)
				tenant := w.tenant(t)
				p := w.secret(t, tenant, w.vault(t, tenant), "value")
				if _, err := w.RotateRoot(ctx, nil); err != nil { // two roots: both are moved
					t.Fatal(err)
				}
				old, next := w.seal, newSeal(t)
				b := &breaking{Store: w.store, left: kill, stored: stored}
				dying, err := keyring.Open(ctx, keyring.Config{Store: b, Seal: old, Clock: w.clock, Grace: grace})
				if err != nil {
					t.Fatal(err)
				}
				err = errors.Join(dying.AddSeal(ctx, next, nil), dying.ProveSeal(ctx, next, nil), dying.DropSeal(ctx, next, nil))
				if (err == nil) != (kill == 3) {
					t.Fatalf("the move: %v", err)
				}
				opened := 0
				for name, s := range map[string]seal.Seal{"old": old, "new": next} {
					k, err := keyring.Open(ctx, keyring.Config{Store: w.store, Seal: s, Clock: w.clock, Grace: grace})
					if err != nil {
						if !fault.Is(err, fault.Invalid) {
							t.Errorf("the %s seal: %v", name, err)
						}
						continue
					}
					opened++
					mustOpen(t, k, p, w.envelope(t, p), "value")
				}
				done := kill == 3 || kill == 2 && stored
				between := kill > 0 && !done || kill == 0 && stored
				if want := map[bool]int{true: 2, false: 1}[between]; opened != want {
					t.Errorf("%d seals open, want %d", opened, want)
				}
				if done {
					return
				}
				finish, err := keyring.Open(ctx, keyring.Config{Store: w.store, Seal: old, Clock: w.clock, Grace: grace})
				if err != nil {
					t.Fatal(err)
				}
				if state, err := finish.SealState(ctx); err != nil || state.Roots != 2 || !state.Opens {
					t.Errorf("the state: %+v, %v", state, err)
				}
				if !between {
					if err := finish.AddSeal(ctx, next, nil); err != nil {
						t.Fatal(err)
					}
				}
				if err := finish.ProveSeal(ctx, next, nil); err != nil {
					t.Fatal(err)
				}
				if err := finish.DropSeal(ctx, next, nil); err != nil {
					t.Fatal(err)
				}
				mustOpen(t, w.open(t, next), p, w.envelope(t, p), "value")
			})
		}
	}
}

func TestMoveIsRefusedWhereItWouldLose(t *testing.T) {
	w := newWorld(t)
	tenant := w.tenant(t)
	p := w.secret(t, tenant, w.vault(t, tenant), "value")
	other, third := newSeal(t), newSeal(t)
	bystander := w.open(t, w.seal) // a node that nobody tells of the move
	conflict := func(what string, err error) {
		t.Helper()
		if !fault.Is(err, fault.Conflict) {
			t.Errorf("%s: %v", what, err)
		}
	}
	conflict("proving nothing", w.ProveSeal(ctx, other, nil))
	conflict("dropping nothing", w.DropSeal(ctx, other, nil))
	conflict("giving up nothing", w.GiveUpSeal(ctx, nil))
	if err := w.AddSeal(ctx, forgetful{other}, nil); err == nil {
		t.Error("a seal was added that does not give back what it was given")
	}
	if err := w.AddSeal(ctx, other, nil); err != nil {
		t.Fatal(err)
	}
	conflict("a second move", w.AddSeal(ctx, third, nil))
	conflict("dropping before the proof", w.DropSeal(ctx, other, nil))
	for _, k := range []*keyring.Keyring{w.Keyring, bystander} {
		_, err := k.RotateRoot(ctx, nil)
		conflict("a root key during a move", err)
	}
	if err := w.ProveSeal(ctx, third, nil); !fault.Is(err, fault.Invalid) {
		t.Errorf("proved by a seal that does not open: %v", err)
	}
	if err := w.ProveSeal(ctx, other, nil); err != nil {
		t.Fatal(err)
	}
	if err := w.DropSeal(ctx, third, nil); !fault.Is(err, fault.Invalid) {
		t.Errorf("dropped for another seal than was proved: %v", err)
	}
	only := w.open(t, other)
	conflict("giving up where only the new seal is", only.GiveUpSeal(ctx, nil))
	if err := w.DropSeal(ctx, other, nil); err != nil {
		t.Fatal(err)
	}
	// The seals have the same name, and still the bystander may not make what the others cannot open.
	_, err := bystander.RotateRoot(ctx, nil)
	conflict("a root key on a node that has the old seal", err)
	if state, err := bystander.SealState(ctx); err != nil || state.Opens {
		t.Errorf("the bystander's state: %+v, %v", state, err)
	}
	mustOpen(t, bystander, p, w.envelope(t, p), "value")
	if _, err := w.RotateRoot(ctx, nil); err != nil {
		t.Error(err)
	}
	mustOpen(t, w.open(t, other), p, w.envelope(t, p), "value")
}

func TestSharesAreToldWhatToOpen(t *testing.T) {
	w := newWorld(t)
	empty, err := shamir.New(shamir.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := keyring.Expect(ctx, newStore(t), empty); !fault.Is(err, fault.Conflict) {
		t.Errorf("an empty store: %v", err)
	}
	if err := keyring.Expect(ctx, w.store, empty); !fault.Is(err, fault.Invalid) {
		t.Errorf("a store of a key file: %v", err)
	}
	made, shares, err := shamir.Create(shamir.Config{}, 3, 2)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.AddSeal(ctx, made, nil); err != nil {
		t.Fatal(err)
	}
	for _, expect := range []func(seal.Gatherer) error{
		func(g seal.Gatherer) error { return w.ExpectNext(ctx, g) },
		func(g seal.Gatherer) error { return keyring.Expect(ctx, w.store, g) },
	} {
		s, err := shamir.New(shamir.Config{})
		if err == nil {
			err = expect(s)
		}
		for _, i := range []int{2, 0} {
			if err == nil {
				_, err = s.Give(ctx, shares[i].Reveal())
			}
		}
		if err != nil || !s.Progress().Open {
			t.Errorf("%+v, %v", s.Progress(), err)
		}
		if err := w.ProveSeal(ctx, s, nil); err != nil {
			t.Error(err)
		}
	}
}

// Whatever moves and rotations are mixed, and wherever the process dies in them, what was stored opens with a seal that the store says it needs.
func TestRandomMovesAndRotations(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		w := newWorld(t)
		tenant := w.tenant(r)
		p := w.secret(r, tenant, w.vault(r, tenant), "value")
		b := &breaking{Store: w.store, left: 1 << 30}
		current, next := w.seal, seal.Seal(nil)
		open := func(s seal.Seal) *keyring.Keyring {
			k, err := keyring.Open(ctx, keyring.Config{Store: b, Seal: s, Clock: w.clock, Grace: grace})
			if err != nil {
				return nil
			}
			return k
		}
		k := open(current)
		acted := func(err error) {
			// A seal that is not the one of the move is Invalid.
			if err != nil && !fault.Is(err, fault.Conflict) && !fault.Is(err, fault.Unavailable) && !fault.Is(err, fault.Invalid) {
				r.Fatalf("%v", err)
			}
		}
		r.Repeat(map[string]func(*rapid.T){
			"add": func(r *rapid.T) {
				if next == nil {
					next = newSeal(t)
				}
				acted(k.AddSeal(ctx, next, nil))
			},
			"prove": func(r *rapid.T) {
				if next != nil {
					acted(k.ProveSeal(ctx, next, nil))
				}
			},
			"drop": func(r *rapid.T) {
				if next != nil {
					acted(k.DropSeal(ctx, next, nil))
				}
			},
			"give up": func(r *rapid.T) { acted(k.GiveUpSeal(ctx, nil)) },
			"rotate":  func(r *rapid.T) { _, err := k.RotateRoot(ctx, nil); acted(err) },
			"tenant":  func(r *rapid.T) { _, err := k.RotateTenantKeys(ctx, tenant, nil); acted(err) },
			"maintain": func(r *rapid.T) {
				w.clock.Advance(2 * grace)
				_, err := k.Maintain(ctx)
				acted(err)
			},
			"die soon": func(r *rapid.T) {
				b.left, b.stored = rapid.IntRange(0, 3).Draw(r, "updates"), rapid.Bool().Draw(r, "stored")
			},
			"": func(r *rapid.T) {
				if b.dead {
					b.dead, b.left = false, 1<<30
					k = nil
				}
				if k == nil {
					if k = open(current); k == nil && next != nil {
						if k = open(next); k != nil {
							current, next = next, nil
						}
					}
					if k == nil {
						r.Fatalf("neither seal opens the store")
					}
				}
				mustOpen(t, k, p, w.envelope(r, p), "value")
			},
		})
	})
}
