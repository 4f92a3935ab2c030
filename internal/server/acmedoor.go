package server

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/door/acme"
	"github.com/keywright/keywright/internal/enrolment"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Enrolment says how the answers to challenges are looked for. Its zero value is for production.
type Enrolment struct {
	// HTTPPort and TLSPort are 80 and 443 if zero. Other ports prove less: anybody on a machine can have them.
	HTTPPort, TLSPort int
	// Resolver is the address of the name server that is asked, host:port; the machine's own when empty.
	Resolver string
	// Allow permits addresses that are refused otherwise: loop-back (unless EventLoopback is set), link-local ones and metadata services.
	Allow []netip.Prefix
}

// acmeDoor makes the door by which clients enrol with the issuers of vaults.
func (s *Server) acmeDoor() (http.Handler, error) {
	k := s.core
	network := issuerNetwork(&s.config)
	network.Allow = s.config.Enrolment.Allow
	validator := &acme.Validator{Resolver: &resolver{Resolver: nameServer(s.config.Enrolment.Resolver), loopback: network.Loopback}, Allow: network.Permits,
		HTTPPort: other(s.config.Enrolment.HTTPPort, 80), TLSPort: other(s.config.Enrolment.TLSPort, 443)}
	return acme.New(acme.Config{Find: k.findIssuer, Validator: validator, Clock: k.clock, Logger: k.log, Enter: k.enter, Observe: k.observe, Nonces: k.nonces()})
}

// nonces are the process's own where it is the only one.
func (k *core) nonces() acme.Nonces {
	if !k.shared {
		return nil
	}
	return &sharedNonces{store: k.store, keys: k.keys, clock: k.clock}
}

// other is a port, or 0 for the usual one.
func other(port, usual int) int {
	if port == usual {
		return 0
	}
	return port
}

// findIssuer finds the issuer of a request. A vault or an issuer that is not there, and one that nobody may enrol with, have the same answer.
func (k *core) findIssuer(r *door.Request) (*acme.Issuer, error) {
	ctx, name, by := r.HTTP.Context(), r.Params.Get("vault"), r.Params.Get("issuer")
	nobody := fault.New(fault.NotFound, "There is no issuer to enrol with at this address: ask whoever gave it to you.")
	if vault.CheckObjectName(name) != nil || vault.CheckObjectName(by) != nil || !ownHost(r.HTTP) {
		return nil, nobody
	}
	if err := k.guard.Current(&r.Call); err != nil {
		return nil, err
	}
	view, err := k.guard.View(ctx, name)
	var tenant *vault.Tenant
	if err == nil {
		err = k.store.View(ctx, func(tx store.Tx) (err error) {
			tenant, err = tx.Tenant(ctx, view.Vault.Tenant)
			return err
		})
	}
	// The clients of a tenant that is disabled are locked out like its people.
	if fault.Is(err, fault.NotFound) || err == nil && tenant.Disabled {
		return nil, nobody
	}
	if err != nil {
		return nil, err
	}
	r.Call.Vault = view
	// Until an account has signed, the caller is an address.
	r.Call.Caller = &guard.Caller{Principal: principal.ID("acme:" + r.Call.Address.String()), Tenant: view.Vault.Tenant, Kind: acme.AccountKind}
	if err := k.guard.Admit(ctx, &r.Call); err != nil {
		return nil, err
	}
	register, err := k.enrolment.Open(ctx, &r.Call, by)
	if fault.Is(err, fault.NotFound) {
		return nil, nobody
	}
	if err != nil {
		return nil, err
	}
	return &acme.Issuer{URL: "https://" + r.HTTP.Host + acme.Root + "/" + name + "/" + by, Store: register, Authority: register, Rules: register, Profiles: enrolment.Profiles()}, nil
}

// ownHost reports whether the Host header is a name, which the dispatcher has looked at, or the very address of the connection. What a client signs names the host: a
// server that took any would take what was signed for another.
func ownHost(r *http.Request) bool {
	if _, err := netip.ParseAddr(hostOnly(r.Host)); err != nil {
		return true
	}
	own, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	return ok && own.String() == r.Host
}

// resolver looks up the names of challenges.
type resolver struct {
	*net.Resolver
	// loopback says that names below localhost are this machine, as RFC 6761, section 6.3, has it. Name servers do not know them.
	loopback bool
}

func nameServer(address string) *net.Resolver {
	if address == "" {
		return net.DefaultResolver
	}
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, address)
	}}
}

// LookupNetIP implements acme.Resolver.
func (r *resolver) LookupNetIP(ctx context.Context, network, name string) ([]netip.Addr, error) {
	if low := strings.ToLower(strings.TrimSuffix(name, ".")); r.loopback && (low == "localhost" || strings.HasSuffix(low, ".localhost")) {
		return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})}, nil
	}
	return r.Resolver.LookupNetIP(ctx, network, name)
}
