package cert_test

import (
	"fmt"
	"testing"

	"github.com/keywright/keywright/internal/cert"
	"github.com/keywright/keywright/internal/fault"
)

// Places are alternative names too: in what is made by a policy, and in what is made anew of an imported certificate.
func TestPlacesAsNames(t *testing.T) {
	w := newWorld(t)
	uris, addresses := []string{"spiffe://example.org/shop", "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6"}, []string{"192.0.2.7", "2001:db8::7"}
	w.create("web", policy("Self", func(p *cert.Policy) { p.X509 = cert.X509Props{URIs: uris, Addresses: addresses} }))
	check := func(name string) *cert.Policy {
		t.Helper()
		_, p, f := w.get(name)
		leaf := must(f.Certificate())(t)
		if fmt.Sprint(leaf.URIs) != fmt.Sprint(uris) || fmt.Sprint(leaf.IPAddresses) != fmt.Sprint(addresses) || len(leaf.DNSNames) != 0 {
			t.Errorf("%s is for %v and %v", name, leaf.URIs, leaf.IPAddresses)
		}
		if fmt.Sprint(p.X509.URIs) != fmt.Sprint(uris) || fmt.Sprint(p.X509.Addresses) != fmt.Sprint(addresses) {
			t.Errorf("the policy of %s names %v and %v", name, p.X509.URIs, p.X509.Addresses)
		}
		return p
	}
	check("web")
	_, value := w.secretOf("web")
	_, _, err := w.imports("brought", cert.File{Value: value}, cert.Input{Policy: &cert.Policy{Issuer: cert.IssuerRef{Name: cert.SelfIssuer}}})
	w.do(err)
	w.create("brought", check("brought"))
	check("brought")
	for _, x := range []cert.X509Props{{URIs: []string{"shop.example"}}, {URIs: []string{"/path"}}, {URIs: []string{"https://"}}, {URIs: []string{"https://ü.example/"}}, {URIs: []string{"https://a b/"}},
		{Addresses: []string{"192.0.2"}}, {Addresses: []string{"fe80::1%eth0"}}, {Addresses: []string{""}}, {Addresses: make([]string, 101)}} {
		_, _, err := w.svc.Create(w.Ctx, w.call(), "bad", cert.Input{Policy: policy("Self", func(p *cert.Policy) { p.X509 = x })})
		w.fails(err, fault.Invalid, "")
	}
}
