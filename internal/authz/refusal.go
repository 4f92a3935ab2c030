package authz

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/vault"
)

// The reasons of refusals besides those of network rules: the inner error codes of Key Vault and, for the management
// plane, the error code of Azure Resource Manager.
const (
	ForbiddenByRbac     fault.Reason = "ForbiddenByRbac"
	ForbiddenByPolicy   fault.Reason = "ForbiddenByPolicy"
	AuthorizationFailed fault.Reason = "AuthorizationFailed"
)

// String writes the caller as refusals of Key Vault do: appid, oid and iss, of which an unknown one is left out.
func (c Caller) String() string {
	var parts []string
	for _, p := range []struct{ name, value string }{{"appid", c.AppID}, {"oid", string(c.Principal)}, {"iss", c.Issuer}} {
		if p.value != "" {
			parts = append(parts, p.name+"="+p.value)
		}
	}
	return strings.Join(parts, ";")
}

// Refusal turns a refused decision on a vault's data into the fault.Forbidden that the caller gets, in the words by which
// Key Vault's clients and their users know it; tools search these messages for "Caller:", "does not have secrets get
// permission" and the like. Nothing in it depends on whether the object exists, and a caller of another tenant learns
// nothing about the vault. An allowed decision gives nil.
func Refusal(r Request, d Decision, v *vault.Vault) error {
	if d.Allowed {
		return nil
	}
	switch {
	case v == nil || d.Code == ForeignTenant:
		return strangerRefusal(r, d)
	case d.Code == ByFirewall:
		return NetworkRefusal(ForbiddenByFirewall, r.Caller, r.Address, v)
	case d.Code == ByConnection:
		return NetworkRefusal(ForbiddenByConnection, r.Caller, r.Address, v)
	case d.Action.Plane() == Control:
		return ControlRefusal(r, d)
	case d.Code == NotEnabled:
		return switchRefusal(r, d, v)
	case v.Access == vault.AccessByPolicy && d.Action.Permission() != "":
		return policyRefusal(r, d, v)
	}
	return rbacRefusal(r, d, v)
}

func rbacRefusal(r Request, d Decision, v *vault.Vault) error {
	lines := []string{
		"Caller is not authorized to perform action on resource.",
		"If role assignments, deny assignments or role definitions were changed recently, please observe propagation time.",
		"Caller: " + r.Caller.String(),
		"Action: '" + d.Action.String() + "'",
		"Resource: '" + strings.ToLower(d.Target.String()) + "'",
		"Assignment: (not found)",
		"DenyAssignmentId: null",
		// The blank before the line end is Key Vault's.
		"DecisionReason: null ",
		"Vault: " + location(v),
		"",
	}
	return fault.New(fault.Forbidden, "%s", strings.Join(lines, "\r\n")).Because(ForbiddenByRbac)
}

// strangerRefusal says no more than the caller said.
func strangerRefusal(r Request, d Decision) error {
	return fault.New(fault.Forbidden, "Caller is not authorized to perform action on resource.\r\nCaller: %s\r\nAction: '%s'\r\n",
		r.Caller, d.Action).Because(ForbiddenByRbac)
}

// switchRefusal tells a provisioner what the vault's owner has to do. It holds a role there, so it may know of the vault.
func switchRefusal(r Request, d Decision, v *vault.Vault) error {
	reason := ForbiddenByRbac
	if v.Access == vault.AccessByPolicy {
		reason = ForbiddenByPolicy
	}
	return fault.New(fault.Forbidden, "The vault is not enabled for what the caller's role %q is for. Its owner can enable it: %s.\r\nCaller: %s\r\nAction: '%s'\r\nVault: %s\r\n",
		d.Role, provisioners[RoleID(d.Grant.Role)].property(), r.Caller, d.Action, location(v)).Because(reason)
}

func policyRefusal(r Request, d Decision, v *vault.Vault) error {
	return fault.New(fault.Forbidden, "The user, group or application '%s' does not have %ss %s permission on key vault '%s'. "+
		"For help resolving this issue, please see https://go.microsoft.com/fwlink/?linkid=2125287",
		r.Caller, d.Action.Kind(), d.Action.Permission(), location(v)).Because(ForbiddenByPolicy)
}

// NetworkRefusal is the fault.Forbidden of a caller whom the network rules do not admit. reason is what Admit returned.
func NetworkRefusal(reason fault.Reason, c Caller, addr netip.Addr, v *vault.Vault) error {
	lines := []string{"Client address is not authorized and caller is not a trusted service.", "Client address: " + address(addr)}
	if reason == ForbiddenByConnection {
		lines = []string{"Public network access is disabled and request is not from a trusted service nor via an approved private link."}
	}
	lines = append(lines, "Caller: "+c.String(), "Vault: "+location(v))
	return fault.New(fault.Forbidden, "%s", strings.Join(lines, "\r\n")).Because(reason)
}

func address(addr netip.Addr) string {
	if !addr.IsValid() {
		return "unknown"
	}
	return addr.Unmap().WithZone("").String()
}

// ControlRefusal is the fault.Forbidden for a refused control-plane action, in the words of Azure Resource Manager.
func ControlRefusal(r Request, d Decision) error {
	client := r.Caller.AppID
	if client == "" {
		client = string(r.Caller.Principal)
	}
	return fault.New(fault.Forbidden, "The client '%s' with object id '%s' does not have authorization to perform action '%s' over scope '%s' or the scope is invalid. "+
		"If access was recently granted, please refresh your credentials.", client, r.Caller.Principal, d.Action, d.Target).Because(AuthorizationFailed)
}

// location names a vault as refusals do.
func location(v *vault.Vault) string { return fmt.Sprintf("%s;location=%s", v.Name, v.Location) }
