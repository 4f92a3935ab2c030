package azure

import (
	"net"
	"strings"
)

// Suffix is a DNS suffix below which every first label names a vault.
type Suffix struct {
	// Name is the suffix without a leading dot, in lower case, such as vault.example.org.
	Name string
	// Login is the host of the token service for these vaults, in lower case and without a port.
	Login string
	// Federated says that the authority path is "adfs" rather than the tenant's id: clients then skip instance discovery, which
	// would ask a public host.
	Federated bool
}

// Hosts finds the vault that a Host header names.
type Hosts struct {
	Suffixes []Suffix
	// Addresses maps an IP address to the name of the vault that is reached without a name.
	Addresses map[string]string
}

// place is what a Host header says: which vault, and where its tokens come from.
type place struct {
	// vault is the vault's name; empty when the host cannot be one.
	vault string
	// login is the authority's host with the port of the request.
	login string
	// resource is the challenge's resource: the host less its first label, which is what clients compare.
	resource  string
	federated bool
}

func (h *Hosts) find(host string) (place, bool) {
	name, port := splitPort(host)
	if vault, ok := h.Addresses[name]; ok {
		_, rest, _ := strings.Cut(host, ".")
		return place{vault: vault, login: host, resource: "https://" + rest, federated: true}, true
	}
	for i := range h.Suffixes {
		s := &h.Suffixes[i]
		label, ok := cutSuffixFold(name, s.Name)
		if !ok || strings.Contains(label, ".") || label == "" {
			continue
		}
		return place{vault: label, login: s.Login + port, resource: "https://" + s.Name + port, federated: s.Federated}, true
	}
	return place{}, false
}

// cutSuffixFold takes "."+suffix off name, without regard to case.
func cutSuffixFold(name, suffix string) (string, bool) {
	n := len(name) - len(suffix) - 1
	if n < 0 || name[n] != '.' || !strings.EqualFold(name[n+1:], suffix) {
		return "", false
	}
	return name[:n], true
}

// splitPort takes a Host apart; port keeps its colon and is empty when there is none.
func splitPort(host string) (name, port string) {
	h, p, err := net.SplitHostPort(host)
	if err != nil {
		return host, ""
	}
	return h, ":" + p
}
