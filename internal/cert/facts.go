package cert

import (
	"crypto"
	"crypto/sha1"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"

	"github.com/keywright/keywright/internal/certfile"
	"github.com/keywright/keywright/internal/cryptokey"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/vault"
)

// Facts are what a version of a certificate shows.
type Facts struct {
	// Leaf is the certificate itself in DER, and Chain everything that is delivered, in its order. Both are nil while the version waits for its issuer.
	Leaf  []byte   `json:"leaf,omitempty"`
	Chain [][]byte `json:"chain,omitempty"`
	// ContentType is the form of the certificate's secret.
	ContentType   string `json:"contentType"`
	PreserveOrder bool   `json:"preserveOrder,omitempty"`
	// Exportable says that the secret has the private key.
	Exportable bool `json:"exportable,omitempty"`
}

// Thumbprint is the SHA-1 of the leaf, by which Windows and the protocol name certificates (x5t, RFC 7517, section 4.8); nil without a leaf.
func (f *Facts) Thumbprint() []byte {
	if f.Leaf == nil {
		return nil
	}
	sum := sha1.Sum(f.Leaf)
	return sum[:]
}

func (f *Facts) encode() ([]byte, error) { return json.Marshal(f) }

// Describe reads what a version shows.
func Describe(v *vault.Version) (*Facts, error) {
	f := new(Facts)
	if len(v.Doc) == 0 {
		return f, nil
	}
	if err := json.Unmarshal(v.Doc, f); err != nil {
		return nil, fmt.Errorf("decoding the document of the certificate version %s: %w", v.ID, err)
	}
	return f, nil
}

// factsOf are the facts of a bundle that was made by a policy.
func factsOf(b *certfile.Bundle, p *Policy, preserve bool) *Facts {
	f := &Facts{Leaf: b.Leaf.Raw, ContentType: p.Secret.ContentType, PreserveOrder: preserve, Exportable: *p.Key.Exportable}
	for _, c := range b.Certificates {
		f.Chain = append(f.Chain, c.Raw)
	}
	return f
}

// Certificate reads the leaf, which must be there.
func (f *Facts) Certificate() (*x509.Certificate, error) {
	c, err := x509.ParseCertificate(f.Leaf)
	if err != nil {
		return nil, fmt.Errorf("reading a stored certificate: %w", err)
	}
	return c, nil
}

// Certificates reads the chain.
func (f *Facts) Certificates() (list []*x509.Certificate, err error) {
	for _, der := range f.Chain {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("reading a stored certificate: %w", err)
		}
		list = append(list, c)
	}
	return list, nil
}

// bundle puts the certificates together with the key, which stays out of what leaves when it is not exportable.
func bundle(k *cryptokey.Key, chain []*x509.Certificate, preserve, exportable bool) (*certfile.Bundle, error) {
	signer, err := k.Signer()
	if err != nil {
		return nil, err
	}
	b, err := certfile.New(signer, chain, preserve)
	if err != nil {
		return nil, err
	}
	if !exportable {
		return certfile.New(nil, b.Certificates, true)
	}
	// The files want the key itself, and a Signer gives no access to it.
	der, err := k.PKCS8()
	if err != nil {
		return nil, err
	}
	defer clear(der)
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "the key of a certificate cannot be written")
	}
	key, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, fault.New(fault.Internal, "the key of a certificate cannot sign")
	}
	b.Key = key
	return b, nil
}

// file writes a bundle in the form of the certificate's secret. The caller zeroes it.
func file(b *certfile.Bundle, contentType string) ([]byte, error) {
	if contentType == TypePEM {
		return certfile.WritePEM(b)
	}
	der, err := certfile.WritePFX(b, "", certfile.Modern)
	if err != nil {
		return nil, err
	}
	defer clear(der)
	return base64.StdEncoding.AppendEncode(nil, der), nil
}

func refuseKeyless(b *certfile.Bundle) error {
	if b.Key == nil {
		return fault.New(fault.Invalid, "the file holds no private key: export the certificate together with its key")
	}
	return nil
}
