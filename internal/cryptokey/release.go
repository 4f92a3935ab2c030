package cryptokey

import (
	"bytes"
	"crypto/aes"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha1" // RSA-OAEP and CKM_RSA_AES_KEY_WRAP
	_ "crypto/sha512"
	"encoding/json"
	"fmt"

	"github.com/keywright/keywright/internal/fault"
)

// TransferEncoding is the enc of a release or of an import: how a private key is wrapped for an RSA key. All three are
// CKM_RSA_AES_KEY_WRAP of PKCS#11 v3.1, section 6.1.21: an AES key of 256 bits for one use, encrypted with RSA-OAEP, followed by
// the key in question, wrapped with it as in RFC 5649. They differ in OAEP's hash.
type TransferEncoding string

// The encodings.
const (
	CKMRSAAESKeyWrap TransferEncoding = "CKM_RSA_AES_KEY_WRAP" // SHA-1
	RSAAESKeyWrap256 TransferEncoding = "RSA_AES_KEY_WRAP_256" // SHA-256
	RSAAESKeyWrap384 TransferEncoding = "RSA_AES_KEY_WRAP_384" // SHA-384
)

// rsaOAEP384 exists for RSAAESKeyWrap384 alone: no request can name it, because no operation allows it.
const rsaOAEP384 Algorithm = "RSA-OAEP-384"

// transferBytes is the length of the AES key, in bytes.
const transferBytes = 32

func (e TransferEncoding) oaep() (*rule, error) {
	switch e {
	case CKMRSAAESKeyWrap:
		return ruleOf[RSAOAEP], nil
	case RSAAESKeyWrap256:
		return ruleOf[RSAOAEP256], nil
	case RSAAESKeyWrap384:
		return ruleOf[rsaOAEP384], nil
	}
	return nil, fault.New(fault.Invalid, "enc %q is not a way to wrap a key; use %s, %s or %s", fault.Clip(string(e)), RSAAESKeyWrap256, RSAAESKeyWrap384, CKMRSAAESKeyWrap)
}

// Release wraps the private key for the holder of target, an RSA key: as PKCS #8 or, if it is an oct key, as its bytes. Whether the key may be
// released, and that target is who it should be, is for the caller to establish.
func (k *Key) Release(target *Public, enc TransferEncoding) ([]byte, error) {
	r, err := enc.oaep()
	if err != nil {
		return nil, err
	}
	rsaKey, ok := target.key.(*rsa.PublicKey)
	if !ok {
		return nil, fault.New(fault.Invalid, "a key is released to an RSA key, and not to one of type %s", target.spec)
	}
	e, err := k.exporter()
	if err != nil {
		return nil, err
	}
	material, err := e.pkcs8()
	if err != nil {
		return nil, fmt.Errorf("encoding the key for its release: %w", err)
	}
	defer clear(material)
	return wrapFor(rsaKey, r, material)
}

func wrapFor(target *rsa.PublicKey, r *rule, material []byte) ([]byte, error) {
	var once [transferBytes]byte
	defer clear(once[:])
	rand.Read(once[:])
	encrypted, err := encryptRSA(target, r, Input{Value: once[:]})
	if err != nil {
		return nil, fmt.Errorf("encrypting for the target: %w", err)
	}
	block, err := aes.NewCipher(once[:])
	if err != nil {
		return nil, fmt.Errorf("preparing an AES key: %w", err)
	}
	return append(encrypted.Value, wrapPadded(block, material)...), nil
}

// Receive unwraps a key that was wrapped for k, which must be RSA: bring your own key. t says what is inside: for Oct the bytes of the key, else
// PKCS #8 of that type. It is checked like any import; what cannot be decrypted is ErrDecrypt.
func (k *Key) Receive(t Type, enc TransferEncoding, wrapped []byte) (*Key, error) {
	r, err := enc.oaep()
	if err != nil {
		return nil, err
	}
	size := k.spec.Bits / 8
	if k.spec.Type != RSA || len(wrapped) < size+16 || len(wrapped)%8 != 0 || len(wrapped) > size+maxWrapBytes {
		return nil, ErrDecrypt
	}
	once, err := k.backend.Reveal(r.alg, Input{Value: wrapped[:size]})
	if err != nil {
		return nil, err
	}
	defer clear(once)
	if len(once) != transferBytes {
		return nil, ErrDecrypt
	}
	block, err := aes.NewCipher(once)
	if err != nil {
		return nil, fmt.Errorf("preparing an AES key: %w", err)
	}
	material, err := unwrapPadded(block, wrapped[size:])
	if err != nil {
		return nil, err
	}
	if t == Oct {
		return newOct(material)
	}
	defer clear(material)
	received, err := ParsePKCS8(material)
	if err != nil {
		return nil, err
	}
	if received.spec.Type != t {
		return nil, fault.New(fault.Invalid, "the wrapped key is of type %s, and not %s", received.spec, t)
	}
	return received, nil
}

// TransferBlob is how a wrapped key travels in key_hsm, in both directions: JSON with the wrapped key and the kid of the key that opens it
// ("Bring your own key specification" of Key Vault).
type TransferBlob struct {
	SchemaVersion string         `json:"schema_version"`
	Header        TransferHeader `json:"header"`
	Ciphertext    Bytes          `json:"ciphertext"`
	Generator     string         `json:"generator,omitempty"`
}

// TransferHeader says how to open a TransferBlob.
type TransferHeader struct {
	Kid string           `json:"kid"`
	Alg string           `json:"alg"`
	Enc TransferEncoding `json:"enc"`
}

const transferSchema = "1.0.0"

// NewTransferBlob describes a wrapped key.
func NewTransferBlob(kid string, enc TransferEncoding, wrapped []byte) TransferBlob {
	return TransferBlob{SchemaVersion: transferSchema, Header: TransferHeader{Kid: kid, Alg: "dir", Enc: enc}, Ciphertext: wrapped}
}

// ParseTransferBlob reads a key_hsm.
func ParseTransferBlob(data []byte) (TransferBlob, error) {
	var b TransferBlob
	padded := struct {
		*TransferBlob
		Ciphertext padded `json:"ciphertext"`
	}{TransferBlob: &b}
	err := json.Unmarshal(data, &padded)
	if b.Ciphertext = Bytes(padded.Ciphertext); err != nil || b.SchemaVersion != transferSchema || b.Header.Alg != "dir" || len(b.Ciphertext) == 0 {
		return TransferBlob{}, fault.New(fault.Invalid, "key_hsm is not a transfer blob: JSON with schema_version %s, a header with kid, alg dir and enc, and a ciphertext", transferSchema)
	}
	if _, err := b.Header.Enc.oaep(); err != nil {
		return TransferBlob{}, err
	}
	return b, nil
}

// padded is a member that may be padded: the specification of transfer blobs says base64url, and tools differ in whether they pad it.
type padded Bytes

// UnmarshalText decodes the bytes.
func (p *padded) UnmarshalText(text []byte) error {
	if len(text)%4 == 0 {
		text = bytes.TrimRight(text, "=")
	}
	return (*Bytes)(p).UnmarshalText(text)
}
