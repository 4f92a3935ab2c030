package certfile

import (
	"crypto/fips140"
	"crypto/x509"
	"slices"

	"software.sslmate.com/src/go-pkcs12"

	"github.com/keywright/keywright/internal/fault"
)

// Strength is how a PFX file is encrypted.
type Strength uint8

// The strengths.
const (
	// Modern: PBES2 with AES-256 and a MAC with SHA-256, as OpenSSL 3, Java 12 and Windows Server 2019 read it.
	Modern Strength = iota
	// Legacy: 3DES and a MAC with SHA-1, for what is older.
	Legacy
)

// WritePFX writes a PFX file: the leaf, the other certificates in their order, and the key. The empty password is what Key Vault delivers: such a
// file hides nothing. Without a key the file holds certificates alone, marked as trusted ones for Java, which would see none otherwise.
func WritePFX(b *Bundle, password string, strength Strength) (file []byte, err error) {
	encoder := pkcs12.Modern2023
	if strength == Legacy {
		encoder = pkcs12.LegacyDES
	}
	fips140.WithoutEnforcement(func() {
		if b.Key == nil {
			file, err = encoder.EncodeTrustStore(b.Certificates, password)
			return
		}
		others := slices.DeleteFunc(slices.Clone(b.Certificates), func(c *x509.Certificate) bool { return c.Equal(b.Leaf) })
		file, err = encoder.Encode(b.Key, b.Leaf, others, password)
	})
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "the PFX file cannot be written: use a password of ordinary characters and a key of RSA, ECDSA or Ed25519")
	}
	return file, nil
}
