package server

import (
	"context"
	"crypto/tls"
	"hash/fnv"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"

	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// addresses gives each vault of a development server an address of its own in 127.0.0.0/8, on the port of the server:
// clients that know only a URL and cannot be given names then tell vaults apart. The first vault has the server's own
// address; the others' follow from their names, so that they are the same after a restart.
type addresses struct {
	own  netip.Addr
	port int

	mu     sync.Mutex
	vaults map[netip.Addr]string
	open   map[netip.Addr]*http.Server
	// serve answers what comes to an address. Nil until there are addresses to keep.
	serve func(net.Listener) *http.Server
}

func newAddresses(own netip.Addr, port int) *addresses {
	return &addresses{own: own, port: port, vaults: map[netip.Addr]string{own: devVault}, open: map[netip.Addr]*http.Server{}}
}

// vault returns the name of the vault at an address.
func (a *addresses) vault(ip string) (string, bool) {
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		return "", false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	name, ok := a.vaults[addr]
	return name, ok
}

// maxAddresses bounds the vaults that get an address: each costs a listener.
const maxAddresses = 256

// of returns the address of a vault, of which there is one as soon as it is listened on.
func (a *addresses) of(name string) (netip.Addr, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for addr, n := range a.vaults {
		if n == vault.NameKey(name) {
			return addr, true
		}
	}
	return netip.Addr{}, false
}

// ensure returns the address of a vault that is there. Whoever made it is told the address before reconcile has heard of the vault.
func (a *addresses) ensure(name string) (netip.Addr, bool) {
	if addr, ok := a.of(name); ok {
		return addr, true
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.serve == nil || len(a.vaults) >= maxAddresses {
		return netip.Addr{}, false
	}
	addr, err := a.add(vault.NameKey(name))
	return addr, err == nil
}

// add listens on an address for a vault. The caller holds mu.
func (a *addresses) add(key string) (netip.Addr, error) {
	for addr, name := range a.vaults {
		if name == key {
			return addr, nil
		}
	}
	addr, l, err := a.listen(key)
	if err == nil {
		a.vaults[addr], a.open[addr] = key, a.serve(l)
	}
	return addr, err
}

// candidate returns the address for a name at the n-th try: 127.1.0.1 to 127.254.255.254 by the name's hash.
func candidate(name string, n uint32) netip.Addr {
	h := fnv.New32a()
	h.Write([]byte(name))
	sum := h.Sum32() + n
	return netip.AddrFrom4([4]byte{127, byte(1 + sum%254), byte(sum >> 8), byte(1 + (sum>>16)%254)})
}

// reconcile opens a listener for each live vault that has none and closes those of vaults that are gone.
func (a *addresses) reconcile(live []string) (failed error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	wanted := make(map[string]bool, len(live))
	for _, name := range live {
		wanted[name] = true
	}
	for addr, name := range a.vaults {
		if addr != a.own && !wanted[name] {
			a.open[addr].Close()
			delete(a.open, addr)
			delete(a.vaults, addr)
		}
	}
	for _, name := range live {
		if len(a.vaults) >= maxAddresses {
			break
		}
		if _, err := a.add(name); err != nil {
			failed = err
		}
	}
	return failed
}

// listen tries a few addresses: another vault, or another program, may have the first.
func (a *addresses) listen(name string) (addr netip.Addr, l net.Listener, err error) {
	for n := range uint32(4) {
		addr = candidate(name, n)
		if _, taken := a.vaults[addr]; taken {
			continue
		}
		if l, err = net.Listen("tcp4", netip.AddrPortFrom(addr, uint16(a.port)).String()); err == nil {
			return addr, l, nil
		}
	}
	return addr, nil, err
}

// keepAddresses gives every vault its address, now and as vaults come and go.
func (d *Dev) keepAddresses(ctx context.Context, h http.Handler, config *tls.Config) {
	d.addresses.mu.Lock()
	d.addresses.serve = func(l net.Listener) *http.Server { return d.serve(l, h, config, door.Listener{}) }
	d.addresses.mu.Unlock()
	refresh := func(ctx context.Context) error {
		var live []string
		err := d.core.store.View(ctx, func(tx store.Tx) error {
			vaults, err := tx.Vaults(ctx, store.VaultQuery{Tenant: d.estate.Tenant})
			for _, v := range vaults {
				live = append(live, vault.NameKey(v.Name))
			}
			return err
		})
		if err != nil {
			return err
		}
		return d.addresses.reconcile(live)
	}
	if err := refresh(ctx); err != nil {
		// Names still work; a vault without an address is no reason not to start.
		d.core.log.Warn("a vault has no address of its own", "error", err)
	}
	d.core.afterVaults(refresh, "a vault has no address of its own")
}

// LoopbackURL returns the address of a vault that needs no name resolution, or the empty string when it has none.
func (f *site) LoopbackURL(name string) string {
	if f.addresses == nil {
		return ""
	}
	addr, ok := f.addresses.of(name)
	if !ok {
		return ""
	}
	return f.addresses.url(addr)
}

func (a *addresses) url(addr netip.Addr) string {
	return "https://" + addr.String() + ":" + strconv.Itoa(a.port)
}
