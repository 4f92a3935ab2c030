package acme

import (
	"context"
	"crypto/tls"
	"errors"
	"net/netip"
	"slices"
	"strings"

	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"
	"github.com/miekg/dns"

	"github.com/keywright/keywright/internal/fault"
)

// TLSALPN01 answers tls-alpn-01 challenges (RFC 8737) on a TLS listener that hears port 443 of the host. Its zero value is ready.
type TLSALPN01 struct {
	// Answers is where is kept what is asked for; nil keeps it in the process. Each node makes certificates of its own of it.
	Answers Answers
	own     memory
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
			return s.answer(hello.Context(), hello.ServerName)
		}
		if next != nil {
			return next(hello)
		}
		return nil, nil
	}
	return hooked
}

func (s *TLSALPN01) answers() Answers {
	if s.Answers == nil {
		return &s.own
	}
	return s.Answers
}

func (s *TLSALPN01) answer(ctx context.Context, name string) (*tls.Config, error) {
	text, err := s.answers().Answer(ctx, acme.ChallengeTypeTLSALPN01, strings.ToLower(name))
	if fault.Is(err, fault.NotFound) {
		return nil, errNoChallenge
	}
	if err != nil {
		return nil, err
	}
	raw, err := readQuestion(text)
	if err != nil {
		return nil, err
	}
	certificate, err := acmez.TLSALPN01ChallengeCert(raw)
	if err != nil {
		return nil, err
	}
	return &tls.Config{Certificates: []tls.Certificate{*certificate}, NextProtos: []string{acmez.ACMETLS1Protocol}, MinVersion: tls.VersionTLS12}, nil
}

// Present keeps what has to be proved.
func (s *TLSALPN01) Present(ctx context.Context, c Challenge) error {
	if _, err := acmez.TLSALPN01ChallengeCert(c.raw); err != nil {
		return fault.Wrap(err, fault.Internal, "making the certificate that answers for %s", c.Name)
	}
	text, err := c.question()
	if err != nil {
		return err
	}
	return s.answers().PutAnswer(ctx, acme.ChallengeTypeTLSALPN01, serverName(c), text)
}

// Ready is true: the listener answers at once.
func (*TLSALPN01) Ready(context.Context, Challenge) (bool, error) { return true, nil }

// CleanUp forgets what had to be proved.
func (s *TLSALPN01) CleanUp(ctx context.Context, c Challenge) error {
	return s.answers().DropAnswer(ctx, acme.ChallengeTypeTLSALPN01, serverName(c))
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
