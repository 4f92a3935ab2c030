package ledger

import (
	"net/netip"
	"strings"

	"github.com/keywright/keywright/internal/principal"
)

// Consumer is who holds a version: a principal and one of its instances.
type Consumer struct {
	Principal principal.ID
	// Instance is what tells processes of one principal apart: see Identify. A session at the target that belongs to nobody known has no
	// principal, and the address as its instance.
	Instance string
	// Weak is true when several processes may stand behind the instance.
	Weak bool
}

// The first character of an instance says where it comes from; a declared one begins with none of them.
const (
	byAddress  = "@" // the client's address
	byResource = "/" // the resource id of a managed identity
	byPlace    = ">" // a place to which a copy was delivered
)

// userAssigned stands in the resource ids of identities that any number of resources can share; such an id tells nothing apart.
const userAssigned = "/microsoft.managedidentity/userassignedidentities/"

// Instance is the second half of a consumer: what the caller declared, else the resource that its managed identity belongs to, else its address,
// which is weak. A declared instance that looks like one of the others declares nothing.
func Instance(declared, resource string, address netip.Addr) (instance string, weak bool) {
	if declared != "" && !strings.ContainsAny(declared[:1], byAddress+byResource+byPlace) {
		return strings.ToValidUTF8(declared, "\ufffd"), false
	}
	resource = strings.ToLower(resource)
	if strings.HasPrefix(resource, byResource) && !strings.Contains(resource, userAssigned) {
		return resource, false
	}
	return atAddress(address), true
}

func atAddress(a netip.Addr) string {
	if !a.IsValid() {
		return byAddress + "unknown"
	}
	return byAddress + a.Unmap().WithZone("").String()
}
