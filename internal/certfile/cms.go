package certfile

import (
	"crypto/x509"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/keywright/keywright/internal/fault"
)

// oidSignedData is the content type of a SignedData (RFC 5652, section 5.1).
const oidSignedData = "1.2.840.113549.1.7.2"

// The types of PEM blocks that hold a CMS message (RFC 7468, sections 8 and 9).
const (
	blockPKCS7 = "PKCS7"
	blockCMS   = "CMS"
)

// readCMS reads the certificates of a CMS message without a signature, as authorities hand out chains (.p7b, .p7c): a SignedData of which only
// the certificates count. Nothing that is signed in it is looked at, and nothing is believed for being in it.
//
//	ContentInfo ─ SignedData ┬ version, digestAlgorithms, encapContentInfo
//	                         ├ [0] certificates   X.509; of the other kinds, which RFC 5652 calls obsolete, there are none to use
//	                         └ [1] crls, signerInfos
//
// Windows and older Java write BER: it becomes DER first.
func readCMS(data []byte) ([]*x509.Certificate, error) {
	der, err := toDER(data)
	if err != nil {
		return nil, badCMS()
	}
	in := cryptobyte.String(der)
	kind, content, ok := readContentInfo(&in)
	if !ok || !in.Empty() {
		return nil, badCMS()
	}
	if kind != oidSignedData {
		return nil, fault.New(fault.Invalid, "the PKCS#7 file is of the type %s and holds no certificates: export the chain as a file of certificates (.p7b)", kind)
	}
	var signed, certificates, skipped cryptobyte.String
	var version int
	var present bool
	if !content.ReadASN1(&signed, cbasn1.SEQUENCE) || !content.Empty() || !signed.ReadASN1Integer(&version) || !signed.ReadASN1(&skipped, cbasn1.SET) ||
		!signed.ReadASN1(&skipped, cbasn1.SEQUENCE) || !signed.ReadOptionalASN1(&certificates, &present, explicit0) {
		return nil, badCMS()
	}
	if !present || certificates.Empty() {
		return nil, fault.New(fault.Invalid, "there is no certificate in the PKCS#7 file: export the chain with its certificates")
	}
	return readCertificateSet(certificates)
}

// readCertificateSet reads the certificates that stand one after the other.
func readCertificateSet(in cryptobyte.String) (list []*x509.Certificate, err error) {
	for !in.Empty() {
		var element cryptobyte.String
		var tag cbasn1.Tag
		if !in.ReadAnyASN1Element(&element, &tag) {
			return nil, badCMS()
		}
		if tag != cbasn1.SEQUENCE {
			return nil, fault.New(fault.Unsupported, "the PKCS#7 file holds a certificate of an obsolete kind: export X.509 certificates alone")
		}
		c, err := parseCertificate(element)
		if err != nil {
			return nil, err
		}
		if list = append(list, c); len(list) > MaxCertificates {
			return nil, fault.New(fault.TooLarge, "the PKCS#7 file holds more than %d certificates: give the chain alone", MaxCertificates)
		}
	}
	return list, nil
}

// looksLikeCMS reports whether a file begins as a ContentInfo does: a sequence whose first element is an object identifier. A certificate's first element is a
// sequence.
func looksLikeCMS(data []byte) bool {
	if len(data) == 0 || data[0] != byte(cbasn1.SEQUENCE) {
		return false
	}
	_, rest, err := readLength(data[1:])
	return err == nil && len(rest) > 0 && rest[0] == byte(cbasn1.OBJECT_IDENTIFIER)
}

func badCMS() error {
	return fault.New(fault.Invalid, "the PKCS#7 file cannot be read: it is damaged, or no CMS message; export the chain again (.p7b), or give PEM")
}
