package azure

import (
	"strings"

	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
)

// Audiences that are accepted besides the resource of the challenge: Key Vault's public resource, which older clients
// ask for whatever the challenge says, and its application id.
const (
	publicResource = "https://vault.azure.net"
	vaultAppID     = "cfa8b339-82a2-471a-a3c9-0fc0be7a4093"
)

// authenticate checks the bearer token. A token of another tenant and a vault that does not exist get the same answer,
// so that nobody learns which vaults a foreign tenant has.
func (h *handler) authenticate(r *door.Request, where *place, view *guard.View) error {
	token, ok := r.Bearer()
	if !ok {
		return fault.New(fault.Unauthenticated, "AKV10000: Request is missing a Bearer or PoP token.").Because("AKV10000")
	}
	caller, err := h.Callers.Authenticate(r.HTTP.Context(), token, where)
	if err != nil {
		return coded(err)
	}
	if view == nil || view.Vault.Tenant != caller.Tenant {
		return fault.New(fault.Unauthenticated, "AKV10032: Invalid issuer. The token's tenant has no vault at this address: check the vault's name and "+
			"the tenant that you signed in to.").Because("AKV10032")
	}
	r.Call.Caller = caller
	return nil
}

// coded puts the code of a refused token before its sentence, where Key Vault has it and people look it up.
func coded(err error) error {
	e := fault.As(err)
	if e == nil || e.Kind != fault.Unauthenticated || !strings.HasPrefix(string(e.Reason), "AKV") {
		return err
	}
	told := *e
	told.Message = string(e.Reason) + ": " + e.Message
	return &told
}

// Accepts reports whether a token's audience is this vault's resource, however the client wrote it: with or without a
// trailing slash, with or without the port.
func (p *place) Accepts(audience string) bool {
	audience = strings.TrimSuffix(audience, "/")
	if strings.EqualFold(audience, p.resource) || strings.EqualFold(audience, publicResource) || strings.EqualFold(audience, vaultAppID) {
		return true
	}
	const scheme = "https://"
	name, _ := splitPort(strings.TrimPrefix(p.resource, scheme))
	return strings.EqualFold(audience, scheme+name)
}

// challenge tells the client where tokens are had. Its shape is exact: clients split it at blanks and at equal signs.
func (h *handler) challenge(r *door.Request, where *place, view *guard.View) {
	tenant := string(h.DefaultTenant)
	if view != nil {
		tenant = string(view.Vault.Tenant)
	}
	if where.federated {
		tenant = "adfs"
	}
	r.Header()["Www-Authenticate"] = []string{`Bearer authorization="https://` + where.login + "/" + tenant + `", resource="` + where.resource + `"`}
}
