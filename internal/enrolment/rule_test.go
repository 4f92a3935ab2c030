package enrolment

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/fault"
)

var noon = time.Date(2031, 5, 1, 12, 0, 0, 0, time.UTC)

func dns(name string) Identifier { return Identifier{DNS, name} }

func TestTermsPermit(t *testing.T) {
	terms := Terms{Names: []string{"Web.shop.example", "*.apps.example", "192.0.2.7", "2001:DB8::1"}, Domains: []string{"Lab.example"}, Networks: []netip.Prefix{netip.MustParsePrefix("10.1.2.3/8")}}
	terms.complete()
	if err := terms.check("web", noon); err != nil {
		t.Fatal(err)
	}
	wild := terms
	wild.Wildcards = true
	for _, c := range []struct {
		i          Identifier
		want, wild bool
	}{
		{dns("web.shop.example"), true, true},
		{dns("shop.example"), false, false},
		{dns("a.web.shop.example"), false, false},
		{dns("*.apps.example"), true, true},
		{dns("a.apps.example"), false, false}, // the certificate of the wildcard is permitted, and no other
		{dns("lab.example"), true, true},
		{dns("a.b.lab.example"), true, true},
		{dns("*.lab.example"), false, true},
		{dns("*.a.lab.example"), false, true},
		{dns("notlab.example"), false, false},
		{dns("lab.example.evil.example"), false, false},
		{dns("*.example"), false, false},
		{Identifier{IP, "192.0.2.7"}, true, true},
		{Identifier{IP, "192.0.2.8"}, false, false},
		{Identifier{IP, "2001:db8::1"}, true, true},
		{Identifier{IP, "10.200.0.1"}, true, true},
		{Identifier{IP, "11.0.0.1"}, false, false},
		{Identifier{IP, "lab.example"}, false, false},
	} {
		if got := terms.Permits(c.i); got != c.want {
			t.Errorf("%s %s: %t", c.i.Type, c.i.Value, got)
		}
		if got := wild.Permits(c.i); got != c.wild {
			t.Errorf("%s %s with wildcards: %t", c.i.Type, c.i.Value, got)
		}
	}
}

func TestTermsThatAreNone(t *testing.T) {
	for name, c := range map[string]struct {
		rule  string
		terms Terms
	}{
		"nothing":                    {"web", Terms{}},
		"a name that is none":        {"web", Terms{Names: []string{"a b"}}},
		"a wildcard in the middle":   {"web", Terms{Names: []string{"a.*.example"}}},
		"a wildcard for a domain":    {"web", Terms{Domains: []string{"*.example"}}},
		"a dot before a domain":      {"web", Terms{Domains: []string{".example"}}},
		"an address for a domain":    {"web", Terms{Domains: []string{"10.0.0.1"}}},
		"everything":                 {"web", Terms{Domains: []string{""}}},
		"an authority":               {"web", Terms{Domains: []string{"a.example"}, Profiles: []string{"intermediate"}}},
		"a responder":                {"web", Terms{Domains: []string{"a.example"}, Profiles: []string{"server", "ocsp"}}},
		"a negative life":            {"web", Terms{Domains: []string{"a.example"}, MaxDays: -1}},
		"an end that has passed":     {"web", Terms{Domains: []string{"a.example"}, Expires: noon}},
		"belief in nobody":           {Anyone, Terms{Domains: []string{"a.example"}, Preauthorized: true}},
		"wildcards of no domain":     {"web", Terms{Names: []string{"a.example"}, Wildcards: true}},
		"too many":                   {"web", Terms{Names: strings.Split(strings.Repeat("a.example,", maxEntries)+"b.example", ",")}},
		"an address within a domain": {"web", Terms{Domains: []string{"fe80::1"}}},
	} {
		terms := c.terms
		if name != "too many" {
			terms.complete()
		} else {
			terms.Profiles = leafProfiles
		}
		if err := terms.check(c.rule, noon); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPermit(t *testing.T) {
	r := Rule{Name: "web", Terms: Terms{Domains: []string{"a.example"}, Profiles: []string{"client", "server"}, MaxDays: 3, Preauthorized: true, Expires: noon.Add(time.Hour)}}
	p, err := r.permit([]Identifier{dns("a.example"), dns("b.a.example")}, "", noon)
	if err != nil || p != (Permission{Rule: "web", Trusted: true, Profile: "client", Life: 72 * time.Hour}) {
		t.Errorf("%+v, %v", p, err)
	}
	if p, err = r.permit([]Identifier{dns("a.example")}, "server", noon); err != nil || p.Profile != "server" {
		t.Errorf("%+v, %v", p, err)
	}
	for name, refused := range map[string]struct {
		i       Identifier
		profile string
		at      time.Time
		reason  fault.Reason
	}{
		"another name": {dns("b.example"), "", noon, NotPermitted}, "another profile": {dns("a.example"), "mutual", noon, NotPermitted}, "an authority": {dns("a.example"), "intermediate", noon, NotPermitted},
		"too late": {dns("a.example"), "", noon.Add(time.Hour), RuleEnded},
	} {
		if _, err := r.permit([]Identifier{dns("a.example"), refused.i}, refused.profile, refused.at); !fault.Is(err, fault.Forbidden) || fault.As(err).Reason != refused.reason {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Whatever a name is, it is permitted only if it is written in the terms or lies below a domain of them.
func FuzzPermits(f *testing.F) {
	terms := Terms{Names: []string{"web.shop.example"}, Domains: []string{"lab.example"}, Networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
	for _, s := range []string{"web.shop.example", "a.lab.example", "*.lab.example", "lab.example", "10.0.0.1", "xlab.example", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if terms.Permits(dns(name)) && name != "web.shop.example" && name != "lab.example" && !strings.HasSuffix(name, ".lab.example") {
			t.Errorf("%q is permitted", name)
		}
		if a, err := netip.ParseAddr(name); terms.Permits(Identifier{IP, name}) && name != "web.shop.example" && (err != nil || !terms.Networks[0].Contains(a)) {
			t.Errorf("the address %q is permitted", name)
		}
		if HostName(name) && (name != strings.ToLower(name) || strings.ContainsAny(name, "*/ ") || strings.Contains(name, "..")) {
			t.Errorf("%q is called a host name", name)
		}
	})
}
