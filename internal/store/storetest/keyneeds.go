package storetest

import (
	"strings"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

var keyNeedReaders = strings.Fields("KeyNeeds EndedKeyNeeds StrayTokenKeys")

var keyNeedMutations = []mutation{
	{method: "PutKeyNeed", want: changes(), apply: func(e *env, f *fixture, tx store.Tx) error {
		return tx.PutKeyNeed(e.ctx, newKeyNeed(f, store.NeededByBackups, noon.Add(time.Hour)))
	}},
	{method: "DropKeyNeeds", want: changes(), apply: func(e *env, f *fixture, tx store.Tx) error {
		return tx.DropKeyNeeds(e.ctx, f.keyNeed.By, f.keyNeed.Use)
	}},
	{method: "DropEndedKeyNeed", want: changes(), apply: func(e *env, f *fixture, tx store.Tx) error {
		for _, use := range []store.KeyUse{store.NeededByBackups, store.NeededByHold} {
			if err := tx.PutKeyNeed(e.ctx, newKeyNeed(f, use, noon)); err != nil {
				return err
			}
		}
		return tx.DropEndedKeyNeed(e.ctx, newKeyNeed(f, store.NeededByHold, noon), noon.Add(time.Hour))
	}},
	{method: "AddTokenKey", want: changes(), apply: func(e *env, f *fixture, tx store.Tx) error {
		return tx.AddTokenKey(e.ctx, &store.TokenKey{ID: hex32(92), Token: "hsm", Made: noon})
	}},
	{method: "KeepTokenKey", want: changes(), apply: func(e *env, f *fixture, tx store.Tx) error {
		return tx.KeepTokenKey(e.ctx, f.tokenKey.ID, "gone")
	}},
	{method: "DropTokenKey", want: changes(), apply: func(e *env, f *fixture, tx store.Tx) error { return tx.DropTokenKey(e.ctx, f.tokenKey.ID) }},
}

var keyNeedCases = []testCase{
	{name: "KeyNeeds/RoundTrip", run: keyNeedsRoundTrip, reopens: true},
	{name: "KeyNeeds/Ends", run: keyNeedEnds},
	{name: "KeyNeeds/Drop", run: keyNeedsDrop},
	{name: "KeyNeeds/Ended", run: keyNeedsEnded},
	{name: "TokenKeys/Strays", run: strayTokenKeys},
	{name: "TokenKeys/NotFound", run: tokenKeysNotFound},
}

func newKeyNeed(f *fixture, use store.KeyUse, until time.Time) *store.KeyNeed {
	return &store.KeyNeed{Key: "customer-key", In: "customer-vault", By: f.vault.ID, ByName: f.vault.Name, Use: use, Until: until}
}

// keyNeedsIn is what states hold: what the cases may have written.
func (f *fixture) keyNeedsIn(e *env, tx store.Tx) (needs []*store.KeyNeed, keys []*store.TokenKey, err error) {
	if needs, err = tx.KeyNeeds(e.ctx, f.keyNeed.In, ""); err != nil {
		return nil, nil, err
	}
	keys, err = tx.StrayTokenKeys(e.ctx, noon.Add(1000*time.Hour), 0)
	return needs, keys, err
}

func keyNeedsRoundTrip(e *env) {
	f := newFixture()
	f.seed(e)
	other := newKeyNeed(f, store.NeededByBackups, noon.Add(time.Hour))
	other.Key, other.Note = "another-key", `{"why":"a case in court"}`
	e.update(func(tx store.Tx) error { return tx.PutKeyNeed(e.ctx, other) })
	look := func() {
		e.Helper()
		same(e, "of the key", read(e, func(tx store.Tx) ([]*store.KeyNeed, error) { return tx.KeyNeeds(e.ctx, f.keyNeed.In, f.keyNeed.Key) }), []*store.KeyNeed{f.keyNeed})
		same(e, "of the vault", read(e, func(tx store.Tx) ([]*store.KeyNeed, error) { return tx.KeyNeeds(e.ctx, f.keyNeed.In, "") }), []*store.KeyNeed{other, f.keyNeed})
		same(e, "of another vault", read(e, func(tx store.Tx) ([]*store.KeyNeed, error) { return tx.KeyNeeds(e.ctx, f.vault.ID, f.keyNeed.Key) }), []*store.KeyNeed{})
	}
	look()
	e.reopen()
	look()
}

func keyNeedEnds(e *env) {
	f := newFixture()
	f.seed(e)
	end := func() time.Time {
		e.Helper()
		for _, n := range read(e, func(tx store.Tx) ([]*store.KeyNeed, error) { return tx.KeyNeeds(e.ctx, f.keyNeed.In, f.keyNeed.Key) }) {
			if n.Use == store.NeededByBackups {
				return n.Until
			}
		}
		e.Fatal("there is no need")
		return time.Time{}
	}
	for _, step := range []struct{ put, want time.Time }{
		{noon.Add(2 * time.Hour), noon.Add(2 * time.Hour)}, {noon.Add(time.Hour), noon.Add(2 * time.Hour)}, {noon.Add(3 * time.Hour), noon.Add(3 * time.Hour)},
		{time.Time{}, time.Time{}}, {noon.Add(4 * time.Hour), time.Time{}},
	} {
		e.update(func(tx store.Tx) error { return tx.PutKeyNeed(e.ctx, newKeyNeed(f, store.NeededByBackups, step.put)) })
		same(e, "the end", end(), step.want)
	}
}

func keyNeedsDrop(e *env) {
	f := newFixture()
	f.seed(e)
	backups := newKeyNeed(f, store.NeededByBackups, noon)
	others := newKeyNeed(f, store.NeededByVault, time.Time{})
	others.By, others.ByName = "another-vault", "another"
	e.update(func(tx store.Tx) error {
		if err := tx.PutKeyNeed(e.ctx, backups); err != nil {
			return err
		}
		return tx.PutKeyNeed(e.ctx, others)
	})
	for range 2 {
		e.update(func(tx store.Tx) error { return tx.DropKeyNeeds(e.ctx, f.keyNeed.By, store.NeededByVault) })
	}
	same(e, "what is left", read(e, func(tx store.Tx) ([]*store.KeyNeed, error) { return tx.KeyNeeds(e.ctx, f.keyNeed.In, "") }), []*store.KeyNeed{backups, others})
}

// keyNeedsEnded: what has no end never ended, and what was prolonged since it was looked at stays.
func keyNeedsEnded(e *env) {
	f := newFixture()
	f.seed(e)
	need := func(key vault.ObjectID, until time.Time) *store.KeyNeed {
		n := newKeyNeed(f, store.NeededByBackups, until)
		n.Key = key
		return n
	}
	ended, later, endless := need("a", noon), need("b", noon.Add(time.Hour)), need("c", time.Time{})
	e.update(func(tx store.Tx) error {
		for _, n := range []*store.KeyNeed{endless, later, ended} {
			if err := tx.PutKeyNeed(e.ctx, n); err != nil {
				return err
			}
		}
		return nil
	})
	list := func(before time.Time, limit int) []*store.KeyNeed {
		e.Helper()
		return read(e, func(tx store.Tx) ([]*store.KeyNeed, error) { return tx.EndedKeyNeeds(e.ctx, before, limit) })
	}
	same(e, "at the end", list(noon, 0), []*store.KeyNeed{})
	same(e, "just after it", list(noon.Add(time.Microsecond), 0), []*store.KeyNeed{ended})
	same(e, "in the end", list(noon.Add(1000*time.Hour), 0), []*store.KeyNeed{ended, later})
	same(e, "limited", list(noon.Add(1000*time.Hour), 1), []*store.KeyNeed{ended})
	// Somebody prolongs one, and takes the end from another, between looking and removing.
	before := noon.Add(2 * time.Hour)
	e.update(func(tx store.Tx) error {
		for _, n := range []*store.KeyNeed{need("a", noon.Add(3*time.Hour)), need("b", time.Time{})} {
			if err := tx.PutKeyNeed(e.ctx, n); err != nil {
				return err
			}
		}
		return nil
	})
	drop := func(n *store.KeyNeed, before time.Time) {
		e.update(func(tx store.Tx) error { return tx.DropEndedKeyNeed(e.ctx, n, before) })
	}
	for _, n := range []*store.KeyNeed{ended, later, endless, f.keyNeed, need("none", noon)} {
		drop(n, before)
	}
	left := func() []*store.KeyNeed {
		e.Helper()
		return read(e, func(tx store.Tx) ([]*store.KeyNeed, error) { return tx.KeyNeeds(e.ctx, f.keyNeed.In, "") })
	}
	same(e, "nothing that is needed is removed", left(), []*store.KeyNeed{need("a", noon.Add(3*time.Hour)), need("b", time.Time{}), endless, f.keyNeed})
	drop(ended, noon.Add(4*time.Hour))
	same(e, "what ended is removed", left(), []*store.KeyNeed{need("b", time.Time{}), endless, f.keyNeed})
}

// strayTokenKeys: a key is astray when its object is gone, and when it never got one.
func strayTokenKeys(e *env) {
	f := newFixture()
	f.seed(e)
	unkept := &store.TokenKey{ID: hex32(93), Token: "hsm", Made: noon}
	e.update(func(tx store.Tx) error {
		if err := tx.DropTokenKey(e.ctx, f.tokenKey.ID); err != nil {
			return err
		}
		if err := tx.AddTokenKey(e.ctx, f.tokenKey); err != nil {
			return err
		}
		if err := tx.AddTokenKey(e.ctx, unkept); err != nil {
			return err
		}
		return tx.KeepTokenKey(e.ctx, f.tokenKey.ID, f.object.ID)
	})
	strays := func(before time.Time, limit int) []*store.TokenKey {
		return read(e, func(tx store.Tx) ([]*store.TokenKey, error) { return tx.StrayTokenKeys(e.ctx, before, limit) })
	}
	same(e, "while one is being made", strays(noon, 0), []*store.TokenKey{})
	same(e, "later", strays(noon.Add(time.Microsecond), 0), []*store.TokenKey{unkept})
	e.update(func(tx store.Tx) error {
		o, err := tx.Object(e.ctx, f.object.Vault, f.object.Kind, f.object.Name)
		if err != nil {
			return err
		}
		return tx.DeleteObject(e.ctx, o, noon)
	})
	gone := *f.tokenKey
	gone.Object = f.object.ID
	same(e, "of an object that was purged", strays(noon, 0), []*store.TokenKey{&gone})
	same(e, "limited", strays(noon.Add(time.Hour), 1), []*store.TokenKey{&gone})
}

func tokenKeysNotFound(e *env) {
	f := newFixture()
	f.seed(e)
	is(e, "KeepTokenKey", e.try(func(tx store.Tx) error { return tx.KeepTokenKey(e.ctx, "x", vault.ObjectID("o")) }), fault.NotFound)
	is(e, "DropTokenKey", e.try(func(tx store.Tx) error { return tx.DropTokenKey(e.ctx, "x") }), fault.NotFound)
	is(e, "AddTokenKey", e.try(func(tx store.Tx) error { return tx.AddTokenKey(e.ctx, f.tokenKey) }), fault.Conflict)
}
