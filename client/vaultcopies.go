package client

import (
	"context"
	"iter"
	"net/url"

	"github.com/keywright/keywright/client/api"
)

func copyJobsPath(vault string) string { return vaultsPath + url.PathEscape(vault) + "/copy-jobs" }

// CopyVault begins a copy of a vault in a blob container.
func (c *Client) CopyVault(ctx context.Context, vault string, to api.VaultContainer) (*api.VaultJob, error) {
	return do[api.VaultJob](ctx, c, "POST", vaultsPath+url.PathEscape(vault)+"/copy", nil, to)
}

// RestoreVault begins to bring back what is in a copy and not in the vault.
func (c *Client) RestoreVault(ctx context.Context, vault string, from api.VaultContainer) (*api.VaultJob, error) {
	return do[api.VaultJob](ctx, c, "POST", vaultsPath+url.PathEscape(vault)+"/copy-restore", nil, from)
}

// VaultJobs lists the copies and restores of a vault of the last day, newest first.
func (c *Client) VaultJobs(ctx context.Context, vault string) iter.Seq2[*api.VaultJob, error] {
	return pages(ctx, c, copyJobsPath(vault), nil, func(l *api.VaultJobPage) ([]api.VaultJob, string) { return l.Items, l.Next })
}

// VaultJob shows how far a job is; the kind is backup or restore.
func (c *Client) VaultJob(ctx context.Context, vault, kind, id string) (*api.VaultJob, error) {
	return do[api.VaultJob](ctx, c, "GET", copyJobsPath(vault)+"/"+url.PathEscape(id), url.Values{"kind": {kind}}, nil)
}
