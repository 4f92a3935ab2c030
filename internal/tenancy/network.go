package tenancy

import (
	"net/netip"
	"strings"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/vault"
)

// ParseAddressRule reads one address rule: an address or a range in CIDR notation (RFC 4632, RFC 4291). Azure takes IPv4
// only; a network on premises has IPv6 too. The bits of a range behind its prefix are dropped. Errors are a fault.Invalid.
func ParseAddressRule(s string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(s); err == nil && !p.Addr().Is4In6() {
		return p.Masked(), nil
	}
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	return netip.Prefix{}, badRequest("the address rule %q is neither an address nor a range: write 203.0.113.7 or 203.0.113.0/24", fault.Clip(s))
}

// maxSubnetIDBytes bounds a subnet's resource id; Azure's own names allow for less.
const maxSubnetIDBytes = 512

func checkNetwork(n *vault.NetworkRules) error {
	if len(n.Addresses) > vault.MaxAddressRules {
		return badRequest("%d address rules are too many: a vault has at most %d; join ranges", len(n.Addresses), vault.MaxAddressRules)
	}
	if len(n.Subnets) > vault.MaxSubnetRules {
		return badRequest("%d virtual network rules are too many: a vault has at most %d", len(n.Subnets), vault.MaxSubnetRules)
	}
	for _, p := range n.Addresses {
		if !p.IsValid() || p.Masked() != p {
			return badRequest("an address rule is not a range: write 203.0.113.7 or 203.0.113.0/24")
		}
	}
	for _, s := range n.Subnets {
		if !isSubnet(s.ID) {
			return badRequest("the virtual network rule %q is not the resource id of a subnet: expected "+
				"/subscriptions/ID/resourceGroups/GROUP/providers/Microsoft.Network/virtualNetworks/NETWORK/subnets/SUBNET", fault.Clip(s.ID))
		}
	}
	return nil
}

func isSubnet(id string) bool {
	p := strings.Split(strings.ToLower(id), "/")
	if len(id) > maxSubnetIDBytes || len(p) != 11 || p[0] != "" {
		return false
	}
	for i, want := range map[int]string{1: "subscriptions", 3: "resourcegroups", 5: "providers", 6: "microsoft.network", 7: "virtualnetworks", 9: "subnets"} {
		if p[i] != want {
			return false
		}
	}
	_, err := vault.ParseGUID(p[2])
	return err == nil && p[4] != "" && p[8] != "" && p[10] != ""
}
