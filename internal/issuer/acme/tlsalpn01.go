package acme

import (
	"context"
	"crypto/tls"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/mholt/acmez/v3"
	"github.com/miekg/dns"

	"github.com/keywright/keywright/internal/fault"
)

// TLSALPN01 answers tls-alpn-01 challenges (RFC 8737) on a TLS listener that hears port 443 of the host. Its zero value is ready.
type TLSALPN01 struct {
	mu           sync.RWMutex
	certificates map[string]*tls.Certificate
}

var _ Solver = (*TLSALPN01)(nil)

// errNoChallenge ends handshakes for names that nobody asks for.
var errNoChallenge = errors.New("no challenge is open for this name")

// Hook returns a configuration that answers challenges and leaves every other handshake to base.
func (s *TLSALPN01) Hook(base *tls.Config) *tls.Config {
	hooked := base.Clone()
	next := hooked.GetConfigForClient
	hooked.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		// RFC 8737, section 3: the authority offers this protocol and no other.
		if slices.Equal(hello.SupportedProtos, []string{acmez.ACMETLS1Protocol}) {
			return s.answer(hello.ServerName)
		}
		if next != nil {
			return next(hello)
		}
		return nil, nil
	}
	return hooked
}

func (s *TLSALPN01) answer(name string) (*tls.Config, error) {
	s.mu.RLock()
	certificate := s.certificates[strings.ToLower(name)]
	s.mu.RUnlock()
	if certificate == nil {
		return nil, errNoChallenge
	}
	return &tls.Config{Certificates: []tls.Certificate{*certificate}, NextProtos: []string{acmez.ACMETLS1Protocol}, MinVersion: tls.VersionTLS12}, nil
}

// Present makes the certificate that proves the challenge.
func (s *TLSALPN01) Present(_ context.Context, c Challenge) error {
	certificate, err := acmez.TLSALPN01ChallengeCert(c.raw)
	if err != nil {
		return fault.Wrap(err, fault.Internal, "making the certificate that answers for %s", c.Name)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.certificates == nil {
		s.certificates = map[string]*tls.Certificate{}
	}
	s.certificates[serverName(c)] = certificate
	return nil
}

// Ready is true: the listener answers at once.
func (*TLSALPN01) Ready(context.Context, Challenge) (bool, error) { return true, nil }

// CleanUp forgets the certificate.
func (s *TLSALPN01) CleanUp(_ context.Context, c Challenge) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.certificates, serverName(c))
	return nil
}

// serverName is the name in the authority's handshake: for an address its name in reverse DNS (RFC 8738, section 6).
func serverName(c Challenge) string {
	if _, err := netip.ParseAddr(c.Name); err == nil || c.raw.Identifier.Type == identifierIP {
		if reverse, err := dns.ReverseAddr(c.Name); err == nil {
			return strings.TrimSuffix(reverse, ".")
		}
	}
	return strings.ToLower(c.Name)
}

// The types of identifiers (RFC 8555, section 9.7.7, and RFC 8738).
const (
	identifierDNS = "dns"
	identifierIP  = "ip"
)
