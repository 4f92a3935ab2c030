package client

import (
	"context"
	"iter"
	"net/url"
	"time"

	"github.com/keywright/keywright/client/api"
)

// A lease is an account at a target, made for its caller by the dynamic rotation policy of a secret.

func (v *Vault) lease(id string) string { return v.path + "/leases/" + url.PathEscape(id) }

// Lease makes an account for the caller; ttl 0 means what the policy says. Its Value is told here and never again. A call whose answer got lost is not tried again by
// itself: what was made for it is removed, and the next call makes another.
func (v *Vault) Lease(ctx context.Context, name string, ttl time.Duration) (*api.Lease, error) {
	return do[api.Lease](ctx, v.c, "POST", v.live(name)+"/leases", nil, api.IssueLease{TTLSeconds: int64(ttl / time.Second)})
}

// RenewLease moves the end of a lease of the caller's own to ttl from now, and never beyond its latest end.
func (v *Vault) RenewLease(ctx context.Context, id string, ttl time.Duration) (*api.Lease, error) {
	return do[api.Lease](ctx, v.c, "POST", v.lease(id)+"/renew", nil, api.IssueLease{TTLSeconds: int64(ttl / time.Second)})
}

// RevokeLease has the account of a lease removed. What could not be removed is tried again.
func (v *Vault) RevokeLease(ctx context.Context, id, note string) (*api.Lease, error) {
	return do[api.Lease](ctx, v.c, "POST", v.lease(id)+"/revoke", nil, api.EndLease{Note: note})
}

// LeaseByID returns a lease, without its value.
func (v *Vault) LeaseByID(ctx context.Context, id string) (*api.Lease, error) {
	return do[api.Lease](ctx, v.c, "GET", v.lease(id), nil, nil)
}

// LeaseFilter selects leases. Empty fields select all.
type LeaseFilter struct {
	Name, State string
	// Open selects those whose account may still be there.
	Open bool
}

// Leases lists leases of the vault, the oldest first.
func (v *Vault) Leases(ctx context.Context, f LeaseFilter) iter.Seq2[*api.Lease, error] {
	q := url.Values{}
	for name, value := range map[string]string{"name": f.Name, "state": f.State} {
		if value != "" {
			q.Set(name, value)
		}
	}
	if f.Open {
		q.Set("open", "true")
	}
	return pages(ctx, v.c, v.path+"/leases", q, func(l *api.LeasePage) ([]api.Lease, string) { return l.Items, l.Next })
}
