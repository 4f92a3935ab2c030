// Package endpoint is how rotators reach the addresses of a target: what a policy may say of them, and connections that are
// encrypted, verified and bound to their context. It keeps no connection.
package endpoint

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/keywright/keywright/internal/fault"
)

// TLS is the part of a target's configuration that says how its certificates are verified. The zero value trusts the system's CAs.
type TLS struct {
	// CA holds certificates in PEM, which are then the only trusted ones.
	CA string `json:"ca,omitempty"`
	// ServerName is the name in the certificates where it is not the host of the address.
	ServerName string `json:"serverName,omitempty"`
}

// Config returns the settings for connections. An address gives them its host when they have no name.
func (t TLS) Config() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	if t.CA != "" {
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM([]byte(t.CA)) {
			return nil, errors.New("tls.ca holds no certificate in PEM")
		}
	}
	return c, nil
}

// Dial connects to host:port, with TLS unless settings are nil. The connection is closed when ctx ends; the caller closes it too. An error means
// that nothing but a handshake was sent.
func Dial(ctx context.Context, address string, settings *tls.Config) (net.Conn, error) {
	var plain net.Dialer
	conn, err := plain.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	b := &bound{Conn: conn}
	b.unbind = context.AfterFunc(ctx, func() { _ = conn.Close() })
	if settings == nil {
		return b, nil
	}
	settings = settings.Clone()
	if settings.ServerName == "" {
		settings.ServerName = Host(address)
	}
	secured := tls.Client(b, settings)
	if err := secured.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, ignoreClosed(b.Close()))
	}
	return secured, nil
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// bound is a connection that ends with a context.
type bound struct {
	net.Conn
	unbind func() bool
}

func (b *bound) Close() error {
	b.unbind()
	return b.Conn.Close()
}

// Mistakes collects what is wrong with a configuration, so that all of it is reported at once.
type Mistakes []string

// Add notes a mistake: a sentence without a full stop that says what to write instead.
func (m *Mistakes) Add(format string, args ...any) { *m = append(*m, fmt.Sprintf(format, args...)) }

// Address notes when the member is not host:port.
func (m *Mistakes) Address(member, address string) {
	host, port, err := net.SplitHostPort(address)
	n, bad := strconv.ParseUint(port, 10, 16)
	if err != nil || host == "" || bad != nil || n == 0 || strings.ContainsAny(host, "/@ ") {
		m.Add("%s is %q: write host:port, without a scheme", member, address)
	}
}

// Addresses notes when the member is empty, repeats itself or holds something else than host:port.
func (m *Mistakes) Addresses(member string, addresses []string) {
	if len(addresses) == 0 {
		m.Add("%s is missing: name every address at which clients log in", member)
	}
	for i, a := range addresses {
		m.Address(member, a)
		if slices.Contains(addresses[:i], a) {
			m.Add("%s names %q twice", member, a)
		}
	}
}

// TLS notes when the settings cannot be used.
func (m *Mistakes) TLS(t TLS, plaintext bool) {
	if _, err := t.Config(); err != nil {
		m.Add("%v", err)
	}
	if plaintext && t != (TLS{}) {
		m.Add("plaintext and tls exclude each other: drop one of them")
	}
}

// Err is one fault.Invalid for all mistakes, or nil.
func (m Mistakes) Err(name string) error {
	if len(m) == 0 {
		return nil
	}
	return fault.New(fault.Invalid, "the configuration of the %s target has mistakes: %s", name, strings.Join(m, "; "))
}

// Host is the host of host:port, for the names in certificates.
func Host(address string) string {
	host, _, _ := net.SplitHostPort(address) // Mistakes.Address has seen it
	return host
}
