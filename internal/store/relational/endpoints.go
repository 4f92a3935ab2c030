package relational

import (
	"context"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// endpointSchema is the step of the schema that makes room for the places where certificates are presented.
const endpointSchema = `
CREATE TABLE endpoints (id TEXT PRIMARY KEY, tenant TEXT NOT NULL, vault TEXT NOT NULL, name TEXT NOT NULL, name_key TEXT NOT NULL, certificate TEXT NOT NULL,
  next_at INTEGER, revision INTEGER NOT NULL, doc BLOB);
CREATE UNIQUE INDEX endpoints_name ON endpoints (vault, name_key);
CREATE INDEX endpoints_vault ON endpoints (vault, id);
CREATE INDEX endpoints_due ON endpoints (next_at, id) WHERE next_at IS NOT NULL;
`

const endpointColumns = "SELECT id, tenant, vault, name, certificate, next_at, revision, doc FROM endpoints"

func readEndpoint(r Row) *store.Endpoint {
	return &store.Endpoint{ID: r.Text(0), Tenant: vault.TenantID(r.Text(1)), Vault: vault.ID(r.Text(2)), Name: r.Text(3), Certificate: r.Text(4),
		NextAt: r.Instant(5), Revision: r.Integer(6), Doc: r.Blob(7)}
}

func (t *Tx) endpoint(ctx context.Context, key, condition string, args ...any) (e *store.Endpoint, err error) {
	found, err := t.one(ctx, endpointColumns+condition, args, func(r Row) { e = readEndpoint(r) })
	if err == nil && !found {
		err = notFound("endpoint", key)
	}
	return e, err
}

// Endpoint implements store.Endpoints.
func (t *Tx) Endpoint(ctx context.Context, id string) (*store.Endpoint, error) {
	return t.endpoint(ctx, id, " WHERE id = ?", id)
}

// EndpointByName implements store.Endpoints.
func (t *Tx) EndpointByName(ctx context.Context, v vault.ID, name string) (*store.Endpoint, error) {
	return t.endpoint(ctx, name, " WHERE vault = ? AND name_key = ?", string(v), vault.NameKey(name))
}

// Endpoints implements store.Endpoints.
func (t *Tx) Endpoints(ctx context.Context, q store.EndpointQuery) (list []*store.Endpoint, err error) {
	var w where
	w.equal("vault", string(q.Vault))
	w.equal("certificate", q.Certificate)
	order := " ORDER BY id"
	if !q.DueBefore.IsZero() {
		w.and("next_at <= ?", q.DueBefore.UnixMicro())
		order = " ORDER BY next_at, id"
	}
	if q.After != "" {
		w.and("id > ?", q.After)
	}
	err = t.query(ctx, endpointColumns+w.String()+order+" LIMIT ?", append(w.args, limit(q.Limit)), func(r Row) error {
		list = append(list, readEndpoint(r))
		return nil
	})
	return list, err
}

// CountEndpoints implements store.Endpoints.
func (t *Tx) CountEndpoints(ctx context.Context, v vault.ID, most int) (n int, err error) {
	_, err = t.one(ctx, "SELECT count(*) FROM (SELECT 1 FROM endpoints WHERE vault = ? LIMIT ?) AS counted", []any{string(v), limit(most)}, func(r Row) { n = int(r.Integer(0)) })
	return n, err
}

// PutEndpoint implements store.Endpoints.
func (t *Tx) PutEndpoint(ctx context.Context, e *store.Endpoint) error {
	ch := noting(store.Change{Kind: store.EndpointChanged, Tenant: e.Tenant, Vault: e.Vault, NameKey: vault.NameKey(e.Name), Key: e.ID})
	args := []any{string(e.Tenant), string(e.Vault), e.Name, vault.NameKey(e.Name), e.Certificate, micros(e.NextAt), e.Revision + 1, e.Doc, e.ID}
	var err error
	if e.Revision == 0 {
		err = t.swap(ctx, ch, "endpoint", e.ID, `INSERT INTO endpoints (tenant, vault, name, name_key, certificate, next_at, revision, doc, id)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING`, args...)
	} else {
		err = t.swap(ctx, ch, "endpoint", e.ID, `UPDATE endpoints SET tenant = ?, vault = ?, name = ?, name_key = ?, certificate = ?, next_at = ?, revision = ?, doc = ?
			WHERE id = ? AND revision = ?`, append(args, e.Revision)...)
	}
	if taken(err) {
		return fault.Wrap(err, fault.Conflict, "the vault has an endpoint %q already", e.Name)
	}
	return err
}

// DeleteEndpoint implements store.Endpoints.
func (t *Tx) DeleteEndpoint(ctx context.Context, id string) error {
	e, err := t.Endpoint(ctx, id)
	if err != nil {
		return err
	}
	ch := noting(store.Change{Kind: store.EndpointChanged, Tenant: e.Tenant, Vault: e.Vault, NameKey: vault.NameKey(e.Name), Key: e.ID})
	return t.mustChange(ctx, ch, "endpoint", id, "DELETE FROM endpoints WHERE id = ?", id)
}
