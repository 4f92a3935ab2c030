package sqlite

import (
	"context"
	"strings"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// rotationSchema is the step of the schema that makes room for policies, runs, tasks and leases.
const rotationSchema = `
CREATE TABLE rotation_policies (object TEXT PRIMARY KEY, tenant TEXT NOT NULL, vault TEXT NOT NULL, kind TEXT NOT NULL, name_key TEXT NOT NULL,
  due_at INTEGER, revision INTEGER NOT NULL, doc BLOB);
CREATE INDEX rotation_policies_vault ON rotation_policies (vault, object);
CREATE INDEX rotation_policies_due ON rotation_policies (due_at, object) WHERE due_at IS NOT NULL;

CREATE TABLE runs (id TEXT PRIMARY KEY, kind TEXT NOT NULL, tenant TEXT NOT NULL, vault TEXT NOT NULL, object TEXT NOT NULL, name_key TEXT NOT NULL,
  open INTEGER NOT NULL, state TEXT NOT NULL, rank INTEGER NOT NULL, next_at INTEGER, revision INTEGER NOT NULL, doc BLOB);
CREATE UNIQUE INDEX runs_open ON runs (object, kind) WHERE open = 1;
CREATE INDEX runs_queue ON runs (rank DESC, next_at, id) WHERE open = 1 AND next_at IS NOT NULL;
CREATE INDEX runs_object ON runs (object, id);
CREATE INDEX runs_vault ON runs (vault, id);

CREATE TABLE tasks (id TEXT PRIMARY KEY, tenant TEXT NOT NULL, vault TEXT NOT NULL, object TEXT NOT NULL, run TEXT NOT NULL, open INTEGER NOT NULL,
  next_at INTEGER, revision INTEGER NOT NULL, doc BLOB);
CREATE INDEX tasks_vault ON tasks (vault, id);
CREATE INDEX tasks_run ON tasks (run, id);
CREATE INDEX tasks_due ON tasks (next_at, id) WHERE open = 1 AND next_at IS NOT NULL;

CREATE TABLE leases (name TEXT PRIMARY KEY, owner TEXT NOT NULL, fence INTEGER NOT NULL, until INTEGER NOT NULL);
`

// where gathers the conditions of a query.
type where struct {
	conditions []string
	args       []any
}

func (w *where) and(condition string, args ...any) {
	w.conditions = append(w.conditions, condition)
	w.args = append(w.args, args...)
}

// equal adds a condition unless the value is empty, which selects all.
func (w *where) equal(column, value string) {
	if value != "" {
		w.and(column+" = ?", value)
	}
}

func (w *where) String() string {
	if len(w.conditions) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(w.conditions, " AND ")
}

const policyColumns = "SELECT object, tenant, vault, kind, name_key, due_at, revision, doc FROM rotation_policies"

func readPolicy(r row) *store.Policy {
	return &store.Policy{Object: vault.ObjectID(r.text(0)), Tenant: vault.TenantID(r.text(1)), Vault: vault.ID(r.text(2)), Kind: vault.Kind(r.text(3)),
		NameKey: r.text(4), DueAt: r.instant(5), Revision: r.integer(6), Doc: r.blob(7)}
}

// Policy implements store.Rotations.
func (t *tx) Policy(ctx context.Context, o vault.ObjectID) (p *store.Policy, err error) {
	found, err := t.one(ctx, policyColumns+" WHERE object = ?", []any{string(o)}, func(r row) { p = readPolicy(r) })
	if err == nil && !found {
		err = notFound("rotation policy", o)
	}
	return p, err
}

// Policies implements store.Rotations.
func (t *tx) Policies(ctx context.Context, q store.PolicyQuery) (list []*store.Policy, err error) {
	var w where
	w.equal("tenant", string(q.Tenant))
	w.equal("vault", string(q.Vault))
	w.equal("kind", string(q.Kind))
	w.and("object > ?", string(q.After))
	order := " ORDER BY object"
	if !q.DueBefore.IsZero() {
		w.and("due_at <= ?", q.DueBefore.UnixMicro())
		order = " ORDER BY due_at, object"
	}
	err = t.query(ctx, policyColumns+w.String()+order+" LIMIT ?", append(w.args, limit(q.Limit)), func(r row) error {
		list = append(list, readPolicy(r))
		return nil
	})
	return list, err
}

// PutPolicy implements store.Rotations.
func (t *tx) PutPolicy(ctx context.Context, p *store.Policy) error {
	ch := noting(store.Change{Kind: store.PolicyChanged, Tenant: p.Tenant, Vault: p.Vault, Object: p.Kind, NameKey: p.NameKey, Key: string(p.Object)})
	args := []any{string(p.Tenant), string(p.Vault), string(p.Kind), p.NameKey, micros(p.DueAt), p.Revision + 1, p.Doc, string(p.Object)}
	if p.Revision == 0 {
		return t.swap(ctx, ch, "rotation policy", p.Object, `INSERT INTO rotation_policies (tenant, vault, kind, name_key, due_at, revision, doc, object)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (object) DO NOTHING`, args...)
	}
	return t.swap(ctx, ch, "rotation policy", p.Object, `UPDATE rotation_policies SET tenant = ?, vault = ?, kind = ?, name_key = ?, due_at = ?,
		revision = ?, doc = ? WHERE object = ? AND revision = ?`, append(args, p.Revision)...)
}

// DeletePolicy implements store.Rotations.
func (t *tx) DeletePolicy(ctx context.Context, o vault.ObjectID) error {
	p, err := t.Policy(ctx, o)
	if err != nil {
		return err
	}
	ch := noting(store.Change{Kind: store.PolicyChanged, Tenant: p.Tenant, Vault: p.Vault, Object: p.Kind, NameKey: p.NameKey, Key: string(o)})
	return t.mustChange(ctx, ch, "rotation policy", o, "DELETE FROM rotation_policies WHERE object = ?", string(o))
}

const runColumns = "SELECT id, kind, tenant, vault, object, name_key, open, state, rank, next_at, revision, doc FROM runs"

func readRun(r row) *store.Run {
	return &store.Run{ID: store.RunID(r.text(0)), Kind: store.RunKind(r.text(1)), Tenant: vault.TenantID(r.text(2)), Vault: vault.ID(r.text(3)),
		Object: vault.ObjectID(r.text(4)), NameKey: r.text(5), Open: r.integer(6) != 0, State: r.text(7), Rank: int(r.integer(8)), NextAt: r.instant(9),
		Revision: r.integer(10), Doc: r.blob(11)}
}

func (t *tx) run(ctx context.Context, key any, query string, args ...any) (run *store.Run, err error) {
	found, err := t.one(ctx, runColumns+query, args, func(r row) { run = readRun(r) })
	if err == nil && !found {
		err = notFound("rotation run", key)
	}
	return run, err
}

// Run implements store.Rotations.
func (t *tx) Run(ctx context.Context, id store.RunID) (*store.Run, error) {
	return t.run(ctx, id, " WHERE id = ?", string(id))
}

// OpenRun implements store.Rotations.
func (t *tx) OpenRun(ctx context.Context, o vault.ObjectID, k store.RunKind) (*store.Run, error) {
	return t.run(ctx, o, " WHERE object = ? AND kind = ? AND open = 1", string(o), string(k))
}

// Runs implements store.Rotations.
func (t *tx) Runs(ctx context.Context, q store.RunQuery) (list []*store.Run, err error) {
	var w where
	w.equal("tenant", string(q.Tenant))
	w.equal("vault", string(q.Vault))
	w.equal("object", string(q.Object))
	w.equal("kind", string(q.Kind))
	w.equal("state", q.State)
	order := " ORDER BY id DESC"
	switch {
	case !q.DueBefore.IsZero():
		w.and("open = 1 AND next_at <= ?", q.DueBefore.UnixMicro())
		order = " ORDER BY rank DESC, next_at, id"
	case q.Open:
		w.and("open = 1")
	}
	if q.After != "" {
		w.and("id < ?", string(q.After))
	}
	err = t.query(ctx, runColumns+w.String()+order+" LIMIT ?", append(w.args, limit(q.Limit)), func(r row) error {
		list = append(list, readRun(r))
		return nil
	})
	return list, err
}

// PutRun implements store.Rotations.
func (t *tx) PutRun(ctx context.Context, r *store.Run) (err error) {
	ch := noting(store.Change{Kind: store.RunChanged, Tenant: r.Tenant, Vault: r.Vault, NameKey: r.NameKey, Key: string(r.ID)})
	args := []any{string(r.Kind), string(r.Tenant), string(r.Vault), string(r.Object), r.NameKey, r.Open, r.State, r.Rank, micros(r.NextAt), r.Revision + 1,
		r.Doc, string(r.ID)}
	if r.Revision == 0 {
		err = t.swap(ctx, ch, "rotation run", r.ID, `INSERT INTO runs (kind, tenant, vault, object, name_key, open, state, rank, next_at, revision, doc, id)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING`, args...)
	} else {
		err = t.swap(ctx, ch, "rotation run", r.ID, `UPDATE runs SET kind = ?, tenant = ?, vault = ?, object = ?, name_key = ?, open = ?, state = ?,
			rank = ?, next_at = ?, revision = ?, doc = ? WHERE id = ? AND revision = ?`, append(args, r.Revision)...)
	}
	if isConstraint(err) {
		return &fault.Error{Kind: fault.Conflict, Reason: store.RunOpen, Err: err,
			Message: "another " + string(r.Kind) + " of the object " + r.NameKey + " is open: wait until it ends, or abort it"}
	}
	return err
}

const taskColumns = "SELECT id, tenant, vault, object, run, open, next_at, revision, doc FROM tasks"

func readTask(r row) *store.Task {
	return &store.Task{ID: r.text(0), Tenant: vault.TenantID(r.text(1)), Vault: vault.ID(r.text(2)), Object: vault.ObjectID(r.text(3)),
		Run: store.RunID(r.text(4)), Open: r.integer(5) != 0, NextAt: r.instant(6), Revision: r.integer(7), Doc: r.blob(8)}
}

// Task implements store.Rotations.
func (t *tx) Task(ctx context.Context, id string) (task *store.Task, err error) {
	found, err := t.one(ctx, taskColumns+" WHERE id = ?", []any{id}, func(r row) { task = readTask(r) })
	if err == nil && !found {
		err = notFound("task", id)
	}
	return task, err
}

// Tasks implements store.Rotations.
func (t *tx) Tasks(ctx context.Context, q store.TaskQuery) (list []*store.Task, err error) {
	var w where
	w.equal("tenant", string(q.Tenant))
	w.equal("vault", string(q.Vault))
	w.equal("run", string(q.Run))
	w.and("id > ?", q.After)
	if q.Open || !q.DueBefore.IsZero() {
		w.and("open = 1")
	}
	if !q.DueBefore.IsZero() {
		w.and("next_at <= ?", q.DueBefore.UnixMicro())
	}
	err = t.query(ctx, taskColumns+w.String()+" ORDER BY id LIMIT ?", append(w.args, limit(q.Limit)), func(r row) error {
		list = append(list, readTask(r))
		return nil
	})
	return list, err
}

// PutTask implements store.Rotations.
func (t *tx) PutTask(ctx context.Context, k *store.Task) error {
	ch := noting(store.Change{Kind: store.TaskChanged, Tenant: k.Tenant, Vault: k.Vault, Key: k.ID})
	args := []any{string(k.Tenant), string(k.Vault), string(k.Object), string(k.Run), k.Open, micros(k.NextAt), k.Revision + 1, k.Doc, k.ID}
	if k.Revision == 0 {
		return t.swap(ctx, ch, "task", k.ID, `INSERT INTO tasks (tenant, vault, object, run, open, next_at, revision, doc, id)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING`, args...)
	}
	return t.swap(ctx, ch, "task", k.ID, `UPDATE tasks SET tenant = ?, vault = ?, object = ?, run = ?, open = ?, next_at = ?, revision = ?, doc = ?
		WHERE id = ? AND revision = ?`, append(args, k.Revision)...)
}
