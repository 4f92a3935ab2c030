package identity

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/vault"
)

// defaultSecretLife is how long a client secret lives for which nobody said otherwise, as with az ad app credential reset.
const defaultSecretLife = 365 * 24 * time.Hour

// secretHint is how many characters of a secret people get to see.
const secretHint = 3

// SecretSpec describes a new client secret. Zero instants mean now and a year from now.
type SecretSpec struct {
	Name               string
	NotBefore, Expires time.Time
}

// PrepareSecret draws a client secret for a service principal. The value is returned here and nowhere else.
func (s *Service) PrepareSecret(ctx context.Context, t vault.TenantID, id principal.ID, spec SecretSpec) (redact.String, *principal.Secret, Change, error) {
	value := redact.String(randomWord(secretHint) + "KW~" + randomWord(37))
	return s.prepareSecret(ctx, t, id, principal.Service, spec, value)
}

func (s *Service) prepareSecret(ctx context.Context, t vault.TenantID, id principal.ID, kind principal.Kind, spec SecretSpec, value redact.String) (redact.String, *principal.Secret, Change, error) {
	now := clock.Micro(s.Clock.Now())
	if spec.NotBefore.IsZero() {
		spec.NotBefore = now
	}
	if spec.Expires.IsZero() && kind == principal.Service {
		spec.Expires = now.Add(defaultSecretLife)
	}
	if !spec.Expires.IsZero() && !spec.Expires.After(spec.NotBefore) {
		return "", nil, nil, invalid(WrongRequest, "The secret would expire before it is valid.")
	}
	if spec.Name != "" {
		if err := checkName("name of the secret", spec.Name); err != nil {
			return "", nil, nil, err
		}
	}
	digest, err := s.Keys.Digest(ctx, t, purposeSecret, []byte(value.Reveal()))
	if err != nil {
		return "", nil, nil, fmt.Errorf("digesting a new secret: %w", err)
	}
	secret := principal.Secret{ID: vault.NewGUID(), Name: spec.Name, Hint: value.Reveal()[:secretHint], Digest: digest,
		NotBefore: clock.Micro(spec.NotBefore), Created: now}
	if !spec.Expires.IsZero() {
		secret.Expires = clock.Micro(spec.Expires)
	}
	return value, &secret, s.alter(t, id, func(p *principal.Principal) error {
		if p.Kind != kind {
			return invalid(WrongRequest, "The principal %s is a %s; only a %s has such a secret.", id, p.Kind, kind)
		}
		p.Secrets = append(p.Secrets, secret)
		return checkCount(p)
	}), nil
}

func checkCount(p *principal.Principal) error {
	if n := len(p.Secrets) + len(p.Certificates) + len(p.Federations) + len(p.Passkeys) + len(p.TOTP); n > maxCredentials {
		return fault.New(fault.Conflict, "The principal %s has %d credentials already; remove one first.", p.ID, n-1)
	}
	return nil
}

// PrepareCertificate prepares to register a certificate, PEM or DER, by whose key a service principal signs its assertions. It
// counts as long as the certificate is valid; who issued it does not matter.
func (s *Service) PrepareCertificate(t vault.TenantID, id principal.ID, name string, text []byte) (*principal.Certificate, Change, error) {
	cert, err := parseCertificate(text)
	if err != nil {
		return nil, nil, err
	}
	if name == "" {
		name = cert.Subject.String()
	}
	sum1, sum256 := sha1.Sum(cert.Raw), sha256.Sum256(cert.Raw)
	c := principal.Certificate{ID: vault.NewGUID(), Name: fault.Clip(name), DER: cert.Raw, SHA1: sum1[:], SHA256: sum256[:],
		NotBefore: clock.Micro(cert.NotBefore), Expires: clock.Micro(cert.NotAfter), Created: clock.Micro(s.Clock.Now())}
	return &c, s.alter(t, id, func(p *principal.Principal) error {
		if p.Kind != principal.Service {
			return invalid(WrongRequest, "The principal %s is not a service principal; only those sign with certificates.", id)
		}
		if slices.ContainsFunc(p.Certificates, func(o principal.Certificate) bool { return string(o.SHA256) == string(c.SHA256) }) {
			return fault.New(fault.Conflict, "The certificate with thumbprint %X is registered already.", c.SHA1)
		}
		p.Certificates = append(p.Certificates, c)
		return checkCount(p)
	}), nil
}

// parseCertificate reads the first certificate of a PEM bundle, or DER, and refuses keys that nobody should sign with.
func parseCertificate(text []byte) (*x509.Certificate, error) {
	if len(text) > maxTokenBytes {
		return nil, invalid(WrongRequest, "The certificate has more than %d bytes.", maxTokenBytes)
	}
	der := text
	for rest := text; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		} else if block.Type == "CERTIFICATE" {
			der = block.Bytes
			break
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, invalid(WrongRequest, "The certificate is neither PEM nor DER of an X.509 certificate.")
	}
	switch key := cert.PublicKey.(type) {
	case *rsa.PublicKey:
		if key.N.BitLen() >= 2048 && key.N.BitLen() <= 8192 {
			return cert, nil
		}
	case *ecdsa.PublicKey:
		if key.Curve == elliptic.P256() {
			return cert, nil
		}
	}
	return nil, invalid(WrongRequest, "The certificate's key is not one of RSA with 2048 to 8192 bits or P-256.")
}

// PrepareFederation prepares to believe assertions of an outside issuer about one subject. Audience is
// DefaultFederationAudience when empty.
func (s *Service) PrepareFederation(t vault.TenantID, id principal.ID, f principal.Federation) (*principal.Federation, Change, error) {
	if err := checkIssuer(f.Issuer); err != nil {
		return nil, nil, err
	}
	if err := checkName("subject", f.Subject); err != nil {
		return nil, nil, err
	}
	f.ID, f.Created = vault.NewGUID(), clock.Micro(s.Clock.Now())
	f.Audience = audienceOf(f)
	return &f, s.alter(t, id, func(p *principal.Principal) error {
		if p.Kind != principal.Service {
			return invalid(WrongRequest, "The principal %s is not a service principal; only those are federated.", id)
		}
		if slices.ContainsFunc(p.Federations, func(o principal.Federation) bool {
			return o.Issuer == f.Issuer && o.Subject == f.Subject && o.Audience == f.Audience
		}) {
			return fault.New(fault.Conflict, "The principal %s is federated with this subject already.", id)
		}
		p.Federations = append(p.Federations, f)
		return checkCount(p)
	}), nil
}

// PrepareRemoveCredential prepares to remove the named credential (KIND/ID, as guard.Caller names it). Tokens that were had by it
// end with it.
func (s *Service) PrepareRemoveCredential(t vault.TenantID, id principal.ID, name string) Change {
	return s.alter(t, id, func(p *principal.Principal) error {
		if !removeCredential(p, name) {
			return fault.New(fault.NotFound, "The principal %s has no credential %q.", id, fault.Clip(name))
		}
		return nil
	})
}

func removeCredential(p *principal.Principal, name string) bool {
	kind, id, _ := strings.Cut(name, "/")
	before := len(p.Secrets) + len(p.Certificates) + len(p.Federations) + len(p.Passkeys) + len(p.TOTP)
	switch kind {
	case credSecret:
		p.Secrets = slices.DeleteFunc(p.Secrets, func(c principal.Secret) bool { return c.ID == id })
	case credCertificate:
		p.Certificates = slices.DeleteFunc(p.Certificates, func(c principal.Certificate) bool { return c.ID == id })
	case credFederation:
		p.Federations = slices.DeleteFunc(p.Federations, func(c principal.Federation) bool { return c.ID == id })
	case credPasskey:
		p.Passkeys = slices.DeleteFunc(p.Passkeys, func(c principal.Passkey) bool { return c.ID == id })
	case credTOTP:
		p.TOTP = slices.DeleteFunc(p.TOTP, func(c principal.TOTP) bool { return c.ID == id })
	}
	return before > len(p.Secrets)+len(p.Certificates)+len(p.Federations)+len(p.Passkeys)+len(p.TOTP)
}

// checkIssuer reports whether an issuer can be one: an https URL without query (OpenID Connect Discovery 1.0, section 4.3).
func checkIssuer(issuer string) error {
	u, err := url.Parse(issuer)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || len(issuer) > 512 {
		return invalid(WrongRequest, "The issuer %q is not an https URL without query.", fault.Clip(issuer))
	}
	return nil
}

func checkAuthority(text []byte) error {
	if !x509.NewCertPool().AppendCertsFromPEM(text) {
		return invalid(WrongRequest, "The certificate authority holds no PEM certificate.")
	}
	return nil
}

const wordAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

// randomWord returns n random letters and digits (5.95 bits each), which survive every shell and configuration file.
func randomWord(n int) string { return randomFrom(wordAlphabet, n) }

// randomFrom draws n characters of the alphabet, each with the same probability.
func randomFrom(alphabet string, n int) string {
	limit := byte(256/len(alphabet)*len(alphabet) - 1)
	word := make([]byte, 0, n)
	var b [1]byte
	for len(word) < n {
		if rand.Read(b[:]); b[0] <= limit {
			word = append(word, alphabet[int(b[0])%len(alphabet)])
		}
	}
	return string(word)
}
