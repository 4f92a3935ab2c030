package storetest

import (
	"time"

	"github.com/keywright/keywright/internal/store"
)

var journalCases = []testCase{
	{name: "Journal/CarriesEverything", run: journalCarries, reopens: true},
	{name: "Journal/NothingWrittenNothingEntered", run: journalNothing},
	{name: "Journal/ManyChanges", run: journalMany},
	{name: "Journal/ListsAfterAPosition", run: journalLists},
	{name: "Journal/CursorsOnlyAdvance", run: cursors},
	{name: "Journal/Prunes", run: prunes},
	{name: "Journal/PositionsAreNeverReused", run: positions, reopens: true},
	{name: "Journal/HeadOutlivesItsEntry", run: head, reopens: true},
	{name: "Journal/AuditTwiceIsAProgrammingError", run: auditTwice},
}

// enter makes n entries and returns their operations.
func enter(e *env, n int) []store.Op {
	e.Helper()
	ops := make([]store.Op, n)
	for i := range ops {
		ops[i] = e.op()
		if err := e.s.Update(e.ctx, ops[i], func(tx store.Tx) error { tx.Audit([]byte{byte(i)}); return nil }); err != nil {
			e.Fatal(err)
		}
	}
	return ops
}

func commits(e *env, after store.Position, limit int) []*store.Commit {
	e.Helper()
	return read(e, func(tx store.Tx) ([]*store.Commit, error) { return tx.Commits(e.ctx, after, limit) })
}

func journalCarries(e *env) {
	zone := time.FixedZone("east", 3600)
	op := e.op()
	event := store.Event{ID: "0123456789abcdef0123456789abcdef", Type: "SecretNewVersionCreated", Tenant: "t", Vault: "v", Subject: "Db",
		At: noon.In(zone).Add(time.Nanosecond), Data: []byte(`{"a":"b"}`)}
	audit := []byte{0, 1, 255}
	err := e.s.Update(e.ctx, op, func(tx store.Tx) error {
		tx.Audit(audit)
		tx.Emit(event)
		tx.Emit(store.Event{ID: "second"})
		return tx.PutSetting(e.ctx, "other", []byte("x"))
	})
	if err != nil {
		e.Fatal(err)
	}
	audit[0], event.Data[0] = 99, 99
	want := []*store.Commit{{Position: 1, Op: op, Audit: []byte{0, 1, 255},
		Changes: []store.Change{{Kind: store.SettingChanged, Key: "other"}},
		Events: []store.Event{{ID: event.ID, Type: event.Type, Tenant: "t", Vault: "v", Subject: "Db", At: noon, Data: []byte(`{"a":"b"}`)},
			{ID: "second"}}}}
	same(e, "the journal", commits(e, 0, 0), want)
	same(e, "its audit records", read(e, func(tx store.Tx) ([]*store.Commit, error) { return tx.Audits(e.ctx, 0, 0) }),
		[]*store.Commit{{Position: 1, Op: op, Audit: []byte{0, 1, 255}}})
	e.reopen()
	same(e, "the journal after reopening", commits(e, 0, 0), want)
}

func journalNothing(e *env) {
	e.update(func(tx store.Tx) error { return nil })
	e.update(func(tx store.Tx) error { return tx.SetCursor(e.ctx, readerName, 3) })
	e.update(func(tx store.Tx) error { _, err := tx.ExpireSignIns(e.ctx, noon, 0); return err })
	if got := commits(e, 0, 0); len(got) != 0 {
		e.Errorf("the journal has %d entries, want none", len(got))
	}
}

func journalMany(e *env) {
	const n = 500
	e.update(func(tx store.Tx) error {
		for range 2 {
			for i := range n {
				if err := tx.PutSetting(e.ctx, string(rune('a'+i)), nil); err != nil {
					return err
				}
			}
		}
		return nil
	})
	seen := make(map[string]bool)
	for _, c := range commits(e, 0, 0)[0].Changes {
		seen[c.Key] = true
	}
	if len(seen) != n {
		e.Errorf("the entry names %d records, want %d", len(seen), n)
	}
}

func journalLists(e *env) {
	ops := enter(e, 5)
	got := commits(e, 0, 2)
	if len(got) != 2 || got[0].Op != ops[0] || got[1].Op != ops[1] {
		e.Fatalf("the first two entries are wrong: %v", got)
	}
	if l := read(e, func(tx store.Tx) ([]*store.Commit, error) { return tx.Audits(e.ctx, got[0].Position, 2) }); len(l) != 2 || l[0].Op != ops[1] || l[1].Op != ops[2] {
		e.Errorf("the audit records of the second and the third entry are wrong: %v", l)
	}
	rest := commits(e, got[1].Position, 0)
	if len(rest) != 3 || rest[0].Op != ops[2] || rest[2].Op != ops[4] {
		e.Errorf("the entries after position %d are wrong: %v", got[1].Position, rest)
	}
	for i, c := range append(got, rest...) {
		if i > 0 && c.Position <= got[0].Position {
			e.Errorf("entry %d is at position %d", i, c.Position)
		}
	}
}

func cursors(e *env) {
	at := func(name string) store.Position {
		return read(e, func(tx store.Tx) (store.Position, error) { return tx.Cursor(e.ctx, name) })
	}
	if got := at("audit"); got != 0 {
		e.Errorf("a new cursor is at %d", got)
	}
	for _, c := range []struct{ set, want store.Position }{{5, 5}, {3, 5}, {9, 9}} {
		e.update(func(tx store.Tx) error { return tx.SetCursor(e.ctx, "audit", c.set) })
		if got := at("audit"); got != c.want {
			e.Errorf("after SetCursor(%d) the cursor is at %d, want %d", c.set, got, c.want)
		}
	}
	if got := at("events"); got != 0 {
		e.Errorf("another reader's cursor moved to %d", got)
	}
}

func prune(e *env, p store.Position, olderThan time.Time, limit int) int {
	e.Helper()
	var n int
	e.update(func(tx store.Tx) (err error) {
		n, err = tx.PruneJournal(e.ctx, p, olderThan, limit)
		return err
	})
	return n
}

func prunes(e *env) {
	ops := enter(e, 6)
	all := commits(e, 0, 0)
	if n := prune(e, all[5].Position, ops[2].At, 0); n != 2 {
		e.Errorf("pruned %d entries older than the third, want 2", n)
	}
	if n := prune(e, all[3].Position, noon.Add(time.Hour), 1); n != 1 {
		e.Errorf("pruned %d entries with a limit of 1", n)
	}
	if n := prune(e, all[3].Position, noon.Add(time.Hour), 0); n != 1 {
		e.Errorf("pruned %d entries up to the fourth, want 1", n)
	}
	same(e, "the rest", commits(e, 0, 0), all[4:])
	if done, err := e.s.Committed(e.ctx, ops[0].ID); done || err != nil {
		e.Errorf("Committed of a pruned operation = %v, %v; want false", done, err)
	}
	if done, err := e.s.Committed(e.ctx, ops[5].ID); !done || err != nil {
		e.Errorf("Committed of a kept operation = %v, %v; want true", done, err)
	}
}

func positions(e *env) {
	enter(e, 3)
	last := commits(e, 2, 0)[0].Position
	if n := prune(e, last+10, noon.Add(time.Hour), 0); n != 3 {
		e.Fatalf("pruned %d entries, want all 3", n)
	}
	for range 2 {
		e.reopen()
		enter(e, 1)
		got := commits(e, 0, 0)
		next := got[len(got)-1].Position
		if next <= last {
			e.Fatalf("a new entry is at %d, but %d was given out before", next, last)
		}
		last = next
		prune(e, last, noon.Add(time.Hour), 0)
	}
}

func auditTwice(e *env) {
	defer func() {
		if recover() == nil {
			e.Error("the second Audit did not panic")
		}
	}()
	e.try(func(tx store.Tx) error {
		tx.Audit(nil)
		tx.Audit(nil)
		return nil
	})
}

func head(e *env) {
	at := func() store.Position {
		return read(e, func(tx store.Tx) (store.Position, error) { return tx.Head(e.ctx) })
	}
	if p := at(); p != 0 {
		e.Errorf("an empty journal ends at %d", p)
	}
	enter(e, 3)
	if p := at(); p != 3 {
		e.Errorf("a journal of three entries ends at %d", p)
	}
	if n := prune(e, 3, noon.Add(24*time.Hour), 0); n != 3 {
		e.Errorf("pruned %d entries, want 3", n)
	}
	if p := at(); p != 3 || len(commits(e, 0, 0)) != 0 {
		e.Errorf("pruned, the journal ends at %d", p)
	}
	e.reopen()
	if p := at(); p != 3 {
		e.Errorf("pruned and reopened, the journal ends at %d", p)
	}
}
