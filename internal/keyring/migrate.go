package keyring

import (
	"bytes"
	"context"
	"crypto/subtle"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/seal"
	"github.com/keywright/keywright/internal/store"
)

// An installation moves to another seal in three steps, each of them one transaction, so that after a crash between any two of them a seal that
// opens the root key is known:
//
//	AddSeal    the root keys are wrapped by both seals; the old one is the configured one
//	ProveSeal  a seal that was opened anew gave back every root key from what the store holds
//	DropSeal   the new seal alone
//
// Before the last step either seal opens the keyring, and GiveUpSeal goes back.

// SealState is how far a move to another seal is.
type SealState struct {
	// Seal is the name of the one that wraps the root keys, Next of the one to which the installation moves; empty when it does not.
	Seal, Next string
	// Since is when the move began, Proved when the new seal was proved to open; zero before.
	Since, Proved time.Time
	// Opens says whether the seal that this process has opens the root keys as they are in the store now. It is false on a node that was not told of a move.
	Opens bool
	// Roots counts the root keys, those that only open included.
	Roots int
}

// Moving reports whether a move is under way.
func (s *SealState) Moving() bool { return s.Next != "" }

var errNotMoving = fault.New(fault.Conflict, "the installation is not moving to another seal: begin with keywright seal migrate").Because("SealNotMoving")

// SealState tells which seals wrap the root keys.
func (k *Keyring) SealState(ctx context.Context) (SealState, error) {
	rows, err := k.rootRows(ctx)
	if err != nil || len(rows) == 0 {
		return SealState{}, err
	}
	return k.sealState(ctx, rows)
}

func (k *Keyring) sealState(ctx context.Context, rows []*store.WrappedKey) (s SealState, err error) {
	last := rows[len(rows)-1]
	s = SealState{Seal: last.Parent, Roots: len(rows), Opens: true}
	if n := last.Next; n != nil {
		s.Next, s.Since = n.Seal, n.Added
		if allProved(rows) {
			s.Proved = n.Proved
		}
	}
	mine := k.sealer()
	for _, row := range rows {
		plain, err := unwrapRoot(ctx, mine, row)
		clear(plain)
		if fault.Is(err, fault.Invalid) {
			s.Opens = false
			break
		}
		if err != nil {
			return s, err
		}
	}
	return s, nil
}

func allProved(rows []*store.WrappedKey) bool {
	for _, row := range rows {
		if row.Next == nil || row.Next.Proved.IsZero() {
			return false
		}
	}
	return len(rows) > 0
}

// AddSeal wraps the root keys with another seal as well, or with the same one once more after its key changed. Each wrap is opened by that seal
// before it is stored. A move that is under way already is a fault.Conflict.
func (k *Keyring) AddSeal(ctx context.Context, to seal.Seal, with With) error {
	return k.changeRoots(ctx, with, func(row *store.WrappedKey, at time.Time) (*store.WrappedKey, error) { return k.addTo(ctx, row, to, at) })
}

func (k *Keyring) addTo(ctx context.Context, row *store.WrappedKey, to seal.Seal, at time.Time) (*store.WrappedKey, error) {
	if row.Next != nil {
		return nil, fault.New(fault.Conflict, "the installation is moving to the seal %q already: finish that or give it up", row.Next.Seal).Because("SealMoving")
	}
	raw, err := unwrapRoot(ctx, k.sealer(), row)
	if err != nil {
		return nil, err
	}
	defer clear(raw)
	next := *row
	next.Next = &store.SealWrap{Seal: to.Name(), Added: at}
	if next.Next.Wrapped, err = to.Wrap(ctx, raw, bindWrap(row, to.Name())); err != nil {
		return nil, err
	}
	// A seal that cannot open what it wrapped would be of no use; this is the first moment to notice.
	return &next, gaveBack(ctx, to, &next, raw)
}

// ProveSeal opens the new wraps, as the store has them, with a seal that was opened anew, and compares what they hold. From then on the old ones can be
// dropped. A wrap that does not open changes nothing.
func (k *Keyring) ProveSeal(ctx context.Context, fresh seal.Seal, with With) error {
	return k.changeRoots(ctx, with, func(row *store.WrappedKey, at time.Time) (*store.WrappedKey, error) {
		if row.Next == nil {
			return nil, errNotMoving
		}
		raw, err := unwrapRoot(ctx, k.sealer(), row)
		if err != nil {
			return nil, err
		}
		defer clear(raw)
		next, wrap := *row, *row.Next
		wrap.Proved = at
		next.Next = &wrap
		return &next, gaveBack(ctx, fresh, row, raw)
	})
}

// DropSeal forgets what the old seal wrapped, once the new one was proved, and goes on with the new one.
func (k *Keyring) DropSeal(ctx context.Context, to seal.Seal, with With) error {
	err := k.changeRoots(ctx, with, func(row *store.WrappedKey, _ time.Time) (*store.WrappedKey, error) {
		if row.Next == nil {
			return nil, errNotMoving
		}
		if row.Next.Proved.IsZero() {
			return nil, fault.New(fault.Conflict, "the seal %q was not proved to open the root key yet: prove it first", row.Next.Seal).Because("SealNotProved")
		}
		// The seal that this process goes on with has to be the one that was proved.
		plain, err := unwrapNext(ctx, to, row)
		clear(plain)
		next := *row
		next.Parent, next.Wrapped, next.Next = row.Next.Seal, row.Next.Wrapped, nil
		return &next, err
	})
	if err != nil {
		return err
	}
	k.useSeal(to)
	return nil
}

// GiveUpSeal forgets what the new seal wrapped. It is refused in a process that only the new seal opened.
func (k *Keyring) GiveUpSeal(ctx context.Context, with With) error {
	return k.changeRoots(ctx, with, func(row *store.WrappedKey, _ time.Time) (*store.WrappedKey, error) {
		if row.Next == nil {
			return nil, errNotMoving
		}
		next := *row
		next.Next = nil
		raw, err := unwrapRoot(ctx, k.sealer(), &next)
		clear(raw)
		if err != nil {
			return nil, fault.Wrap(err, fault.Conflict, "the seal of this server is the new one, without which it would not start again: give up the move on a server that has the old one")
		}
		return &next, nil
	})
}

// Migrate moves to another seal in one transaction, with the seal itself as its proof: for whoever has both seals at hand, and one process.
func (k *Keyring) Migrate(ctx context.Context, to seal.Seal, with With) error {
	err := k.changeRoots(ctx, with, func(row *store.WrappedKey, at time.Time) (*store.WrappedKey, error) {
		next, err := k.addTo(ctx, row, to, at)
		if err != nil {
			return nil, err
		}
		next.Parent, next.Wrapped, next.Next = next.Next.Seal, next.Next.Wrapped, nil
		return next, nil
	})
	if err != nil {
		return err
	}
	k.useSeal(to)
	return nil
}

func (k *Keyring) useSeal(s seal.Seal) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.seal = s
}

// changeRoots replaces the wraps of all root keys in one transaction, which is refused when any of them changed since it was read.
func (k *Keyring) changeRoots(ctx context.Context, with With, change func(row *store.WrappedKey, at time.Time) (*store.WrappedKey, error)) error {
	if k.locked.Load() {
		return errLocked
	}
	rows, err := k.rootRows(ctx)
	if err != nil {
		return err
	}
	at := k.clock.Now().UTC().Truncate(time.Microsecond)
	next := make([]*store.WrappedKey, len(rows))
	for i, row := range rows {
		if next[i], err = change(row, at); err != nil {
			return err
		}
	}
	return k.commit(ctx, with, func(tx store.Tx, _ store.Op) error {
		there, err := tx.WrappedKeys(ctx, store.RootKey, installation)
		if err != nil {
			return err
		}
		if !sameWraps(there, rows) {
			return fault.New(fault.Conflict, "the root keys changed while they were wrapped: try again")
		}
		for i := range next {
			row := *there[i]
			row.Parent, row.Wrapped, row.Next = next[i].Parent, next[i].Wrapped, next[i].Next
			if err := tx.PutWrappedKey(ctx, &row); err != nil {
				return err
			}
		}
		return nil
	})
}

// bindWrap is the additional data of a root key as a seal wraps it.
func bindWrap(row *store.WrappedKey, seal string) []byte {
	under := *row
	under.Parent = seal
	return bindKeyRow(&under)
}

// unwrapRoot opens a root key with whichever of its wraps is the seal's. The caller zeroes what it gets.
func unwrapRoot(ctx context.Context, s seal.Seal, row *store.WrappedKey) (raw []byte, err error) {
	if row.Parent == s.Name() {
		raw, err = s.Unwrap(ctx, row.Wrapped, bindWrap(row, row.Parent))
		if err == nil || !fault.Is(err, fault.Invalid) {
			return raw, err
		}
	}
	if row.Next != nil && row.Next.Seal == s.Name() {
		if raw, err := unwrapNext(ctx, s, row); err == nil || !fault.Is(err, fault.Invalid) {
			return raw, err
		}
	}
	if err != nil {
		return nil, err
	}
	wraps := row.Parent
	if row.Next != nil {
		wraps += " and " + row.Next.Seal
	}
	return nil, fault.New(fault.Invalid, "the root key %s is wrapped by the seal %q, but %q is configured: configure the former, or migrate", row.ID, wraps, s.Name())
}

func unwrapNext(ctx context.Context, s seal.Seal, row *store.WrappedKey) ([]byte, error) {
	if row.Next.Seal != s.Name() {
		return nil, fault.New(fault.Invalid, "the installation moves to the seal %q, and not to %q: use the former", row.Next.Seal, s.Name())
	}
	return s.Unwrap(ctx, row.Next.Wrapped, bindWrap(row, row.Next.Seal))
}

// gaveBack checks that the new seal opens the new wrap, and finds the key in it.
func gaveBack(ctx context.Context, s seal.Seal, row *store.WrappedKey, raw []byte) error {
	check, err := unwrapNext(ctx, s, row)
	if err != nil {
		return err
	}
	defer clear(check)
	if subtle.ConstantTimeCompare(raw, check) != 1 {
		return fault.New(fault.Internal, "the seal %q gave back another key than it was given: nothing was changed; check it", s.Name())
	}
	return nil
}

func sameWraps(a, b []*store.WrappedKey) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].ID != b[i].ID || !bytes.Equal(a[i].Wrapped, b[i].Wrapped) || !sameNext(a[i].Next, b[i].Next) {
			return false
		}
	}
	return true
}

func sameNext(a, b *store.SealWrap) bool {
	if a == nil || b == nil {
		return a == b
	}
	return bytes.Equal(a.Wrapped, b.Wrapped) && a.Proved.Equal(b.Proved)
}

// Expect tells a seal that people open with shares which root key they have to open, and so how many shares it takes. A store without a root key is a
// fault.Conflict: shares are made when an installation is.
func Expect(ctx context.Context, s store.Store, g seal.Gatherer) error {
	var rows []*store.WrappedKey
	if err := s.View(ctx, func(tx store.Tx) (err error) {
		rows, err = tx.WrappedKeys(ctx, store.RootKey, installation)
		return err
	}); err != nil {
		return err
	}
	for i := len(rows) - 1; i >= 0; i-- {
		if row := rows[i]; row.Parent == g.Name() {
			return g.Expect(row.Wrapped, bindWrap(row, g.Name()))
		}
	}
	return expectNext(g, rows)
}

// ExpectNext is Expect for the seal to which the installation moves.
func (k *Keyring) ExpectNext(ctx context.Context, g seal.Gatherer) error {
	rows, err := k.rootRows(ctx)
	if err != nil {
		return err
	}
	return expectNext(g, rows)
}

func expectNext(g seal.Gatherer, rows []*store.WrappedKey) error {
	for i := len(rows) - 1; i >= 0; i-- {
		if row := rows[i]; row.Next != nil && row.Next.Seal == g.Name() {
			return g.Expect(row.Next.Wrapped, bindWrap(row, g.Name()))
		}
	}
	if len(rows) == 0 {
		return fault.New(fault.Conflict, "the store has no root key yet, so there is nothing that shares open: run keywright init")
	}
	return fault.New(fault.Invalid, "no root key is wrapped for shares: configure the seal that wraps it, %q", rows[len(rows)-1].Parent)
}
