package native

import (
	"net/netip"
	"slices"

	"github.com/keywright/keywright/client/api"
	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/tenancy"
	"github.com/keywright/keywright/internal/vault"
)

// The words for what happens to an address that no rule names.
const (
	allow = "allow"
	deny  = "deny"
)

func wireNetwork(n *vault.NetworkRules) api.Network {
	out := api.Network{PublicAccess: n.PublicAccess, DefaultAction: deny, BypassTrusted: n.BypassTrusted, Addresses: make([]string, 0, len(n.Addresses))}
	if n.DefaultAllow {
		out.DefaultAction = allow
	}
	for _, p := range n.Addresses {
		out.Addresses = append(out.Addresses, addressText(p))
	}
	return out
}

// addressText writes a range, or an address alone where the range has no other.
func addressText(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

func (h *handler) updateNetwork(r *door.Request) error {
	ref, err := h.place(r)
	if err != nil {
		return err
	}
	var in api.UpdateNetwork
	if err := r.Decode(&in); err != nil {
		return err
	}
	v, err := h.Tenancy.ChangeNetwork(r.HTTP.Context(), &r.Call, ref, func(rules *vault.NetworkRules) error { return changeNetwork(rules, &in) })
	return answerVault(r, v, err)
}

func changeNetwork(rules *vault.NetworkRules, in *api.UpdateNetwork) error {
	if in.PublicAccess != nil {
		rules.PublicAccess = *in.PublicAccess
	}
	switch in.DefaultAction {
	case "":
	case allow, deny:
		rules.DefaultAllow = in.DefaultAction == allow
	default:
		return fault.New(fault.Invalid, "the default action %q is not one of allow and deny", fault.Clip(in.DefaultAction))
	}
	for _, text := range in.Remove {
		p, err := tenancy.ParseAddressRule(text)
		if err != nil {
			return err
		}
		i := slices.Index(rules.Addresses, p)
		if i < 0 {
			return fault.New(fault.NotFound, "the vault has no rule for %s: show the vault to see those that it has", addressText(p)).Because("RuleNotFound")
		}
		rules.Addresses = slices.Delete(rules.Addresses, i, i+1)
	}
	for _, text := range in.Add {
		p, err := tenancy.ParseAddressRule(text)
		if err != nil {
			return err
		}
		if !slices.Contains(rules.Addresses, p) {
			rules.Addresses = append(rules.Addresses, p)
		}
	}
	return nil
}
