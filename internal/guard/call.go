package guard

import (
	"net/netip"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/vault"
)

// Call is what is known of one request: who asks, from where, through which door. A door fills it, services pass it on.
type Call struct {
	// Caller is nil for a request that needs no authentication.
	Caller *Caller
	// Vault is the vault that the request addresses, or nil outside of vaults.
	Vault *View
	// Address is where the request comes from.
	Address netip.Addr
	// Private says that the request came by a listener for private networks: the way to vaults whose public access is off. Network rules are about public
	// addresses and do not concern it.
	Private bool
	// Door and Operation name the endpoint.
	Door, Operation string
	// Correlation is this request's own id, ClientRequest the one that the caller chose, if any.
	Correlation, ClientRequest string
	// APIVersion is the protocol version that the caller asked for.
	APIVersion string
	UserAgent  string
	// Instance is what the caller says it is, beyond its principal: one of several replicas, say. Nobody vouches for it.
	Instance string
	// Region is where the caller says it runs. It decides about nothing but the ring of a rollout.
	Region string
	// Success is the HTTP status with which the endpoint answers when all goes well, Status finds that of a refusal. They are for the
	// audit record, which is written before the answer; 0 and nil leave its status out.
	Success int
	Status  func(*fault.Error) int
	// Path is the request's path without its query.
	Path string
	// Started is the instant of the request; every decision in it uses this one.
	Started time.Time

	// age is how far the node was behind the store when the request began, if aged.
	age  time.Duration
	aged bool
}

// systemLifetime is how long a call of the program's own counts: longer than any work of one takes.
const systemLifetime = time.Hour

// System is the call of what the program does by itself, outside of vaults: nobody asked for it, and no rule decides about it.
func System(t vault.TenantID, operation string, now time.Time) *Call {
	return &Call{Caller: &Caller{Tenant: t, Kind: "System", Name: "Keywright", Expires: now.Add(systemLifetime)}, Door: "system", Operation: operation,
		Correlation: vault.NewGUID(), Started: now}
}

// About returns the call with its vault named, for the records of changes that no access to the vault decides about.
func (c *Call) About(v *vault.Vault) *Call {
	about := *c
	about.Vault = &View{Vault: v}
	return &about
}
