package template

import (
	"crypto/x509"
	"encoding/asn1"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/keywright/keywright/internal/fault"
)

// Kind is a kind of alternative name (RFC 5280, section 4.2.1.6).
type Kind uint8

// The kinds that are certified.
const (
	DNS Kind = iota + 1
	IP
	Email
	URI
	// UPN is Active Directory's user principal name, an otherName.
	UPN
)

// Name is one alternative name.
type Name struct {
	Kind  Kind
	Value string
}

var (
	oidSAN = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidUPN = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 20, 2, 3}
)

// maxNames is how many alternative names one certificate may have: clients slow down with more.
const maxNames = 250

// Names returns the alternative names of a request, and the extension's value as it stands there; both are empty without the extension.
func Names(csr *x509.CertificateRequest) (names []Name, raw []byte, err error) {
	for _, e := range csr.Extensions {
		if !e.Id.Equal(oidSAN) {
			continue
		}
		if raw != nil {
			return nil, nil, badNames("they stand there twice")
		}
		raw = e.Value
	}
	if raw == nil {
		return nil, nil, nil
	}
	in := cryptobyte.String(raw)
	var list cryptobyte.String
	if !in.ReadASN1(&list, cbasn1.SEQUENCE) || !in.Empty() || list.Empty() {
		return nil, nil, badNames("they cannot be read")
	}
	for !list.Empty() {
		n, err := readName(&list)
		if err != nil {
			return nil, nil, err
		}
		if names = append(names, n); len(names) > maxNames {
			return nil, nil, badNames("there are more than 250: use several certificates")
		}
	}
	return names, raw, nil
}

func readName(list *cryptobyte.String) (n Name, err error) {
	var value cryptobyte.String
	var tag cbasn1.Tag
	if !list.ReadAnyASN1(&value, &tag) {
		return n, badNames("they cannot be read")
	}
	text := string(value)
	switch tag {
	case cbasn1.Tag(1).ContextSpecific():
		local, domain, ok := strings.Cut(text, "@")
		if !ok || local == "" || !printable(text) || !hostName(domain) {
			return n, badNames("%q is no mail address", fault.Clip(text))
		}
		return Name{Email, text}, nil
	case cbasn1.Tag(2).ContextSpecific():
		if !hostName(strings.TrimPrefix(text, "*.")) {
			return n, badNames("%q is no DNS name", fault.Clip(text))
		}
		return Name{DNS, text}, nil
	case cbasn1.Tag(6).ContextSpecific():
		if u, err := url.Parse(text); err != nil || u.Scheme == "" || !printable(text) {
			return n, badNames("%q is no absolute URI", fault.Clip(text))
		}
		return Name{URI, text}, nil
	case cbasn1.Tag(7).ContextSpecific():
		a, ok := netip.AddrFromSlice(value)
		if !ok {
			return n, badNames("an IP address has %d bytes", len(value))
		}
		return Name{IP, a.String()}, nil
	case cbasn1.Tag(0).ContextSpecific().Constructed():
		return readUPN(value)
	default:
		return n, badNames("one is of a kind (%d) that is not certified", tag&0x1f)
	}
}

func readUPN(value cryptobyte.String) (n Name, err error) {
	var id asn1.ObjectIdentifier
	var inner, text cryptobyte.String
	if !value.ReadASN1ObjectIdentifier(&id) || !id.Equal(oidUPN) || !value.ReadASN1(&inner, cbasn1.Tag(0).ContextSpecific().Constructed()) ||
		!inner.ReadASN1(&text, cbasn1.UTF8String) || !inner.Empty() || len(text) == 0 {
		return n, badNames("one is an otherName and no user principal name")
	}
	return Name{UPN, string(text)}, nil
}

// hostName accepts what RFC 1123 calls a host name, and underscores, which internal names of services have.
func hostName(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' || strings.ContainsFunc(label, func(c rune) bool {
			return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_'
		}) {
			return false
		}
	}
	return true
}

func printable(s string) bool {
	return !strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c > '~' })
}

// kindNames are for messages.
var kindNames = map[Kind]string{DNS: "DNS names", IP: "IP addresses", Email: "mail addresses", URI: "URIs", UPN: "user principal names"}

// allow refuses names of kinds that a profile does not have.
func allow(names []Name, kinds []Kind) error {
	for _, n := range names {
		if !slices.Contains(kinds, n.Kind) {
			return fault.New(fault.Invalid, "the profile certifies no %s, and the request has %q: use another profile, or leave the name out",
				kindNames[n.Kind], fault.Clip(n.Value))
		}
	}
	return nil
}

func badNames(format string, args ...any) error {
	e := fault.New(fault.Invalid, format, args...)
	e.Message = "the alternative names of the request are not certified: " + e.Message
	return e
}
