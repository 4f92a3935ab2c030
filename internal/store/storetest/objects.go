package storetest

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

var objectCases = []testCase{
	{name: "Objects/RoundTrip", run: objectsRoundTrip},
	{name: "Objects/NotFound", run: objectsNotFound},
	{name: "Objects/CompareAndSwap", run: func(e *env) {
		f := newFixture()
		swaps(e, f, func(tx store.Tx, revision int64) error {
			c := *f.object
			c.Revision = revision
			return tx.PutObject(e.ctx, &c)
		}, func(s *state) int64 { return s.Objects[0].Object.Revision })
	}},
	{name: "Objects/NamesIgnoreCase", run: objectNames},
	{name: "Objects/Query", run: objectsQuery},
	{name: "Objects/OverTheirRetentionInPages", run: objectsOverPaged},
	{name: "Objects/CursorsUnderConcurrentWrites", run: cursorsUnderWrites},
	{name: "Objects/CurrentVersions", run: currentVersions},
	{name: "Objects/WithOneVersion", run: objectVersion},
	{name: "Objects/RetiredAmong", run: retiredAmong},
	{name: "Objects/DeleteLeavesATombstone", run: deleteObject, reopens: true},
}

func object(e *env, v vault.ID, name string) func(store.Tx) (*vault.Object, error) {
	return func(tx store.Tx) (*vault.Object, error) { return tx.Object(e.ctx, v, vault.Secret, name) }
}

func objectsRoundTrip(e *env) {
	f := newFixture()
	f.seed(e)
	f.object.Revision = 1
	same(e, "the object", read(e, object(e, f.vault.ID, f.object.Name)), f.object)
	deleted, err := f.object.Delete(noon, time.Hour)
	if err != nil {
		e.Fatal(err)
	}
	e.update(func(tx store.Tx) error { return tx.PutObject(e.ctx, deleted) })
	deleted.Revision = 2
	same(e, "the deleted object", read(e, object(e, f.vault.ID, f.object.Name)), deleted)
	bare := &vault.Object{ID: vault.NewObjectID(noon), Vault: f.vault.ID, Kind: vault.Secret, Name: "bare"}
	e.update(func(tx store.Tx) error { return tx.PutObject(e.ctx, bare) })
	bare.Revision = 1
	same(e, "the bare object", read(e, object(e, f.vault.ID, "bare")), bare)
}

func objectsNotFound(e *env) {
	f := newFixture()
	f.seed(e)
	missing(e, map[string]func(tx store.Tx) error{
		"Object": func(tx store.Tx) error { _, err := tx.Object(e.ctx, f.vault.ID, vault.Secret, "x"); return err },
		"Object of another kind": func(tx store.Tx) error {
			_, err := tx.Object(e.ctx, f.vault.ID, vault.Key, f.object.Name)
			return err
		},
		"Object of another vault": func(tx store.Tx) error { _, err := tx.Object(e.ctx, "x", vault.Secret, f.object.Name); return err },
		"Version":                 func(tx store.Tx) error { _, err := tx.Version(e.ctx, f.object.ID, "x"); return err },
		"Version of another":      func(tx store.Tx) error { _, err := tx.Version(e.ctx, "x", f.first.ID); return err },
	}, map[string]func(tx store.Tx) error{
		"PutVersion":   func(tx store.Tx) error { return tx.PutVersion(e.ctx, newVersion(f.object, noon)) },
		"DeleteObject": func(tx store.Tx) error { return tx.DeleteObject(e.ctx, &vault.Object{ID: "x"}, noon) },
	})
}

func objectNames(e *env) {
	f := newFixture()
	f.seed(e)
	f.object.Revision = 1
	same(e, "in other letters", read(e, object(e, f.vault.ID, strings.ToUpper(f.object.Name))), f.object)
	o, _ := newObject(f.vault.ID, vault.Secret, strings.ToUpper(f.object.Name))
	is(e, "the same name again", e.try(func(tx store.Tx) error { return tx.PutObject(e.ctx, o) }), fault.Conflict)
	o.Kind = vault.Key
	e.update(func(tx store.Tx) error { return tx.PutObject(e.ctx, o) })
	other, _ := newObject("other", vault.Secret, f.object.Name)
	e.update(func(tx store.Tx) error { return tx.PutObject(e.ctx, other) })
}

// objectNamesOf lists the names that a query finds.
func objectNamesOf(e *env, q store.ObjectQuery) string {
	e.Helper()
	var names []string
	for _, o := range read(e, func(tx store.Tx) ([]*vault.Object, error) { return tx.Objects(e.ctx, q) }) {
		names = append(names, o.Name)
	}
	return strings.Join(names, " ")
}

func objectsQuery(e *env) {
	in, other := vault.NewID(noon), vault.NewID(noon)
	put := func(v vault.ID, k vault.Kind, name string, purge time.Duration) {
		o, version := newObject(v, k, name)
		if purge != 0 {
			o.Deleted = &vault.Deletion{At: noon, PurgeAt: noon.Add(purge)}
		}
		e.update(func(tx store.Tx) error { return firstOf(tx.PutObject(e.ctx, o), tx.AddVersion(e.ctx, version)) })
	}
	for _, name := range []string{"c", "B", "a", "a-b", "d"} {
		put(in, vault.Secret, name, 0)
	}
	put(in, vault.Key, "k", 0)
	put(other, vault.Secret, "o", 0)
	put(in, vault.Secret, "y", time.Hour)
	put(in, vault.Secret, "x", 2*time.Hour)
	put(in, vault.Certificate, "w", 3*time.Hour)
	put(other, vault.Key, "v", 30*time.Minute)
	for _, c := range []struct {
		name, want string
		q          store.ObjectQuery
	}{
		{"live", "a a-b B c d", store.ObjectQuery{Vault: in, Kind: vault.Secret}},
		{"another kind", "k", store.ObjectQuery{Vault: in, Kind: vault.Key}},
		{"another vault", "o", store.ObjectQuery{Vault: other, Kind: vault.Secret}},
		{"limit", "a a-b", store.ObjectQuery{Vault: in, Kind: vault.Secret, Limit: 2}},
		{"after", "B c d", store.ObjectQuery{Vault: in, Kind: vault.Secret, After: "a-b"}},
		{"after a name that is gone", "B c d", store.ObjectQuery{Vault: in, Kind: vault.Secret, After: "aa"}},
		{"deleted", "x y", store.ObjectQuery{Vault: in, Kind: vault.Secret, Deleted: true}},
		{"deleted after", "y", store.ObjectQuery{Vault: in, Kind: vault.Secret, Deleted: true, After: "x"}},
		{"over", "v y x", store.ObjectQuery{PurgeBefore: noon.Add(2 * time.Hour)}},
		{"over in one vault", "y x", store.ObjectQuery{Vault: in, PurgeBefore: noon.Add(2 * time.Hour)}},
		{"over with limit", "v", store.ObjectQuery{PurgeBefore: noon.Add(2 * time.Hour), Limit: 1}},
		{"over of any kind", "v y x w", store.ObjectQuery{PurgeBefore: noon.Add(9 * time.Hour), Kind: vault.Key, After: "z"}},
		{"nothing over", "", store.ObjectQuery{PurgeBefore: noon}},
	} {
		if got := objectNamesOf(e, c.q); got != c.want {
			e.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
		var names []string
		list := read(e, func(tx store.Tx) ([]store.ObjectVersion, error) { return tx.CurrentVersions(e.ctx, c.q) })
		for _, ov := range list {
			names = append(names, ov.Object.Name)
			if ov.Version == nil || ov.Version.Object != ov.Object.ID || ov.Version.ID != ov.Object.Current {
				e.Errorf("%s: %s comes with the version %v", c.name, ov.Object.Name, ov.Version)
			}
		}
		if got := strings.Join(names, " "); got != c.want {
			e.Errorf("%s, with versions: %q, want %q", c.name, got, c.want)
		}
	}
}

// objectsOverPaged: a listing of what is over its retention goes on behind any object, also among those of one instant and when
// that object is gone.
func objectsOverPaged(e *env) {
	in := vault.NewID(noon)
	var all []*vault.Object
	for i := range 7 {
		o, version := newObject(in, vault.Secret, fmt.Sprintf("o-%d", i))
		o.Deleted = &vault.Deletion{At: noon, PurgeAt: noon.Add(time.Duration(i/3) * time.Hour)}
		e.update(func(tx store.Tx) error { return firstOf(tx.PutObject(e.ctx, o), tx.AddVersion(e.ctx, version)) })
	}
	query := func(q store.ObjectQuery) []*vault.Object {
		q.PurgeBefore = noon.Add(9 * time.Hour)
		return read(e, func(tx store.Tx) ([]*vault.Object, error) { return tx.Objects(e.ctx, q) })
	}
	all = query(store.ObjectQuery{})
	for _, v := range []vault.ID{"", in} {
		var paged []*vault.Object
		for q := (store.ObjectQuery{Vault: v, Limit: 2}); ; q.Behind = paged[len(paged)-1] {
			page := query(q)
			paged = append(paged, page...)
			if len(page) < q.Limit {
				break
			}
		}
		if len(all) != 7 || !slices.EqualFunc(all, paged, func(a, b *vault.Object) bool { return a.ID == b.ID }) {
			e.Errorf("in pages: %v, want %v", paged, all)
		}
	}
	e.update(func(tx store.Tx) error { return tx.DeleteObject(e.ctx, all[1], noon) })
	if rest := query(store.ObjectQuery{Behind: all[1]}); len(rest) != 5 || rest[0].ID != all[2].ID {
		e.Errorf("behind an object that is gone: %v", rest)
	}
}

// cursorsUnderWrites: what was there throughout is listed exactly once, whatever others add and remove meanwhile.
func cursorsUnderWrites(e *env) {
	in := vault.NewID(noon)
	const steady = 60
	var want []string
	e.update(func(tx store.Tx) error {
		for i := range steady {
			o, v := newObject(in, vault.Secret, fmt.Sprintf("steady-%03d", i))
			want = append(want, o.Name)
			if err := firstOf(tx.PutObject(e.ctx, o), tx.AddVersion(e.ctx, v)); err != nil {
				return err
			}
		}
		return nil
	})
	stop := make(chan struct{})
	var group sync.WaitGroup
	ops := make([]store.Op, 400)
	for i := range ops {
		ops[i] = e.op()
	}
	group.Go(func() {
		for i := 0; i+1 < len(ops); i += 2 {
			o, v := newObject(in, vault.Secret, fmt.Sprintf("steady-%03d-passing", i%steady))
			add := func(tx store.Tx) error { return firstOf(tx.PutObject(e.ctx, o), tx.AddVersion(e.ctx, v)) }
			remove := func(tx store.Tx) error { return tx.DeleteObject(e.ctx, o, noon) }
			if err := firstOf(e.s.Update(e.ctx, ops[i], add), e.s.Update(e.ctx, ops[i+1], remove)); err != nil {
				e.Errorf("Update: %v", err)
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	for range 5 {
		var got []string
		var all []string
		after := ""
		for {
			page := read(e, func(tx store.Tx) ([]*vault.Object, error) {
				return tx.Objects(e.ctx, store.ObjectQuery{Vault: in, Kind: vault.Secret, After: after, Limit: 7})
			})
			if len(page) == 0 {
				break
			}
			for _, o := range page {
				all = append(all, vault.NameKey(o.Name))
				if !strings.HasSuffix(o.Name, "passing") {
					got = append(got, o.Name)
				}
			}
			after = all[len(all)-1]
		}
		same(e, "what was there throughout", got, want)
		if !slices.IsSorted(all) {
			e.Error("the listing is not in order")
		}
	}
	close(stop)
	group.Wait()
}

func currentVersions(e *env) {
	f := newFixture()
	f.seed(e)
	none := &vault.Object{ID: vault.NewObjectID(noon), Vault: f.vault.ID, Kind: vault.Secret, Name: "empty"}
	e.update(func(tx store.Tx) error { return tx.PutObject(e.ctx, none) })
	f.object.Revision, none.Revision = 1, 1
	got := read(e, func(tx store.Tx) ([]store.ObjectVersion, error) {
		return tx.CurrentVersions(e.ctx, store.ObjectQuery{Vault: f.vault.ID, Kind: vault.Secret})
	})
	same(e, "the current versions", got, []store.ObjectVersion{{Object: f.object, Version: f.second}, {Object: none}})
}

func objectVersion(e *env) {
	f := newFixture()
	f.seed(e)
	none := &vault.Object{ID: vault.NewObjectID(noon), Vault: f.vault.ID, Kind: vault.Secret, Name: "empty"}
	e.update(func(tx store.Tx) error { return tx.PutObject(e.ctx, none) })
	f.object.Revision, none.Revision = 1, 1
	find := func(name string, id vault.VersionID) func(store.Tx) (*store.ObjectVersion, error) {
		return func(tx store.Tx) (*store.ObjectVersion, error) {
			return tx.ObjectVersion(e.ctx, f.vault.ID, vault.Secret, name, id)
		}
	}
	same(e, "with its current version", read(e, find(strings.ToUpper(f.object.Name), "")), &store.ObjectVersion{Object: f.object, Version: f.second})
	same(e, "with another version", read(e, find(f.object.Name, f.first.ID)), &store.ObjectVersion{Object: f.object, Version: f.first})
	same(e, "with a version that it does not have", read(e, find(f.object.Name, vault.NewVersionID(noon))), &store.ObjectVersion{Object: f.object})
	same(e, "without a version", read(e, find("empty", "")), &store.ObjectVersion{Object: none})
	same(e, "with the version of another", read(e, find("empty", f.first.ID)), &store.ObjectVersion{Object: none})
	is(e, "without an object", readErr(e, find("nobody", "")), fault.NotFound)
}

func retiredAmong(e *env) {
	f := newFixture()
	f.seed(e)
	retired := func(ids ...vault.VersionID) []vault.VersionID {
		return read(e, func(tx store.Tx) ([]vault.VersionID, error) { return tx.RetiredAmong(e.ctx, ids) })
	}
	if len(retired()) > 0 || len(retired(f.first.ID, f.second.ID, vault.NewVersionID(noon), "")) > 0 {
		e.Error("a version is retired that nobody revoked")
	}
	first, second := *f.first, *f.second
	first.State = vault.Retired
	e.update(func(tx store.Tx) error { return tx.PutVersion(e.ctx, &first) })
	same(e, "with the version that was revoked", retired(f.second.ID, f.first.ID, f.first.ID), []vault.VersionID{first.ID})
	same(e, "without it", retired(f.second.ID), []vault.VersionID(nil))
	// Two objects may have versions of one id, and any number may be asked for.
	other, version := newObject(f.vault.ID, vault.Secret, "other")
	version.ID, version.State, second.State = first.ID, vault.Retired, vault.Retired
	e.update(func(tx store.Tx) error {
		return firstOf(tx.PutObject(e.ctx, other), tx.AddVersion(e.ctx, version), tx.PutVersion(e.ctx, &second))
	})
	want := []vault.VersionID{first.ID, second.ID}
	slices.Sort(want)
	for _, n := range []int{0, 1, 2, 61, 62, 63, 126, 127, 500} {
		ids := []vault.VersionID{second.ID}
		for range n {
			ids = append(ids, vault.NewVersionID(noon))
		}
		same(e, fmt.Sprintf("among %d", n+2), retired(append(ids, first.ID)...), want)
	}
}

func deleteObject(e *env) {
	f := newFixture()
	f.seed(e)
	kept, version := newObject(f.vault.ID, vault.Secret, "kept")
	e.update(func(tx store.Tx) error { return firstOf(tx.PutObject(e.ctx, kept), tx.AddVersion(e.ctx, version)) })
	at := noon.Add(time.Nanosecond)
	e.update(func(tx store.Tx) error { return tx.DeleteObject(e.ctx, f.object, at) })
	e.reopen()
	is(e, "the object", readErr(e, object(e, f.vault.ID, f.object.Name)), fault.NotFound)
	s := f.state(e)
	same(e, "its versions", s.Versions, []*vault.Version(nil))
	want := store.Tombstone{Object: f.object.ID, Vault: f.vault.ID, At: noon}
	same(e, "the tombstones", s.Tombstones, []store.Tombstone{want})
	if len(s.Objects) != 1 || s.Objects[0].Version == nil {
		e.Error("another object, or its version, went with it")
	}
	e.update(func(tx store.Tx) error { return tx.DeleteObject(e.ctx, kept, at) })
	list := func(after vault.ObjectID, limit int) (ids []vault.ObjectID) {
		for _, t := range read(e, func(tx store.Tx) ([]store.Tombstone, error) { return tx.Tombstones(e.ctx, after, limit) }) {
			ids = append(ids, t.Object)
		}
		return ids
	}
	ids := []vault.ObjectID{f.object.ID, kept.ID}
	slices.Sort(ids)
	same(e, "all tombstones", list("", 0), ids)
	same(e, "the first tombstone", list("", 1), ids[:1])
	same(e, "the tombstone after it", list(ids[0], 5), ids[1:])
	// No restore may bring it back, but its name is free.
	f.object.Revision = 0
	is(e, "bringing it back", e.try(func(tx store.Tx) error { return tx.PutObject(e.ctx, f.object) }), fault.Gone)
	again, _ := newObject(f.vault.ID, vault.Secret, f.object.Name)
	e.update(func(tx store.Tx) error { return tx.PutObject(e.ctx, again) })
}
