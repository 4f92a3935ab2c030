package server

import (
	"net/http"
	"net/netip"

	"github.com/keywright/keywright/internal/door/azure/arm"
	"github.com/keywright/keywright/internal/door/azure/graph"
)

// managementDoors makes the doors of Resource Manager and of directory look-ups.
func (f *site) managementDoors() (resources, directory http.Handler, err error) {
	k := f.core
	audiences := []string{"https://" + f.names.arm + f.names.port, "https://" + f.names.graph + f.names.port}
	if f.base != "" {
		audiences = append(audiences, "https://"+f.base)
	}
	resources, err = arm.New(arm.Config{Guard: k.guard, Callers: k.identity, Tenancy: k.tenancy, Access: k.access, Secrets: k.secrets, Keys: k.cryptoKeys, Clock: k.clock,
		Logger: k.log, Enter: k.enter, Observe: k.observe, Audiences: audiences, Authority: f.authority, Endpoints: f.endpoints, VaultURL: f.vaultURL,
		Locations: []string{f.config.Region}})
	if err != nil {
		return nil, nil, err
	}
	directory, err = graph.New(graph.Config{Guard: k.guard, Callers: k.identity, Access: k.access, Clock: k.clock, Logger: k.log,
		Enter: k.enter, Observe: k.observe, Audiences: audiences, Authority: f.authority})
	return resources, directory, err
}

// authority is where clients that called the host get tokens: at the same address when they use no names.
func (f *site) authority(host string) string {
	if isAddress(host) {
		return "https://" + host + "/adfs"
	}
	tenant := string(f.tenant)
	if f.names.federated {
		tenant = "adfs"
	}
	return "https://" + f.names.login + f.names.port + "/" + tenant
}

// endpoints describes the installation to clients that called the host.
func (f *site) endpoints(host string) arm.Endpoints {
	suffix := "." + f.names.suffix + f.names.port
	if isAddress(host) {
		base := "https://" + host
		return arm.Endpoints{Login: base + "/adfs", Audience: base, Graph: base + "/", VaultSuffix: suffix}
	}
	return arm.Endpoints{Login: f.authority(host), Audience: "https://" + f.names.arm + f.names.port,
		Graph: "https://" + f.names.graph + f.names.port + "/", VaultSuffix: suffix}
}

// vaultURL is the address of a vault that is there, for clients that called the host: one that needs no name for those that use none.
func (f *site) vaultURL(name, host string) string {
	if f.addresses != nil && isAddress(host) {
		if addr, ok := f.addresses.ensure(name); ok {
			return f.addresses.url(addr) + "/"
		}
	}
	return "https://" + name + "." + f.names.suffix + f.names.port + "/"
}

// isAddress reports whether a Host header is an IP address.
func isAddress(host string) bool {
	_, err := netip.ParseAddr(hostOnly(host))
	return err == nil
}
