package ldap

import (
	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/go-ldap/ldap/v3"
)

// assertionType is the control's name in RFC 4528.
const assertionType = "1.3.6.1.1.12"

// assertion makes an operation fail with assertionFailed unless the entry matches the filter. It is critical: a server that does not know it refuses.
type assertion struct{ filter string }

// GetControlType returns the control's name.
func (assertion) GetControlType() string { return assertionType }

// String describes the control.
func (a assertion) String() string { return assertionType + " " + a.filter }

// Encode returns the control: its name, its criticality, and the filter as RFC 4511 encodes it.
func (a assertion) Encode() *ber.Packet {
	packet := ber.Encode(ber.ClassUniversal, ber.TypeConstructed, ber.TagSequence, nil, "Control")
	packet.AppendChild(ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, assertionType, "Control Type"))
	packet.AppendChild(ber.NewBoolean(ber.ClassUniversal, ber.TypePrimitive, ber.TagBoolean, true, "Criticality"))
	if filter, err := ldap.CompileFilter(a.filter); err == nil { // it is made here, of an escaped value
		packet.AppendChild(ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, string(filter.Bytes()), "Control Value"))
	}
	return packet
}
