package cert

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/vault"
)

// The bounds of an issuer's options: how many there are, and the bytes of one. Roots in PEM are the longest.
const (
	maxOptions     = 50
	maxOptionBytes = 32 << 10
)

// AuthorityOption is the option that names the certificate of the vault with whose key an issuer signs. Whoever sets such an issuer up must be
// permitted to sign with that key, for that is what its users do from then on.
const AuthorityOption = "certificate"

// AuthorityVaultOption is the option that names the vault of the same tenant in which that certificate is; the issuer's own when absent.
const AuthorityVaultOption = "certificateVault"

// IsSecret reports whether the value of an option is sealed with the password and never shown: its name ends in "Secret".
func IsSecret(option string) bool { return strings.HasSuffix(strings.ToLower(option), "secret") }

// setOptions puts options in the place of those before. A secret one that is not given stays, because nobody can read it back; an empty one goes.
func (s *Settings) setOptions(options map[string]string) {
	s.Options, s.Secrets = map[string]string{}, maps.Clone(s.Secrets)
	for name, value := range options {
		switch {
		case !IsSecret(name):
			s.Options[name] = value
		case value == "":
			delete(s.Secrets, name)
		default:
			if s.Secrets == nil {
				s.Secrets = map[string]redact.String{}
			}
			s.Secrets[name] = redact.String(value)
		}
	}
}

func (s *Settings) checkOptions() error {
	if len(s.Options)+len(s.Secrets) > maxOptions {
		return fault.New(fault.Invalid, "an issuer has at most %d settings", maxOptions)
	}
	for name, value := range s.Options {
		if len(name) > maxText || len(value) > maxOptionBytes {
			return fault.New(fault.Invalid, "the setting %q of the issuer is too long: names have at most %d bytes, values %d", fault.Clip(name), maxText, maxOptionBytes)
		}
	}
	for name, value := range s.Secrets {
		if len(name) > maxText || len(value) > maxText {
			return fault.New(fault.Invalid, "the setting %q of the issuer is too long: names and secrets have at most %d bytes", fault.Clip(name), maxText)
		}
	}
	return nil
}

// credentials are what is sealed of an issuer.
type credentials struct {
	Password   string            `json:"password,omitempty"`
	AccountKey []byte            `json:"accountKey,omitempty"`
	Secrets    map[string]string `json:"secrets,omitempty"`
}

// hidden encodes what is sealed. The caller zeroes it.
func (s *Settings) hidden() ([]byte, error) {
	c := credentials{Password: s.Password.Reveal(), AccountKey: []byte(s.AccountKey.Reveal())}
	defer clear(c.AccountKey)
	for name, value := range s.Secrets {
		if c.Secrets == nil {
			c.Secrets = map[string]string{}
		}
		c.Secrets[name] = value.Reveal()
	}
	return json.Marshal(&c)
}

// reveal reads what hidden wrote.
func (s *Settings) reveal(value []byte) error {
	var c credentials
	if err := json.Unmarshal(value, &c); err != nil {
		// The decoder's own words could quote the value.
		return fmt.Errorf("decoding the credentials of the issuer %q: they are damaged", s.Name)
	}
	defer clear(c.AccountKey)
	s.Password, s.AccountKey, s.Secrets = redact.String(c.Password), redact.String(c.AccountKey), map[string]redact.String{}
	for name, secret := range c.Secrets {
		s.Secrets[name] = redact.String(secret)
	}
	return nil
}

// kept names the secret options that settings have from those before, because the change does not give them again.
func kept(next *Settings, ch *SettingsChange) (names []string) {
	for name := range next.Secrets {
		if _, given := ch.Options[name]; !given {
			names = append(names, name)
		}
	}
	return names
}

// prepare lets the providers look at settings before they are stored.
func (s *Service) prepare(ctx context.Context, v *vault.Vault, before, next *Settings, ch *SettingsChange) error {
	preparer, ok := s.Issuers.(Preparer)
	if !ok {
		return nil
	}
	o := Order{Vault: v, Ref: IssuerRef{Name: next.Name}, Settings: next, Before: before, Authority: s.opener(v, next)}
	if before != nil {
		o.Kept = kept(next, ch)
	}
	return preparer.Prepare(ctx, o)
}

// maySign refuses an issuer that signs with a key with which its maker may not sign, and notes in which vault that is.
func (s *Service) maySign(ctx context.Context, call *guard.Call, next *Settings) error {
	next.AuthorityVault = ""
	name, ok := next.Options[AuthorityOption]
	if !ok {
		return nil
	}
	there, err := s.there(ctx, call, next.Options[AuthorityVaultOption])
	if err != nil {
		return err
	}
	if there.Vault.Vault.ID != call.Vault.Vault.ID {
		next.AuthorityVault = there.Vault.Vault.ID
	}
	need := guard.Need{Action: authz.KeySign, Kind: vault.Key, Name: name, Detail: "issuer " + next.Name}
	return s.Guard.Authorize(ctx, there, &need)
}
