package certfile

import (
	"bytes"
	"crypto"
	"crypto/fips140"
	"crypto/hmac"
	"crypto/x509"
	"encoding/asn1"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/keywright/keywright/internal/fault"
)

// The content types of RFC 2315 and the bags of RFC 7292, section 4.2.
const (
	oidData          = "1.2.840.113549.1.7.1"
	oidEncryptedData = "1.2.840.113549.1.7.6"

	oidKeyBag          = "1.2.840.113549.1.12.10.1.1"
	oidShroudedKeyBag  = "1.2.840.113549.1.12.10.1.2"
	oidCertBag         = "1.2.840.113549.1.12.10.1.3"
	oidSafeContentsBag = "1.2.840.113549.1.12.10.1.6"
	oidX509Certificate = "1.2.840.113549.1.9.22.1"
)

// maxSafes and maxBags bound the parts of a file, maxBagDepth the bags within bags.
const (
	maxSafes    = 16
	maxBags     = 4 * MaxCertificates
	maxBagDepth = 3
)

var (
	explicit0 = cbasn1.Tag(0).Constructed().ContextSpecific()
	implicit0 = cbasn1.Tag(0).ContextSpecific()
)

// ReadPFX reads a PFX file. The key may be missing; there is never more than one. With preserveOrder the certificates stay as they stand in the
// file, otherwise the leaf goes first.
//
// Errors are fault.Invalid, with ReasonPassword or ReasonMismatch where it is one of these, fault.Unsupported for algorithms that are not known
// here, or fault.TooLarge.
func ReadPFX(data []byte, secret string, preserveOrder bool) (*Bundle, error) {
	if err := size("PFX file", data); err != nil {
		return nil, err
	}
	r := &pfxReader{password: newPassword(secret)}
	var err error
	// SHA-1, 3DES and RC2 are what such files are made of, and no protection is claimed for what comes out of one.
	fips140.WithoutEnforcement(func() { err = r.read(data) })
	if err != nil {
		return nil, err
	}
	return New(r.key, r.certificates, preserveOrder)
}

// pfxReader collects what the bags hold.
type pfxReader struct {
	password     password
	key          crypto.Signer
	certificates []*x509.Certificate
	bags         int
}

func (r *pfxReader) read(data []byte) error {
	der, err := toDER(data)
	if err != nil {
		return err
	}
	in := cryptobyte.String(der)
	var pfx cryptobyte.String
	var version int
	if !in.ReadASN1(&pfx, cbasn1.SEQUENCE) || !pfx.ReadASN1Integer(&version) || version != 3 {
		return fault.New(fault.Invalid, "the file is no PFX file of version 3: export it as PKCS#12 (.pfx or .p12)")
	}
	kind, content, ok := readContentInfo(&pfx)
	if !ok {
		return damaged("outer part")
	}
	if kind != oidData {
		return unsupported("protection of the whole file", kind)
	}
	var safe []byte
	if !content.ReadASN1Bytes(&safe, cbasn1.OCTET_STRING) {
		return damaged("outer part")
	}
	if err := r.checkMAC(pfx, safe); err != nil {
		return err
	}
	return r.readSafes(safe)
}

// readContentInfo reads a ContentInfo: its type, and what stands in its [0] EXPLICIT.
func readContentInfo(in *cryptobyte.String) (kind string, content cryptobyte.String, ok bool) {
	var info cryptobyte.String
	var oid asn1.ObjectIdentifier
	if !in.ReadASN1(&info, cbasn1.SEQUENCE) || !info.ReadASN1ObjectIdentifier(&oid) || !info.ReadASN1(&content, explicit0) {
		return "", nil, false
	}
	return oid.String(), content, true
}

// checkMAC proves the password. A file without a MAC is read with the empty password alone: with another one, nothing would show that it was
// changed on its way.
func (r *pfxReader) checkMAC(in cryptobyte.String, safe []byte) error {
	if in.Empty() {
		if r.password.text != "" {
			return fault.New(fault.Invalid, "the PFX file has no MAC, so the password protects nothing: give none, or export it with one")
		}
		return nil
	}
	var data, info cryptobyte.String
	var digest, salt []byte
	if !in.ReadASN1(&data, cbasn1.SEQUENCE) || !data.ReadASN1(&info, cbasn1.SEQUENCE) {
		return damaged("MAC")
	}
	a, ok := readAlgorithm(&info)
	iterations := 1
	if !ok || !info.ReadASN1Bytes(&digest, cbasn1.OCTET_STRING) || !data.ReadASN1Bytes(&salt, cbasn1.OCTET_STRING) ||
		!data.Empty() && !data.ReadASN1Integer(&iterations) {
		return damaged("MAC")
	}
	if a.name == oidPBMAC1 {
		return r.checkPBMAC1(a, safe, digest)
	}
	h, known := hashes[a.name]
	if !known {
		return unsupported("MAC", a.name)
	}
	forms := [][]byte{r.password.wide}
	if r.password.text == "" {
		forms = append(forms, nil)
	}
	for _, wide := range forms {
		if err := r.password.spend(iterations); err != nil {
			return err
		}
		p := password{text: r.password.text, wide: wide, left: r.password.left}
		mac := hmac.New(h, p.derive(h, forMAC, salt, iterations, h().Size()))
		mac.Write(safe)
		if hmac.Equal(mac.Sum(nil), digest) {
			r.password = p
			return nil
		}
	}
	return wrongPassword()
}

// checkPBMAC1 is RFC 9579.
func (r *pfxReader) checkPBMAC1(a algorithm, safe, digest []byte) error {
	var params cryptobyte.String
	if !a.params.ReadASN1(&params, cbasn1.SEQUENCE) {
		return damaged("MAC")
	}
	kdf, ok := readAlgorithm(&params)
	scheme, ok2 := readAlgorithm(&params)
	if !ok || !ok2 {
		return damaged("MAC")
	}
	h, known := hashes[scheme.name]
	if !known {
		return unsupported("MAC", scheme.name)
	}
	key, err := r.password.pbkdf2(kdf, 0)
	if err != nil {
		return err
	}
	mac := hmac.New(h, key)
	mac.Write(safe)
	if !hmac.Equal(mac.Sum(nil), digest) {
		return wrongPassword()
	}
	return nil
}

// readSafes reads the AuthenticatedSafe, which may be BER within the octets that the MAC protects.
func (r *pfxReader) readSafes(octets []byte) error {
	der, err := toDER(octets)
	if err != nil {
		return err
	}
	in := cryptobyte.String(der)
	var safes cryptobyte.String
	if !in.ReadASN1(&safes, cbasn1.SEQUENCE) {
		return damaged("list of safes")
	}
	for n := 0; !safes.Empty(); n++ {
		kind, content, ok := readContentInfo(&safes)
		if !ok || n == maxSafes {
			return damaged("list of safes")
		}
		plain, err := r.openSafe(kind, content)
		if err != nil {
			return err
		}
		err = r.readBags(plain, 0)
		if kind == oidEncryptedData {
			clear(plain)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// openSafe returns the SafeContents of one safe.
func (r *pfxReader) openSafe(kind string, content cryptobyte.String) ([]byte, error) {
	switch kind {
	case oidData:
		var octets []byte
		if !content.ReadASN1Bytes(&octets, cbasn1.OCTET_STRING) {
			return nil, damaged("safe")
		}
		return octets, nil
	case oidEncryptedData:
		var data, info cryptobyte.String
		var version int
		var inner asn1.ObjectIdentifier
		if !content.ReadASN1(&data, cbasn1.SEQUENCE) || !data.ReadASN1Integer(&version) || !data.ReadASN1(&info, cbasn1.SEQUENCE) ||
			!info.ReadASN1ObjectIdentifier(&inner) {
			return nil, damaged("safe")
		}
		a, ok := readAlgorithm(&info)
		octets, ok2 := implicitOctets(&info)
		if !ok || !ok2 || inner.String() != oidData {
			return nil, damaged("safe")
		}
		return r.password.decrypt(a, octets)
	default:
		return nil, unsupported("protection of a part, such as a recipient's certificate", kind)
	}
}

// implicitOctets reads [0] IMPLICIT OCTET STRING, whole or in pieces: only here is it known that the pieces are those of a string.
func implicitOctets(in *cryptobyte.String) (octets []byte, ok bool) {
	if in.PeekASN1Tag(implicit0) {
		return octets, in.ReadASN1Bytes(&octets, implicit0)
	}
	var pieces cryptobyte.String
	if !in.ReadASN1(&pieces, explicit0) {
		return nil, false
	}
	for !pieces.Empty() {
		var piece []byte
		if !pieces.ReadASN1Bytes(&piece, cbasn1.OCTET_STRING) {
			return nil, false
		}
		octets = append(octets, piece...)
	}
	return octets, true
}

// readBags reads a SafeContents.
func (r *pfxReader) readBags(octets []byte, depth int) error {
	der, err := toDER(octets)
	if err != nil {
		return err
	}
	defer clear(der) // it may hold an unencrypted key
	in := cryptobyte.String(der)
	var bags cryptobyte.String
	if !in.ReadASN1(&bags, cbasn1.SEQUENCE) {
		return damaged("bags")
	}
	for !bags.Empty() {
		var bag, value cryptobyte.String
		var oid asn1.ObjectIdentifier
		if r.bags++; r.bags > maxBags {
			return fault.New(fault.TooLarge, "the PFX file has more than %d parts: export one certificate with its chain", maxBags)
		}
		if !bags.ReadASN1(&bag, cbasn1.SEQUENCE) || !bag.ReadASN1ObjectIdentifier(&oid) || !bag.ReadASN1(&value, explicit0) {
			return damaged("bags")
		}
		if err := r.readBag(oid.String(), value, depth); err != nil {
			return err
		}
	}
	return nil
}

func (r *pfxReader) readBag(kind string, value cryptobyte.String, depth int) error {
	switch kind {
	case oidKeyBag:
		return r.takeKey(value)
	case oidShroudedKeyBag:
		if r.key != nil {
			return severalKeys()
		}
		var info cryptobyte.String
		var data []byte
		if !value.ReadASN1(&info, cbasn1.SEQUENCE) {
			return damaged("private key")
		}
		a, ok := readAlgorithm(&info)
		if !ok || !info.ReadASN1Bytes(&data, cbasn1.OCTET_STRING) {
			return damaged("private key")
		}
		plain, err := r.password.decrypt(a, data)
		if err != nil {
			return err
		}
		defer clear(plain)
		return r.takeKey(plain)
	case oidCertBag:
		return r.takeCertificate(value)
	case oidSafeContentsBag:
		if depth == maxBagDepth {
			return damaged("bags, which nest too deep")
		}
		return r.readBags(value, depth+1)
	default:
		return nil // revocation lists and secrets of Java's own: they belong to no certificate
	}
}

func (r *pfxReader) takeKey(pkcs8 []byte) (err error) {
	if r.key != nil {
		return severalKeys()
	}
	r.key, err = parseKey(pkcs8)
	return err
}

func (r *pfxReader) takeCertificate(value cryptobyte.String) error {
	var bag, content cryptobyte.String
	var oid asn1.ObjectIdentifier
	var der []byte
	if !value.ReadASN1(&bag, cbasn1.SEQUENCE) || !bag.ReadASN1ObjectIdentifier(&oid) || !bag.ReadASN1(&content, explicit0) ||
		!content.ReadASN1Bytes(&der, cbasn1.OCTET_STRING) {
		return damaged("certificates")
	}
	if oid.String() != oidX509Certificate {
		return unsupported("kind of certificate", oid.String())
	}
	c, err := parseCertificate(bytes.Clone(der)) // it keeps its octets, and these are cleared
	if err != nil {
		return err
	}
	r.certificates = append(r.certificates, c)
	return nil
}

func severalKeys() error {
	return fault.New(fault.Invalid, "the PFX file holds several private keys: export one certificate with its key")
}
