package cert

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/go-ldap/ldap/v3"

	"github.com/keywright/keywright/internal/cryptokey"
	"github.com/keywright/keywright/internal/fault"
)

// maxAlternatives bounds the subject alternative names of each kind (Key Vault documentation: 100 of DNS).
const maxAlternatives = 100

// attributes are the object identifiers of what stands in X.500 names (RFC 4514, section 3; RFC 5280, appendix A; E is what Windows writes).
var attributes = map[string]asn1.ObjectIdentifier{
	"CN": {2, 5, 4, 3}, "SN": {2, 5, 4, 4}, "SERIALNUMBER": {2, 5, 4, 5}, "C": {2, 5, 4, 6}, "L": {2, 5, 4, 7}, "ST": {2, 5, 4, 8}, "S": {2, 5, 4, 8},
	"STREET": {2, 5, 4, 9}, "O": {2, 5, 4, 10}, "OU": {2, 5, 4, 11}, "T": {2, 5, 4, 12}, "TITLE": {2, 5, 4, 12}, "POSTALCODE": {2, 5, 4, 17},
	"G": {2, 5, 4, 42}, "GN": {2, 5, 4, 42}, "I": {2, 5, 4, 43}, "DC": {0, 9, 2342, 19200300, 100, 1, 25}, "UID": {0, 9, 2342, 19200300, 100, 1, 1},
	"E": {1, 2, 840, 113549, 1, 9, 1}, "EMAILADDRESS": {1, 2, 840, 113549, 1, 9, 1},
}

// subject reads an X.500 name. What stands last in the text comes first in the certificate (RFC 4514, section 2.1).
func subject(text string) (pkix.RDNSequence, error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	dn, err := ldap.ParseDN(text)
	if err != nil {
		return nil, fault.New(fault.Invalid, "the subject %q is no X.500 name: write it like CN=example.com, O=Example", fault.Clip(text))
	}
	var sequence pkix.RDNSequence
	for _, rdn := range slices.Backward(dn.RDNs) {
		var set pkix.RelativeDistinguishedNameSET
		for _, a := range rdn.Attributes {
			id, err := attribute(a.Type)
			if err != nil {
				return nil, err
			}
			if a.Value == "" || strings.ContainsFunc(a.Value, unicode.IsControl) {
				return nil, fault.New(fault.Invalid, "the attribute %s of the subject is empty or has control characters", fault.Clip(a.Type))
			}
			set = append(set, pkix.AttributeTypeAndValue{Type: id, Value: a.Value})
		}
		sequence = append(sequence, set)
	}
	return sequence, nil
}

func attribute(word string) (asn1.ObjectIdentifier, error) {
	if id, ok := attributes[strings.ToUpper(word)]; ok {
		return id, nil
	}
	if id, ok := identifier(strings.TrimPrefix(strings.ToUpper(word), "OID.")); ok {
		return id, nil
	}
	return nil, fault.New(fault.Invalid, "the subject has an attribute %q that is not known: use CN, O, OU, L, ST, C, DC, E, or an object identifier", fault.Clip(word))
}

// identifier reads an object identifier in its dotted form.
func identifier(text string) (id asn1.ObjectIdentifier, ok bool) {
	for part := range strings.SplitSeq(text, ".") {
		n, err := strconv.ParseInt(part, 10, 32)
		if err != nil || n < 0 {
			return nil, false
		}
		id = append(id, int(n))
	}
	if len(id) < 2 || id[0] > 2 || id[0] < 2 && id[1] > 39 {
		return nil, false
	}
	return id, true
}

// names are the subject and the alternative names of a request.
type names struct {
	subject pkix.RDNSequence
	// alternatives is the extension, nil without alternative names.
	alternatives *pkix.Extension
}

func (x *X509Props) names() (names, error) {
	sequence, err := subject(x.Subject)
	if err != nil {
		return names{}, err
	}
	alternatives, err := x.alternatives()
	return names{sequence, alternatives}, err
}

var (
	oidAlternatives = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidKeyUsage     = asn1.ObjectIdentifier{2, 5, 29, 15}
	oidPurposes     = asn1.ObjectIdentifier{2, 5, 29, 37}
	// oidPrincipal is Active Directory's user principal name ([MS-WCCE], section 2.2.2.7.5).
	oidPrincipal = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 20, 2, 3}
)

// The tags of alternative names (RFC 5280, section 4.2.1.6).
const (
	tagOther = 0
	tagEmail = 1
	tagDNS   = 2
	tagURI   = 6
	tagIP    = 7
)

// alternative reports whether there are alternative names.
func (x *X509Props) alternative() bool {
	return len(x.DNS)+len(x.Emails)+len(x.UPNs)+len(x.URIs)+len(x.Addresses) > 0
}

// alternatives encodes the alternative names: Go's own encoder knows no principal names.
func (x *X509Props) alternatives() (*pkix.Extension, error) {
	var all []asn1.RawValue
	for _, kind := range []struct {
		tag  int
		what string
		list []string
	}{{tagEmail, "e-mail address", x.Emails}, {tagDNS, "DNS name", x.DNS}} {
		if len(kind.list) > maxAlternatives {
			return nil, fault.New(fault.Invalid, "a certificate has at most %d subject alternative names of one kind", maxAlternatives)
		}
		for _, name := range kind.list {
			if name == "" || strings.ContainsFunc(name, func(c rune) bool { return c <= ' ' || c >= 0x7f }) {
				return nil, fault.New(fault.Invalid, "%q is no %s: write international names in their ASCII form", fault.Clip(name), kind.what)
			}
			all = append(all, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: kind.tag, Bytes: []byte(name)})
		}
	}
	if len(x.UPNs) > maxAlternatives {
		return nil, fault.New(fault.Invalid, "a certificate has at most %d subject alternative names of one kind", maxAlternatives)
	}
	for _, name := range x.UPNs {
		if name == "" || strings.ContainsFunc(name, unicode.IsControl) {
			return nil, fault.New(fault.Invalid, "%q is no user principal name", fault.Clip(name))
		}
		other, err := principalName(name)
		if err != nil {
			return nil, err
		}
		all = append(all, other)
	}
	places, err := x.places()
	if err != nil {
		return nil, err
	}
	if all = append(all, places...); len(all) == 0 {
		return nil, nil
	}
	value, err := asn1.Marshal(all)
	return &pkix.Extension{Id: oidAlternatives, Value: value}, err
}

// places encodes the URIs and the addresses of IP.
func (x *X509Props) places() (list []asn1.RawValue, err error) {
	if len(x.URIs) > maxAlternatives || len(x.Addresses) > maxAlternatives {
		return nil, fault.New(fault.Invalid, "a certificate has at most %d subject alternative names of one kind", maxAlternatives)
	}
	for _, text := range x.URIs {
		// RFC 5280, section 4.2.1.6: absolute, with a host's name or address where there is an authority.
		u, err := url.Parse(text)
		if err != nil || !u.IsAbs() || u.Opaque == "" && u.Host == "" || strings.ContainsFunc(text, func(c rune) bool { return c <= ' ' || c >= 0x7f }) {
			return nil, fault.New(fault.Invalid, "%q is no absolute URI such as spiffe://example.org/shop", fault.Clip(text))
		}
		list = append(list, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tagURI, Bytes: []byte(text)})
	}
	for _, text := range x.Addresses {
		a, err := netip.ParseAddr(text)
		if err != nil || a.Zone() != "" {
			return nil, fault.New(fault.Invalid, "%q is no address of IP", fault.Clip(text))
		}
		list = append(list, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tagIP, Bytes: a.Unmap().AsSlice()})
	}
	return list, nil
}

// principalName encodes an otherName: the identifier, and the name as a UTF8String under the tag 0.
func principalName(name string) (asn1.RawValue, error) {
	id, err := asn1.Marshal(oidPrincipal)
	if err != nil {
		return asn1.RawValue{}, err
	}
	text, err := asn1.MarshalWithParams(name, "utf8,explicit,tag:0")
	return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tagOther, IsCompound: true, Bytes: slices.Concat(id, text)}, err
}

// usage is one word of key_usage: its bit (RFC 5280, section 4.2.1.3), and what the managed key may then be used for.
type usage struct {
	bit x509.KeyUsage
	ops []cryptokey.Op
}

var usageWords = map[string]usage{
	"digitalSignature": {x509.KeyUsageDigitalSignature, []cryptokey.Op{cryptokey.Sign, cryptokey.Verify}},
	"nonRepudiation":   {x509.KeyUsageContentCommitment, []cryptokey.Op{cryptokey.Sign, cryptokey.Verify}},
	"keyEncipherment":  {x509.KeyUsageKeyEncipherment, []cryptokey.Op{cryptokey.WrapKey, cryptokey.UnwrapKey}},
	"dataEncipherment": {x509.KeyUsageDataEncipherment, []cryptokey.Op{cryptokey.Encrypt, cryptokey.Decrypt}},
	"keyAgreement":     {x509.KeyUsageKeyAgreement, nil},
	"keyCertSign":      {x509.KeyUsageCertSign, []cryptokey.Op{cryptokey.Sign, cryptokey.Verify}},
	"cRLSign":          {x509.KeyUsageCRLSign, []cryptokey.Op{cryptokey.Sign, cryptokey.Verify}},
	"encipherOnly":     {x509.KeyUsageEncipherOnly, []cryptokey.Op{cryptokey.Encrypt}},
	"decipherOnly":     {x509.KeyUsageDecipherOnly, []cryptokey.Op{cryptokey.Decrypt}},
}

// usages reads the words of key_usage.
func usages(words []string) (bits x509.KeyUsage, err error) {
	for _, w := range words {
		u, ok := usageWords[w]
		if !ok {
			return 0, fault.New(fault.Invalid, "key_usage %q is not known: use digitalSignature, nonRepudiation, keyEncipherment, dataEncipherment, keyAgreement, "+
				"keyCertSign, cRLSign, encipherOnly or decipherOnly", fault.Clip(w))
		}
		bits |= u.bit
	}
	return bits, nil
}

// keyOps are the words of key_ops that the managed key gets: what the usages allow and the type of key can do.
func keyOps(words []string, spec cryptokey.Spec) []string {
	can := spec.DefaultOps()
	list := []string{}
	for _, w := range words {
		for _, op := range usageWords[w].ops {
			if can.Has(op) && !slices.Contains(list, string(op)) {
				list = append(list, string(op))
			}
		}
	}
	return list
}

// purposes reads the object identifiers of ekus.
func (x *X509Props) purposes() (list []asn1.ObjectIdentifier, err error) {
	for _, text := range x.EKUs {
		id, ok := identifier(text)
		if !ok {
			return nil, fault.New(fault.Invalid, "the purpose %q of ekus is no object identifier such as %s", fault.Clip(text), serverAuth)
		}
		list = append(list, id)
	}
	return list, nil
}

// request makes the certificate request for a key, wherever that is.
func (x *X509Props) request(k *cryptokey.Key) ([]byte, error) {
	signer, err := k.Signer()
	if err != nil {
		return nil, err
	}
	return x.csr(signer)
}

// csr makes the certificate request for a key.
func (x *X509Props) csr(key crypto.Signer) ([]byte, error) {
	n, err := x.names()
	if err != nil {
		return nil, err
	}
	t := &x509.CertificateRequest{}
	if t.RawSubject, err = asn1.Marshal(n.subject); err != nil {
		return nil, fault.New(fault.Invalid, "the subject %q cannot be encoded", fault.Clip(x.Subject))
	}
	if n.alternatives != nil {
		t.ExtraExtensions = append(t.ExtraExtensions, *n.alternatives)
	}
	bits, err := usages(x.KeyUsage)
	if err != nil {
		return nil, err
	}
	if bits != 0 {
		e, err := usageExtension(bits)
		if err != nil {
			return nil, err
		}
		t.ExtraExtensions = append(t.ExtraExtensions, e)
	}
	purposes, err := x.purposes()
	if err != nil {
		return nil, err
	}
	if len(purposes) > 0 {
		value, err := asn1.Marshal(purposes)
		if err != nil {
			return nil, err
		}
		t.ExtraExtensions = append(t.ExtraExtensions, pkix.Extension{Id: oidPurposes, Value: value})
	}
	return x509.CreateCertificateRequest(rand.Reader, t, key)
}

// usageBits is how many bits RFC 5280 names.
const usageBits = 9

// usageExtension encodes the key usages: a bit string whose first bit is the lowest of Go's.
func usageExtension(bits x509.KeyUsage) (pkix.Extension, error) {
	var b asn1.BitString
	b.Bytes = make([]byte, 2)
	for i := range usageBits {
		if bits&(1<<i) != 0 {
			b.Bytes[i/8] |= 0x80 >> (i % 8)
			b.BitLength = i + 1
		}
	}
	b.Bytes = b.Bytes[:(b.BitLength+7)/8]
	value, err := asn1.Marshal(b)
	return pkix.Extension{Id: oidKeyUsage, Critical: true, Value: value}, err
}

// identifiers reads the object identifiers of an extension of purposes; none when it cannot be read.
func identifiers(der []byte) (list []string) {
	var ids []asn1.ObjectIdentifier
	if rest, err := asn1.Unmarshal(der, &ids); err != nil || len(rest) > 0 {
		return nil
	}
	for _, id := range ids {
		list = append(list, id.String())
	}
	return list
}
