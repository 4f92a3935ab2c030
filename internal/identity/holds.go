package identity

import (
	"context"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Holds reports whether the principal has the secret and it is valid now. It is for the server's own start, which keeps
// handing out a secret that still works; it is no way to sign in and does not count as a guess.
func (s *Service) Holds(ctx context.Context, t vault.TenantID, id principal.ID, secret redact.String) (bool, error) {
	if secret == "" {
		return false, nil
	}
	var p *principal.Principal
	err := s.Store.View(ctx, func(tx store.Tx) (err error) {
		p, err = tx.Principal(ctx, t, id)
		return err
	})
	if fault.Is(err, fault.NotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	match, err := s.matchSecret(ctx, p, secret)
	return match != nil && !p.Disabled && valid(match.NotBefore, match.Expires, s.Clock.Now()), err
}
