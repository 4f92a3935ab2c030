package ldap

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/go-ldap/ldap/v3"

	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/rotator/endpoint"
)

// Name is the word by which policies ask for this rotator.
const Name = "ldap"

// The shapes of directories.
const (
	openLDAP        = "openldap"
	activeDirectory = "ad"
)

// Rotator implements rotator.Rotator. Its zero value is ready, and it keeps nothing.
type Rotator struct{}

// New returns a rotator for directories.
func New() *Rotator { return &Rotator{} }

// config is the target's part of a policy.
type config struct {
	Shape         string       `json:"shape"`
	Endpoints     []string     `json:"endpoints"`
	WriteEndpoint string       `json:"writeEndpoint"`
	AccountDN     string       `json:"accountDN"`
	GroupBase     string       `json:"groupBase"`
	Hash          string       `json:"hash"`
	StartTLS      bool         `json:"startTLS"`
	TLS           endpoint.TLS `json:"tls"`
	Plaintext     bool         `json:"plaintext"`
}

// Describe says what the rotator can do.
func (*Rotator) Describe() rotator.Description {
	return rotator.Description{
		Name: Name, Title: "LDAP directory (OpenLDAP, Active Directory)",
		Strategies:  []rotator.Strategy{rotator.Dual, rotator.Alternating, rotator.Single},
		Evidence:    rotator.NoEvidence,
		SelfService: true,
		// Active Directory's default policy asks for three kinds of characters.
		Value:    rotator.ValueRules{Length: rotator.DefaultValue.Length, Alphabet: rotator.DefaultValue.Alphabet, Classes: true},
		Verified: []rotator.System{{Product: "OpenLDAP", Version: "2.5.13"}},
		Unverified: []rotator.System{
			{Product: "OpenLDAP", Version: "2.6"},
			{Product: "Active Directory (single and alternating only; the old password may work for 60 minutes more)", Version: "any", By: "a protocol fake"},
		},
		// A usual setting of pwdMaxFailure and of Active Directory's lockout threshold.
		LoginsBeforeLockout: 5,
		Config: []rotator.Member{
			{Name: "shape", Type: "openldap or ad", Help: "Which kind of directory it is; openldap unless it is given."},
			{Name: "endpoints", Type: "list of host:port", Required: true, Help: "Every server at which clients log in; each is probed."},
			{Name: "writeEndpoint", Type: "host:port", Help: "The server that takes changes; the first of endpoints unless it is given."},
			{Name: "accountDN", Type: "string", Help: "A distinguished name with {account} in it, where accounts are named by something shorter, such as uid={account},ou=apps,dc=example,dc=org."},
			{Name: "groupBase", Type: "distinguished name", Help: "Where groups are, whose members must be the same for both accounts of a pair."},
			{Name: "hash", Type: "ssha or argon2", Help: "How OpenLDAP stores values; argon2 needs its module loaded."},
			{Name: "startTLS", Type: "boolean", Help: "Begin in clear and turn to TLS, as on port 389."},
			{Name: "tls", Type: "{ca, serverName}", Help: "Trusted certificates in PEM in place of the system's, and the servers' name where it is not the host."},
			{Name: "plaintext", Type: "boolean", Help: "Talk without TLS, so that the administrator's password and probed values cross the network in clear; never with ad."},
		},
	}
}

// Check reports every mistake of a configuration.
func (*Rotator) Check(raw json.RawMessage) error {
	_, err := parse(raw)
	return err
}

func parse(raw json.RawMessage) (*config, error) {
	c := &config{Shape: openLDAP, Hash: "ssha"}
	if err := rotator.Decode(Name, raw, c); err != nil {
		return nil, err
	}
	var m endpoint.Mistakes
	m.Addresses("endpoints", c.Endpoints)
	if c.WriteEndpoint != "" {
		m.Address("writeEndpoint", c.WriteEndpoint)
	} else if len(c.Endpoints) > 0 {
		c.WriteEndpoint = c.Endpoints[0]
	}
	if c.Shape != openLDAP && c.Shape != activeDirectory {
		m.Add("shape is %q: write openldap or ad", c.Shape)
	}
	if _, known := schemes[c.Hash]; !known {
		m.Add("hash is %q: write ssha or argon2", c.Hash)
	}
	if c.AccountDN != "" && strings.Count(c.AccountDN, placeholder) != 1 {
		m.Add("accountDN is %q: it needs %s once", c.AccountDN, placeholder)
	}
	if _, err := ldap.ParseDN(strings.ReplaceAll(c.AccountDN, placeholder, "x")); err != nil {
		m.Add("accountDN is no distinguished name (%v)", err)
	}
	if _, err := ldap.ParseDN(c.GroupBase); err != nil {
		m.Add("groupBase is no distinguished name (%v)", err)
	}
	if c.Plaintext && (c.StartTLS || c.Shape == activeDirectory) {
		m.Add("plaintext goes neither with startTLS nor with the shape ad, which takes passwords over TLS only")
	}
	m.TLS(c.TLS, c.Plaintext)
	return c, m.Err(Name)
}

const placeholder = "{account}"

// dn is the distinguished name of an account.
func (c *config) dn(account string) string {
	if c.AccountDN == "" {
		return account
	}
	return strings.Replace(c.AccountDN, placeholder, ldap.EscapeDN(account), 1)
}

// strategies are those of the shape.
func (c *config) strategies() []rotator.Strategy {
	all := (*Rotator)(nil).Describe().Strategies
	if c.Shape == activeDirectory {
		return slices.DeleteFunc(all, func(s rotator.Strategy) bool { return s == rotator.Dual })
	}
	return all
}
