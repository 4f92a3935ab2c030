package enrolment

import (
	"crypto/x509"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// The types of identifiers (RFC 8555, section 9.7.7, and RFC 8738).
const (
	DNS = "dns"
	IP  = "ip"
)

// The states of RFC 8555, section 7.1.6, that things are in here.
const (
	Pending     = "pending"
	Ready       = "ready"
	Valid       = "valid"
	Invalid     = "invalid"
	Deactivated = "deactivated"
)

// Account is a client's.
type Account struct {
	// ID is random, Thumbprint that of Key (RFC 7638).
	ID         string           `json:"id"`
	Thumbprint string           `json:"thumbprint"`
	Key        *jose.JSONWebKey `json:"key"`
	Contact    []string         `json:"contact,omitempty"`
	// Binding is what Register.Bind said when the account was bound; empty for an account without a binding.
	Binding string    `json:"binding,omitempty"`
	Status  string    `json:"status"`
	Created time.Time `json:"created"`
}

// Identifier is a name: of type DNS or IP.
type Identifier struct {
	Type  string `json:"type"`
	Value string `json:"value"`
}

// Order is a certificate to be.
type Order struct {
	ID          string       `json:"id"`
	AccountID   string       `json:"account"`
	Status      string       `json:"status"`
	Expires     time.Time    `json:"expires"`
	Profile     string       `json:"profile,omitempty"`
	Identifiers []Identifier `json:"identifiers"`
	// NotAfter is the client's wish for the certificate's end; zero for none.
	NotAfter       time.Time `json:"notAfter,omitzero"`
	Authorizations []string  `json:"authorizations,omitempty"`
	// Replaces is the serial number (lower-case hexadecimal) of the certificate that this order renews, Replaced the order that renews this one's.
	Replaces string `json:"replaces,omitempty"`
	Replaced string `json:"replaced,omitempty"`
	// Serial (lower-case hexadecimal) and Chain (DER, leaf first) are there when the order is valid. Authority is the id of who signed.
	Serial    string   `json:"serial,omitempty"`
	Chain     [][]byte `json:"chain,omitempty"`
	Authority string   `json:"authority,omitempty"`
	// Rule is the access rule under which the order was made.
	Rule    string    `json:"rule,omitempty"`
	Created time.Time `json:"created"`
}

// Authorization is the proof of one name for one order.
type Authorization struct {
	ID         string      `json:"id"`
	AccountID  string      `json:"account"`
	OrderID    string      `json:"order"`
	Identifier Identifier  `json:"identifier"`
	Wildcard   bool        `json:"wildcard,omitempty"`
	Status     string      `json:"status"`
	Expires    time.Time   `json:"expires"`
	Challenges []Challenge `json:"challenges"`
}

// Challenge is one way to prove a name.
type Challenge struct {
	Type      string    `json:"type"`
	Token     string    `json:"token"`
	Status    string    `json:"status"`
	Validated time.Time `json:"validated,omitzero"`
	Problem   *Problem  `json:"problem,omitempty"`
}

// Problem is an error as clients see it (RFC 7807).
type Problem struct {
	Type       string      `json:"type"`
	Detail     string      `json:"detail"`
	Status     int         `json:"status"`
	Identifier *Identifier `json:"identifier,omitempty"`
}

// Error makes a problem an error.
func (p *Problem) Error() string { return p.Type + ": " + p.Detail }

// Signing is what Register.Issue needs to know.
type Signing struct {
	// OrderID is the same whenever a signing is repeated.
	OrderID string
	Account Account
	Profile string
	CSR     *x509.CertificateRequest
	// NotAfter is when the certificate is to end at the latest; zero leaves it to the authority.
	NotAfter time.Time
}

// Permission is what an access rule says of an order.
type Permission struct {
	// Rule is the rule's name.
	Rule string
	// Trusted takes the account's word for the names: no challenge is asked.
	Trusted bool
	// Profile is the kind of certificate that it gets.
	Profile string
	// Life is the longest life of the certificate; 0 leaves it to the authority.
	Life time.Duration
}
