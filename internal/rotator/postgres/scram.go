package postgres

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"regexp"

	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/rotator"
)

const (
	// iterations is the server's own default (scram_iterations). Values are random, so more would only cost logins time.
	iterations = 4096
	// saltBytes is the server's own SCRAM_DEFAULT_SALT_LEN.
	saltBytes = 16
)

// verifier is what the server stores of a password, in the form that ALTER ROLE takes:
// SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>, see pg_authid in PostgreSQL's manual and RFC 5802 section 3.
type verifier string

// verifierForm is stricter than the server, which hashes whatever it does not recognise as if it were the password.
var verifierForm = regexp.MustCompile(`^SCRAM-SHA-256\$4096:([A-Za-z0-9+/]{22}==)\$([A-Za-z0-9+/]{43}=):([A-Za-z0-9+/]{43}=)$`)

// newVerifier makes the verifier of a value with a fresh salt.
func newVerifier(value redact.Bytes) (verifier, error) {
	// SASLprep (RFC 4013) leaves printable ASCII as it is, so no two programs can disagree about such a value.
	if len(value) == 0 {
		return "", rotator.Fail(rotator.Refused, nil, "the value is empty: PostgreSQL needs one of printable ASCII")
	}
	for _, b := range value {
		if b < 0x20 || b > 0x7e {
			return "", rotator.Fail(rotator.Refused, nil, "the value has characters that are not printable ASCII: clients do not agree how to prepare them")
		}
	}
	salt := make([]byte, saltBytes)
	if _, err := rand.Read(salt); err != nil {
		return "", err
	}
	v, err := saltedVerifier(value, salt)
	if err != nil {
		return "", err
	}
	return v, v.check()
}

func saltedVerifier(value redact.Bytes, salt []byte) (verifier, error) {
	salted, err := pbkdf2.Key(sha256.New, string(value.Reveal()), salt, iterations, sha256.Size)
	if err != nil {
		return "", fmt.Errorf("deriving a verifier: %w", err)
	}
	stored := sha256.Sum256(mac(salted, "Client Key"))
	encode := base64.StdEncoding.EncodeToString
	return verifier(fmt.Sprintf("SCRAM-SHA-256$%d:%s$%s:%s", iterations, encode(salt), encode(stored[:]), encode(mac(salted, "Server Key")))), nil
}

// check refuses what the server might not recognise.
func (v verifier) check() error {
	if !verifierForm.MatchString(string(v)) {
		return rotator.Fail(rotator.Misconfigured, nil, "a verifier is malformed, and PostgreSQL would take it for a password: it was not sent")
	}
	return nil
}

// randomVerifier belongs to a value that nobody has.
func randomVerifier() (verifier, error) { return newVerifier(redact.Bytes(rand.Text() + rand.Text())) }

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}
