package authz

import (
	"net/netip"
	"slices"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/vault"
)

// The reasons for which network rules refuse: the inner error codes of Key Vault.
const (
	ForbiddenByFirewall   fault.Reason = "ForbiddenByFirewall"
	ForbiddenByConnection fault.Reason = "ForbiddenByConnection"
)

// Network is a vault's network rules made ready for asking: the ranges are sorted and disjoint, so that a thousand rules
// cost ten comparisons.
type Network struct {
	public, allow, bypass bool
	ranges                []addrRange
}

// addrRange holds the first and last address of a range, both of one family.
type addrRange struct{ first, last netip.Addr }

// NewNetwork compiles network rules. A rule that is not a valid prefix admits nobody. Virtual network rules are not
// addresses and decide nothing.
func NewNetwork(r vault.NetworkRules) *Network {
	n := &Network{public: r.PublicAccess, allow: r.DefaultAllow, bypass: r.BypassTrusted}
	var prefixes []netip.Prefix
	for _, p := range r.Addresses {
		if p = unmap(p); p.IsValid() {
			prefixes = append(prefixes, p.Masked())
		}
	}
	// Prefixes either nest or are disjoint, and the wider of two with the same first address sorts first.
	slices.SortFunc(prefixes, func(a, b netip.Prefix) int {
		if c := a.Addr().Compare(b.Addr()); c != 0 {
			return c
		}
		return a.Bits() - b.Bits()
	})
	for _, p := range prefixes {
		if k := len(n.ranges); k > 0 && within(n.ranges[k-1], p.Addr()) {
			continue
		}
		n.ranges = append(n.ranges, addrRange{p.Addr(), lastOf(p)})
	}
	return n
}

// unmap turns a prefix of IPv4-mapped IPv6 addresses (RFC 4291, section 2.5.5.2) into the IPv4 prefix that is meant.
func unmap(p netip.Prefix) netip.Prefix {
	const mappedBits = 96
	if !p.Addr().Is4In6() || p.Bits() < mappedBits {
		return p
	}
	return netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-mappedBits)
}

// lastOf returns the last address of a masked prefix.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	last, _ := netip.AddrFromSlice(b)
	return last
}

func within(r addrRange, a netip.Addr) bool {
	return r.first.BitLen() == a.BitLen() && r.first.Compare(a) <= 0 && a.Compare(r.last) <= 0
}

// Admit reports whether a request from addr may go on to be authorised, and else why not. trusted is true for a service
// that the installation vouches for, which the rules may let bypass them. Loop-back addresses are like any other. An
// address that is not known is admitted only where every address is. It does not allocate.
func (n *Network) Admit(addr netip.Addr, trusted bool) (bool, fault.Reason) {
	switch {
	case trusted && n.bypass:
		return true, ""
	case !n.public:
		return false, ForbiddenByConnection
	case n.allow || n.names(addr.Unmap().WithZone("")):
		return true, ""
	}
	return false, ForbiddenByFirewall
}

func (n *Network) names(addr netip.Addr) bool {
	if !addr.IsValid() {
		return false
	}
	i, found := slices.BinarySearchFunc(n.ranges, addr, func(r addrRange, a netip.Addr) int { return r.first.Compare(a) })
	if found {
		return true
	}
	return i > 0 && within(n.ranges[i-1], addr)
}

// Admit is NewNetwork and Network.Admit in one, for rules that are asked once.
func Admit(r vault.NetworkRules, addr netip.Addr, trusted bool) (bool, fault.Reason) {
	return NewNetwork(r).Admit(addr, trusted)
}
