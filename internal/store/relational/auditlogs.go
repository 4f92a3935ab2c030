package relational

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
)

// auditLogSchema is what nodes share of their audit logs.
const auditLogSchema = `
CREATE TABLE audit_logs (origin TEXT PRIMARY KEY, doc TEXT NOT NULL);
CREATE TABLE audit_parts (origin TEXT NOT NULL, base INTEGER NOT NULL, next INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, data BLOB NOT NULL);
CREATE UNIQUE INDEX audit_parts_base ON audit_parts (origin, base);
CREATE TABLE audit_checkpoints (origin TEXT NOT NULL, size INTEGER NOT NULL, signed BLOB NOT NULL);
CREATE UNIQUE INDEX audit_checkpoints_size ON audit_checkpoints (origin, size);
CREATE TABLE audit_adoptions (op TEXT PRIMARY KEY, at INTEGER NOT NULL, node TEXT NOT NULL, origin TEXT NOT NULL);
CREATE INDEX audit_adoptions_at ON audit_adoptions (at, op);
`

// AuditLog implements store.AuditLogs.
func (t *Tx) AuditLog(ctx context.Context, origin string) (*store.AuditLog, error) {
	return getDoc[store.AuditLog](ctx, t, "audit log", origin, "SELECT doc FROM audit_logs WHERE origin = ?", origin)
}

// AuditLogs implements store.AuditLogs.
func (t *Tx) AuditLogs(ctx context.Context) ([]*store.AuditLog, error) {
	return listDocs[store.AuditLog](ctx, t, "SELECT doc FROM audit_logs ORDER BY origin")
}

// PutAuditLog implements store.AuditLogs.
func (t *Tx) PutAuditLog(ctx context.Context, l *store.AuditLog) error {
	kept := *l
	for _, at := range []*time.Time{&kept.Begun, &kept.Level, &kept.Closed} {
		*at = at.UTC().Truncate(time.Microsecond)
	}
	doc, err := json.Marshal(kept)
	if err != nil {
		return fmt.Errorf("encoding the audit log %s: %w", l.Origin, err)
	}
	_, err = t.write(ctx, silent, "INSERT INTO audit_logs (origin, doc) VALUES (?, ?) ON CONFLICT (origin) DO UPDATE SET doc = excluded.doc", l.Origin, string(doc))
	return err
}

// AuditParts implements store.AuditLogs.
func (t *Tx) AuditParts(ctx context.Context, q store.AuditPartQuery) (list []*store.AuditPart, err error) {
	where, args := []string{"origin = ?"}, []any{q.Origin}
	if q.Behind > 0 {
		where, args = append(where, "next > ?"), append(args, q.Behind)
	}
	if q.Below > 0 {
		where, args = append(where, "base < ?"), append(args, q.Below)
	}
	if !q.From.IsZero() {
		where, args = append(where, "last >= ?"), append(args, q.From.UnixMicro())
	}
	if !q.To.IsZero() {
		where, args = append(where, "first <= ?"), append(args, q.To.UnixMicro())
	}
	order := "base"
	if q.NewestFirst {
		order = "base DESC"
	}
	err = t.query(ctx, "SELECT origin, base, next, first, last, data FROM audit_parts WHERE "+strings.Join(where, " AND ")+" ORDER BY "+order+" LIMIT ?",
		append(args, limit(q.Limit)), func(r Row) error {
			list = append(list, &store.AuditPart{Origin: r.Text(0), Base: r.Integer(1), Next: r.Integer(2), From: r.Instant(3), To: r.Instant(4), Data: r.Blob(5)})
			return nil
		})
	return list, err
}

// AddAuditPart implements store.AuditLogs.
func (t *Tx) AddAuditPart(ctx context.Context, p *store.AuditPart) error {
	n, err := t.write(ctx, silent, "INSERT INTO audit_parts (origin, base, next, first, last, data) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (origin, base) DO NOTHING",
		p.Origin, p.Base, p.Next, p.From.UnixMicro(), p.To.UnixMicro(), p.Data)
	if err == nil && n == 0 {
		return fault.New(fault.Conflict, "a part of the audit log %s begins at record %d already", p.Origin, p.Base)
	}
	return err
}

// DeleteAuditParts implements store.AuditLogs.
func (t *Tx) DeleteAuditParts(ctx context.Context, origin string, below int64, n int) (int, error) {
	removed, err := t.write(ctx, silent, `DELETE FROM audit_parts WHERE origin = ? AND base IN
		(SELECT base FROM audit_parts WHERE origin = ? AND next <= ? ORDER BY base LIMIT ?)`, origin, origin, below, limit(n))
	return int(removed), err
}

// AuditCheckpoints implements store.AuditLogs.
func (t *Tx) AuditCheckpoints(ctx context.Context, origin string) (list []*store.AuditCheckpoint, err error) {
	err = t.query(ctx, "SELECT origin, size, signed FROM audit_checkpoints WHERE origin = ? ORDER BY size", []any{origin}, func(r Row) error {
		list = append(list, &store.AuditCheckpoint{Origin: r.Text(0), Size: r.Integer(1), Signed: r.Blob(2)})
		return nil
	})
	return list, err
}

// AddAuditCheckpoint implements store.AuditLogs.
func (t *Tx) AddAuditCheckpoint(ctx context.Context, c *store.AuditCheckpoint) error {
	n, err := t.write(ctx, silent, "INSERT INTO audit_checkpoints (origin, size, signed) VALUES (?, ?, ?) ON CONFLICT (origin, size) DO NOTHING", c.Origin, c.Size, c.Signed)
	if err == nil && n == 0 {
		return fault.New(fault.Conflict, "a checkpoint of the audit log %s at size %d is kept already", c.Origin, c.Size)
	}
	return err
}

// Adoptions implements store.AuditLogs.
func (t *Tx) Adoptions(ctx context.Context, from, to time.Time) (list []*store.Adoption, err error) {
	err = t.query(ctx, "SELECT op, at, node, origin FROM audit_adoptions WHERE at >= ? AND at <= ? ORDER BY at, op", []any{from.UnixMicro(), to.UnixMicro()}, func(r Row) error {
		list = append(list, &store.Adoption{Op: store.OpID(r.Text(0)), At: r.Instant(1), Node: r.Text(2), Origin: r.Text(3)})
		return nil
	})
	return list, err
}

// PutAdoption implements store.AuditLogs.
func (t *Tx) PutAdoption(ctx context.Context, a *store.Adoption) error {
	_, err := t.write(ctx, silent, `INSERT INTO audit_adoptions (op, at, node, origin) VALUES (?, ?, ?, ?)
		ON CONFLICT (op) DO UPDATE SET at = excluded.at, node = excluded.node, origin = excluded.origin`, string(a.Op), a.At.UnixMicro(), a.Node, a.Origin)
	return err
}

// DeleteAdoptions implements store.AuditLogs.
func (t *Tx) DeleteAdoptions(ctx context.Context, before time.Time, n int) (int, error) {
	removed, err := t.write(ctx, silent, "DELETE FROM audit_adoptions WHERE op IN (SELECT op FROM audit_adoptions WHERE at < ? ORDER BY at, op LIMIT ?)",
		before.UnixMicro(), limit(n))
	return int(removed), err
}
