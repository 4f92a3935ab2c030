package guard

import (
	"net/netip"
	"time"
)

// Call is what is known of one request: who asks, from where, through which door. A door fills it, services pass it on.
type Call struct {
	// Caller is nil for a request that needs no authentication.
	Caller *Caller
	// Vault is the vault that the request addresses, or nil outside of vaults.
	Vault *View
	// Address is where the request comes from.
	Address netip.Addr
	// Door and Operation name the endpoint.
	Door, Operation string
	// Correlation is this request's own id, ClientRequest the one that the caller chose, if any.
	Correlation, ClientRequest string
	// APIVersion is the protocol version that the caller asked for.
	APIVersion string
	UserAgent  string
	// Path is the request's path without its query.
	Path string
	// Started is the instant of the request; every decision in it uses this one.
	Started time.Time
}
