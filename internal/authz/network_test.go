package authz

import (
	"net/netip"
	"testing"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/vault"
	"pgregory.net/rapid"
)

func TestAdmit(t *testing.T) {
	rules := func(change func(*vault.NetworkRules), prefixes ...string) vault.NetworkRules {
		r := vault.NetworkRules{PublicAccess: true}
		for _, p := range prefixes {
			r.Addresses = append(r.Addresses, netip.MustParsePrefix(p))
		}
		if change != nil {
			change(&r)
		}
		return r
	}
	closed := func(r *vault.NetworkRules) { r.PublicAccess = false }
	open := func(r *vault.NetworkRules) { r.DefaultAllow = true }
	bypass := func(r *vault.NetworkRules) { r.BypassTrusted = true }
	cases := []struct {
		name    string
		rules   vault.NetworkRules
		addr    string
		trusted bool
		want    fault.Reason
	}{
		{"open", vault.OpenNetwork(), "203.0.113.9", false, ""},
		{"nothing allows", rules(nil), "203.0.113.9", false, ForbiddenByFirewall},
		{"loop-back is not special", rules(nil), "127.0.0.1", false, ForbiddenByFirewall},
		{"nor is ::1", rules(nil), "::1", false, ForbiddenByFirewall},
		{"named", rules(nil, "203.0.113.9/32"), "203.0.113.9", false, ""},
		{"beside it", rules(nil, "203.0.113.9/32"), "203.0.113.10", false, ForbiddenByFirewall},
		{"in a range", rules(nil, "10.0.0.0/8", "203.0.113.0/24"), "203.0.113.255", false, ""},
		{"past a range", rules(nil, "10.0.0.0/8", "203.0.113.0/24"), "203.0.114.0", false, ForbiddenByFirewall},
		{"in a range with host bits", rules(nil, "203.0.113.77/24"), "203.0.113.1", false, ""},
		{"a mapped address", rules(nil, "203.0.113.0/24"), "::ffff:203.0.113.7", false, ""},
		{"a mapped rule", rules(nil, "::ffff:203.0.113.0/120"), "203.0.113.7", false, ""},
		{"all of IPv6 is not IPv4", rules(nil, "::/0"), "203.0.113.7", false, ForbiddenByFirewall},
		{"all of IPv4 is not IPv6", rules(nil, "0.0.0.0/0"), "2001:db8::1", false, ForbiddenByFirewall},
		{"IPv6", rules(nil, "2001:db8::/32"), "2001:db8:ffff::1", false, ""},
		{"a zone does not matter", rules(nil, "fe80::/10"), "fe80::1%eth0", false, ""},
		{"no public access", rules(closed, "0.0.0.0/0"), "203.0.113.7", false, ForbiddenByConnection},
		{"no public access, though open", rules(func(r *vault.NetworkRules) { open(r); closed(r) }), "203.0.113.7", false, ForbiddenByConnection},
		{"trusted without bypass", rules(nil), "203.0.113.7", true, ForbiddenByFirewall},
		{"trusted with bypass", rules(bypass), "203.0.113.7", true, ""},
		{"trusted and no public access", rules(func(r *vault.NetworkRules) { bypass(r); closed(r) }), "203.0.113.7", true, ""},
		{"bypass is for the trusted", rules(bypass), "203.0.113.7", false, ForbiddenByFirewall},
	}
	for _, c := range cases {
		ok, reason := Admit(c.rules, netip.MustParseAddr(c.addr), c.trusted)
		if reason != c.want || ok != (c.want == "") {
			t.Errorf("%s: %v, %q; want %q", c.name, ok, reason, c.want)
		}
	}
	if ok, _ := Admit(rules(nil, "0.0.0.0/0", "::/0"), netip.Addr{}, false); ok {
		t.Error("an unknown address is admitted")
	}
	if ok, _ := Admit(vault.NetworkRules{PublicAccess: true, Addresses: []netip.Prefix{{}}}, netip.MustParseAddr("1.2.3.4"), false); ok {
		t.Error("an invalid rule admits")
	}
}

func TestAdmitIsThatSomeRuleContains(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		addr := func(label string) netip.Addr {
			if rapid.Bool().Draw(t, label+" is IPv6") {
				var b [16]byte
				b[0], b[15] = 0x20, byte(rapid.IntRange(0, 40).Draw(t, label))
				return netip.AddrFrom16(b)
			}
			return netip.AddrFrom4([4]byte{10, 0, 0, byte(rapid.IntRange(0, 40).Draw(t, label))})
		}
		var r vault.NetworkRules
		r.PublicAccess = true
		for range rapid.IntRange(0, 12).Draw(t, "rules") {
			a := addr("rule")
			r.Addresses = append(r.Addresses, netip.PrefixFrom(a, a.BitLen()-rapid.IntRange(0, 6).Draw(t, "host bits")))
		}
		a, want := addr("address"), false
		for _, p := range r.Addresses {
			want = want || p.Masked().Contains(a)
		}
		if got, _ := Admit(r, a, false); got != want {
			t.Fatalf("Admit(%v, %v) = %v, want %v", r.Addresses, a, got, want)
		}
	})
}

func TestAdmitDoesNotAllocate(t *testing.T) {
	r := vault.NetworkRules{PublicAccess: true}
	for i := range vault.MaxAddressRules {
		r.Addresses = append(r.Addresses, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0}), 25))
	}
	n, a := NewNetwork(r), netip.MustParseAddr("::ffff:10.1.200.7")
	if allocations := testing.AllocsPerRun(1000, func() {
		if ok, _ := n.Admit(a, false); !ok {
			t.Error("refused")
		}
	}); allocations != 0 {
		t.Errorf("%v allocations", allocations)
	}
}
