package certfile

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"

	"github.com/keywright/keywright/internal/fault"
)

// The types of PEM blocks (RFC 7468; the two older ones for keys are OpenSSL's).
const (
	blockCertificate    = "CERTIFICATE"
	blockOldCertificate = "X509 CERTIFICATE"
	blockKey            = "PRIVATE KEY"
	blockRSAKey         = "RSA PRIVATE KEY"
	blockECKey          = "EC PRIVATE KEY"
	blockEncryptedKey   = "ENCRYPTED PRIVATE KEY"
	blockRequest        = "CERTIFICATE REQUEST"
	blockOldRequest     = "NEW CERTIFICATE REQUEST"
)

// ReadPEM reads PEM blocks in any order: certificates, alone or in PKCS#7, and at most one unencrypted key in PKCS#8, PKCS#1 or SEC 1. Text between the blocks and blocks of
// other kinds (parameters of curves) are passed over.
func ReadPEM(data []byte, preserveOrder bool) (*Bundle, error) {
	if err := size("PEM file", data); err != nil {
		return nil, err
	}
	var key crypto.Signer
	var certificates []*x509.Certificate
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		switch block.Type {
		case blockCertificate, blockOldCertificate:
			c, err := parseCertificate(block.Bytes)
			if err != nil {
				return nil, err
			}
			certificates = append(certificates, c)
		case blockPKCS7, blockCMS:
			chain, err := readCMS(block.Bytes)
			if err != nil {
				return nil, err
			}
			certificates = append(certificates, chain...)
		case blockKey, blockRSAKey, blockECKey, blockEncryptedKey:
			if key != nil {
				return nil, fault.New(fault.Invalid, "the PEM file holds several private keys: keep the one of the certificate")
			}
			var err error
			if key, err = readKeyBlock(block); err != nil {
				return nil, err
			}
		}
	}
	if key == nil && len(certificates) == 0 {
		return nil, fault.New(fault.Invalid, "the text holds neither a certificate nor a private key in PEM: it needs BEGIN CERTIFICATE and BEGIN PRIVATE KEY lines")
	}
	return New(key, certificates, preserveOrder)
}

func readKeyBlock(block *pem.Block) (crypto.Signer, error) {
	defer clear(block.Bytes)
	// A header of RFC 1421 says that OpenSSL of old has encrypted the key.
	if block.Type == blockEncryptedKey || block.Headers["DEK-Info"] != "" {
		return nil, fault.New(fault.Invalid, "the private key in the PEM file is encrypted: decrypt it first (openssl pkcs8 -in FILE), or import a PFX file with its password")
	}
	return parseKey(block.Bytes)
}

// parseKey reads a key in PKCS#8, PKCS#1 or SEC 1, whichever it is: tools mix up the names of their blocks.
func parseKey(der []byte) (crypto.Signer, error) {
	if key, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		return signer(key)
	}
	if key, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return key, nil
	}
	if key, err := x509.ParseECPrivateKey(der); err == nil {
		return key, nil
	}
	// The parsers' errors may quote the key.
	return nil, fault.New(fault.Invalid, "the private key cannot be read: it must be RSA, ECDSA on P-256, P-384 or P-521, or Ed25519, in PKCS#8, PKCS#1 or SEC 1")
}

func parseCertificate(der []byte) (*x509.Certificate, error) {
	c, err := x509.ParseCertificate(der)
	return c, fault.Wrap(err, fault.Invalid, "a certificate in the file cannot be read: it is no X.509 certificate in DER")
}

// WritePEM writes the key in PKCS#8, if there is one, then the certificates in their order.
func WritePEM(b *Bundle) ([]byte, error) {
	var out bytes.Buffer
	if b.Key != nil {
		der, err := x509.MarshalPKCS8PrivateKey(b.Key)
		if err != nil {
			return nil, fault.Wrap(err, fault.Unsupported, "a private key of type %T has no form in PEM", b.Key)
		}
		defer clear(der)
		if err := pem.Encode(&out, &pem.Block{Type: blockKey, Bytes: der}); err != nil {
			return nil, err
		}
	}
	out.Write(WriteChainPEM(b.Certificates))
	return out.Bytes(), nil
}

// WriteChainPEM writes certificates alone.
func WriteChainPEM(certificates []*x509.Certificate) []byte {
	var out []byte
	for _, c := range certificates {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: blockCertificate, Bytes: c.Raw})...)
	}
	return out
}

// ReadCertificates reads certificates without a key, in the order given: DER, one after the other, a CMS message without a signature (PKCS#7, .p7b), or
// either of them in PEM.
func ReadCertificates(data []byte) ([]*x509.Certificate, error) {
	if err := size("file of certificates", data); err != nil {
		return nil, err
	}
	switch {
	case looksLikePEM(data):
		return readCertificateBlocks(data)
	case looksLikeCMS(data):
		return readCMS(data)
	}
	certificates, err := x509.ParseCertificates(data)
	if err != nil || len(certificates) == 0 || len(certificates) > MaxCertificates {
		return nil, fault.New(fault.Invalid, "the certificates cannot be read: give X.509 certificates in DER, PEM or PKCS#7, at most %d", MaxCertificates)
	}
	return certificates, nil
}

func readCertificateBlocks(data []byte) (certificates []*x509.Certificate, err error) {
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		var found []*x509.Certificate
		switch block.Type {
		case blockCertificate, blockOldCertificate:
			c, err := parseCertificate(block.Bytes)
			if err != nil {
				return nil, err
			}
			found = []*x509.Certificate{c}
		case blockPKCS7, blockCMS:
			if found, err = readCMS(block.Bytes); err != nil {
				return nil, err
			}
		default:
			clear(block.Bytes)
		}
		if certificates = append(certificates, found...); len(certificates) > MaxCertificates {
			return nil, fault.New(fault.TooLarge, "the file holds more than %d certificates: give the chain alone", MaxCertificates)
		}
	}
	if len(certificates) == 0 {
		return nil, fault.New(fault.Invalid, "there is no certificate in the PEM file: it needs BEGIN CERTIFICATE or BEGIN PKCS7 lines")
	}
	return certificates, nil
}

// ReadRequest reads a certificate request (PKCS#10) in DER or PEM and checks that its maker has the key.
func ReadRequest(data []byte) (*x509.CertificateRequest, error) {
	if err := size("certificate request", data); err != nil {
		return nil, err
	}
	if looksLikePEM(data) {
		block, _ := pem.Decode(data)
		if block == nil || block.Type != blockRequest && block.Type != blockOldRequest {
			return nil, fault.New(fault.Invalid, "the text holds no certificate request: it needs a BEGIN CERTIFICATE REQUEST line")
		}
		data = block.Bytes
	}
	request, err := x509.ParseCertificateRequest(data)
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "the certificate request cannot be read: it must be PKCS#10 in DER or PEM")
	}
	if err := request.CheckSignature(); err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "the certificate request's signature is not that of its key: make it again with the private key")
	}
	return request, nil
}

func looksLikePEM(data []byte) bool { return bytes.Contains(data, []byte("-----BEGIN ")) }
