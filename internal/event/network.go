package event

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/keywright/keywright/internal/fault"
)

// Network says where endpoints may be. The zero Network is for production: any address but loop-back, link-local ones and metadata services.
type Network struct {
	// Loopback permits endpoints on this machine, also without TLS. A server that others use does not set it: a subscriber could
	// reach what listens for the operator alone.
	Loopback bool
	// Allow permits addresses that are refused otherwise.
	Allow []netip.Prefix
	// Roots are trusted beside what a subscription brings; nil means those of the system.
	Roots *x509.CertPool
}

// refused are addresses at which clouds offer credentials to whatever runs on a machine, but for the link-local ones: AWS over IPv6,
// Azure's host, Alibaba, and Oracle.
var refused = []netip.Prefix{netip.MustParsePrefix("fd00:ec2::/32"), netip.MustParsePrefix("168.63.129.16/32"),
	netip.MustParsePrefix("100.100.100.200/32"), netip.MustParsePrefix("192.0.0.192/32")}

// translated is the prefix behind which IPv6 hides IPv4 (RFC 6052).
var translated = netip.MustParsePrefix("64:ff9b::/96")

// check refuses an address. It is asked for every connection, after names have been resolved, so that no name can lead elsewhere later.
func (n *Network) check(addr netip.Addr) error {
	addr = addr.Unmap().WithZone("")
	if translated.Contains(addr) {
		b := addr.As16()
		addr = netip.AddrFrom4([4]byte(b[12:]))
	}
	if slices.ContainsFunc(n.Allow, func(p netip.Prefix) bool { return p.Contains(addr) }) {
		return nil
	}
	switch {
	case addr.IsLoopback():
		if n.Loopback {
			return nil
		}
	case addr.IsUnspecified(), addr.IsMulticast(), addr.IsLinkLocalUnicast(), addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
	case slices.ContainsFunc(refused, func(p netip.Prefix) bool { return p.Contains(addr) }):
	default:
		return nil
	}
	return errRefused
}

var errRefused = errors.New("the address is one that the server must not connect to for others: loop-back, link-local, or a metadata service")

// Permits reports whether an address may be connected to, for whoever dials by himself.
func (n *Network) Permits(addr netip.Addr) bool { return n.check(addr) == nil }

// checkEndpoint reads a URL to which events may be sent. Its errors do not show the query.
func (n *Network) checkEndpoint(raw string) (*url.URL, error) {
	invalid := func(format string, args ...any) (*url.URL, error) {
		return nil, fault.New(fault.Invalid, "the endpoint of the event subscription is not possible: "+format, args...)
	}
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.Opaque != "" || len(raw) > 2048 {
		return invalid("write a URL such as https://host/path, of at most 2048 bytes")
	}
	if u.User != nil || u.Fragment != "" {
		return invalid("a URL with a user or a fragment is not supported: use the query or headers for what authenticates")
	}
	host := strings.ToLower(u.Hostname())
	addr, aerr := netip.ParseAddr(host)
	local := host == "localhost" || strings.HasSuffix(host, ".localhost") || aerr == nil && addr.Unmap().IsLoopback()
	switch {
	case u.Scheme != "https" && u.Scheme != "http":
		return invalid("its scheme is https")
	case u.Scheme == "http" && !(local && n.Loopback):
		return invalid("events are sent over https only; http is for loop-back addresses of a development server")
	case aerr == nil && n.check(addr) != nil:
		return invalid("its address is one that webhooks must not reach (loop-back, link-local, or a metadata service): an operator can allow it")
	}
	return u, nil
}

// Deadlines of requests. Event Grid waits 30 seconds for an answer.
const (
	answerTimeout = 30 * time.Second
	dialTimeout   = 10 * time.Second
)

// Dial connects to an address that is not refused. It serves whatever else connects to where somebody who does not operate the server says.
func (n *Network) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	dialer := &net.Dialer{Timeout: dialTimeout, ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
		ap, err := netip.ParseAddrPort(address)
		if err != nil {
			return errRefused
		}
		return n.check(ap.Addr())
	}}
	return dialer.DialContext(ctx, network, address)
}

// client makes an HTTP client for one subscription: no proxy, which would connect in our place, and no redirects, which Event Grid does not follow either.
func (n *Network) client(ca string, connections int) (*http.Client, error) {
	roots := n.Roots
	if ca != "" {
		if roots == nil {
			system, err := x509.SystemCertPool()
			if err != nil {
				return nil, fmt.Errorf("reading the system's certificates: %w", err)
			}
			roots = system
		} else {
			roots = roots.Clone()
		}
		roots.AppendCertsFromPEM([]byte(ca))
	}
	return &http.Client{
		Transport: &http.Transport{DialContext: n.Dial, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
			TLSHandshakeTimeout: dialTimeout, MaxIdleConnsPerHost: connections, IdleConnTimeout: time.Minute, MaxResponseHeaderBytes: 64 << 10,
			ForceAttemptHTTP2: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       answerTimeout,
	}, nil
}

// plain takes the URL, in whose query secrets are, out of an error of a request.
func plain(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}
