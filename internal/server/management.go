package server

import (
	"net/http"
	"net/netip"

	"github.com/keywright/keywright/internal/door/azure/arm"
	"github.com/keywright/keywright/internal/door/azure/graph"
)

// managementDoors makes the doors of Resource Manager and of directory look-ups.
func (d *Dev) managementDoors() (resources, directory http.Handler, err error) {
	k := d.core
	audiences := []string{"https://" + d.address(), "https://" + d.names.arm + d.names.port, "https://" + d.names.graph + d.names.port}
	resources, err = arm.New(arm.Config{Guard: k.guard, Callers: k.identity, Tenancy: k.tenancy, Access: k.access, Secrets: k.secrets, Keys: k.cryptoKeys, Clock: k.clock,
		Logger: k.log, Enter: k.enter, Observe: k.observe, Audiences: audiences, Authority: d.authority, Endpoints: d.endpoints, VaultURL: d.vaultURL,
		Locations: []string{d.config.Region}})
	if err != nil {
		return nil, nil, err
	}
	directory, err = graph.New(graph.Config{Guard: k.guard, Callers: k.identity, Access: k.access, Clock: k.clock, Logger: k.log,
		Enter: k.enter, Observe: k.observe, Audiences: audiences, Authority: d.authority})
	return resources, directory, err
}

// authority is where clients that called the host get tokens: at the same address when they use no names.
func (d *Dev) authority(host string) string {
	if isAddress(host) {
		return "https://" + host + "/adfs"
	}
	tenant := string(d.estate.Tenant)
	if d.names.federated {
		tenant = "adfs"
	}
	return "https://" + d.names.login + d.names.port + "/" + tenant
}

// endpoints describes the installation to clients that called the host.
func (d *Dev) endpoints(host string) arm.Endpoints {
	suffix := "." + d.names.suffix + d.names.port
	if isAddress(host) {
		base := "https://" + host
		return arm.Endpoints{Login: base + "/adfs", Audience: base, Graph: base + "/", VaultSuffix: suffix}
	}
	return arm.Endpoints{Login: d.authority(host), Audience: "https://" + d.names.arm + d.names.port,
		Graph: "https://" + d.names.graph + d.names.port + "/", VaultSuffix: suffix}
}

// vaultURL is a vault's address for clients that called the host: one that needs no name for those that use none.
func (d *Dev) vaultURL(name, host string) string {
	if isAddress(host) {
		if url := d.LoopbackURL(name); url != "" {
			return url + "/"
		}
	}
	return "https://" + name + "." + d.names.suffix + d.names.port + "/"
}

// isAddress reports whether a Host header is an IP address.
func isAddress(host string) bool {
	_, err := netip.ParseAddr(hostOnly(host))
	return err == nil
}
