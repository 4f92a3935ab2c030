package cert

import (
	"slices"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/cryptokey"
	"github.com/keywright/keywright/internal/fault"
)

// Policy says how a certificate is made and when it is made anew. What its owner did not state and what has no usual value stays absent, because
// callers compare what they get back with what they gave.
type Policy struct {
	Key    KeyProps    `json:"key"`
	Secret SecretProps `json:"secret"`
	X509   X509Props   `json:"x509"`
	// Actions are what happens in the life of a certificate; nil asks for the usual one.
	Actions []Action  `json:"actions,omitempty"`
	Issuer  IssuerRef `json:"issuer"`
	// Enabled is what new versions are.
	Enabled *bool     `json:"enabled,omitempty"`
	Created time.Time `json:"created,omitzero"`
	Updated time.Time `json:"updated,omitzero"`
}

// KeyProps is the key of a certificate, in the words of the protocol.
type KeyProps struct {
	// Exportable puts the private key into the certificate's secret.
	Exportable *bool  `json:"exportable,omitempty"`
	Kty        string `json:"kty,omitempty"`
	Bits       int    `json:"bits,omitempty"`
	Curve      string `json:"curve,omitempty"`
	// Reuse keeps the key when the certificate is made anew.
	Reuse *bool `json:"reuse,omitempty"`
}

// The types of a certificate's secret.
const (
	TypePFX = "application/x-pkcs12"
	TypePEM = "application/x-pem-file"
)

// SecretProps is the form of the certificate's secret: TypePFX or TypePEM.
type SecretProps struct {
	ContentType string `json:"contentType,omitempty"`
}

// X509Props is what the certificate says.
type X509Props struct {
	// Subject is an X.500 name (RFC 4514), such as "CN=example.com, O=Example".
	Subject string   `json:"subject,omitempty"`
	DNS     []string `json:"dns,omitempty"`
	Emails  []string `json:"emails,omitempty"`
	UPNs    []string `json:"upns,omitempty"`
	// URIs are absolute (RFC 3986), Addresses those of IP.
	URIs      []string `json:"uris,omitempty"`
	Addresses []string `json:"addresses,omitempty"`
	// EKUs are object identifiers in their dotted form.
	EKUs     []string `json:"ekus,omitempty"`
	KeyUsage []string `json:"keyUsage,omitempty"`
	// Months is the validity.
	Months int `json:"months,omitempty"`
}

// IssuerRef names who issues.
type IssuerRef struct {
	Name string `json:"name,omitempty"`
	// Type is the issuer's own word for a kind of certificate (cty).
	Type         string `json:"type,omitempty"`
	Transparency *bool  `json:"transparency,omitempty"`
}

// The issuers that every vault has.
const (
	// SelfIssuer is the certificate's own key.
	SelfIssuer = "Self"
	// UnknownIssuer is a person, who takes the request to an authority and brings what it gave.
	UnknownIssuer = "Unknown"
)

// Is reports whether the reference is to the issuer of that name; names differ not by case.
func (r IssuerRef) Is(name string) bool { return strings.EqualFold(r.Name, name) }

// Action is what is to happen at a time of the certificate's life: after so many per cent of it, or so many days before its end.
type Action struct {
	Percentage int    `json:"percentage,omitempty"`
	DaysBefore int    `json:"daysBefore,omitempty"`
	Do         string `json:"do"`
}

// What an Action does.
const (
	AutoRenew     = "AutoRenew"
	EmailContacts = "EmailContacts"
)

// Usual values, from the Key Vault documentation ("Certificate creation methods") and its service's answers.
const (
	usualMonths     = 12
	usualPercentage = 80
)

// Object identifiers of the purposes of TLS (RFC 5280, section 4.2.1.12).
const (
	serverAuth = "1.3.6.1.5.5.7.3.1"
	clientAuth = "1.3.6.1.5.5.7.3.2"
)

// complete fills in what the owner left to the usual.
func (p *Policy) complete() {
	yes, no := true, false
	if p.signs() {
		p.completeAuthority()
	}
	if p.Key.Exportable == nil {
		p.Key.Exportable = &yes
	}
	if p.Key.Reuse == nil {
		p.Key.Reuse = &no
	}
	p.Key.complete()
	if p.Secret.ContentType == "" {
		p.Secret.ContentType = TypePFX
	}
	if p.X509.Months == 0 {
		p.X509.Months = usualMonths
	}
	if p.X509.EKUs == nil {
		p.X509.EKUs = []string{serverAuth, clientAuth}
	}
	if p.X509.KeyUsage == nil {
		p.X509.KeyUsage = []string{"digitalSignature", "keyEncipherment"}
	}
	if p.Enabled == nil {
		p.Enabled = &yes
	}
	if p.Actions == nil {
		do := AutoRenew
		if p.Issuer.Is(UnknownIssuer) {
			do = EmailContacts
		}
		p.Actions = []Action{{Percentage: usualPercentage, Do: do}}
	}
}

// The types (cty) with which an issuer makes certificates of authorities: RootType with SelfIssuer, IntermediateType with an internal authority.
const (
	RootType         = "root"
	IntermediateType = "intermediate"
)

// signs reports whether the policy asks for a certificate that signs others.
func (p *Policy) signs() bool {
	return p.Issuer.Is(SelfIssuer) && p.Issuer.Type == RootType || !p.Issuer.Is(SelfIssuer) && p.Issuer.Type == IntermediateType
}

// completeAuthority fills in what is usual for an authority: its key never leaves, no purpose is written into it, and a person makes it anew, because everybody who
// trusts it has to hear of that first.
func (p *Policy) completeAuthority() {
	no := false
	if p.Key.Exportable == nil {
		p.Key.Exportable = &no
	}
	if p.X509.KeyUsage == nil {
		p.X509.KeyUsage = []string{"digitalSignature", "keyCertSign", "cRLSign"}
	}
	if p.X509.EKUs == nil {
		p.X509.EKUs = []string{}
	}
	if p.X509.Months == 0 {
		p.X509.Months = maxMonths
	}
	if p.Actions == nil {
		p.Actions = []Action{{Percentage: usualPercentage, Do: EmailContacts}}
	}
}

// complete fills in the size of the key. An RSA key has no curve.
func (k *KeyProps) complete() {
	if k.Kty == "" {
		k.Kty = string(cryptokey.RSA)
		if k.Curve != "" {
			k.Kty = string(cryptokey.EC)
		}
	}
	typ, _, err := cryptokey.ParseType(k.Kty)
	if err != nil {
		return // check says so
	}
	spec, err := cryptokey.Spec{Type: typ, Bits: k.Bits, Curve: cryptokey.Curve(k.Curve)}.Complete()
	if err != nil {
		return
	}
	if typ == cryptokey.RSA {
		k.Bits = spec.Bits
	} else {
		k.Curve = string(spec.Curve)
	}
}

// Apply puts the sections that a change states in the place of those before.
func (p *Policy) Apply(ch *PolicyChange) {
	if ch.Key != nil {
		p.Key = *ch.Key
	}
	if ch.Secret != nil {
		p.Secret = *ch.Secret
	}
	if ch.X509 != nil {
		p.X509 = *ch.X509
	}
	if ch.Actions != nil {
		p.Actions = ch.Actions
	}
	if ch.Issuer != nil {
		p.Issuer = *ch.Issuer
	}
	if ch.Enabled != nil {
		p.Enabled = ch.Enabled
	}
}

// PolicyChange is what to change of a policy, by whole sections: a nil one stays as it is.
type PolicyChange struct {
	Key     *KeyProps
	Secret  *SecretProps
	X509    *X509Props
	Actions []Action
	Issuer  *IssuerRef
	Enabled *bool
}

// maxMonths is the longest validity that can be asked for.
const maxMonths = 120

// check reports whether a certificate can be made by a policy that was completed.
func (p *Policy) check() error {
	if err := p.Key.check(); err != nil {
		return err
	}
	if p.Secret.ContentType != TypePFX && p.Secret.ContentType != TypePEM {
		return fault.New(fault.Invalid, "the content type of a certificate's secret is %s or %s", TypePFX, TypePEM)
	}
	if p.Issuer.Name == "" {
		return fault.New(fault.Invalid, "the policy names no issuer: %s, %s, or one that was set up in the vault", SelfIssuer, UnknownIssuer)
	}
	if p.X509.Months < 1 || p.X509.Months > maxMonths {
		return fault.New(fault.Invalid, "validity_months is to be from 1 to %d", maxMonths)
	}
	if p.X509.Subject == "" && !p.X509.alternative() {
		return fault.New(fault.Invalid, "the certificate would be for nobody: the policy needs a subject or a subject alternative name")
	}
	if _, err := p.X509.names(); err != nil {
		return err
	}
	if _, err := usages(p.X509.KeyUsage); err != nil {
		return err
	}
	if _, err := p.X509.purposes(); err != nil {
		return err
	}
	for i := range p.Actions {
		if err := p.Actions[i].check(p.X509.Months); err != nil {
			return err
		}
	}
	return nil
}

func (k *KeyProps) check() error {
	typ, _, err := cryptokey.ParseType(k.Kty)
	if err != nil {
		return err
	}
	if typ != cryptokey.RSA && typ != cryptokey.EC {
		return fault.New(fault.Invalid, "the key of a certificate is an RSA or an EC key, and not of the type %q", fault.Clip(k.Kty))
	}
	spec, err := k.spec().Complete()
	if err == nil && spec.Curve == cryptokey.P256K {
		err = fault.New(fault.Invalid, "certificates are not made for the curve %s: choose P-256, P-384 or P-521", spec.Curve)
	}
	return err
}

func (k *KeyProps) spec() cryptokey.Spec {
	typ, _, _ := cryptokey.ParseType(k.Kty)
	return cryptokey.Spec{Type: typ, Bits: k.Bits, Curve: cryptokey.Curve(k.Curve)}
}

// daysPerMonth is how many days before the end of each month of validity an action may lie at most (Key Vault REST API, Trigger).
const daysPerMonth = 27

func (a *Action) check(months int) error {
	switch {
	case a.Do != AutoRenew && a.Do != EmailContacts:
		return fault.New(fault.Invalid, "the action of a lifetime action is %s or %s", AutoRenew, EmailContacts)
	case (a.Percentage == 0) == (a.DaysBefore == 0):
		return fault.New(fault.Invalid, "a lifetime action has one trigger: lifetime_percentage or days_before_expiry")
	case a.Percentage < 0 || a.Percentage > 99:
		return fault.New(fault.Invalid, "lifetime_percentage is to be from 1 to 99")
	case a.DaysBefore < 0 || a.DaysBefore > months*daysPerMonth:
		return fault.New(fault.Invalid, "days_before_expiry is to be from 1 to %d for a validity of %d months", months*daysPerMonth, months)
	}
	return nil
}

// at is when the action is due for a certificate of that validity.
func (a *Action) at(from, until time.Time) time.Time {
	if a.DaysBefore > 0 {
		return until.AddDate(0, 0, -a.DaysBefore)
	}
	life := until.Sub(from)
	return from.Add(life/100*time.Duration(a.Percentage) + life%100*time.Duration(a.Percentage)/100)
}

// first returns the action of the kind that comes first in a certificate's life; ok is false when there is none.
func (p *Policy) first(do string, from, until time.Time) (at time.Time, ok bool) {
	for i := range p.Actions {
		if a := &p.Actions[i]; a.Do == do {
			if due := a.at(from, until); !ok || due.Before(at) {
				at, ok = due, true
			}
		}
	}
	return at, ok
}

// clone copies a policy, for who changes it.
func (p *Policy) clone() *Policy {
	c := *p
	c.X509.DNS, c.X509.Emails, c.X509.UPNs = slices.Clone(p.X509.DNS), slices.Clone(p.X509.Emails), slices.Clone(p.X509.UPNs)
	c.X509.URIs, c.X509.Addresses = slices.Clone(p.X509.URIs), slices.Clone(p.X509.Addresses)
	c.X509.EKUs, c.X509.KeyUsage, c.Actions = slices.Clone(p.X509.EKUs), slices.Clone(p.X509.KeyUsage), slices.Clone(p.Actions)
	return &c
}
