package identity_test

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/identity"
	"github.com/keywright/keywright/internal/vault"
)

// TestStartsAreBounded begins sign-ins that nobody finishes, as a stranger can, until no more are taken.
func TestStartsAreBounded(t *testing.T) {
	address := func(n int) netip.Addr {
		return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, 0x0a000000+uint32(n))))
	}
	for name, begin := range map[string]func(*world, vault.TenantID, netip.Addr) error{
		"device code": func(w *world, t vault.TenantID, a netip.Addr) error {
			_, err := w.svc.StartDevice(w.ctx, identity.DeviceRequest{Tenant: t, ClientID: cliID, Resource: resource, From: identity.From{Address: a}})
			return err
		},
		"passkey": func(w *world, t vault.TenantID, a netip.Addr) error {
			_, err := w.svc.BeginPasskey(w.ctx, t, origin, identity.From{Address: a})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			// until counts the starts of a stranger that can be somebody else each time.
			until := func(next func(int) (vault.TenantID, netip.Addr)) int {
				for n := range 5000 {
					tenant, from := next(n)
					if err := begin(w, tenant, from); fault.Is(err, fault.Throttled) {
						return n
					} else if err != nil && tenant == w.tenant {
						t.Fatal(err)
					}
				}
				t.Fatal("five thousand sign-ins were begun")
				return 0
			}
			if n := until(func(int) (vault.TenantID, netip.Addr) { return w.tenant, here }); n != 120 {
				t.Errorf("one address began %d sign-ins", n)
			}
			w.must(begin(w, w.tenant, there))
			if n := until(func(n int) (vault.TenantID, netip.Addr) { return w.tenant, address(n) }); n != 1200-121 {
				t.Errorf("many addresses began %d more in one tenant", n)
			}
			// Tenants that do not exist cost no rows, but a transaction each.
			if n := until(func(n int) (vault.TenantID, netip.Addr) { return vault.NewTenantID(), address(n + 5000) }); n != 1200 {
				t.Errorf("many addresses began %d more in other tenants", n)
			}
			w.clock.Advance(500 * time.Millisecond)
			w.must(begin(w, w.tenant, here))
			w.must(w.svc.Tend(w.ctx))
			if err := begin(w, w.tenant, here); !fault.Is(err, fault.Throttled) {
				t.Errorf("the address was forgotten before it had paid: %v", err)
			}
			w.clock.Advance(10 * time.Minute)
			w.must(w.svc.Tend(w.ctx))
			if n := until(func(int) (vault.TenantID, netip.Addr) { return w.tenant, here }); n != 120 {
				t.Errorf("one address began %d sign-ins later", n)
			}
		})
	}
}
