package api

import "time"

// AccessRule says who may enrol with an issuer by ACME, and for what.
type AccessRule struct {
	Name string `json:"name"`
	// Directory is the address that clients are given.
	Directory string `json:"directory"`
	// Names may be had as they stand: host names, addresses and wildcards.
	Names []string `json:"names,omitempty"`
	// Domains stand for themselves and every name below them; with Wildcards those include wildcards.
	Domains   []string `json:"domains,omitempty"`
	Wildcards bool     `json:"wildcards,omitempty"`
	// Networks hold the addresses that may be had, such as 10.0.0.0/8.
	Networks []string `json:"networks,omitempty"`
	// Profiles are the kinds of certificates that may be ordered: server, client or mutual. The first is that of orders that name none.
	Profiles []string `json:"profiles"`
	// MaxDays is the longest life of a certificate; absent when the issuer decides.
	MaxDays int `json:"maxDays,omitempty"`
	// Preauthorized takes the holder's word for the names: no challenge is asked.
	Preauthorized bool       `json:"preauthorized,omitempty"`
	Expires       *time.Time `json:"expires,omitempty"`
	Created       time.Time  `json:"created"`
	Updated       time.Time  `json:"updated"`
	// KeyID and MACKey (base64url) bind accounts to the rule (external account binding). They are in the answer that made the key, and in no other.
	KeyID  string `json:"keyId,omitempty"`
	MACKey *Text  `json:"macKey,omitempty"`
}

// SetAccessRule makes an access rule or replaces what it permits. The rule named anyone is for accounts without a binding.
type SetAccessRule struct {
	Names         []string   `json:"names,omitempty"`
	Domains       []string   `json:"domains,omitempty"`
	Wildcards     bool       `json:"wildcards,omitempty"`
	Networks      []string   `json:"networks,omitempty"`
	Profiles      []string   `json:"profiles,omitempty"`
	MaxDays       int        `json:"maxDays,omitempty"`
	Preauthorized bool       `json:"preauthorized,omitempty"`
	Expires       *time.Time `json:"expires,omitempty"`
	// NewKey makes another MAC key for a rule that has one. Accounts that are bound stay.
	NewKey bool `json:"newKey,omitempty"`
}

// AccessRuleList is a page of access rules.
type AccessRuleList struct {
	Items []AccessRule `json:"items"`
	Next  string       `json:"next,omitempty"`
}

// Enrolment is what an ACME client ordered.
type Enrolment struct {
	ID string `json:"id"`
	// Account is the client's account, Contact who is behind it by its own words, Rule the access rule under which it ordered.
	Account string   `json:"account"`
	Contact []string `json:"contact,omitempty"`
	Rule    string   `json:"rule,omitempty"`
	Names   []string `json:"names"`
	Profile string   `json:"profile,omitempty"`
	// Status is pending, ready, valid or invalid.
	Status  string    `json:"status"`
	Created time.Time `json:"created"`
	// Serial (hexadecimal) and Expires are those of the certificate.
	Serial  string     `json:"serial,omitempty"`
	Expires *time.Time `json:"expires,omitempty"`
	// Revoked is when it was taken back, and Reason why.
	Revoked *time.Time `json:"revoked,omitempty"`
	Reason  string     `json:"reason,omitempty"`
}

// EnrolmentList is a page of orders.
type EnrolmentList struct {
	Items []Enrolment `json:"items"`
	Next  string      `json:"next,omitempty"`
}

// RevokeEnrolment has a client's certificate taken back.
type RevokeEnrolment struct {
	// Serial is its serial number, in hexadecimal digits.
	Serial string `json:"serial"`
	// Reason is one of RFC 5280, section 5.3.1, but certificateHold and removeFromCRL; empty is unspecified.
	Reason string `json:"reason,omitempty"`
}
