package storetest

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
)

var auditLogReaders = strings.Fields("AuditLog AuditLogs AuditParts AuditCheckpoints Adoptions")

var auditLogMutations = []mutation{
	{method: "PutAuditLog", silent: true, apply: func(e *env, f *fixture, tx store.Tx) error {
		f.auditLog.Shipped, f.auditLog.Closed = 9, noon.Add(time.Hour)
		return tx.PutAuditLog(e.ctx, f.auditLog)
	}},
	{method: "AddAuditPart", silent: true, apply: func(e *env, f *fixture, tx store.Tx) error { return tx.AddAuditPart(e.ctx, newAuditPart(1)) }},
	{method: "DeleteAuditParts", silent: true, apply: func(e *env, f *fixture, tx store.Tx) error {
		_, err := tx.DeleteAuditParts(e.ctx, f.auditLog.Origin, f.auditPart.Next, 0)
		return err
	}},
	{method: "AddAuditCheckpoint", silent: true, apply: func(e *env, f *fixture, tx store.Tx) error {
		return tx.AddAuditCheckpoint(e.ctx, newAuditCheckpoint(8))
	}},
	{method: "PutAdoption", silent: true, apply: func(e *env, f *fixture, tx store.Tx) error { return tx.PutAdoption(e.ctx, newAdoption(2)) }},
	{method: "DeleteAdoptions", silent: true, apply: func(e *env, f *fixture, tx store.Tx) error {
		_, err := tx.DeleteAdoptions(e.ctx, noon.Add(time.Hour), 0)
		return err
	}},
}

var auditLogCases = []testCase{
	{name: "AuditLogs/RoundTrip", run: auditLogsRoundTrip, reopens: true},
	{name: "AuditLogs/Parts", run: auditParts},
	{name: "AuditLogs/Taken", run: auditTaken},
	{name: "AuditLogs/Adoptions", run: adoptions},
}

func newAuditLog() *store.AuditLog {
	return &store.AuditLog{Origin: "keywright/b", Node: "b", Key: "key", Begun: noon, Before: "keywright/a", Why: "it was restored", Shipped: 4, Level: noon.Add(time.Second),
		Checkpoint: []byte("signed\x00"), Size: 6, Pruned: 1, Frontier: []byte{0, 1}, Closed: noon.Add(time.Minute), Whole: true}
}

// newAuditPart returns the n-th part, of four records in four seconds.
func newAuditPart(n int) *store.AuditPart {
	at := noon.Add(time.Duration(4*n) * time.Second)
	return &store.AuditPart{Origin: "keywright/b", Base: int64(4 * n), Next: int64(4*n + 4), From: at, To: at.Add(3 * time.Second), Data: []byte{0, byte(n), 255}}
}

func newAuditCheckpoint(size int64) *store.AuditCheckpoint {
	return &store.AuditCheckpoint{Origin: "keywright/b", Size: size, Signed: []byte(fmt.Sprint("signed ", size))}
}

func newAdoption(n int) *store.Adoption {
	return &store.Adoption{Op: store.OpID(hex32(100 + n)), At: noon.Add(time.Duration(n) * time.Second), Node: "a", Origin: "keywright/b"}
}

// auditLogsState is what states hold of audit logs.
type auditLogsState struct {
	Logs        []*store.AuditLog
	Parts       []*store.AuditPart
	Checkpoints []*store.AuditCheckpoint
	Adoptions   []*store.Adoption
}

func (f *fixture) auditLogsIn(e *env, tx store.Tx) (s auditLogsState, err error) {
	var errs [4]error
	s.Logs, errs[0] = tx.AuditLogs(e.ctx)
	s.Parts, errs[1] = tx.AuditParts(e.ctx, store.AuditPartQuery{Origin: f.auditLog.Origin})
	s.Checkpoints, errs[2] = tx.AuditCheckpoints(e.ctx, f.auditLog.Origin)
	s.Adoptions, errs[3] = tx.Adoptions(e.ctx, noon.Add(-time.Hour), noon.Add(time.Hour))
	return s, errors.Join(errs[:]...)
}

func auditLogsRoundTrip(e *env) {
	f := newFixture()
	f.seed(e)
	bare := &store.AuditLog{Origin: "keywright/a", Node: "a", Begun: noon}
	e.update(func(tx store.Tx) error { return tx.PutAuditLog(e.ctx, bare) })
	e.reopen()
	same(e, "the logs", read(e, func(tx store.Tx) ([]*store.AuditLog, error) { return tx.AuditLogs(e.ctx) }), []*store.AuditLog{bare, f.auditLog})
	same(e, "the log", read(e, func(tx store.Tx) (*store.AuditLog, error) { return tx.AuditLog(e.ctx, f.auditLog.Origin) }), f.auditLog)
	missing(e, map[string]func(store.Tx) error{"AuditLog": func(tx store.Tx) error { _, err := tx.AuditLog(e.ctx, "keywright/c"); return err }}, nil)
	replaced := &store.AuditLog{Origin: f.auditLog.Origin, Node: "b"}
	e.update(func(tx store.Tx) error { return tx.PutAuditLog(e.ctx, replaced) })
	same(e, "the replaced log", read(e, func(tx store.Tx) (*store.AuditLog, error) { return tx.AuditLog(e.ctx, f.auditLog.Origin) }), replaced)
}

func auditParts(e *env) {
	other := newAuditPart(1)
	other.Origin = "keywright/a"
	var all []*store.AuditPart
	e.update(func(tx store.Tx) error {
		for _, n := range []int{2, 0, 3, 1} {
			if err := tx.AddAuditPart(e.ctx, newAuditPart(n)); err != nil {
				return err
			}
		}
		return tx.AddAuditPart(e.ctx, other)
	})
	for n := range 4 {
		all = append(all, newAuditPart(n))
	}
	of := func(indexes ...int) []*store.AuditPart {
		list := []*store.AuditPart{}
		for _, i := range indexes {
			list = append(list, all[i])
		}
		return list
	}
	for name, c := range map[string]struct {
		q    store.AuditPartQuery
		want []*store.AuditPart
	}{
		"all":              {store.AuditPartQuery{}, all},
		"newest first":     {store.AuditPartQuery{NewestFirst: true}, of(3, 2, 1, 0)},
		"limited":          {store.AuditPartQuery{Limit: 2}, of(0, 1)},
		"behind a record":  {store.AuditPartQuery{Behind: 5}, of(1, 2, 3)},
		"behind a part":    {store.AuditPartQuery{Behind: 4}, of(1, 2, 3)},
		"below a record":   {store.AuditPartQuery{Below: 9}, of(0, 1, 2)},
		"below a part":     {store.AuditPartQuery{Below: 8, NewestFirst: true, Limit: 1}, of(1)},
		"from an instant":  {store.AuditPartQuery{From: noon.Add(11 * time.Second)}, of(2, 3)},
		"up to an instant": {store.AuditPartQuery{To: noon.Add(4 * time.Second)}, of(0, 1)},
		"in between":       {store.AuditPartQuery{From: noon.Add(3*time.Second + 1), To: noon.Add(4*time.Second - time.Microsecond), Behind: 4}, of()},
	} {
		c.q.Origin = "keywright/b"
		same(e, name, read(e, func(tx store.Tx) ([]*store.AuditPart, error) { return tx.AuditParts(e.ctx, c.q) }), c.want)
	}
	for _, step := range []struct {
		below         int64
		limit, remove int
	}{{7, 0, 1}, {16, 1, 1}, {16, 0, 2}, {16, 0, 0}} {
		n := 0
		e.update(func(tx store.Tx) (err error) {
			n, err = tx.DeleteAuditParts(e.ctx, "keywright/b", step.below, step.limit)
			return err
		})
		if n != step.remove {
			e.Errorf("below %d, at most %d: %d parts were removed, want %d", step.below, step.limit, n, step.remove)
		}
	}
	same(e, "another log's", read(e, func(tx store.Tx) ([]*store.AuditPart, error) {
		return tx.AuditParts(e.ctx, store.AuditPartQuery{Origin: other.Origin})
	}), []*store.AuditPart{other})
}

func auditTaken(e *env) {
	f := newFixture()
	f.seed(e)
	is(e, "AddAuditPart", e.try(func(tx store.Tx) error {
		p := newAuditPart(0)
		p.Data = []byte("another")
		return tx.AddAuditPart(e.ctx, p)
	}), fault.Conflict)
	is(e, "AddAuditCheckpoint", e.try(func(tx store.Tx) error {
		c := newAuditCheckpoint(4)
		c.Signed = []byte("another")
		return tx.AddAuditCheckpoint(e.ctx, c)
	}), fault.Conflict)
	e.update(func(tx store.Tx) error {
		return firstOf(tx.AddAuditCheckpoint(e.ctx, newAuditCheckpoint(12)), tx.AddAuditCheckpoint(e.ctx, newAuditCheckpoint(2)))
	})
	same(e, "the checkpoints", read(e, func(tx store.Tx) ([]*store.AuditCheckpoint, error) {
		return tx.AuditCheckpoints(e.ctx, f.auditLog.Origin)
	}),
		[]*store.AuditCheckpoint{newAuditCheckpoint(2), newAuditCheckpoint(4), newAuditCheckpoint(12)})
	same(e, "the parts", read(e, func(tx store.Tx) ([]*store.AuditPart, error) {
		return tx.AuditParts(e.ctx, store.AuditPartQuery{Origin: f.auditLog.Origin})
	}), []*store.AuditPart{newAuditPart(0)})
}

func adoptions(e *env) {
	e.update(func(tx store.Tx) error {
		var errs []error
		for _, n := range []int{3, 1, 2} {
			errs = append(errs, tx.PutAdoption(e.ctx, newAdoption(n)))
		}
		return errors.Join(errs...)
	})
	again := newAdoption(2)
	again.Node, again.Origin = "", "keywright/c"
	e.update(func(tx store.Tx) error { return tx.PutAdoption(e.ctx, again) })
	list := func(from, to int) []*store.Adoption {
		return read(e, func(tx store.Tx) ([]*store.Adoption, error) {
			return tx.Adoptions(e.ctx, noon.Add(time.Duration(from)*time.Second), noon.Add(time.Duration(to)*time.Second))
		})
	}
	same(e, "all", list(0, 9), []*store.Adoption{newAdoption(1), again, newAdoption(3)})
	same(e, "some", list(2, 2), []*store.Adoption{again})
	for _, step := range []struct{ before, limit, want int }{{3, 1, 1}, {3, 0, 1}, {3, 0, 0}} {
		n := 0
		e.update(func(tx store.Tx) (err error) {
			n, err = tx.DeleteAdoptions(e.ctx, noon.Add(time.Duration(step.before)*time.Second), step.limit)
			return err
		})
		if n != step.want {
			e.Errorf("%d were removed, want %d", n, step.want)
		}
	}
	same(e, "what is left", list(0, 9), []*store.Adoption{newAdoption(3)})
}
