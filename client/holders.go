package client

import (
	"context"
	"iter"
	"net/url"
	"strconv"

	"github.com/keywright/keywright/client/api"
)

func (v *Vault) version(name, version string) string {
	return v.live(name) + "/versions/" + url.PathEscape(version)
}

// Ack tells the server how far this instance has come with a version that it read: that it is loaded, or used and no other any more. It counts for the
// instance of Config alone: without one, several processes may stand behind this client's address, and it proves little.
func (v *Vault) Ack(ctx context.Context, name, version string, in api.Ack) error {
	return v.c.call(ctx, "POST", v.version(name, version)+"/acks", nil, in, nil)
}

// Holders lists who holds a version of a secret and who breaks if it dies now, at most limit of them (0 means 100). An empty version, or "current", is the
// current one.
func (v *Vault) Holders(ctx context.Context, name, version string, limit int) (*api.VersionHolderList, error) {
	if version == "" {
		version = "current"
	}
	q := url.Values{}
	if limit > 0 {
		q.Set("limit", strconv.Itoa(limit))
	}
	return do[api.VersionHolderList](ctx, v.c, "GET", v.version(name, version)+"/holders", q, nil)
}

// Holdings lists every place to which any version of a secret was ever delivered, sealed backups and pushed copies included.
func (v *Vault) Holdings(ctx context.Context, name string) iter.Seq2[*api.HeldVersion, error] {
	return pages(ctx, v.c, v.live(name)+"/holdings", nil, func(l *api.HeldPage) ([]api.HeldVersion, string) { return l.Items, l.Next })
}

// ClearHolder vouches that a consumer does not use a version any more.
func (v *Vault) ClearHolder(ctx context.Context, name, version string, in api.ClearHolder) error {
	return v.c.call(ctx, "POST", v.version(name, version)+"/clear", nil, in, nil)
}

// HeldBy lists every version that was ever delivered to a principal, which is named by its object id.
func (c *Client) HeldBy(ctx context.Context, principal string) iter.Seq2[*api.HeldVersion, error] {
	return pages(ctx, c, "/api/v1/principals/"+url.PathEscape(principal)+"/holdings", nil, func(l *api.HeldPage) ([]api.HeldVersion, string) { return l.Items, l.Next })
}
