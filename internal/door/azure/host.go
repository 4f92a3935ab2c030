package azure

import (
	"net"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/keywright/keywright/internal/vault"
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
	// Address finds the name of the vault that is reached by an IP address instead of a name. It may be nil.
	Address func(ip string) (vault string, ok bool)
}

// place is what a Host header says: which vault, and where its tokens come from.
type place struct {
	// base is "https://" and the host as the client wrote it.
	base string
	// vault is the vault's name; empty when the host cannot be one.
	vault string
	// login is the authority's host with the port of the request.
	login string
	// resource is the challenge's resource: the host less its first label, which is what clients compare.
	resource  string
	federated bool
}

// maxPlaces bounds how many Host headers are remembered: vaults have few spellings, strangers invent many. When it is reached
// all are forgotten, so that inventions do not keep the others out. maxHostBytes bounds each: a DNS name (RFC 1035, section
// 2.3.4) and a port. A header may be 64 KiB long.
const (
	maxPlaces    = 4096
	maxHostBytes = 255 + len(":65535")
)

// places remembers what Host headers mean.
type places struct {
	known sync.Map // Host header -> *place
	count atomic.Int64
}

// find returns what a Host header says. A host that is no vault's has a place without one.
func (h *Hosts) find(seen *places, host string) *place {
	if p, ok := seen.known.Load(host); ok {
		return p.(*place)
	}
	p := h.resolve(strings.Clone(host)) // the header that it is part of is not kept with it
	if p.vault == "" || len(host) > maxHostBytes {
		return p
	}
	if seen.count.Add(1) > maxPlaces {
		seen.known.Clear()
		seen.count.Store(1)
	}
	seen.known.Store(strings.TrimPrefix(p.base, "https://"), p)
	return p
}

func (h *Hosts) resolve(host string) *place {
	base := "https://" + host
	name, port := splitPort(host)
	if named, ok := h.byAddress(name); ok {
		return &place{base: base, vault: named, login: host, resource: "https://" + afterFirstLabel(host), federated: true}
	}
	for i := range h.Suffixes {
		s := &h.Suffixes[i]
		label, ok := cutSuffixFold(name, s.Name)
		if !ok || strings.Contains(label, ".") || label == "" {
			continue
		}
		if vault.CheckName(label) != nil {
			label = "" // no vault can have this name: there is nothing to look up, and the challenge is the same
		}
		return &place{base: base, vault: label, login: s.Login + port, resource: "https://" + s.Name + port, federated: s.Federated}
	}
	return &place{base: base, login: host, resource: "https://" + afterFirstLabel(host), federated: true}
}

func (h *Hosts) byAddress(name string) (vault string, ok bool) {
	if h.Address == nil {
		return "", false
	}
	return h.Address(name)
}

func afterFirstLabel(host string) string {
	_, rest, _ := strings.Cut(host, ".")
	return rest
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
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name, host[strings.LastIndexByte(host, ':'):]
	}
	return host, ""
}
