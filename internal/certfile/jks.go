package certfile

import (
	"bytes"
	"crypto/fips140"
	"crypto/x509"
	"time"

	"github.com/pavlo-v-chernykh/keystore-go/v4"

	"github.com/keywright/keywright/internal/fault"
)

// minJKSPassword is the length, in characters, below which keytool refuses to open a store.
const minJKSPassword = 6

// WriteJKS writes a Java key store of the old format, for programs that do not read PFX, which Java has preferred since 9. The key and the store have the same
// password, which the format protects badly: treat the file as if it were not encrypted. Without a key each certificate becomes a trusted one.
func WriteJKS(b *Bundle, alias, password string, now time.Time) (file []byte, err error) {
	if len([]rune(password)) < minJKSPassword {
		return nil, fault.New(fault.Invalid, "the password of a Java key store needs at least %d characters", minJKSPassword)
	}
	if alias == "" {
		return nil, fault.New(fault.Invalid, "the entry of a Java key store needs a name")
	}
	fips140.WithoutEnforcement(func() { file, err = writeJKS(b, alias, []byte(password), now) })
	return file, fault.Wrap(err, fault.Unsupported, "the certificate and its key cannot be written as a Java key store")
}

func writeJKS(b *Bundle, alias string, password []byte, now time.Time) ([]byte, error) {
	store := keystore.New(keystore.WithOrderedAliases())
	if b.Key == nil {
		for i, c := range b.Certificates {
			name := alias
			if i > 0 {
				name = alias + "-" + c.SerialNumber.Text(16)
			}
			if err := store.SetTrustedCertificateEntry(name, keystore.TrustedCertificateEntry{CreationTime: now, Certificate: javaCertificate(c)}); err != nil {
				return nil, err
			}
		}
	} else {
		der, err := x509.MarshalPKCS8PrivateKey(b.Key)
		if err != nil {
			return nil, err
		}
		defer clear(der)
		entry := keystore.PrivateKeyEntry{CreationTime: now, PrivateKey: der}
		for _, c := range order(b.Leaf, b.Certificates) { // Java takes the first one for the key's
			entry.CertificateChain = append(entry.CertificateChain, javaCertificate(c))
		}
		if err := store.SetPrivateKeyEntry(alias, entry, password); err != nil {
			return nil, err
		}
	}
	var out bytes.Buffer
	err := store.Store(&out, password)
	return out.Bytes(), err
}

func javaCertificate(c *x509.Certificate) keystore.Certificate {
	return keystore.Certificate{Type: "X.509", Content: c.Raw}
}
