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

// LocalKeyring is the keyring of a server on this machine: the keys of the installation itself, or of one of its tenants.
type LocalKeyring struct {
	local *Local
	query url.Values
}

// Keyring returns the keyring of a tenant, by its id or its name, or that of the installation when none is named.
func (l *Local) Keyring(tenant string) *LocalKeyring {
	k := &LocalKeyring{local: l}
	if tenant != "" {
		k.query = url.Values{"tenant": {tenant}}
	}
	return k
}

// KeyringStatus says how the keys are.
func (k *LocalKeyring) KeyringStatus(ctx context.Context) (*api.KeyringStatus, error) {
	return do[api.KeyringStatus](ctx, k.local.c, "GET", "/v1/keyring", k.query, nil)
}

// RotateKeyring makes new keys of a layer: of the installation that is root, or audit for its own audit records.
func (k *LocalKeyring) RotateKeyring(ctx context.Context, in api.RotateKeys) (*api.KeysRotated, error) {
	return do[api.KeysRotated](ctx, k.local.c, "POST", "/v1/keyring/rotate", k.query, in)
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
