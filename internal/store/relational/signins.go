package relational

import (
	"context"
	"time"

	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// SignIn implements store.SignIns.
func (t *Tx) SignIn(ctx context.Context, kind, id string, now time.Time) (*store.SignIn, error) {
	s := store.SignIn{Kind: kind, ID: id}
	found, err := t.one(ctx, "SELECT tenant, expires, data FROM sign_ins WHERE kind = ? AND id = ? AND expires > ?",
		[]any{kind, id, now.UnixMicro()}, func(r Row) {
			s.Tenant, s.Expires, s.Data = vault.TenantID(r.Text(0)), r.Instant(1), r.Blob(2)
		})
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, notFound("sign-in state", kind)
	}
	return &s, nil
}

// PutSignIn implements store.SignIns.
func (t *Tx) PutSignIn(ctx context.Context, s *store.SignIn) error {
	_, err := t.put(ctx, unseen, `INSERT INTO sign_ins (kind, id, tenant, expires, data) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (kind, id) DO UPDATE SET tenant = excluded.tenant, expires = excluded.expires, data = excluded.data`,
		s.Kind, s.ID, string(s.Tenant), s.Expires.UnixMicro(), s.Data)
	return err
}

// DeleteSignIn implements store.SignIns.
func (t *Tx) DeleteSignIn(ctx context.Context, kind, id string) error {
	return t.mustChange(ctx, unseen, "sign-in state", kind, "DELETE FROM sign_ins WHERE kind = ? AND id = ?", kind, id)
}

// ExpireSignIns implements store.SignIns.
func (t *Tx) ExpireSignIns(ctx context.Context, now time.Time, n int) (int, error) {
	removed, err := t.write(ctx, unseen, `DELETE FROM sign_ins WHERE (kind, id) IN
		(SELECT kind, id FROM sign_ins WHERE expires <= ? ORDER BY expires LIMIT ?)`, now.UnixMicro(), limit(n))
	return int(removed), err
}
