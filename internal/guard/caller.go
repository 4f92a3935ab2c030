package guard

import (
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/vault"
)

// Caller is an authenticated principal, as one credential proved it. It is shared by the requests that present the same
// token and is not changed after it was made, but for Revoke.
type Caller struct {
	Principal principal.ID
	Tenant    vault.TenantID
	Kind      principal.Kind
	AppID     string
	// Name is the display name, UPN a user's sign-in name; both may be empty.
	Name, UPN string
	// Resource is the resource id that a managed identity belongs to.
	Resource string
	// Issuer is the token's issuer, which refusals show.
	Issuer string
	// Groups holds every group that the principal is in, directly or through another group.
	Groups []principal.ID
	// Credential is the id of the secret, certificate, federation or sign-in by which the token was had.
	Credential string
	// Expires is when the proof ends.
	Expires time.Time

	revoked atomic.Bool
	views   views
	// rate is the principal's limiter, so that it is looked up once per token.
	rate atomic.Pointer[rate.Limiter]
}

// Revoke makes the caller count as unauthenticated from now on: its principal, credential or groups changed, and who
// still comes with the same token has to be looked up again.
func (c *Caller) Revoke() { c.revoked.Store(true) }

// Live reports whether the caller still counts at now.
func (c *Caller) Live(now time.Time) bool { return !c.revoked.Load() && now.Before(c.Expires) }
