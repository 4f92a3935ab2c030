package storetest

import (
	"flag"
	"fmt"
	"maps"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

var historyCases = []testCase{{name: "History/AgreesWithAModel", run: history}}

// model is what a store must hold after a history, in the plainest form.
type model struct {
	objects  map[string]*vault.Object // by name key
	versions map[vault.ObjectID][]vault.VersionID
	entries  []store.OpID
	buried   map[vault.ObjectID]bool
	began    store.Position
	// wrote says that the update under way wrote something.
	wrote bool
}

func (m *model) clone() *model {
	c := &model{maps.Clone(m.objects), maps.Clone(m.versions), slices.Clone(m.entries), maps.Clone(m.buried), m.began, false}
	for id, v := range c.versions {
		c.versions[id] = slices.Clone(v)
	}
	return c
}

// step is one statement of a random update, done to the store and to the model. The kinds of the two errors must agree.
type step func(tx store.Tx, m *model) (got, want error)

var errStale = fault.New(fault.Conflict, "stale")

// histories is how many are run unless -rapid.checks says otherwise: each commit waits for the disk.
const histories = "15"

// history runs random updates, whose commits fail in random ways, and compares with the model after each.
func history(e *env) {
	if f := flag.Lookup("rapid.checks"); f != nil && f.Value.String() == f.DefValue {
		if err := f.Value.Set(histories); err != nil {
			e.Fatal(err)
		}
		defer f.Value.Set(f.DefValue)
	}
	rapid.Check(e.T, func(t *rapid.T) {
		// One store serves all histories; each has a vault of its own and looks at the journal from where it began.
		in := vault.NewID(noon)
		m := &model{objects: map[string]*vault.Object{}, versions: map[vault.ObjectID][]vault.VersionID{}, buried: map[vault.ObjectID]bool{}}
		if all := commits(e, 0, 0); len(all) > 0 {
			m.began = all[len(all)-1].Position
		}
		t.Repeat(map[string]func(*rapid.T){
			"update": func(t *rapid.T) {
				op := e.op()
				steps := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) step { return drawStep(t, e, in, op.At) }), 1, 4).Draw(t, "steps")
				how := Fault(rapid.IntRange(0, 5).Draw(t, "fault") / 3 * rapid.IntRange(1, 2).Draw(t, "kind"))
				next, refused := m.clone(), false
				var wrong []string // of the run of the closure that counted
				e.faults.Set(how)
				err := e.s.Update(e.ctx, op, func(tx store.Tx) error {
					next, refused, wrong = m.clone(), false, nil
					for _, s := range steps {
						got, want := s(tx, next)
						if fault.Is(got, fault.Unavailable) {
							return got // the engine may run the closure again
						}
						if fault.Is(got, fault.Internal) || (got == nil) != (want == nil) || got != nil && fault.Of(got) != fault.Of(want) {
							wrong = append(wrong, fmt.Sprintf("a statement answers %v, want %v", got, want))
						}
						if got != nil {
							refused = true
							return got
						}
					}
					return nil
				})
				e.faults.Set(None)
				for _, w := range wrong {
					t.Error(w)
				}
				if !refused && next.wrote {
					next.entries = append(next.entries, op.ID)
				}
				switch {
				case err == nil && !refused:
					m = next
				case fault.Is(err, fault.Unavailable):
					done, err := e.s.Committed(e.ctx, op.ID)
					if err != nil || done != (how == Unanswered && !refused && next.wrote) {
						t.Errorf("Committed = %v, %v after the fault %d", done, err, how)
					}
					if done {
						m = next
					}
				case !refused:
					t.Errorf("Update = %v", err)
				}
			},
			"reopen": func(t *rapid.T) {
				if rapid.IntRange(0, 9).Draw(t, "really") == 0 {
					e.reopen()
				}
			},
			"": func(t *rapid.T) { m.compare(t, e, in) },
		})
	})
}

func drawStep(t *rapid.T, e *env, in vault.ID, at time.Time) step {
	name := fmt.Sprintf("%s%d", rapid.SampledFrom([]string{"a", "A"}).Draw(t, "letter"), rapid.IntRange(0, 5).Draw(t, "number"))
	key := vault.NameKey(name)
	id, version := vault.NewObjectID(at), vault.NewVersionID(at)
	off := rapid.SampledFrom([]int64{0, 0, 0, -1, 1}).Draw(t, "revision")
	switch rapid.SampledFrom([]string{"put", "put", "version", "version", "delete"}).Draw(t, "statement") {
	case "put":
		return func(tx store.Tx, m *model) (got, want error) {
			o := &vault.Object{ID: id, Vault: in, Kind: vault.Secret, Name: name, Created: at}
			if old := m.objects[key]; old != nil {
				o.ID, o.Revision = old.ID, max(0, old.Revision+off)
				if o.Revision != old.Revision {
					return tx.PutObject(e.ctx, o), errStale
				}
			}
			m.wrote = true
			c := *o
			c.Revision++
			m.objects[key] = &c
			return tx.PutObject(e.ctx, o), nil
		}
	case "version":
		return func(tx store.Tx, m *model) (got, want error) {
			o := m.objects[key]
			if o == nil {
				return nil, nil
			}
			m.wrote = true
			m.versions[o.ID] = append(m.versions[o.ID], version)
			return tx.AddVersion(e.ctx, &vault.Version{ID: version, Object: o.ID}), nil
		}
	}
	return func(tx store.Tx, m *model) (got, want error) {
		o := m.objects[key]
		if o == nil {
			return tx.DeleteObject(e.ctx, &vault.Object{ID: id, Kind: vault.Secret, Name: name}, at), notThere
		}
		m.wrote = true
		delete(m.objects, key)
		delete(m.versions, o.ID)
		m.buried[o.ID] = true
		return tx.DeleteObject(e.ctx, o, at), nil
	}
}

var notThere = fault.New(fault.NotFound, "not there")

// compare reports where the store and the model differ.
func (m *model) compare(t *rapid.T, e *env, in vault.ID) {
	err := e.s.View(e.ctx, func(tx store.Tx) error {
		list, err := tx.Objects(e.ctx, store.ObjectQuery{Vault: in, Kind: vault.Secret})
		if err != nil {
			return err
		}
		if len(list) != len(m.objects) {
			t.Errorf("the store has %d objects, the model %d", len(list), len(m.objects))
		}
		for _, o := range list {
			want := m.objects[vault.NameKey(o.Name)]
			if want == nil || want.ID != o.ID || want.Revision != o.Revision || want.Name != o.Name {
				t.Errorf("the store has %+v, the model %+v", o, want)
			}
			versions, err := tx.Versions(e.ctx, o.ID, "", 0)
			if err != nil {
				return err
			}
			var ids []vault.VersionID
			for _, v := range versions {
				ids = append(ids, v.ID)
			}
			known := slices.Sorted(slices.Values(m.versions[o.ID]))
			if !slices.Equal(ids, known) {
				t.Errorf("the store has the versions %v of %s, the model %v", ids, o.Name, known)
			}
		}
		buried, err := tx.Tombstones(e.ctx, "", 0)
		if err != nil {
			return err
		}
		buried = slices.DeleteFunc(buried, func(b store.Tombstone) bool { return b.Vault != in })
		if len(buried) != len(m.buried) {
			t.Errorf("the store has %d tombstones, the model %d", len(buried), len(m.buried))
		}
		entries, err := tx.Commits(e.ctx, m.began, 0)
		if err != nil {
			return err
		}
		if len(entries) != len(m.entries) {
			t.Fatalf("the journal has %d entries, the model %d", len(entries), len(m.entries))
		}
		for i, c := range entries {
			if c.Op.ID != m.entries[i] {
				t.Errorf("entry %d of the journal is %s, in the model %s", i, c.Op.ID, m.entries[i])
			}
		}
		return nil
	})
	if err != nil {
		t.Errorf("View: %v", err)
	}
}
