package server

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/netip"

	"github.com/keywright/keywright/internal/directory"
	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/door/oauth"
	"github.com/keywright/keywright/internal/vault"
)

// site is the doors of a server at one set of names.
type site struct {
	*Server
	names names
	// tenant is the one that adfs, common and organizations mean.
	tenant vault.TenantID
	// base is the host and port of a listener that is called by its address too; empty where names are called alone.
	base string
	// also are further addresses of the native API, which tokens may be for.
	also []string
	// addresses are those of single vaults; nil where vaults have none.
	addresses *addresses
	// bound is the identity of whoever asks the plain listener without a secret; nil is nobody's.
	bound func(*http.Request) (oauth.Binding, bool)
	// withoutManagement leaves out the doors of Resource Manager and of directory look-ups.
	withoutManagement bool
}

// serving is a site behind which requests can be answered.
type serving struct {
	all *dispatch
	// handler is all, with what stands before the doors.
	handler http.Handler
}

// open makes the doors.
func (f *site) open() (*serving, error) {
	doors, err := f.doors()
	if err != nil {
		return nil, err
	}
	return &serving{all: doors, handler: f.core.tracer.handler(f.core.withValidation(&f.names, f.core.withValues(&f.names, doors)))}, nil
}

// doors puts all doors behind one handler.
func (f *site) doors() (*dispatch, error) {
	var at func(string) (string, bool)
	if f.addresses != nil {
		at = f.addresses.vault
	}
	vaultDoor, err := f.vaultDoor(&f.names, at, f.tenant)
	if err != nil {
		return nil, err
	}
	login, err := oauth.New(f.oauthConfig())
	if err != nil {
		return nil, err
	}
	resources := []string{"https://localhost" + f.names.port, "https://" + f.names.api + f.names.port}
	if f.base != "" {
		resources = append(resources, "https://"+f.base)
	}
	resources = append(resources, f.also...)
	nativeDoor, err := f.nativeDoor(&f.names, resources...)
	if err != nil {
		return nil, err
	}
	enrolling, err := f.acmeDoor()
	if err != nil {
		return nil, err
	}
	d := &dispatch{names: f.names, acme: enrolling, vault: vaultDoor, login: login, nativ: nativeDoor}
	if f.withoutManagement {
		d.arm, d.graph = http.NotFoundHandler(), http.NotFoundHandler()
		return d, nil
	}
	d.arm, d.graph, err = f.managementDoors()
	return d, err
}

// oauthConfig is what both doors of the token service need to know.
func (f *site) oauthConfig() oauth.Config {
	return oauth.Config{Issuer: f.core.identity, Self: directory.NewSelf(f.core.directory), Host: f.names.login + f.names.port,
		DefaultTenant: f.tenant, Own: f.ownLogin, Clock: f.config.Clock, Logger: f.config.Logger, Enter: f.core.enter, Observe: f.core.observe, Known: f.core.identity.Known, Bound: f.bound}
}

// ownLogin reports whether a Host header names this server's authority.
func (f *site) ownLogin(host string) bool {
	name := hostOnly(host)
	if ip, err := netip.ParseAddr(name); err == nil {
		return host == f.base || f.addresses != nil && ip.IsLoopback()
	}
	return name == f.names.login
}

// issuerOf names the token service in tokens. It is the same for every way to reach it.
func (n *names) issuerOf(t vault.TenantID) string {
	return "https://" + n.login + n.port + "/" + string(t) + "/v2.0"
}

// listenerConfig is the TLS of the doors, with the answers to challenges of ACME authorities. HTTP/2 is left out: it doubles the cost of a small answer, and
// neither cloud protocol needs it.
func (s *Server) listenerConfig(get func(*tls.ClientHelloInfo) (*tls.Certificate, error), least uint16) *tls.Config {
	return s.core.issuers.alpn.Hook(&tls.Config{MinVersion: least, GetCertificate: get, NextProtos: []string{"http/1.1"}})
}

// onListener makes the context of a listener's requests.
func onListener(l door.Listener) context.Context { return door.OnListener(context.Background(), l) }
