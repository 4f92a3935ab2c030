package endpoint

import (
	"crypto/x509"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/cert"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/vault"
)

// Protocol is what is said before TLS begins.
type Protocol string

// The protocols. TLS begins at once; the others ask for it first.
const (
	TLS      Protocol = "tls"
	SMTP     Protocol = "smtp"
	IMAP     Protocol = "imap"
	LDAP     Protocol = "ldap"
	Postgres Protocol = "postgres"
)

// Protocols lists them all.
var Protocols = []Protocol{TLS, SMTP, IMAP, LDAP, Postgres}

// Spec is what somebody says about an endpoint.
type Spec struct {
	// Name is unique in the vault.
	Name string `json:"name"`
	// Certificate is the name of the vault's certificate that is to be presented there; empty for one that is kept elsewhere.
	Certificate string `json:"certificate,omitempty"`
	// Address is a host and a port, such as shop.example:443.
	Address string `json:"address"`
	// ServerName is asked for (SNI, RFC 6066, section 3) and has to stand in the certificate; the address's host when empty.
	ServerName string `json:"serverName,omitempty"`
	// Protocol is TLS when empty.
	Protocol Protocol `json:"protocol,omitempty"`
	// Every is how often it is looked at, Timeout how long one address may take; DefaultEvery and DefaultTimeout when zero.
	Every   time.Duration `json:"every,omitempty"`
	Timeout time.Duration `json:"timeout,omitempty"`
	// Grace is how long a renewed certificate may stay unserved before that is an alarm; DefaultGrace when zero.
	Grace time.Duration `json:"grace,omitempty"`
	// CA has certificates in PEM that are trusted beside those of the system and the root of the stored chain.
	CA string `json:"ca,omitempty"`
	Care
}

// Bounds of a Spec, and what stands for zero.
const (
	DefaultEvery   = time.Hour
	DefaultTimeout = 10 * time.Second
	DefaultGrace   = time.Hour

	minEvery, maxEvery     = time.Minute, 24 * time.Hour
	minTimeout, maxTimeout = time.Second, 30 * time.Second
	minGrace, maxGrace     = time.Minute, 90 * 24 * time.Hour
	maxCABytes             = 32 << 10
	// maxHostBytes is the longest name of DNS in text (RFC 1035, section 2.3.4).
	maxHostBytes = 253
)

// complete checks a specification and fills in what is usual.
func (s *Spec) complete() error {
	if err := vault.CheckObjectName(s.Name); err != nil {
		return err
	}
	if s.Certificate != "" {
		if err := cert.CheckName(s.Certificate); err != nil {
			return err
		}
	}
	host, err := s.checkAddress()
	if err != nil {
		return err
	}
	if s.ServerName == "" {
		s.ServerName = host
	}
	s.ServerName = strings.TrimSuffix(s.ServerName, ".")
	if !isHost(s.ServerName) {
		return fault.New(fault.Invalid, "the server name %q is neither a DNS name nor an address: write international names in their ASCII form", fault.Clip(s.ServerName))
	}
	if s.Protocol == "" {
		s.Protocol = TLS
	}
	if !slices.Contains(Protocols, s.Protocol) {
		return fault.New(fault.Invalid, "the protocol %q is not known: use tls, smtp, imap, ldap or postgres", fault.Clip(string(s.Protocol)))
	}
	for _, d := range []struct {
		what              string
		value             *time.Duration
		usual, least, max time.Duration
	}{
		{"looked at every", &s.Every, DefaultEvery, minEvery, maxEvery}, {"waited for", &s.Timeout, DefaultTimeout, minTimeout, maxTimeout},
		{"left with its certificate of before for", &s.Grace, DefaultGrace, minGrace, maxGrace},
	} {
		if *d.value == 0 {
			*d.value = d.usual
		}
		if *d.value < d.least || *d.value > d.max {
			return fault.New(fault.Invalid, "an endpoint is %s %s to %s, and not %s", d.what, d.least, d.max, *d.value)
		}
	}
	if err := s.Care.check(); err != nil {
		return err
	}
	return s.checkCA()
}

func (s *Spec) checkAddress() (host string, err error) {
	host, port, err := net.SplitHostPort(s.Address)
	if err != nil || !isHost(host) {
		return "", fault.New(fault.Invalid, "the address %q is no host with a port: write it like shop.example:443 or [2001:db8::1]:443", fault.Clip(s.Address))
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", fault.New(fault.Invalid, "the port %q of the address is not from 1 to 65535", fault.Clip(port))
	}
	return host, nil
}

// isHost reports whether the text is an address, or a name as DNS has it.
func isHost(text string) bool {
	if a, err := netip.ParseAddr(text); err == nil {
		return a.Zone() == ""
	}
	text = strings.TrimSuffix(text, ".")
	if text == "" || len(text) > maxHostBytes {
		return false
	}
	for label := range strings.SplitSeq(text, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' || strings.ContainsFunc(label, notInNames) {
			return false
		}
	}
	return true
}

func notInNames(c rune) bool {
	return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_'
}

func (s *Spec) checkCA() error {
	if s.CA == "" {
		return nil
	}
	if len(s.CA) > maxCABytes {
		return fault.New(fault.Invalid, "the trusted certificates have %d bytes: %d are the most", len(s.CA), maxCABytes)
	}
	if !x509.NewCertPool().AppendCertsFromPEM([]byte(s.CA)) {
		return fault.New(fault.Invalid, "there is no certificate in PEM among the trusted certificates")
	}
	return nil
}

// samePlace reports whether what was seen by one specification was seen by the other as well.
func (s *Spec) samePlace(o *Spec) bool {
	return s.Address == o.Address && s.ServerName == o.ServerName && s.Protocol == o.Protocol && vault.NameKey(s.Certificate) == vault.NameKey(o.Certificate)
}
