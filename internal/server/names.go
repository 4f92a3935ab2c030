package server

import (
	"net"
	"net/netip"
	"strings"

	"github.com/keywright/keywright/internal/door/azure"
)

// names are the hosts that one listener answers to.
type names struct {
	// suffix is the DNS suffix of vaults, such as vault.keywright.localhost.
	suffix string
	// login, arm and graph are the hosts of the token service, of the resource manager and of directory look-ups. api is the native
	// API's.
	login, arm, graph, api string
	// federated says that challenges name the tenant "adfs".
	federated bool
	// port is ":PORT", or empty for 443.
	port string
}

// publicSuffix is the vaults' suffix in the public cloud. A server that answers to it stands in for that cloud's hosts.
const publicSuffix = "vault.azure.net"

func namesFor(suffix string, port string) names {
	suffix = strings.ToLower(strings.Trim(suffix, "."))
	n := names{suffix: suffix, federated: true, port: port}
	if port == ":443" {
		n.port = ""
	}
	if suffix == publicSuffix {
		n.login, n.arm, n.graph, n.api, n.federated = "login.microsoftonline.com", "management.azure.com", "graph.microsoft.com", "keywright.localhost", false
		return n
	}
	domain := suffix
	if _, rest, ok := strings.Cut(suffix, "."); ok {
		domain = rest
	}
	n.login, n.arm, n.graph, n.api = "login."+domain, "arm."+domain, "graph."+domain, domain
	return n
}

// allows reports whether name is one that this server answers to, for the certificates that its CA issues: loop-back
// addresses, its own hosts and every vault.
func (n *names) allows(name string) bool {
	if ip, err := netip.ParseAddr(name); err == nil {
		return ip.IsLoopback()
	}
	switch name {
	case "localhost", n.login, n.arm, n.graph, n.api:
		return true
	}
	label, ok := strings.CutSuffix(name, "."+n.suffix)
	return ok && label != "" && !strings.Contains(label, ".")
}

// vaultHosts is what the azure door needs to know.
func (n *names) vaultHosts(address func(string) (string, bool)) azure.Hosts {
	return azure.Hosts{Suffixes: []azure.Suffix{{Name: n.suffix, Login: n.login, Federated: n.federated}}, Address: address}
}

// hostOnly takes the port off a Host header and lowers it.
func hostOnly(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}
