package server

import (
	"context"
	"testing"

	"github.com/keywright/keywright/internal/config"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/issuer/acme"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// What one tenant was given is nobody else's, and what cannot be read is nobody's.
func TestProvableNames(t *testing.T) {
	x := startTarget(t)
	tenant, _ := x.newTenant("others")
	x.newVault(x.estate.Tenant, x.estate.Subscription, devGroup, "second")
	find := func(name string) (v *vault.Vault) {
		x.view(func(tx store.Tx) (err error) {
			v, err = tx.VaultByName(t.Context(), name)
			return err
		})
		return v
	}
	demo, second, others := find(devVault), find("second"), find("others")
	i := x.core.issuers
	for _, text := range []string{string(tenant) + "=.shared.example", "demo=www.shop.example", "demo/front=.front.example", "Demo=10.0.0.0/8", "second=[::1]"} {
		n, err := ParseChallengeName(text)
		if text == "second=[::1]" {
			if err == nil {
				t.Errorf("%s was read as %+v", text, n)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		i.names = append(i.names, n)
	}
	suffix := "." + x.names.suffix
	for _, c := range []struct {
		v            *vault.Vault
		issuer, name string
		want         bool
	}{
		{demo, "any", "www.shop.example", true},
		{demo, "any", "WWW.Shop.Example.", true},
		{second, "any", "www.shop.example", false},
		{others, "any", "www.shop.example", false},
		{demo, "any", "a.www.shop.example", false},
		{demo, "any", "shop.example", false},
		{demo, "Front", "a.b.front.example", true},
		{demo, "front", "front.example", true},
		{demo, "front", "afront.example", false},
		{demo, "back", "front.example", false},
		{second, "front", "front.example", false},
		{others, "any", "x.shared.example", true},
		{demo, "any", "x.shared.example", false},
		{demo, "any", "10.1.2.3", true},
		{demo, "any", "::ffff:10.1.2.3", true},
		{demo, "any", "192.0.2.1", false},
		{others, "any", "10.1.2.3", false},
		{demo, "any", "demo" + suffix, true},
		{demo, "any", "a.b.second" + suffix, true},
		{demo, "any", "others" + suffix, false},
		{demo, "any", "demo.others" + suffix, false},
		{others, "any", "others" + suffix, true},
		{others, "any", "demo" + suffix, false},
		{demo, "any", "absent" + suffix, false},
		{demo, "any", x.names.suffix, false},
		{demo, "any", suffix, false},
		{demo, "any", "", false},
	} {
		err := i.provable(t.Context(), c.v, c.issuer, c.name)
		if (err == nil) != c.want || err != nil && (!fault.Is(err, fault.Forbidden) || fault.As(err).Reason != "NameNotProvable") {
			t.Errorf("%s/%s and %q: %v", c.v.Name, c.issuer, c.name, err)
		}
	}
	// Whoever chose the solver: it presents nothing that it may not.
	s := sharedSolver{&i.http, func(ctx context.Context, name string) error { return i.provable(ctx, others, "any", name) }}
	if err := s.Present(t.Context(), acme.Challenge{Name: "www.shop.example", Token: "t", KeyAuthorization: "t.k"}); !fault.Is(err, fault.Forbidden) {
		t.Error(err)
	}
	x.change(func(tx store.Tx) error {
		v := *second
		v.Deleted = &vault.Deletion{At: x.core.clock.Now(), PurgeAt: x.core.clock.Now()}
		return tx.PutVault(t.Context(), &v)
	})
	if err := i.provable(t.Context(), demo, "any", "second"+suffix); err == nil {
		t.Error("the host of a deleted vault")
	}
}

// FuzzParseChallengeName: what is read covers itself, and names nothing wider than it says.
func FuzzParseChallengeName(f *testing.F) {
	for _, text := range []string{"demo=.example.com", "demo/ca=www.example.com", "11111111-1111-1111-1111-111111111111=10.0.0.0/8", "=", "a=b", "demo=.", "demo=*", "demo=::/0", "demo=.."} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		n, err := ParseChallengeName(text)
		if err != nil {
			if !fault.Is(err, fault.Invalid) || n != (ChallengeName{}) {
				t.Errorf("%q: %+v, %v", text, n, err)
			}
			return
		}
		if n.Who == "" || (n.Name == "") != n.Network.IsValid() {
			t.Errorf("%q: %+v", text, n)
		}
		if n.covers("") || n.covers("com") && n.Name != "com" && n.Name != ".com" || n.Network.IsValid() && !n.covers(n.Network.Addr().String()) {
			t.Errorf("%q covers too much, or not itself: %+v", text, n)
		}
	})
}

// The configuration of a production server says the same, and does not start with what cannot be read.
func TestProvableNamesOfTheConfiguration(t *testing.T) {
	c, err := FromFile(&config.File{ACME: config.ACME{Names: []string{"demo/ca=.a.example"}}})
	if err != nil || len(c.ChallengeNames) != 1 || c.ChallengeNames[0] != (ChallengeName{Who: "demo/ca", Name: ".a.example"}) {
		t.Errorf("%+v, %v", c.ChallengeNames, err)
	}
	if _, err := FromFile(&config.File{ACME: config.ACME{Names: []string{".a.example"}}}); err == nil {
		t.Error("a name that is given to nobody")
	}
}
