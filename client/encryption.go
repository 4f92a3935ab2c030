package client

import (
	"context"
	"net/url"

	"github.com/keywright/keywright/client/api"
)

func encryptionPath(vault string) string { return vaultsPath + url.PathEscape(vault) + "/encryption" }

// VaultEncryption shows the customer's key that protects a vault. A vault without one is a NotFound with the reason NoCustomerKey.
func (c *Client) VaultEncryption(ctx context.Context, vault string) (*api.VaultEncryption, error) {
	return do[api.VaultEncryption](ctx, c, "GET", encryptionPath(vault), nil, nil)
}

// SetVaultEncryption lets a customer's key protect a vault.
func (c *Client) SetVaultEncryption(ctx context.Context, vault string, in api.SetVaultEncryption) (*api.VaultEncryption, error) {
	return do[api.VaultEncryption](ctx, c, "PUT", encryptionPath(vault), nil, in)
}

// RewrapVault wraps the keys of a vault with the current version of its customer's key.
func (c *Client) RewrapVault(ctx context.Context, vault string) (*api.VaultEncryption, error) {
	return do[api.VaultEncryption](ctx, c, "POST", encryptionPath(vault)+"/rewrap", nil, nil)
}

// RemoveVaultEncryption protects a vault with the tenant's key alone again.
func (c *Client) RemoveVaultEncryption(ctx context.Context, vault string) error {
	return c.call(ctx, "DELETE", encryptionPath(vault), nil, nil, nil)
}
