package cryptokey

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"strings"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/redact"
)

// maxMemberBytes bounds a member of a JWK: the longest is the public key of ML-DSA-87, with 2592 bytes.
const maxMemberBytes = 4096

// base64URL is the encoding of RFC 7515, appendix C. Trailing bits that are not zero are refused: one value has one text.
var base64URL = base64.RawURLEncoding.Strict()

// Bytes is a member of a JWK that everyone may see: base64url without padding in JSON.
type Bytes []byte

// MarshalText encodes the bytes.
func (b Bytes) MarshalText() ([]byte, error) { return base64URL.AppendEncode(nil, b), nil }

// UnmarshalText decodes the bytes.
func (b *Bytes) UnmarshalText(text []byte) error {
	decoded, err := decodeMember(text)
	*b = decoded
	return err
}

// Secret is a private member of a JWK. It can be read from JSON; whatever prints or encodes it gets a fixed word.
type Secret struct{ redact.Bytes }

// UnmarshalText decodes the bytes.
func (s *Secret) UnmarshalText(text []byte) error {
	decoded, err := decodeMember(text)
	s.Bytes = decoded
	return err
}

// IsZero reports whether the member is absent, for omitzero.
func (s Secret) IsZero() bool { return len(s.Bytes) == 0 }

func decodeMember(text []byte) ([]byte, error) {
	if base64URL.DecodedLen(len(text)) > maxMemberBytes {
		return nil, fault.New(fault.Invalid, "a member of the JSON Web Key is longer than any key's")
	}
	// The decoder skips line breaks, which base64url does not allow.
	if strings.ContainsAny(string(text), "\r\n") {
		return nil, errBase64
	}
	decoded, err := base64URL.AppendDecode(nil, text)
	if err != nil {
		return nil, errBase64
	}
	return decoded, nil
}

var errBase64 = fault.New(fault.Invalid, "a member of the JSON Web Key is not base64url without padding (RFC 7515, appendix C)")

// JWK is a JSON Web Key (RFC 7517) as Key Vault writes it: a crv of P-256K for secp256k1, and key_hsm for a wrapped key. Only the
// public members are ever written; private ones can be read alone.
type JWK struct {
	// Kid is the owner's to set.
	Kid string `json:"kid,omitempty"`
	// Kty may end in -HSM, see ParseType.
	Kty string `json:"kty"`
	// KeyOps is as it was written, see ParseOps.
	KeyOps []string `json:"key_ops,omitempty"`

	N Bytes `json:"n,omitempty"`
	E Bytes `json:"e,omitempty"`

	Crv string `json:"crv,omitempty"`
	X   Bytes  `json:"x,omitempty"`
	Y   Bytes  `json:"y,omitempty"`

	// Alg and Pub are of AKP keys (draft-ietf-cose-dilithium).
	Alg string `json:"alg,omitempty"`
	Pub Bytes  `json:"pub,omitempty"`

	D    Secret `json:"d,omitzero"`
	P    Secret `json:"p,omitzero"`
	Q    Secret `json:"q,omitzero"`
	DP   Secret `json:"dp,omitzero"`
	DQ   Secret `json:"dq,omitzero"`
	QI   Secret `json:"qi,omitzero"`
	K    Secret `json:"k,omitzero"`
	Priv Secret `json:"priv,omitzero"`

	// KeyHSM is a key that is wrapped for a key of the vault: a TransferBlob.
	KeyHSM Bytes `json:"key_hsm,omitempty"`
	// Oth has further primes of RSA keys, which are refused.
	Oth json.RawMessage `json:"oth,omitempty"`
}

// ParseJWK reads a JWK. It checks the form alone: PrivateKey and PublicKey check the numbers. Members that a JWK may have and keys here have
// no use for are ignored (RFC 7517, section 4).
func ParseJWK(data []byte) (JWK, error) {
	var j JWK
	if err := json.Unmarshal(data, &j); err != nil {
		j.Zero()
		if known := fault.As(err); known != nil {
			return JWK{}, known
		}
		return JWK{}, fault.New(fault.Invalid, "the key is not a JSON Web Key (RFC 7517): one JSON object with kty and the numbers of the key in base64url")
	}
	return j, nil
}

// Zero overwrites the private members.
func (j *JWK) Zero() {
	for _, s := range []Secret{j.D, j.P, j.Q, j.DP, j.DQ, j.QI, j.K, j.Priv} {
		s.Bytes.Zero()
	}
}

// HasPrivate reports whether there is any private member.
func (j *JWK) HasPrivate() bool {
	for _, s := range []Secret{j.D, j.P, j.Q, j.DP, j.DQ, j.QI, j.K, j.Priv} {
		if !s.IsZero() {
			return true
		}
	}
	return false
}

// PublicJWK returns kty, without suffix, and the public members, in their canonical form: numbers of RSA as short as they can be, and
// those of EC as wide as the curve (RFC 7518, sections 2 and 6.2.1.2). For oct that is kty alone.
func (p *Public) PublicJWK() JWK {
	j := JWK{Kty: string(p.spec.Type), Crv: string(p.spec.Curve), Alg: string(p.spec.Set)}
	switch key := p.key.(type) {
	case *rsa.PublicKey:
		j.N, j.E = key.N.Bytes(), shortest(binary.BigEndian.AppendUint32(nil, uint32(key.E)))
	case *ecdsa.PublicKey:
		point, err := key.Bytes() // 4 ‖ x ‖ y
		if err != nil {
			break // the point was checked when the key was made
		}
		j.X, j.Y = split(point[1:])
	case *secp256k1.PublicKey:
		j.X, j.Y = split(key.SerializeUncompressed()[1:])
	case interface{ Bytes() []byte }: // ML-DSA and ML-KEM
		j.Pub = key.Bytes()
	}
	return j
}

// Thumbprint is the SHA-256 thumbprint of RFC 7638 over the public members, with Key Vault's name of the curve. Oct keys have none: it
// would be a hash of the secret (section 7 there).
func (p *Public) Thumbprint() ([]byte, error) {
	j := p.PublicJWK()
	// Only the members that section 3.2 requires, in the order of their names, without white space: what encoding/json makes of a map.
	required := map[string]any{"kty": j.Kty}
	switch p.spec.Type {
	case RSA:
		required["e"], required["n"] = j.E, j.N
	case EC:
		required["crv"], required["x"], required["y"] = j.Crv, j.X, j.Y
	case AKP:
		required["alg"], required["pub"] = j.Alg, j.Pub
	default:
		return nil, fault.New(fault.Invalid, "a key of type %s has no thumbprint: it would be a hash of the secret", p.spec)
	}
	text, err := json.Marshal(required)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(text)
	return sum[:], nil
}

// shortest drops zeros in front.
func shortest(n []byte) []byte {
	for len(n) > 1 && n[0] == 0 {
		n = n[1:]
	}
	return n
}

// split halves an encoded point.
func split(xy []byte) (x, y []byte) { return xy[:len(xy)/2], xy[len(xy)/2:] }
