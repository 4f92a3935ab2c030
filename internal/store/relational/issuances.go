package relational

import (
	"context"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// issuanceSchema is what authorities have signed. The last index holds what their revocation lists say, and nothing else.
const issuanceSchema = `
CREATE TABLE authorities (id TEXT PRIMARY KEY, tenant TEXT NOT NULL, vault TEXT NOT NULL, name_key TEXT NOT NULL, version TEXT NOT NULL,
  crl_number INTEGER NOT NULL);
CREATE TABLE issuances (authority TEXT NOT NULL, serial TEXT NOT NULL, request TEXT NOT NULL, profile TEXT NOT NULL, der BLOB NOT NULL,
  not_after INTEGER NOT NULL, revoked INTEGER, reason INTEGER NOT NULL);
CREATE UNIQUE INDEX issuances_serial ON issuances (authority, serial);
CREATE UNIQUE INDEX issuances_request ON issuances (authority, request);
CREATE INDEX issuances_revoked ON issuances (authority, not_after, serial) WHERE revoked IS NOT NULL;
`

// issuanceEndSchema finds the certificates of an authority that ended.
const issuanceEndSchema = `
CREATE INDEX issuances_end ON issuances (authority, not_after);
`

const authorityColumns = "SELECT id, tenant, vault, name_key, version, crl_number FROM authorities "

func authorityOf(r Row) *store.Authority {
	return &store.Authority{ID: r.Text(0), Tenant: vault.TenantID(r.Text(1)), Vault: vault.ID(r.Text(2)), NameKey: r.Text(3), Version: vault.VersionID(r.Text(4)),
		CRLNumber: r.Integer(5)}
}

// Authority implements store.Issuances.
func (t *Tx) Authority(ctx context.Context, id string) (a *store.Authority, err error) {
	found, err := t.one(ctx, authorityColumns+"WHERE id = ?", []any{id}, func(r Row) { a = authorityOf(r) })
	if err == nil && !found {
		err = notFound("authority", id)
	}
	return a, err
}

// AddAuthority implements store.Issuances.
func (t *Tx) AddAuthority(ctx context.Context, a *store.Authority) error {
	_, err := t.put(ctx, unseen, `INSERT INTO authorities (id, tenant, vault, name_key, version, crl_number) VALUES (?, ?, ?, ?, ?, 0)
		ON CONFLICT (id) DO NOTHING`, a.ID, string(a.Tenant), string(a.Vault), a.NameKey, string(a.Version))
	return err
}

// Authorities implements store.Issuances.
func (t *Tx) Authorities(ctx context.Context, after string, n int) (list []*store.Authority, err error) {
	err = t.query(ctx, authorityColumns+"WHERE id > ? ORDER BY id LIMIT ?", []any{after, limit(n)}, func(r Row) error {
		list = append(list, authorityOf(r))
		return nil
	})
	return list, err
}

// DropAuthority implements store.Issuances.
func (t *Tx) DropAuthority(ctx context.Context, id string) error {
	return t.mustChange(ctx, unseen, "authority", id, "DELETE FROM authorities WHERE id = ?", id)
}

// NextCRLNumber implements store.Issuances.
func (t *Tx) NextCRLNumber(ctx context.Context, authority string) (n int64, err error) {
	if err := t.mustChange(ctx, unseen, "authority", authority, "UPDATE authorities SET crl_number = crl_number + 1 WHERE id = ?", authority); err != nil {
		return 0, err
	}
	_, err = t.one(ctx, "SELECT crl_number FROM authorities WHERE id = ?", []any{authority}, func(r Row) { n = r.Integer(0) })
	return n, err
}

// AddIssuance implements store.Issuances.
func (t *Tx) AddIssuance(ctx context.Context, i *store.Issuance) error {
	_, err := t.put(ctx, unseen, "INSERT INTO issuances (authority, serial, request, profile, der, not_after, revoked, reason) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
		i.Authority, i.Serial, i.Request, i.Profile, i.DER, i.NotAfter.UnixMicro(), micros(i.Revoked), i.Reason)
	if taken(err) {
		return fault.Wrap(err, fault.Conflict, "the authority %s has signed a certificate with the serial number %s, or for the request %s, already", i.Authority, i.Serial, i.Request)
	}
	return err
}

const issuanceColumns = "SELECT authority, serial, request, profile, der, not_after, revoked, reason FROM issuances "

func (t *Tx) issuances(ctx context.Context, condition string, args ...any) (list []*store.Issuance, err error) {
	err = t.query(ctx, issuanceColumns+condition, args, func(r Row) error {
		list = append(list, &store.Issuance{Authority: r.Text(0), Serial: r.Text(1), Request: r.Text(2), Profile: r.Text(3), DER: r.Blob(4),
			NotAfter: r.Instant(5), Revoked: r.Instant(6), Reason: int(r.Integer(7))})
		return nil
	})
	return list, err
}

func (t *Tx) issuance(ctx context.Context, key, condition string, args ...any) (*store.Issuance, error) {
	list, err := t.issuances(ctx, condition, args...)
	if err == nil && len(list) == 0 {
		err = notFound("issued certificate", key)
	}
	if err != nil {
		return nil, err
	}
	return list[0], nil
}

// Issuance implements store.Issuances.
func (t *Tx) Issuance(ctx context.Context, authority, serial string) (*store.Issuance, error) {
	return t.issuance(ctx, serial, "WHERE authority = ? AND serial = ?", authority, serial)
}

// IssuanceByRequest implements store.Issuances.
func (t *Tx) IssuanceByRequest(ctx context.Context, authority, request string) (*store.Issuance, error) {
	return t.issuance(ctx, request, "WHERE authority = ? AND request = ?", authority, request)
}

// RevokeIssuance implements store.Issuances.
func (t *Tx) RevokeIssuance(ctx context.Context, authority, serial string, at time.Time, reason int) error {
	n, err := t.write(ctx, unseen, "UPDATE issuances SET revoked = ?, reason = ? WHERE authority = ? AND serial = ? AND revoked IS NULL", at.UnixMicro(), reason, authority, serial)
	if err == nil && n == 0 {
		_, err = t.Issuance(ctx, authority, serial)
	}
	return err
}

// RevokedIssuances implements store.Issuances.
func (t *Tx) RevokedIssuances(ctx context.Context, q store.RevokedQuery) ([]*store.Issuance, error) {
	end, serial := q.EndAfter.UnixMicro(), "\U0010ffff" // no serial number stands behind it
	if q.After != nil && q.After.NotAfter.UnixMicro() > end {
		end, serial = q.After.NotAfter.UnixMicro(), q.After.Serial
	}
	return t.issuances(ctx, "WHERE authority = ? AND revoked IS NOT NULL AND (not_after, serial) > (?, ?) ORDER BY not_after, serial LIMIT ?",
		q.Authority, end, serial, limit(q.Limit))
}

// LiveIssuances implements store.Issuances.
func (t *Tx) LiveIssuances(ctx context.Context, q store.LiveQuery) ([]*store.Issuance, error) {
	return t.issuances(ctx, "WHERE authority = ? AND serial > ? AND not_after > ? AND revoked IS NULL ORDER BY serial LIMIT ?", q.Authority, q.After, q.EndAfter.UnixMicro(), limit(q.Limit))
}

// endedIssuances selects the certificates of an authority that ended, those first that ended first.
const endedIssuances = "SELECT authority, serial FROM issuances WHERE authority = ? AND not_after < ? ORDER BY not_after LIMIT ?"

// DropIssuances implements store.Issuances.
func (t *Tx) DropIssuances(ctx context.Context, authority string, endedBefore time.Time, n int) (int, error) {
	dropped, err := t.write(ctx, unseen, "DELETE FROM issuances WHERE (authority, serial) IN ("+endedIssuances+")", authority, endedBefore.UnixMicro(), limit(n))
	return int(dropped), err
}
