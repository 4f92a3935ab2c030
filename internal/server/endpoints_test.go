package server

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/endpoint"
	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// view looks at the store.
func (x *target) view(fn func(store.Tx) error) {
	x.t.Helper()
	if err := x.core.store.View(x.t.Context(), fn); err != nil {
		x.t.Fatal(err)
	}
}

// demo is the vault that every development server has.
func (x *target) demo() (v *vault.Vault) {
	x.t.Helper()
	x.view(func(tx store.Tx) (err error) {
		v, err = tx.VaultByName(x.t.Context(), devVault)
		return err
	})
	return v
}

// TestPresentedCertificates follows an endpoint from its registration over the native API to the metrics and the ledger. The server itself is what is looked at.
func TestPresentedCertificates(t *testing.T) {
	s := openShop(t)
	base := s.variable("KEYWRIGHT_URL")
	token := s.tokenOf(person{tenant: s.estate.Tenant, id: s.estate.App, app: s.estate.AppID, secret: redact.String(s.variable("AZURE_CLIENT_SECRET"))}, base)
	body := `{"certificate":"shop","address":"` + s.address() + `"}`
	s.ask("POST", "/certificates/shop/create", `{"policy":{"issuer":{"name":"Self"},"x509_props":{"subject":"CN=shop","sans":{"ipAddresses":["192.0.2.7"],"uris":["spiffe://example.org/shop"]}}}}`,
		http.StatusAccepted, nil)
	s.settle("shop")
	if got := s.ask("GET", "/certificates/shop/policy", "", http.StatusOK, nil); !strings.Contains(got, `"uris":["spiffe://example.org/shop"],"ipAddresses":["192.0.2.7"]`) {
		t.Errorf("the policy is %s", got)
	}
	const path = "/api/v1/vaults/demo/certificate-endpoints/front"
	if r := s.send("PUT", base+path, token, body); r.status != http.StatusOK || !strings.Contains(r.body, `"everySeconds":3600`) {
		t.Fatalf("%+v", r)
	}
	// The background looks at what is new without being asked.
	var e *endpoint.Endpoint
	id := s.demo().ID
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		s.view(func(tx store.Tx) error {
			row, err := tx.EndpointByName(t.Context(), id, "front")
			if err != nil {
				return err
			}
			e, err = endpoint.Read(row)
			return err
		})
		if !e.Checked.IsZero() {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("nobody looked at the endpoint")
		}
	}
	if e.Level() != endpoint.Critical || len(e.Alarms) != 2 || e.Expected == "" {
		t.Errorf("%+v", e)
	}
	if err := s.core.measureEndpoints(t.Context()); err != nil {
		t.Fatal(err)
	}
	metrics := s.send("GET", s.variable("KEYWRIGHT_METRICS_URL"), "", "").body
	for _, want := range []string{"\nkeywright_endpoints 1\n", "\nkeywright_endpoint_mismatches 1\n", "\nkeywright_endpoints_unseen 0\n", "\nkeywright_mail_sent_total 0\n",
		`keywright_endpoint_alarms{kind="foreign",level="warning"} 1`, `keywright_endpoint_alarms{kind="untrusted",level="critical"} 1`, `keywright_endpoint_alarms{kind="expired",level="critical"} 0`,
		"\nkeywright_endpoint_oldest_expiry_seconds "} {
		if !strings.Contains(metrics, want) {
			t.Errorf("the metrics lack %q", want)
		}
	}
	if r := s.send("DELETE", base+path, token, ""); r.status != http.StatusNoContent {
		t.Errorf("%+v", r)
	}
}

// TestPresentedVersionsReachTheLedger holds that what an endpoint presents is seen at the target, by the consumer that fetched it from there.
func TestPresentedVersionsReachTheLedger(t *testing.T) {
	s := openShop(t)
	version := vault.NewVersionID(s.now.Now())
	p := endpoint.Presented{Tenant: s.estate.Tenant, Vault: s.demo().ID, Name: "shop", Version: version, At: s.now.Now()}
	look := func() (rows []*store.Holding) {
		if err := (presented{s.core.ledger}).Seen(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		s.view(func(tx store.Tx) (err error) {
			rows, err = tx.Holdings(t.Context(), store.HoldingQuery{Vault: p.Vault, Kind: vault.Secret, NameKey: "shop", Version: version})
			return err
		})
		return rows
	}
	p.Addresses = []netip.Addr{netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("192.0.2.8")}
	if rows := look(); len(rows) != 3 || rows[1].Seen.IsZero() {
		t.Errorf("%+v", rows)
	}
	p.Addresses, p.At = nil, p.At.Add(time.Minute)
	if rows := look(); len(rows) != 3 || !strings.Contains(string(rows[0].Doc), `"clean"`) {
		t.Errorf("after it is gone: %s", rows[0].Doc)
	}
}
