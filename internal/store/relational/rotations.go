package relational

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

func readPolicy(r Row) *store.Policy {
	return &store.Policy{Object: vault.ObjectID(r.Text(0)), Tenant: vault.TenantID(r.Text(1)), Vault: vault.ID(r.Text(2)), Kind: vault.Kind(r.Text(3)),
		NameKey: r.Text(4), DueAt: r.Instant(5), Revision: r.Integer(6), Doc: r.Blob(7)}
}

// Policy implements store.Rotations.
func (t *Tx) Policy(ctx context.Context, o vault.ObjectID) (p *store.Policy, err error) {
	found, err := t.one(ctx, policyColumns+" WHERE object = ?", []any{string(o)}, func(r Row) { p = readPolicy(r) })
	if err == nil && !found {
		err = notFound("rotation policy", o)
	}
	return p, err
}

// Policies implements store.Rotations.
func (t *Tx) Policies(ctx context.Context, q store.PolicyQuery) (list []*store.Policy, err error) {
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
	err = t.query(ctx, policyColumns+w.String()+order+" LIMIT ?", append(w.args, limit(q.Limit)), func(r Row) error {
		list = append(list, readPolicy(r))
		return nil
	})
	return list, err
}

// PutPolicy implements store.Rotations.
func (t *Tx) PutPolicy(ctx context.Context, p *store.Policy) error {
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
func (t *Tx) DeletePolicy(ctx context.Context, o vault.ObjectID) error {
	p, err := t.Policy(ctx, o)
	if err != nil {
		return err
	}
	ch := noting(store.Change{Kind: store.PolicyChanged, Tenant: p.Tenant, Vault: p.Vault, Object: p.Kind, NameKey: p.NameKey, Key: string(o)})
	return t.mustChange(ctx, ch, "rotation policy", o, "DELETE FROM rotation_policies WHERE object = ?", string(o))
}

const runColumns = "SELECT id, kind, tenant, vault, object, name_key, open, state, rank, next_at, revision, doc FROM runs"

func readRun(r Row) *store.Run {
	return &store.Run{ID: store.RunID(r.Text(0)), Kind: store.RunKind(r.Text(1)), Tenant: vault.TenantID(r.Text(2)), Vault: vault.ID(r.Text(3)),
		Object: vault.ObjectID(r.Text(4)), NameKey: r.Text(5), Open: r.Integer(6) != 0, State: r.Text(7), Rank: int(r.Integer(8)), NextAt: r.Instant(9),
		Revision: r.Integer(10), Doc: r.Blob(11)}
}

func (t *Tx) run(ctx context.Context, key any, query string, args ...any) (run *store.Run, err error) {
	found, err := t.one(ctx, runColumns+query, args, func(r Row) { run = readRun(r) })
	if err == nil && !found {
		err = notFound("rotation run", key)
	}
	return run, err
}

// Run implements store.Rotations.
func (t *Tx) Run(ctx context.Context, id store.RunID) (*store.Run, error) {
	return t.run(ctx, id, " WHERE id = ?", string(id))
}

// OpenRun implements store.Rotations.
func (t *Tx) OpenRun(ctx context.Context, o vault.ObjectID, k store.RunKind) (*store.Run, error) {
	return t.run(ctx, o, " WHERE object = ? AND kind = ? AND open = 1", string(o), string(k))
}

// Runs implements store.Rotations.
func (t *Tx) Runs(ctx context.Context, q store.RunQuery) (list []*store.Run, err error) {
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
	err = t.query(ctx, runColumns+w.String()+order+" LIMIT ?", append(w.args, limit(q.Limit)), func(r Row) error {
		list = append(list, readRun(r))
		return nil
	})
	return list, err
}

// PutRun implements store.Rotations.
func (t *Tx) PutRun(ctx context.Context, r *store.Run) (err error) {
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
	if taken(err) {
		return &fault.Error{Kind: fault.Conflict, Reason: store.RunOpen, Err: err,
			Message: "another " + string(r.Kind) + " of the object " + r.NameKey + " is open: wait until it ends, or abort it"}
	}
	return err
}

const taskColumns = "SELECT id, tenant, vault, object, run, open, next_at, revision, doc FROM tasks"

func readTask(r Row) *store.Task {
	return &store.Task{ID: r.Text(0), Tenant: vault.TenantID(r.Text(1)), Vault: vault.ID(r.Text(2)), Object: vault.ObjectID(r.Text(3)),
		Run: store.RunID(r.Text(4)), Open: r.Integer(5) != 0, NextAt: r.Instant(6), Revision: r.Integer(7), Doc: r.Blob(8)}
}

// Task implements store.Rotations.
func (t *Tx) Task(ctx context.Context, id string) (task *store.Task, err error) {
	found, err := t.one(ctx, taskColumns+" WHERE id = ?", []any{id}, func(r Row) { task = readTask(r) })
	if err == nil && !found {
		err = notFound("task", id)
	}
	return task, err
}

// Tasks implements store.Rotations.
func (t *Tx) Tasks(ctx context.Context, q store.TaskQuery) (list []*store.Task, err error) {
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
	err = t.query(ctx, taskColumns+w.String()+" ORDER BY id LIMIT ?", append(w.args, limit(q.Limit)), func(r Row) error {
		list = append(list, readTask(r))
		return nil
	})
	return list, err
}

// PutTask implements store.Rotations.
func (t *Tx) PutTask(ctx context.Context, k *store.Task) error {
	ch := noting(store.Change{Kind: store.TaskChanged, Tenant: k.Tenant, Vault: k.Vault, Key: k.ID})
	args := []any{string(k.Tenant), string(k.Vault), string(k.Object), string(k.Run), k.Open, micros(k.NextAt), k.Revision + 1, k.Doc, k.ID}
	if k.Revision == 0 {
		return t.swap(ctx, ch, "task", k.ID, `INSERT INTO tasks (tenant, vault, object, run, open, next_at, revision, doc, id)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING`, args...)
	}
	return t.swap(ctx, ch, "task", k.ID, `UPDATE tasks SET tenant = ?, vault = ?, object = ?, run = ?, open = ?, next_at = ?, revision = ?, doc = ?
		WHERE id = ? AND revision = ?`, append(args, k.Revision)...)
}
