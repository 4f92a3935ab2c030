package storetest

import (
	"strconv"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

var rotationCases = []testCase{
	{name: "Rotations/RoundTrip", run: rotationsRoundTrip},
	{name: "Rotations/NotFound", run: rotationsNotFound},
	{name: "Rotations/CompareAndSwap", run: rotationsSwap},
	{name: "Rotations/OneOpenRunOfAKind", run: oneOpenRun},
	{name: "Rotations/DuePolicies", run: duePolicies},
	{name: "Rotations/Queue", run: runQueue},
	{name: "Rotations/Pages", run: runPages},
	{name: "Rotations/DueTasks", run: dueTasks},
	{name: "Rotations/Changes", run: rotationChanges},
	{name: "Rotations/PolicyGoesWithItsObject", run: policyGoesWithObject},
}

var rotationMutations = []mutation{
	{method: "PutPolicy", want: policyChange, apply: func(e *env, f *fixture, tx store.Tx) error {
		f.policy.Revision, f.policy.DueAt = 1, noon
		return tx.PutPolicy(e.ctx, f.policy)
	}},
	{method: "DeletePolicy", want: policyChange, apply: func(e *env, f *fixture, tx store.Tx) error {
		return tx.DeletePolicy(e.ctx, f.policy.Object)
	}},
	{method: "PutRun", want: func(f *fixture) []store.Change {
		return []store.Change{{Kind: store.RunChanged, Tenant: f.run.Tenant, Vault: f.run.Vault, NameKey: f.run.NameKey, Key: string(f.run.ID)}}
	}, apply: func(e *env, f *fixture, tx store.Tx) error {
		f.run.Revision, f.run.State = 1, "testing"
		return tx.PutRun(e.ctx, f.run)
	}},
	{method: "PutTask", want: func(f *fixture) []store.Change {
		return []store.Change{{Kind: store.TaskChanged, Tenant: f.task.Tenant, Vault: f.task.Vault, Key: f.task.ID}}
	}, apply: func(e *env, f *fixture, tx store.Tx) error {
		f.task.Revision, f.task.Open = 1, false
		return tx.PutTask(e.ctx, f.task)
	}},
	{method: "AcquireLease", silent: true, apply: func(e *env, f *fixture, tx store.Tx) error {
		_, err := tx.AcquireLease(e.ctx, "free", "b", long, 0)
		return err
	}},
	{method: "RenewLease", silent: true, apply: func(e *env, f *fixture, tx store.Tx) error {
		_, err := tx.RenewLease(e.ctx, f.lease, long)
		return err
	}},
	{method: "ReleaseLease", silent: true, apply: func(e *env, f *fixture, tx store.Tx) error { return tx.ReleaseLease(e.ctx, f.lease) }},
}

func policyChange(f *fixture) []store.Change {
	return []store.Change{{Kind: store.PolicyChanged, Tenant: f.policy.Tenant, Vault: f.policy.Vault, Object: f.policy.Kind,
		NameKey: f.policy.NameKey, Key: string(f.policy.Object)}}
}

func newPolicy(n int) *store.Policy {
	return &store.Policy{Object: vault.ObjectID(hex32(n)), Tenant: vault.TenantID(guid(1)), Vault: vault.ID(hex32(30)), Kind: vault.Secret,
		NameKey: "db-" + strconv.Itoa(n), DueAt: noon.Add(time.Duration(n) * time.Minute), Doc: []byte{0, byte(n), 255}}
}

func newRun(n, object int, kind store.RunKind) *store.Run {
	return &store.Run{ID: store.RunID(hex32(n)), Kind: kind, Tenant: vault.TenantID(guid(1)), Vault: vault.ID(hex32(30)), Object: vault.ObjectID(hex32(object)),
		NameKey: "db", Open: true, State: "setting", Rank: 2, NextAt: noon.Add(time.Duration(n) * time.Second), Doc: []byte{0, byte(n), 255}}
}

func newTask(n int) *store.Task {
	return &store.Task{ID: hex32(n), Tenant: vault.TenantID(guid(1)), Vault: vault.ID(hex32(30)), Object: vault.ObjectID(hex32(31)),
		Run: store.RunID(hex32(50)), Open: true, NextAt: noon.Add(time.Duration(n) * time.Hour), Doc: []byte("doc")}
}

func rotationsRoundTrip(e *env) {
	p, r, k := newPolicy(41), newRun(42, 41, store.RotationRun), newTask(43)
	e.update(func(tx store.Tx) error {
		return firstOf(tx.PutPolicy(e.ctx, p), tx.PutRun(e.ctx, r), tx.PutTask(e.ctx, k))
	})
	p.Revision, r.Revision, k.Revision = 1, 1, 1
	check := func() {
		e.Helper()
		same(e, "the policy", read(e, func(tx store.Tx) (*store.Policy, error) { return tx.Policy(e.ctx, p.Object) }), p)
		same(e, "the run", read(e, func(tx store.Tx) (*store.Run, error) { return tx.Run(e.ctx, r.ID) }), r)
		same(e, "the task", read(e, func(tx store.Tx) (*store.Task, error) { return tx.Task(e.ctx, k.ID) }), k)
	}
	check()
	same(e, "the open run", read(e, func(tx store.Tx) (*store.Run, error) { return tx.OpenRun(e.ctx, r.Object, store.RotationRun) }), r)
	// Every member changes, and what was set becomes unset.
	e.update(func(tx store.Tx) error {
		p.DueAt, p.Doc, p.NameKey = time.Time{}, []byte("other"), "other"
		r.Open, r.State, r.Rank, r.NextAt, r.Doc = false, "done", 0, time.Time{}, []byte("other")
		k.Open, k.NextAt, k.Doc = false, time.Time{}, []byte("other")
		return firstOf(tx.PutPolicy(e.ctx, p), tx.PutRun(e.ctx, r), tx.PutTask(e.ctx, k))
	})
	p.Revision, r.Revision, k.Revision = 2, 2, 2
	check()
	e.update(func(tx store.Tx) error { return tx.DeletePolicy(e.ctx, p.Object) })
	is(e, "a deleted policy", readErr(e, func(tx store.Tx) (*store.Policy, error) { return tx.Policy(e.ctx, p.Object) }), fault.NotFound)
}

func rotationsNotFound(e *env) {
	missing(e, map[string]func(tx store.Tx) error{
		"Policy":  func(tx store.Tx) error { _, err := tx.Policy(e.ctx, "x"); return err },
		"Run":     func(tx store.Tx) error { _, err := tx.Run(e.ctx, "x"); return err },
		"OpenRun": func(tx store.Tx) error { _, err := tx.OpenRun(e.ctx, "x", store.RotationRun); return err },
		"Task":    func(tx store.Tx) error { _, err := tx.Task(e.ctx, "x"); return err },
	}, map[string]func(tx store.Tx) error{
		"DeletePolicy": func(tx store.Tx) error { return tx.DeletePolicy(e.ctx, "x") },
	})
}

func rotationsSwap(e *env) {
	puts := map[string]func(tx store.Tx, revision int64) error{
		"policy": func(tx store.Tx, revision int64) error {
			p := newPolicy(41)
			p.Revision = revision
			return tx.PutPolicy(e.ctx, p)
		},
		"run": func(tx store.Tx, revision int64) error {
			r := newRun(42, 41, store.RotationRun)
			r.Revision = revision
			return tx.PutRun(e.ctx, r)
		},
		"task": func(tx store.Tx, revision int64) error {
			k := newTask(43)
			k.Revision = revision
			return tx.PutTask(e.ctx, k)
		},
	}
	for name, put := range puts {
		e.update(func(tx store.Tx) error { return put(tx, 0) })
		for _, stale := range []int64{0, 2} {
			err := e.try(func(tx store.Tx) error { return put(tx, stale) })
			if x := fault.As(err); x == nil || x.Kind != fault.Conflict || x.Reason != store.StaleRevision {
				e.Errorf("a stale Put of a %s: %v, want a conflict for StaleRevision", name, err)
			}
		}
		e.update(func(tx store.Tx) error { return firstOf(put(tx, 1), put(tx, 2)) })
	}
}

func oneOpenRun(e *env) {
	first, second := newRun(50, 41, store.RotationRun), newRun(51, 41, store.RotationRun)
	e.update(func(tx store.Tx) error { return tx.PutRun(e.ctx, first) })
	err := e.try(func(tx store.Tx) error { return tx.PutRun(e.ctx, second) })
	if x := fault.As(err); x == nil || x.Kind != fault.Conflict || x.Reason != store.RunOpen {
		e.Errorf("a second open run: %v, want a conflict for RunOpen", err)
	}
	// Another kind, another object and a run that has ended are no hindrance.
	e.update(func(tx store.Tx) error {
		first.Revision, first.Open = 1, false
		return firstOf(tx.PutRun(e.ctx, newRun(52, 41, store.RevocationRun)), tx.PutRun(e.ctx, newRun(53, 42, store.RotationRun)),
			tx.PutRun(e.ctx, first), tx.PutRun(e.ctx, second))
	})
	// An ended run that opens again is one too many.
	err = e.try(func(tx store.Tx) error {
		first.Revision, first.Open = 2, true
		return tx.PutRun(e.ctx, first)
	})
	is(e, "opening an ended run beside another", err, fault.Conflict)
}

func duePolicies(e *env) {
	e.update(func(tx store.Tx) error {
		unscheduled := newPolicy(40)
		unscheduled.DueAt = time.Time{}
		return firstOf(tx.PutPolicy(e.ctx, newPolicy(43)), tx.PutPolicy(e.ctx, newPolicy(41)), tx.PutPolicy(e.ctx, newPolicy(42)), tx.PutPolicy(e.ctx, unscheduled))
	})
	list := func(q store.PolicyQuery) (ids []vault.ObjectID) {
		e.Helper()
		for _, p := range read(e, func(tx store.Tx) ([]*store.Policy, error) { return tx.Policies(e.ctx, q) }) {
			ids = append(ids, p.Object)
		}
		return ids
	}
	id := func(n int) vault.ObjectID { return vault.ObjectID(hex32(n)) }
	same(e, "all", list(store.PolicyQuery{Vault: vault.ID(hex32(30))}), []vault.ObjectID{id(40), id(41), id(42), id(43)})
	same(e, "a page", list(store.PolicyQuery{Tenant: vault.TenantID(guid(1)), After: id(41), Limit: 1}), []vault.ObjectID{id(42)})
	same(e, "due", list(store.PolicyQuery{DueBefore: noon.Add(42 * time.Minute)}), []vault.ObjectID{id(41), id(42)})
	same(e, "another vault", list(store.PolicyQuery{Vault: "other"}), []vault.ObjectID(nil))
	same(e, "another tenant", list(store.PolicyQuery{Tenant: "other"}), []vault.ObjectID(nil))
}

func runIDs(runs []*store.Run) (ids []store.RunID) {
	for _, r := range runs {
		ids = append(ids, r.ID)
	}
	return ids
}

func runQueue(e *env) {
	early, late, urgent, waiting, ended := newRun(51, 1, store.RotationRun), newRun(52, 2, store.RotationRun), newRun(53, 3, store.RotationRun),
		newRun(54, 4, store.RotationRun), newRun(55, 5, store.RotationRun)
	urgent.Rank, waiting.NextAt, ended.Open = 9, time.Time{}, false
	e.update(func(tx store.Tx) error {
		return firstOf(tx.PutRun(e.ctx, late), tx.PutRun(e.ctx, early), tx.PutRun(e.ctx, waiting), tx.PutRun(e.ctx, urgent), tx.PutRun(e.ctx, ended))
	})
	queue := func(until time.Time, n int) []store.RunID {
		e.Helper()
		return runIDs(read(e, func(tx store.Tx) ([]*store.Run, error) {
			return tx.Runs(e.ctx, store.RunQuery{DueBefore: until, Limit: n})
		}))
	}
	same(e, "the queue", queue(noon.Add(time.Hour), 0), []store.RunID{urgent.ID, early.ID, late.ID})
	same(e, "its head", queue(noon.Add(time.Hour), 1), []store.RunID{urgent.ID})
	same(e, "what is due", queue(noon.Add(52*time.Second), 0), []store.RunID{early.ID, late.ID})
}

func runPages(e *env) {
	e.update(func(tx store.Tx) error {
		done := newRun(52, 41, store.RevocationRun)
		done.Open, done.State = false, "done"
		return firstOf(tx.PutRun(e.ctx, newRun(51, 41, store.RotationRun)), tx.PutRun(e.ctx, done), tx.PutRun(e.ctx, newRun(53, 42, store.RotationRun)))
	})
	list := func(q store.RunQuery) []store.RunID {
		e.Helper()
		return runIDs(read(e, func(tx store.Tx) ([]*store.Run, error) { return tx.Runs(e.ctx, q) }))
	}
	id := func(n int) store.RunID { return store.RunID(hex32(n)) }
	same(e, "all, newest first", list(store.RunQuery{Tenant: vault.TenantID(guid(1))}), []store.RunID{id(53), id(52), id(51)})
	same(e, "a page", list(store.RunQuery{Limit: 1, After: id(53)}), []store.RunID{id(52)})
	same(e, "of an object", list(store.RunQuery{Object: vault.ObjectID(hex32(41))}), []store.RunID{id(52), id(51)})
	same(e, "of a kind", list(store.RunQuery{Kind: store.RevocationRun}), []store.RunID{id(52)})
	same(e, "open", list(store.RunQuery{Open: true}), []store.RunID{id(53), id(51)})
	same(e, "in a state", list(store.RunQuery{State: "done"}), []store.RunID{id(52)})
	same(e, "of another vault", list(store.RunQuery{Vault: "other"}), []store.RunID(nil))
}

func dueTasks(e *env) {
	closed, silent := newTask(2), newTask(4)
	closed.Open, silent.NextAt = false, time.Time{}
	e.update(func(tx store.Tx) error {
		return firstOf(tx.PutTask(e.ctx, newTask(3)), tx.PutTask(e.ctx, newTask(1)), tx.PutTask(e.ctx, closed), tx.PutTask(e.ctx, silent))
	})
	list := func(q store.TaskQuery) (ids []string) {
		e.Helper()
		for _, k := range read(e, func(tx store.Tx) ([]*store.Task, error) { return tx.Tasks(e.ctx, q) }) {
			ids = append(ids, k.ID)
		}
		return ids
	}
	same(e, "all", list(store.TaskQuery{Vault: vault.ID(hex32(30))}), []string{hex32(1), hex32(2), hex32(3), hex32(4)})
	same(e, "open", list(store.TaskQuery{Open: true, After: hex32(1)}), []string{hex32(3), hex32(4)})
	same(e, "due", list(store.TaskQuery{DueBefore: noon.Add(3 * time.Hour)}), []string{hex32(1), hex32(3)})
	same(e, "of a run", list(store.TaskQuery{Run: store.RunID(hex32(50)), Limit: 1}), []string{hex32(1)})
	same(e, "of another run", list(store.TaskQuery{Run: "other"}), []string(nil))
}

func rotationChanges(e *env) {
	p, r, k := newPolicy(41), newRun(42, 41, store.RotationRun), newTask(43)
	e.update(func(tx store.Tx) error {
		return firstOf(tx.PutPolicy(e.ctx, p), tx.PutRun(e.ctx, r), tx.PutTask(e.ctx, k))
	})
	commits := read(e, func(tx store.Tx) ([]*store.Commit, error) { return tx.Commits(e.ctx, 0, 0) })
	same(e, "the changes", commits[len(commits)-1].Changes, []store.Change{
		{Kind: store.PolicyChanged, Tenant: p.Tenant, Vault: p.Vault, Object: p.Kind, NameKey: p.NameKey, Key: string(p.Object)},
		{Kind: store.RunChanged, Tenant: r.Tenant, Vault: r.Vault, NameKey: r.NameKey, Key: string(r.ID)},
		{Kind: store.TaskChanged, Tenant: k.Tenant, Vault: k.Vault, Key: k.ID},
	})
}

func policyGoesWithObject(e *env) {
	f := newFixture()
	f.seed(e)
	p := newPolicy(44)
	p.Object = f.object.ID
	e.update(func(tx store.Tx) error { return tx.PutPolicy(e.ctx, p) })
	e.update(func(tx store.Tx) error { return tx.DeleteObject(e.ctx, f.object, noon) })
	is(e, "the policy of a purged object", readErr(e, func(tx store.Tx) (*store.Policy, error) { return tx.Policy(e.ctx, p.Object) }), fault.NotFound)
}
