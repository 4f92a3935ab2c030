package certfile

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/des"
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/asn1"
	"hash"
	"unicode/utf16"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/keywright/keywright/internal/fault"
)

// The algorithms of PKCS#12 and PKCS#5, by the names of their object identifiers.
const (
	oid3DES3   = "1.2.840.113549.1.12.1.3"
	oid3DES2   = "1.2.840.113549.1.12.1.4"
	oidRC2128  = "1.2.840.113549.1.12.1.5"
	oidRC240   = "1.2.840.113549.1.12.1.6"
	oidPBKDF2  = "1.2.840.113549.1.5.12"
	oidPBES2   = "1.2.840.113549.1.5.13"
	oidPBMAC1  = "1.2.840.113549.1.5.14"
	oidDES3CBC = "1.2.840.113549.3.7"
)

// hashes are those of MACs and of HMACs as pseudo-random functions (RFC 8018 appendix B).
var hashes = map[string]func() hash.Hash{
	"1.3.14.3.2.26": sha1.New, "2.16.840.1.101.3.4.2.4": sha256.New224, "2.16.840.1.101.3.4.2.1": sha256.New,
	"2.16.840.1.101.3.4.2.2": sha512.New384, "2.16.840.1.101.3.4.2.3": sha512.New,
	"1.2.840.113549.2.7": sha1.New, "1.2.840.113549.2.8": sha256.New224, "1.2.840.113549.2.9": sha256.New,
	"1.2.840.113549.2.10": sha512.New384, "1.2.840.113549.2.11": sha512.New,
}

// The uses of a derived key (RFC 7292 appendix B.3).
const (
	forKey byte = 1
	forIV  byte = 2
	forMAC byte = 3
)

// password is one in the two forms that PFX files derive keys from.
type password struct {
	text string
	// wide is UTF-16, big endian, with two zero bytes at the end; or nothing, as some writers have it for the empty password.
	wide []byte
	// left is how many iterations may still be spent.
	left *int
}

func newPassword(text string) password {
	left := MaxIterations
	p := password{text: text, left: &left}
	for _, u := range append(utf16.Encode([]rune(text)), 0) {
		p.wide = append(p.wide, byte(u>>8), byte(u))
	}
	return p
}

// spend takes iterations out of what the file may cost.
func (p password) spend(iterations int) error {
	if iterations < 1 || iterations > *p.left {
		return fault.New(fault.Invalid, "the PFX file asks for too much or no work to derive its key (%d iterations): export it with at most %d",
			iterations, MaxIterations/4)
	}
	*p.left -= iterations
	return nil
}

// derive is the function of RFC 7292, appendix B.2.
func (p password) derive(h func() hash.Hash, use byte, salt []byte, iterations, size int) []byte {
	digest := h()
	v := digest.BlockSize()
	input := append(fill(salt, v), fill(p.wide, v)...)
	var out []byte
	for len(out) < size {
		digest.Reset()
		digest.Write(fill([]byte{use}, v))
		digest.Write(input)
		a := digest.Sum(nil)
		for range iterations - 1 {
			digest.Reset()
			digest.Write(a)
			a = digest.Sum(a[:0])
		}
		out = append(out, a...)
		b := fill(a, v)[:v]
		for block := input; len(block) > 0; block = block[v:] {
			carry := 1
			for i := v - 1; i >= 0; i-- {
				carry += int(block[i]) + int(b[i])
				block[i] = byte(carry)
				carry >>= 8
			}
		}
	}
	return out[:size]
}

// fill repeats data up to a multiple of v bytes.
func fill(data []byte, v int) []byte {
	n := (len(data) + v - 1) / v * v
	out := make([]byte, n)
	for i := range out {
		out[i] = data[i%len(data)]
	}
	return out
}

// algorithm is an AlgorithmIdentifier: a name, and the parameters with their tag.
type algorithm struct {
	name   string
	params cryptobyte.String
}

func readAlgorithm(in *cryptobyte.String) (a algorithm, ok bool) {
	var body cryptobyte.String
	var name asn1.ObjectIdentifier
	if !in.ReadASN1(&body, cbasn1.SEQUENCE) || !body.ReadASN1ObjectIdentifier(&name) {
		return a, false
	}
	return algorithm{name.String(), body}, true
}

// decrypt opens what a password has encrypted.
func (p password) decrypt(a algorithm, data []byte) ([]byte, error) {
	block, iv, err := p.cipher(a)
	if err != nil {
		return nil, err
	}
	if len(data) == 0 || len(data)%block.BlockSize() != 0 {
		return nil, damaged("encrypted content")
	}
	plain := make([]byte, len(data))
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(plain, data)
	pad := int(plain[len(plain)-1])
	if pad < 1 || pad > block.BlockSize() {
		return nil, wrongPassword()
	}
	for _, b := range plain[len(plain)-pad:] {
		if int(b) != pad {
			return nil, wrongPassword()
		}
	}
	return plain[:len(plain)-pad], nil
}

// cipher derives a cipher and its first vector.
func (p password) cipher(a algorithm) (cipher.Block, []byte, error) {
	if a.name == oidPBES2 {
		return p.pbes2(a)
	}
	size, known := map[string]int{oid3DES3: 24, oid3DES2: 16, oidRC2128: 16, oidRC240: 5}[a.name]
	if !known {
		return nil, nil, unsupported("encryption", a.name)
	}
	var params cryptobyte.String
	var salt []byte
	var iterations int
	if !a.params.ReadASN1(&params, cbasn1.SEQUENCE) || !params.ReadASN1Bytes(&salt, cbasn1.OCTET_STRING) || !params.ReadASN1Integer(&iterations) {
		return nil, nil, damaged("parameters of the encryption")
	}
	for range 2 { // once for the key, once for the vector
		if err := p.spend(iterations); err != nil {
			return nil, nil, err
		}
	}
	key := p.derive(sha1.New, forKey, salt, iterations, size)
	iv := p.derive(sha1.New, forIV, salt, iterations, des.BlockSize)
	if a.name == oidRC2128 || a.name == oidRC240 {
		return newRC2(key), iv, nil
	}
	if size == 16 {
		key = append(key, key[:8]...)
	}
	block, err := des.NewTripleDESCipher(key)
	return block, iv, err
}

// pbes2 is RFC 8018, section 6.2, with PBKDF2 and AES or 3DES.
func (p password) pbes2(a algorithm) (cipher.Block, []byte, error) {
	var params cryptobyte.String
	if !a.params.ReadASN1(&params, cbasn1.SEQUENCE) {
		return nil, nil, damaged("parameters of the encryption")
	}
	kdf, ok := readAlgorithm(&params)
	scheme, ok2 := readAlgorithm(&params)
	var iv []byte
	if !ok || !ok2 || !scheme.params.ReadASN1Bytes(&iv, cbasn1.OCTET_STRING) {
		return nil, nil, damaged("parameters of the encryption")
	}
	size, known := map[string]int{"2.16.840.1.101.3.4.1.2": 16, "2.16.840.1.101.3.4.1.22": 24, "2.16.840.1.101.3.4.1.42": 32, oidDES3CBC: 24}[scheme.name]
	if !known {
		return nil, nil, unsupported("encryption", scheme.name)
	}
	key, err := p.pbkdf2(kdf, size)
	if err != nil {
		return nil, nil, err
	}
	block, err := aes.NewCipher(key)
	if scheme.name == oidDES3CBC {
		block, err = des.NewTripleDESCipher(key)
	}
	if err != nil || len(iv) != block.BlockSize() {
		return nil, nil, damaged("parameters of the encryption")
	}
	return block, iv, nil
}

// pbkdf2 reads the parameters of RFC 8018, appendix A.2, and derives a key. A size of 0 takes the length that they name.
func (p password) pbkdf2(a algorithm, size int) ([]byte, error) {
	if a.name != oidPBKDF2 {
		return nil, unsupported("key derivation", a.name)
	}
	var params cryptobyte.String
	var salt []byte
	var iterations, length int
	if !a.params.ReadASN1(&params, cbasn1.SEQUENCE) || !params.ReadASN1Bytes(&salt, cbasn1.OCTET_STRING) || !params.ReadASN1Integer(&iterations) ||
		params.PeekASN1Tag(cbasn1.INTEGER) && !params.ReadASN1Integer(&length) {
		return nil, damaged("parameters of the key derivation")
	}
	prf := algorithm{name: "1.2.840.113549.2.7"} // the default of the field
	if !params.Empty() {
		var ok bool
		if prf, ok = readAlgorithm(&params); !ok {
			return nil, damaged("parameters of the key derivation")
		}
	}
	h, known := hashes[prf.name]
	if !known {
		return nil, unsupported("key derivation", prf.name)
	}
	// RFC 9579 section 8: lengths below 20 weaken a MAC's key; none of its hashes has more than 64 bytes.
	if size == 0 {
		if size = length; size < 20 || size > 64 {
			return nil, fault.New(fault.Invalid, "the MAC's key of the PFX file has %d bytes, and 20 to 64 are safe: export it again", length)
		}
	}
	if err := p.spend(iterations); err != nil {
		return nil, err
	}
	return pbkdf2.Key(h, p.text, salt, iterations, size)
}

func damaged(part string) error {
	return fault.New(fault.Invalid, "the PFX file is damaged in its %s: export it again", part)
}

func unsupported(what, name string) error {
	return fault.New(fault.Unsupported, "the PFX file uses an unknown %s (%s): export it with AES-256 or 3DES", what, fault.Clip(name))
}

func wrongPassword() error {
	return fault.New(fault.Invalid, "the password does not open the PFX file, or the file is damaged: give the password with which it was exported").
		Because(ReasonPassword)
}
