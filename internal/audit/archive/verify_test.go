package archive

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/audit"
	"github.com/keywright/keywright/internal/merkle"
	"github.com/keywright/keywright/internal/store"
)

// shared is a world in which b reads and proves what a shipped: twelve records in three parts, with checkpoints at 4, 8 and 12.
type shared struct {
	*world
	a, b *node
	kept [][]byte
}

func newShared(t *testing.T) *shared {
	w := testWorld(t)
	s := &shared{world: w, a: w.join("a"), b: w.join("b")}
	for i := range 12 {
		w.clock.Advance(KeepEvery / 4)
		s.a.read(i)
		if i%4 == 3 {
			s.a.ship()
			s.kept = append(s.kept, s.a.sign())
		}
	}
	return s
}

// change replaces the parts of a's log.
func (s *shared) change(fn func(parts []*store.AuditPart) []*store.AuditPart) {
	s.Helper()
	s.must(s.store.Update(s.ctx, store.NewOp(noon), func(tx store.Tx) error {
		parts, err := tx.AuditParts(s.ctx, store.AuditPartQuery{Origin: s.a.entry.Origin})
		if err != nil {
			return err
		}
		if _, err := tx.DeleteAuditParts(s.ctx, s.a.entry.Origin, 1<<40, 0); err != nil {
			return err
		}
		for _, p := range fn(parts) {
			if err := tx.AddAuditPart(s.ctx, p); err != nil {
				return err
			}
		}
		return nil
	}))
}

// list changes what the list says of a's log.
func (s *shared) list(fn func(*store.AuditLog)) {
	s.Helper()
	log := s.a.fresh()
	fn(log)
	s.must(s.store.Update(s.ctx, store.NewOp(noon), func(tx store.Tx) error { return tx.PutAuditLog(s.ctx, log) }))
}

// rewrite makes a part of the same records, one of them changed.
func (s *shared) rewrite(p *store.AuditPart, change func(i int64, frame []byte) []byte) *store.AuditPart {
	s.Helper()
	w := &partWriter{}
	s.must(leaves(p, func(leaf audit.Leaf) error {
		leaf.Frame = change(leaf.Index, slices.Clone(leaf.Frame))
		w.add(leaf)
		return nil
	}))
	out, err := w.finish(p.Origin)
	s.must(err)
	return out
}

// TestTamperingWithTheStore changes what was shipped, or what is known of it, and expects another node to be told.
func TestTamperingWithTheStore(t *testing.T) {
	if r := newShared(t).b.verify(); len(r) != 2 || !r[0].OK() || r[0].Records != 12 || r[0].Proven != 12 || r[0].Missing == nil {
		t.Fatalf("the untouched logs: %+v", r)
	}
	for name, c := range map[string]struct {
		tamper func(*shared)
		detail string
	}{
		"a byte of a part": {func(s *shared) {
			s.change(func(p []*store.AuditPart) []*store.AuditPart { p[1].Data[9] ^= 1; return p })
		}, ""},
		"a record is changed, checksum and all": {func(s *shared) {
			s.change(func(p []*store.AuditPart) []*store.AuditPart {
				p[1] = s.rewrite(p[1], func(i int64, f []byte) []byte {
					if i == 5 {
						f[len(f)-1] ^= 1
					}
					return f
				})
				return p
			})
		}, "a record below it was changed"},
		"a part is removed": {func(s *shared) {
			s.change(func(p []*store.AuditPart) []*store.AuditPart { return []*store.AuditPart{p[0], p[2]} })
		}, "a part was removed"},
		"the last part is removed": {func(s *shared) {
			s.change(func(p []*store.AuditPart) []*store.AuditPart { return p[:2] })
		}, "their parts are gone"},
		"the first part is removed": {func(s *shared) {
			s.change(func(p []*store.AuditPart) []*store.AuditPart { return p[1:] })
		}, "a part was removed"},
		"parts and list are cut back": {func(s *shared) {
			s.change(func(p []*store.AuditPart) []*store.AuditPart { return p[:2] })
			s.list(func(l *store.AuditLog) { l.Shipped, l.Whole = 8, true })
		}, "its end was cut off"},
		"the newest checkpoint": {func(s *shared) {
			s.list(func(l *store.AuditLog) { l.Checkpoint[20] ^= 1 })
		}, "does not hold"},
		"another key": {func(s *shared) {
			_, public := key(t, s.a.entry.Origin)
			s.list(func(l *store.AuditLog) { l.Key = public })
		}, "does not hold"},
		"a beginning that never was": {func(s *shared) {
			var f merkle.Frontier
			for range 4 {
				f.Add(merkle.LeafHash([]byte("lie")))
			}
			s.change(func(p []*store.AuditPart) []*store.AuditPart { return p[1:] })
			s.list(func(l *store.AuditLog) { l.Pruned, l.Frontier = 4, f.AppendBinary(nil) })
		}, "signs root"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newShared(t)
			c.tamper(s)
			r := s.b.verify()
			if r[0].OK() || !strings.Contains(r[0].Problems[0].Detail, c.detail) {
				t.Errorf("the proof says %+v", r[0])
			}
			if !r[1].OK() {
				t.Errorf("the other log has problems as well: %v", r[1].Problems)
			}
		})
	}
}

// TestForkIsFound: the same log, continued in two ways, does not fit a checkpoint of the other one that somebody kept, signed by the right key.
func TestForkIsFound(t *testing.T) {
	s := newShared(t)
	root := merkle.LeafHash([]byte("another history"))
	signer, public := key(t, s.a.entry.Origin)
	s.list(func(l *store.AuditLog) {
		l.Key = public
		l.Checkpoint = nil
		c, err := merkle.OpenCheckpoint(s.kept[2], l.Origin, known(t, s.a.entry.Key))
		s.must(err)
		l.Checkpoint, err = c.Sign(signer)
		s.must(err)
	})
	forked, err := merkle.Checkpoint{Origin: s.a.entry.Origin, Size: 12, Root: root}.Sign(signer)
	s.must(err)
	r := s.b.verify(forked)
	if r[0].OK() || !slices.ContainsFunc(r[0].Problems, func(p audit.Problem) bool { return strings.Contains(p.Detail, "continued in two ways") }) {
		t.Errorf("the proof says %+v", r[0].Problems)
	}
}

// TestKeptCheckpoints: those of any log are told apart by their origin, and one of no log is a problem.
func TestKeptCheckpoints(t *testing.T) {
	s := newShared(t)
	s.b.read(1)
	own := s.b.sign()
	if r := s.b.verify(slices.Concat(s.kept[0]), own, s.kept[1]); !r[0].OK() || !r[1].OK() || r[0].Checkpoints != 5 {
		t.Errorf("with checkpoints of both logs: %+v", r)
	}
	signer, _ := key(t, "keywright/nobody")
	stray, err := merkle.Checkpoint{Origin: "keywright/nobody", Size: 1}.Sign(signer)
	s.must(err)
	if r := s.b.verify(stray); r[0].OK() || !strings.Contains(r[0].Problems[0].Detail, "keywright/nobody") {
		t.Errorf("with a checkpoint of no log: %+v", r[0])
	}
	wrong, err := merkle.Checkpoint{Origin: s.a.entry.Origin, Size: 4}.Sign(must(key(t, s.a.entry.Origin)))
	s.must(err)
	if r := s.b.verify(wrong); r[0].OK() {
		t.Error("a checkpoint that the log's key did not sign was believed")
	}
}

// TestPrunedPartsStayProven: what is old goes, the rest is still proved from the checkpoints, and what no checkpoint covers stays.
func TestPrunedPartsStayProven(t *testing.T) {
	s := newShared(t)
	s.a.read(12)
	s.a.ship()
	if _, err := s.b.reader.Prune(s.ctx, time.Hour); err == nil {
		t.Error("parts may go within the hour")
	}
	s.clock.Advance(LeastKept - 5*KeepEvery/4)
	if n, err := s.b.reader.Prune(s.ctx, LeastKept); err != nil || n != 1 {
		t.Fatalf("%d parts went: %v", n, err)
	}
	if r := s.b.verify(s.kept[1]); !r[0].OK() || r[0].Records != 13 || r[0].Proven != 12 {
		t.Errorf("behind what went: %+v", r[0])
	}
	if got := s.b.names(audit.Filter{}); len(got) != 9 || got[0] != "object-4" {
		t.Errorf("a query finds %q", got)
	}
	s.clock.Advance(LeastKept)
	if n, err := s.b.reader.Prune(s.ctx, LeastKept); err != nil || n != 2 {
		t.Errorf("%d more parts went, want two: no checkpoint covers the last: %v", n, err)
	}
	if r := s.b.verify(); !r[0].OK() || r[0].Records != 13 {
		t.Errorf("in the end: %+v", r[0])
	}
}

// TestSource: whoever follows a log in its node's place reads every record once, from anywhere.
func TestSource(t *testing.T) {
	s := newShared(t)
	for from := range int64(13) {
		tail, err := audit.NewTail(s.b.reader.Source(s.a.fresh()), s.sealer, from)
		s.must(err)
		next := from
		for tail.Next() < 12 {
			s.must(tail.Read(s.ctx, 5, func(r *audit.Record) error {
				if r.Index != next {
					t.Errorf("record %d came as %d", next, r.Index)
				}
				next++
				return nil
			}))
		}
		if err := tail.Wait(s.ctx); err == nil {
			t.Error("what was shipped has no end")
		}
	}
	if _, err := audit.NewTail(s.b.reader.Source(s.a.fresh()), s.sealer, 13); err == nil {
		t.Error("a reader that is ahead of the log was not told")
	}
}
