package acme

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/keywright/keywright/internal/fault"
)

// The bounds of looking for an answer. A client's request waits for as long.
const (
	lookTimeout  = 10 * time.Second
	maxRedirects = 5
	maxAnswer    = 1 << 10
)

// acmeTLS is the protocol of RFC 8737, section 6.2, and oidACMEIdentifier its extension.
const acmeTLS = "acme-tls/1"

var oidACMEIdentifier = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 31}

// errForbiddenAddress stops a connection to where no client of ours should be.
var errForbiddenAddress = errors.New("the name leads to an address that is not looked at")

// Resolver looks names up; *net.Resolver is one.
type Resolver interface {
	LookupTXT(ctx context.Context, name string) ([]string, error)
	LookupNetIP(ctx context.Context, network, name string) ([]netip.Addr, error)
}

// Validator looks for the answers to challenges, in the client's network. Its zero value is ready.
type Validator struct {
	// Resolver is net.DefaultResolver if nil.
	Resolver Resolver
	// Allow says which addresses are connected to. If it is nil, loopback, link-local, multicast and unspecified addresses are not: those are this machine's, or give
	// away credentials of its cloud.
	Allow func(netip.Addr) bool
	// HTTPPort and TLSPort are 80 and 443 if zero. Other ports prove less: anybody on a machine can have them.
	HTTPPort, TLSPort int
}

// look returns why the answer was not found, or nil.
func (v *Validator) look(ctx context.Context, kind string, i Identifier, token, authorization string) *Problem {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	switch kind {
	case http01:
		return v.lookHTTP(ctx, i, token, authorization)
	case dns01:
		return v.lookDNS(ctx, i, authorization)
	default:
		return v.lookTLS(ctx, i, authorization)
	}
}

func (v *Validator) resolver() Resolver {
	if v.Resolver == nil {
		return net.DefaultResolver
	}
	return v.Resolver
}

// dial connects to a name through our own resolver, and only to allowed addresses: the check is made on the address that is connected to, so that no name can
// change in between.
func (v *Validator) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	addresses := []netip.Addr{}
	if a, err := netip.ParseAddr(host); err == nil {
		addresses = append(addresses, a)
	} else if addresses, err = v.resolver().LookupNetIP(ctx, "ip", host); err != nil {
		return nil, err
	}
	dialer := &net.Dialer{Timeout: lookTimeout / 2, Control: func(_, address string, _ syscall.RawConn) error {
		a, err := netip.ParseAddrPort(address)
		if err != nil || !v.allowed(a.Addr().Unmap()) {
			return errForbiddenAddress
		}
		return nil
	}}
	err = errors.New("the name has no address")
	for _, a := range addresses[:min(len(addresses), 4)] {
		var conn net.Conn
		if conn, err = dialer.DialContext(ctx, network, net.JoinHostPort(a.Unmap().String(), port)); err == nil {
			return conn, nil
		}
	}
	return nil, err
}

func (v *Validator) allowed(a netip.Addr) bool {
	if v.Allow != nil {
		return v.Allow(a)
	}
	return !a.IsLoopback() && !a.IsLinkLocalUnicast() && !a.IsMulticast() && !a.IsUnspecified()
}

// lookHTTP is section 8.3.
func (v *Validator) lookHTTP(ctx context.Context, i Identifier, token, authorization string) *Problem {
	client := &http.Client{
		// The certificate of a page that a redirect leads to is not what is being proved: RFC 8555, section 8.3, asks for none.
		Transport: &http.Transport{DialContext: v.dial, DisableKeepAlives: true, MaxResponseHeaderBytes: 16 << 10, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}},
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			if len(via) > maxRedirects || r.URL.User != nil || !v.webPort(r.URL) {
				return errors.New("the page leads elsewhere, to where nobody looks")
			}
			return nil
		},
	}
	host := i.Value
	if a, err := netip.ParseAddr(host); err == nil && a.Is6() {
		host = "[" + host + "]"
	}
	if v.HTTPPort != 0 {
		host += ":" + strconv.Itoa(v.HTTPPort)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+host+"/.well-known/acme-challenge/"+token, nil)
	if err != nil {
		return problem(http.StatusBadRequest, "malformed", "The name cannot be part of an address.")
	}
	page, err := client.Do(r)
	if err != nil {
		return connection(i, err)
	}
	defer page.Body.Close()
	if page.StatusCode != http.StatusOK {
		return unauthorized("The page for the challenge at " + i.Value + " answers " + strconv.Itoa(page.StatusCode) + " and not 200.")
	}
	body, err := io.ReadAll(io.LimitReader(page.Body, maxAnswer))
	if err != nil {
		return connection(i, err)
	}
	// Section 8.3 lets white space stand at the end.
	if subtle.ConstantTimeCompare([]byte(strings.TrimRight(string(body), " \t\r\n")), []byte(authorization)) != 1 {
		return problem(http.StatusForbidden, "incorrectResponse", "The page for the challenge at "+i.Value+" says something else than the key authorization.")
	}
	return nil
}

// webPort keeps redirects to the ports of web servers.
func (v *Validator) webPort(u *url.URL) bool {
	port := u.Port()
	switch u.Scheme {
	case "http":
		return port == "" && v.HTTPPort == 0 || port == "80" || port == strconv.Itoa(v.HTTPPort)
	case "https":
		return port == "" || port == "443" || port == strconv.Itoa(v.TLSPort)
	}
	return false
}

// lookDNS is section 8.4.
func (v *Validator) lookDNS(ctx context.Context, i Identifier, authorization string) *Problem {
	sum := sha256.Sum256([]byte(authorization))
	want := base64.RawURLEncoding.EncodeToString(sum[:])
	name := "_acme-challenge." + i.Value
	records, err := v.resolver().LookupTXT(ctx, name)
	var unknown *net.DNSError
	if err != nil && !(errors.As(err, &unknown) && unknown.IsNotFound) {
		return problem(http.StatusBadRequest, "dns", "The records of "+name+" could not be looked up.")
	}
	for _, record := range records {
		if subtle.ConstantTimeCompare([]byte(record), []byte(want)) == 1 {
			return nil
		}
	}
	return problem(http.StatusForbidden, "incorrectResponse", "None of the "+strconv.Itoa(len(records))+" TXT records of "+name+" is the digest of the key authorization.")
}

// lookTLS is RFC 8737, section 3.
func (v *Validator) lookTLS(ctx context.Context, i Identifier, authorization string) *Problem {
	port := "443"
	if v.TLSPort != 0 {
		port = strconv.Itoa(v.TLSPort)
	}
	conn, err := v.dial(ctx, "tcp", net.JoinHostPort(i.Value, port))
	if err != nil {
		return connection(i, err)
	}
	defer conn.Close()
	// What the certificate says is checked below; nobody has signed it but its own key.
	client := tls.Client(conn, &tls.Config{ServerName: serverName(i), NextProtos: []string{acmeTLS}, MinVersion: tls.VersionTLS12, InsecureSkipVerify: true})
	if err := client.HandshakeContext(ctx); err != nil {
		if ctx.Err() != nil {
			return connection(i, err)
		}
		return problem(http.StatusBadRequest, "tls", "The server at "+i.Value+" does not complete a handshake of acme-tls/1.")
	}
	state := client.ConnectionState()
	if state.NegotiatedProtocol != acmeTLS || len(state.PeerCertificates) != 1 {
		return unauthorized("The server at " + i.Value + " does not speak acme-tls/1 with one certificate.")
	}
	sum := sha256.Sum256([]byte(authorization))
	if !proves(state.PeerCertificates[0], i, sum[:]) {
		return problem(http.StatusForbidden, "incorrectResponse", "The certificate that "+i.Value+" presents does not prove the challenge.")
	}
	return nil
}

// proves reports whether a certificate has this name, no other one, and the digest of the key authorization in a critical extension.
func proves(c *x509.Certificate, i Identifier, sum []byte) bool {
	if len(c.EmailAddresses)+len(c.URIs) != 0 || len(c.DNSNames)+len(c.IPAddresses) != 1 || c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) != nil {
		return false
	}
	switch i.Type {
	case typeIP:
		if len(c.IPAddresses) != 1 || c.IPAddresses[0].String() != i.Value {
			return false
		}
	default:
		if len(c.DNSNames) != 1 || !strings.EqualFold(c.DNSNames[0], i.Value) {
			return false
		}
	}
	for _, e := range c.Extensions {
		if !e.Id.Equal(oidACMEIdentifier) {
			continue
		}
		var digest []byte
		rest, err := asn1.Unmarshal(e.Value, &digest)
		return e.Critical && err == nil && len(rest) == 0 && subtle.ConstantTimeCompare(digest, sum) == 1
	}
	return false
}

// serverName is the name in the handshake; for an address its name in reverse DNS (RFC 8738, section 6).
func serverName(i Identifier) string {
	a, err := netip.ParseAddr(i.Value)
	if i.Type != typeIP || err != nil {
		return i.Value
	}
	const digits = "0123456789abcdef"
	var b strings.Builder
	bytes := a.AsSlice()
	for n := len(bytes) - 1; n >= 0; n-- {
		if a.Is4() {
			b.WriteString(strconv.Itoa(int(bytes[n])) + ".")
		} else {
			b.Write([]byte{digits[bytes[n]&15], '.', digits[bytes[n]>>4], '.'})
		}
	}
	if a.Is4() {
		return b.String() + "in-addr.arpa"
	}
	return b.String() + "ip6.arpa"
}

// connection says that a server could not be reached, without what the network said: that would make a scanner of us.
func connection(i Identifier, err error) *Problem {
	var unknown *net.DNSError
	switch {
	case errors.Is(err, errForbiddenAddress):
		return problem(http.StatusForbidden, "rejectedIdentifier", "The name "+fault.Clip(i.Value)+" leads to an address that is not looked at.")
	case errors.As(err, &unknown):
		return problem(http.StatusBadRequest, "dns", "The name "+fault.Clip(i.Value)+" could not be looked up.")
	default:
		return problem(http.StatusBadRequest, "connection", "The server at "+fault.Clip(i.Value)+" could not be reached.")
	}
}
