package client

import (
	"context"
	"net/url"

	"github.com/keywright/keywright/client/api"
)

// KeyringStatus says how the keys are that protect what the caller's tenant keeps.
func (c *Client) KeyringStatus(ctx context.Context) (*api.KeyringStatus, error) {
	return do[api.KeyringStatus](ctx, c, "GET", "/api/v1/keyring", nil, nil)
}

// RotateKeyring makes new keys of a layer. KeyringStatus tells when everything was moved to them.
func (c *Client) RotateKeyring(ctx context.Context, in api.RotateKeys) (*api.KeysRotated, error) {
	return do[api.KeysRotated](ctx, c, "POST", "/api/v1/keyring/rotate", nil, in)
}

// KeyringStatus says how the keys of the installation itself are.
func (l *Local) KeyringStatus(ctx context.Context) (*api.KeyringStatus, error) {
	return do[api.KeyringStatus](ctx, l.c, "GET", "/v1/keyring", nil, nil)
}

// RotateKeyring makes a new root key, or a new key for the installation's own audit records.
func (l *Local) RotateKeyring(ctx context.Context, in api.RotateKeys) (*api.KeysRotated, error) {
	return do[api.KeysRotated](ctx, l.c, "POST", "/v1/keyring/rotate", nil, in)
}

func holdsPath(vault string) string { return vaultsPath + url.PathEscape(vault) + "/holds" }

// Holds lists the holds of a vault and its objects.
func (c *Client) Holds(ctx context.Context, vault string) (*api.HoldList, error) {
	return do[api.HoldList](ctx, c, "GET", holdsPath(vault), nil, nil)
}

// PlaceHold keeps an object, or a whole vault, from being purged.
func (c *Client) PlaceHold(ctx context.Context, vault string, in api.PlaceHold) (*api.Hold, error) {
	return do[api.Hold](ctx, c, "POST", holdsPath(vault), nil, in)
}

// LiftHold lifts a hold.
func (c *Client) LiftHold(ctx context.Context, vault, id string) error {
	return c.call(ctx, "DELETE", holdsPath(vault)+"/"+url.PathEscape(id), nil, nil, nil)
}

// Shredded lists what was purged of a vault and can still be brought back from a backup; with all, what is gone for good too.
func (c *Client) Shredded(ctx context.Context, vault string, all bool) (*api.ShreddedList, error) {
	q := url.Values{}
	if all {
		q.Set("all", "true")
	}
	return do[api.ShreddedList](ctx, c, "GET", vaultsPath+url.PathEscape(vault)+"/shredded", q, nil)
}
