package acme

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// maxChain is how many certificates an authority's chain may have.
const maxChain = 20

// parseChain reads an authority's answer (RFC 8555, section 9.1).
func parseChain(text []byte) ([]*x509.Certificate, error) {
	var chain []*x509.Certificate
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" || len(chain) == maxChain {
			return nil, fmt.Errorf("it holds a block of type %q as number %d", block.Type, len(chain)+1)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		chain = append(chain, c)
	}
	if len(chain) == 0 {
		return nil, errors.New("it holds no certificate")
	}
	return chain, nil
}

// joseSigner adapts ECDSA keys that are kept elsewhere: they sign in ASN.1, JOSE wants both numbers side by side (RFC 7518, section 3.4), and the library translates only for
// keys that it has in memory.
func joseSigner(key crypto.Signer) crypto.Signer {
	public, ok := key.Public().(*ecdsa.PublicKey)
	if _, local := key.(*ecdsa.PrivateKey); !ok || local {
		return key
	}
	return sideBySide{key, (public.Curve.Params().BitSize + 7) / 8}
}

// sideBySide is an ECDSA key whose signatures are two numbers of the same length.
type sideBySide struct {
	crypto.Signer
	size int
}

func (s sideBySide) Sign(rand io.Reader, digest []byte, options crypto.SignerOpts) ([]byte, error) {
	der, err := s.Signer.Sign(rand, digest, options)
	if err != nil {
		return nil, err
	}
	in := cryptobyte.String(der)
	var numbers cryptobyte.String
	first, second := new(big.Int), new(big.Int)
	if !in.ReadASN1(&numbers, cbasn1.SEQUENCE) || !numbers.ReadASN1Integer(first) || !numbers.ReadASN1Integer(second) ||
		first.Sign() < 0 || second.Sign() < 0 || first.BitLen() > s.size*8 || second.BitLen() > s.size*8 {
		return nil, errors.New("the account's key made a signature that cannot be read")
	}
	out := make([]byte, 2*s.size)
	first.FillBytes(out[:s.size])
	second.FillBytes(out[s.size:])
	return out, nil
}
