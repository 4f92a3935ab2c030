package sqlite_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/store/sqlite"
	"github.com/keywright/keywright/internal/vault"
)

// differing selects the objects that do not carry their current version as it is.
const differing = `SELECT count(*) FROM objects o JOIN versions v ON v.object = o.id AND v.id = o.current WHERE
	(current_id, current_enabled, current_not_before, current_expires, current_created, current_updated, current_content_type, current_tags, current_state,
		current_previous, current_key, current_wrapped_key, current_ciphertext, current_doc)
	IS NOT (v.id, v.enabled, v.not_before, v.expires, v.created, v.updated, v.content_type, v.tags, v.state, v.previous, v.key, v.wrapped_key, v.ciphertext, v.doc)`

// allCarried looks at a store that is closed.
func allCarried(t *testing.T, dir string) {
	t.Helper()
	if n := count(t, dir, differing); n != 0 {
		t.Errorf("%d objects do not carry their current versions", n)
	}
}

func count(t *testing.T, dir, query string) (n int) {
	t.Helper()
	db := database(t, dir)
	defer db.Close()
	if err := db.QueryRow(query).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// writer makes changes of one object.
type objectWriter struct {
	*testing.T
	store store.Store
	o     *vault.Object
	at    time.Time
	n     int
}

func (w *objectWriter) update(fn func(tx store.Tx) error) {
	w.Helper()
	if err := w.store.Update(w.Context(), store.NewOp(w.at), fn); err != nil {
		w.Fatal(err)
	}
}

func (w *objectWriter) version() *vault.Version {
	w.n++
	return &vault.Version{Object: w.o.ID, ID: vault.VersionID(fmt.Sprintf("%032d", w.n)), Attributes: vault.Attributes{Enabled: true, Created: w.at},
		Tags: map[string]string{"n": fmt.Sprint(w.n)}, Value: vault.Envelope{Key: "k", WrappedKey: []byte{1, byte(w.n)}, Ciphertext: []byte{2, byte(w.n)}}, Previous: w.o.Current}
}

// put stores the object, of which the store then has the next revision.
func (w *objectWriter) put(tx store.Tx, o *vault.Object) error {
	err := tx.PutObject(w.Context(), o)
	c := *o
	c.Revision++
	w.o = &c
	return err
}

// is compares what a View finds with the table of versions.
func (w *objectWriter) is(what string) {
	w.Helper()
	err := w.store.View(w.Context(), func(tx store.Tx) error {
		want, err := tx.Version(w.Context(), w.o.ID, w.o.Current)
		if err != nil {
			return err
		}
		found, err := tx.ObjectVersion(w.Context(), w.o.Vault, w.o.Kind, w.o.Name, "")
		if err != nil {
			return err
		}
		listed, err := tx.CurrentVersions(w.Context(), store.ObjectQuery{Vault: w.o.Vault, Kind: w.o.Kind, Limit: 5})
		if err != nil {
			return err
		}
		for _, got := range append(listed, *found) {
			if g, w2 := fmt.Sprintf("%+v", got.Version), fmt.Sprintf("%+v", want); g != w2 {
				w.Errorf("%s: found\n%s, want\n%s", what, g, w2)
			}
		}
		return nil
	})
	if err != nil {
		w.Fatalf("%s: %v", what, err)
	}
}

// TestWhatIsCarried writes an object and its versions in every order that matters, and reads the current version.
func TestWhatIsCarried(t *testing.T) {
	dir := newPlace(t)
	s := open(t, sqlite.Config{Dir: dir})
	ctx, now := t.Context(), time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	w := &objectWriter{T: t, store: s, at: now, o: &vault.Object{ID: "o", Vault: "v", Kind: vault.Secret, Name: "db-password", Created: now}}
	first, second, third := w.version(), w.version(), w.version()
	w.update(func(tx store.Tx) error { // the object first
		if err := w.put(tx, w.o.Promote(first.ID)); err != nil {
			return err
		}
		return tx.AddVersion(ctx, first)
	})
	w.is("made")
	w.update(func(tx store.Tx) error { // the version first
		if err := tx.AddVersion(ctx, second); err != nil {
			return err
		}
		return w.put(tx, w.o.Promote(second.ID))
	})
	w.is("set")
	w.update(func(tx store.Tx) error { // changed between being added and being promoted
		if err := tx.AddVersion(ctx, third); err != nil {
			return err
		}
		third.Attributes.Enabled = false
		if err := tx.PutVersion(ctx, third); err != nil {
			return err
		}
		return w.put(tx, w.o.Promote(third.ID))
	})
	w.is("changed before it was promoted")
	w.update(func(tx store.Tx) error { return w.put(tx, w.o.Promote(first.ID)) })
	w.is("rolled back")
	w.update(func(tx store.Tx) error {
		first.Attributes.Enabled, first.Value.Ciphertext = false, nil
		return tx.PutVersion(ctx, first)
	})
	w.is("shredded")
	w.update(func(tx store.Tx) error { // another than the current one
		second.ContentType = "text/plain"
		return tx.PutVersion(ctx, second)
	})
	w.is("another one changed")
	w.update(func(tx store.Tx) error { // what an update reads is what it wrote
		first.ContentType = "text/html"
		if err := tx.PutVersion(ctx, first); err != nil {
			return err
		}
		found, err := tx.ObjectVersion(ctx, w.o.Vault, w.o.Kind, w.o.Name, "")
		if err == nil && found.Version.ContentType != "text/html" {
			t.Errorf("within its update, the version has the content type %q", found.Version.ContentType)
		}
		return err
	})
	for n := range 40 { // more than a transaction remembers of what it added
		w.update(func(tx store.Tx) error {
			last := w.version()
			if err := tx.AddVersion(ctx, last); err != nil {
				return err
			}
			for range n {
				if err := tx.AddVersion(ctx, w.version()); err != nil {
					return err
				}
			}
			return w.put(tx, w.o.Promote(last.ID))
		})
		w.is(fmt.Sprint("set before ", n, " others"))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	allCarried(t, dir)
}

// TestBareObjectsAreRead takes away what objects carry, as it is after an upgrade. They are read all the same, and carry it again soon.
func TestBareObjectsAreRead(t *testing.T) {
	dir := newPlace(t)
	s := open(t, sqlite.Config{Dir: dir})
	ctx, now := t.Context(), time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	const objects = 300
	var last *objectWriter
	for n := range objects {
		w := &objectWriter{T: t, store: s, at: now, o: &vault.Object{ID: vault.ObjectID(fmt.Sprintf("o%03d", n)), Vault: "v", Kind: vault.Secret, Name: fmt.Sprint("n", n), Created: now}}
		v := w.version()
		w.update(func(tx store.Tx) error {
			if err := tx.AddVersion(ctx, v); err != nil {
				return err
			}
			return w.put(tx, w.o.Promote(v.ID))
		})
		last = w
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	db := database(t, dir)
	run(t, db, "UPDATE objects SET current_id = NULL, current_ciphertext = NULL")
	db.Close()
	s = open(t, sqlite.Config{Dir: dir})
	last.store = s
	bare := 0
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if err := s.View(ctx, func(tx store.Tx) error {
			found, err := tx.ObjectVersion(ctx, last.o.Vault, last.o.Kind, last.o.Name, "")
			if err == nil && (found.Version == nil || len(found.Version.Value.Ciphertext) != 2) {
				t.Fatalf("the version is %+v", found.Version)
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if bare = count(t, dir, "SELECT count(*) FROM objects WHERE current <> '' AND current_id IS NOT current"); bare == 0 {
			break
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if bare != 0 {
		t.Errorf("%d objects carry nothing yet", bare)
	}
	allCarried(t, dir)
}
