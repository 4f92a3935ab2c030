package server

import (
	"net"
	"net/netip"
	"strings"
	"testing"
)

// TestIssuersAreNotReachedEverywhere dials as the discovery of an outside issuer does.
func TestIssuersAreNotReachedEverywhere(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	_, port, _ := net.SplitHostPort(l.Addr().String())
	for name, c := range map[string]struct {
		config  Config
		host    string
		refused bool
	}{
		"production":               {host: "127.0.0.1", refused: true},
		"production, by name":      {host: "localhost", refused: true},
		"metadata service":         {Config{EventLoopback: true}, "169.254.169.254", true},
		"development":              {Config{EventLoopback: true}, "127.0.0.1", false},
		"allowed":                  {Config{IssuerAllow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}, "localhost", false},
		"allowed for another use":  {Config{EventAllow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}, "127.0.0.1", true},
		"elsewhere than permitted": {Config{IssuerAllow: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}, "127.0.0.1", true},
	} {
		t.Run(name, func(t *testing.T) {
			n := issuerNetwork(&c.config)
			conn, err := n.Dial(t.Context(), "tcp4", net.JoinHostPort(c.host, port))
			if err == nil {
				conn.Close()
			}
			if refused := err != nil && strings.Contains(err.Error(), "must not connect to"); refused != c.refused || !refused && err != nil {
				t.Errorf("got %v, want it refused: %t", err, c.refused)
			}
		})
	}
}
