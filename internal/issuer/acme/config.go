package acme

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/redact"
)

// Authority is what is known of an ACME service beforehand.
type Authority struct {
	// Title is its name for people, Directory the address at which it describes itself.
	Title, Directory string
	// BindsAccounts says that it serves only accounts that are bound to a customer.
	BindsAccounts bool
}

// Presets are services by name. Customers of DigiCert outside of its default region have a directory of their own, which CertCentral shows.
func Presets() map[string]Authority {
	return map[string]Authority{
		"letsencrypt":         {"Let's Encrypt", "https://acme-v02.api.letsencrypt.org/directory", false},
		"letsencrypt-staging": {"Let's Encrypt (staging)", "https://acme-staging-v02.api.letsencrypt.org/directory", false},
		"digicert":            {"DigiCert CertCentral", "https://one.digicert.com/mpki/api/v1/acme/v2/directory", true},
		"globalsign":          {"GlobalSign Atlas", "https://emea.acme.atlas.globalsign.com/directory", true},
	}
}

// Binding ties an account to a customer of the authority (RFC 8555, section 7.3.4).
type Binding struct {
	// KeyID and MACKey are what the authority gave; MACKey in base64url, as it is given.
	KeyID  string
	MACKey redact.String
}

// Config is one account at one authority.
type Config struct {
	// Directory is the https address at which the authority describes itself. Required.
	Directory string
	// Roots verify the authority's server; nil takes the system's.
	Roots *x509.CertPool
	// Key is the account's: RSA or ECDSA on a NIST curve. Required. Whoever has it has the account.
	Key crypto.Signer
	// AgreeToTerms says that a person has read the authority's terms and agrees. Required.
	AgreeToTerms bool
	// Contact are addresses such as mailto:ops@example.com. Optional.
	Contact []string
	// Binding is required by authorities that have customers.
	Binding *Binding
	// Solvers by type of challenge ("http-01", "dns-01", "tls-alpn-01"). At least one.
	Solvers map[string]Solver
	// Prefer orders the types; those that are not named follow in the order of their names.
	Prefer []string
	// PreferredRoot picks among alternate chains the one whose topmost certificate was issued by this common name. Empty takes the authority's first.
	PreferredRoot string
	// Clock is required.
	Clock clock.Clock
}

func (c *Config) check() error {
	var problems []error
	if u, err := url.Parse(c.Directory); err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
		problems = append(problems, fmt.Errorf("the directory %q is no https address", c.Directory))
	}
	if c.Key == nil {
		problems = append(problems, errors.New("the account needs a key"))
	} else {
		switch c.Key.Public().(type) {
		case *rsa.PublicKey, *ecdsa.PublicKey:
		default:
			problems = append(problems, fmt.Errorf("an account's key is RSA or ECDSA, not %T", c.Key.Public()))
		}
	}
	if !c.AgreeToTerms {
		problems = append(problems, errors.New("somebody must agree to the authority's terms"))
	}
	for _, address := range c.Contact {
		if !strings.HasPrefix(address, "mailto:") {
			problems = append(problems, fmt.Errorf("the contact %q is no mailto address", address))
		}
	}
	if b := c.Binding; b != nil {
		if key, err := base64.RawURLEncoding.DecodeString(b.MACKey.Reveal()); err != nil || len(key) < 16 || b.KeyID == "" {
			problems = append(problems, errors.New("the binding needs the authority's key id and its MAC key in base64url, of at least 16 bytes"))
		}
	}
	if len(c.Solvers) == 0 {
		problems = append(problems, errors.New("there is no solver for any challenge"))
	}
	for kind, s := range c.Solvers {
		if s == nil || !slices.Contains(challengeTypes, kind) {
			problems = append(problems, fmt.Errorf("there is no solver for %q: use %s", kind, strings.Join(challengeTypes, ", ")))
		}
	}
	for _, kind := range c.Prefer {
		if c.Solvers[kind] == nil {
			problems = append(problems, fmt.Errorf("%q is preferred and has no solver", kind))
		}
	}
	if c.Clock == nil {
		problems = append(problems, errors.New("a clock is required"))
	}
	return errors.Join(problems...)
}
