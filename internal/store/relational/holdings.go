package relational

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// holdingsSchema is the ledger. The first index finds who holds something, the second what somebody holds; holdings_held has taken the place of the second.
const holdingsSchema = `
CREATE TABLE holdings (vault TEXT NOT NULL, kind TEXT NOT NULL, name_key TEXT NOT NULL, version TEXT NOT NULL, principal TEXT NOT NULL,
  instance TEXT NOT NULL, tenant TEXT NOT NULL, weak INTEGER NOT NULL, first INTEGER, last INTEGER, loaded INTEGER, used INTEGER,
  seen INTEGER, doc BLOB);
CREATE UNIQUE INDEX holdings_key ON holdings (vault, kind, name_key, version, principal, instance);
CREATE INDEX holdings_principal ON holdings (principal, version, vault, kind, name_key, instance);
CREATE TABLE projections (node TEXT PRIMARY KEY, position INTEGER NOT NULL);
`

// heldSchema is the step of the schema by which what somebody holds is found in the order of its first delivery. That is the order in which rows are made, so
// they stand next to each other in this index, while those of holdings_principal, in the order of versions, are anywhere once old versions are read.
const heldSchema = `CREATE INDEX holdings_held ON holdings (principal, coalesce(first, 0));`

// The columns of a row: its key, and what is known of it.
const (
	holdingKey     = "vault, kind, name_key, version, principal, instance"
	holdingFacts   = "tenant, weak, first, last, loaded, used, seen, doc"
	holdingColumns = holdingKey + ", " + holdingFacts
	insertHolding  = "INSERT INTO holdings (" + holdingColumns + ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
)

// How many columns the key has, and the facts, which follow it.
const (
	keyWidth   = 6
	factsWidth = 8
)

func readHolding(r Row) *store.Holding {
	return holdingOf(store.HoldingKey{Vault: vault.ID(r.Text(0)), Kind: vault.Kind(r.Text(1)), NameKey: r.Text(2), Version: vault.VersionID(r.Text(3)),
		Principal: principal.ID(r.Text(4)), Instance: r.Text(5)}, r[keyWidth:])
}

func holdingOf(k store.HoldingKey, facts Row) *store.Holding {
	return &store.Holding{HoldingKey: k, Tenant: vault.TenantID(facts.Text(0)), Weak: facts.Bool(1), First: facts.Instant(2), Last: facts.Instant(3),
		Loaded: facts.Instant(4), Used: facts.Instant(5), Seen: facts.Instant(6), Doc: facts.Blob(7)}
}

// Holding implements store.Holdings.
func (t *Tx) Holding(ctx context.Context, k store.HoldingKey) (h *store.Holding, err error) {
	found, err := t.one(ctx, "SELECT "+holdingFacts+` FROM holdings
		WHERE vault = ? AND kind = ? AND name_key = ? AND version = ? AND principal = ? AND instance = ?`, keyColumns(k),
		func(r Row) { h = holdingOf(k, r) })
	if err == nil && !found {
		err = notFound("holding of", k.NameKey)
	}
	return h, err
}

func keyColumns(k store.HoldingKey) []any {
	return append(make([]any, 0, keyWidth+factsWidth), string(k.Vault), string(k.Kind), k.NameKey, string(k.Version), string(k.Principal), k.Instance)
}

// The columns by which listings are ordered, and a row's values of them.
var (
	keyNames  = []string{"vault", "kind", "name_key", "version", "principal", "instance"}
	heldNames = []string{"principal", "coalesce(first, 0)", "vault", "kind", "name_key", "version", "instance"}
)

func placeColumns(p store.HoldingPlace) []any { return keyColumns(p.HoldingKey) }

func heldColumns(p store.HoldingPlace) []any {
	first := int64(0)
	if !p.First.IsZero() {
		first = p.First.UnixMicro()
	}
	return []any{string(p.Principal), first, string(p.Vault), string(p.Kind), p.NameKey, string(p.Version), p.Instance}
}

// AddHolding implements store.Holdings.
func (t *Tx) AddHolding(ctx context.Context, h *store.Holding) (added bool, err error) {
	n, err := t.write(ctx, unseen, insertHolding+"ON CONFLICT DO NOTHING", holdingValues(h)...)
	return n > 0, err
}

// PutHolding implements store.Holdings.
func (t *Tx) PutHolding(ctx context.Context, h *store.Holding) error {
	_, err := t.put(ctx, unseen, insertHolding+`ON CONFLICT (`+holdingKey+`) DO UPDATE SET tenant = excluded.tenant, weak = excluded.weak,
		first = excluded.first, last = excluded.last, loaded = excluded.loaded, used = excluded.used, seen = excluded.seen, doc = excluded.doc`,
		holdingValues(h)...)
	return err
}

// TouchHolding implements store.Holdings. The greater of two is spelled in a way that all engines know, and a row that stays as it is counts as found.
func (t *Tx) TouchHolding(ctx context.Context, k store.HoldingKey, last time.Time) (found bool, err error) {
	n, err := t.write(ctx, unseen, `UPDATE holdings SET last = CASE WHEN last > ?7 THEN last ELSE ?7 END
		WHERE vault = ?1 AND kind = ?2 AND name_key = ?3 AND version = ?4 AND principal = ?5 AND instance = ?6 AND first <= ?7`,
		append(keyColumns(k), micros(last))...)
	return n > 0, err
}

func holdingValues(h *store.Holding) []any {
	return append(keyColumns(h.HoldingKey), string(h.Tenant), h.Weak, micros(h.First), micros(h.Last), micros(h.Loaded), micros(h.Used), micros(h.Seen), h.Doc)
}

// Holdings implements store.Holdings. What a column must equal needs no comparison with the place where the listing goes on, so that the index is
// sought there instead of read from the first row that matches.
func (t *Tx) Holdings(ctx context.Context, q store.HoldingQuery) ([]*store.Holding, error) {
	var where []string
	var args []any
	if q.Tenant != "" {
		where, args = append(where, "tenant = ?"), append(args, string(q.Tenant))
	}
	columns, values := keyNames, placeColumns
	if q.ByFirst() {
		columns, values = heldNames, heldColumns
	}
	want := values(store.HoldingPlace{HoldingKey: store.HoldingKey{Vault: q.Vault, Kind: q.Kind, NameKey: q.NameKey, Version: q.Version, Principal: q.Principal}})
	free := func(i int) bool { return want[i] == "" || want[i] == int64(0) }
	var after []any
	if q.After != nil {
		after = values(*q.After)
	}
	within := true // the place is one that the listing can have
	for i := range columns {
		if free(i) {
			continue
		}
		where, args = append(where, columns[i]+" = ?"), append(args, want[i])
		within = within && (after == nil || after[i] == want[i])
	}
	if after != nil {
		var open []string
		for i, c := range columns {
			if !within || free(i) {
				open, args = append(open, c), append(args, after[i])
			}
		}
		marks := strings.Join(slices.Repeat([]string{"?"}, len(open)), ", ")
		where = append(where, "("+strings.Join(open, ", ")+") > ("+marks+")")
		if q.ByFirst() && within { // SQLite does not find out by itself where to begin in an index of an expression
			where, args = append(where, heldNames[1]+" >= ?"), append(args, after[1])
		}
	}
	query := "SELECT " + holdingColumns + " FROM holdings"
	if len(where) > 0 {
		query += " WHERE " + strings.Join(where, " AND ")
	}
	var list []*store.Holding
	err := t.query(ctx, query+" ORDER BY "+strings.Join(columns, ", ")+" LIMIT ?", append(args, limit(q.Limit)), func(r Row) error {
		list = append(list, readHolding(r))
		return nil
	})
	return list, err
}

// DeleteHoldings implements store.Holdings.
func (t *Tx) DeleteHoldings(ctx context.Context, v vault.ID, k vault.Kind, nameKey string, version vault.VersionID, n int) (int, error) {
	removed, err := t.write(ctx, unseen, `DELETE FROM holdings WHERE vault = ?1 AND kind = ?2 AND name_key = ?3 AND (version, principal, instance) IN
		(SELECT version, principal, instance FROM holdings WHERE vault = ?1 AND kind = ?2 AND name_key = ?3 AND (?4 = '' OR version = ?4) LIMIT ?5)`,
		string(v), string(k), nameKey, string(version), limit(n))
	return int(removed), err
}

// Projected implements store.Holdings.
func (t *Tx) Projected(ctx context.Context, node string) (index int64, err error) {
	_, err = t.one(ctx, "SELECT position FROM projections WHERE node = ?", []any{node}, func(r Row) { index = r.Integer(0) })
	return index, err
}

// SetProjected implements store.Holdings.
func (t *Tx) SetProjected(ctx context.Context, node string, index int64) error {
	return t.arrange(ctx, `INSERT INTO projections (node, position) VALUES (?, ?)
		ON CONFLICT (node) DO UPDATE SET position = excluded.position WHERE excluded.position > projections.position`, node, index)
}
