package certfile

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"testing"

	"golang.org/x/crypto/cryptobyte"

	"github.com/keywright/keywright/internal/fault"
)

// The encoder below writes PFX files as Windows' CryptoAPI and NSS do: whoever streams does not know a length beforehand, so everything constructed
// has an indefinite length and ends with two zero bytes, and every octet string that holds another structure is constructed, too, of pieces of
// at most pieceBytes bytes:
//
//	30 80                          PFX
//	   02 01 03                    version
//	   30 80 06 09 …               ContentInfo, data
//	      A0 80 24 80              [0] EXPLICIT, OCTET STRING in pieces
//	         04 82 03 E8 …         piece
//	         04 …
//	      00 00 00 00
//	   00 00
//	   30 … MacData                over the octets of the pieces, which are BER themselves
//	00 00
//
// The encrypted content of a safe is [0] IMPLICIT OCTET STRING, in pieces: A0 80 04 … 04 … 00 00, and its plaintext is BER, too.
const pieceBytes = 200

func streamed(tag byte, parts ...[]byte) []byte {
	return append(append([]byte{tag | constructedBit, 0x80}, bytes.Join(parts, nil)...), 0, 0)
}

func pieces(tag byte, content []byte) []byte {
	var parts [][]byte
	for len(content) > pieceBytes {
		parts, content = append(parts, encode([]byte{4}, content[:pieceBytes])), content[pieceBytes:]
	}
	return streamed(tag, append(parts, encode([]byte{4}, content))...)
}

func oid(t testing.TB, dotted string) []byte {
	t.Helper()
	var id asn1.ObjectIdentifier
	n := 0
	for i := 0; i <= len(dotted); i++ {
		if i == len(dotted) || dotted[i] == '.' {
			id, n = append(id, n), 0
			continue
		}
		n = n*10 + int(dotted[i]-'0')
	}
	der, err := asn1.Marshal(id)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// pbes2 is an AlgorithmIdentifier with AES-256, and what it makes of content.
func pbes2(t testing.TB, password string, content []byte) (identifier, encrypted []byte) {
	t.Helper()
	iv := bytes.Repeat([]byte{7}, aes.BlockSize)
	kdf := encode([]byte{0x30}, append(oid(t, oidPBKDF2), encode([]byte{0x30}, bytes.Join([][]byte{encode([]byte{4}, []byte("saltsalt")), {2, 2, 7, 0xd0},
		encode([]byte{0x30}, append(oid(t, "1.2.840.113549.2.9"), 5, 0))}, nil))...))
	scheme := encode([]byte{0x30}, append(oid(t, "2.16.840.1.101.3.4.1.42"), encode([]byte{4}, iv)...))
	identifier = encode([]byte{0x30}, append(oid(t, oidPBES2), encode([]byte{0x30}, append(kdf, scheme...))...))
	in := cryptobyte.String(identifier)
	a, ok := readAlgorithm(&in)
	if !ok {
		t.Fatal("the test's own identifier cannot be read")
	}
	block, _, err := newPassword(password).cipher(a)
	if err != nil {
		t.Fatal(err)
	}
	pad := aes.BlockSize - len(content)%aes.BlockSize
	encrypted = append(bytes.Clone(content), bytes.Repeat([]byte{byte(pad)}, pad)...)
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(encrypted, encrypted)
	return identifier, encrypted
}

// streamedPFX writes a family as the comment above says.
func streamedPFX(t testing.TB, f *family, password string) []byte {
	t.Helper()
	var bags [][]byte
	for _, c := range []*x509.Certificate{f.root, f.leaf, f.intermediate} {
		certificate := streamed(0x30, oid(t, oidX509Certificate), streamed(0xa0, encode([]byte{4}, c.Raw)))
		bags = append(bags, streamed(0x30, oid(t, oidCertBag), streamed(0xa0, certificate)))
	}
	identifier, encrypted := pbes2(t, password, streamed(0x30, bags...))
	certificates := streamed(0x30, oid(t, oidEncryptedData), streamed(0xa0, streamed(0x30, []byte{2, 1, 0},
		streamed(0x30, oid(t, oidData), identifier, pieces(0xa0, encrypted)))))

	pkcs8, err := x509.MarshalPKCS8PrivateKey(f.key)
	if err != nil {
		t.Fatal(err)
	}
	identifier, encrypted = pbes2(t, password, pkcs8)
	shrouded := streamed(0x30, identifier, encode([]byte{4}, encrypted))
	localKeyID := streamed(0x31, streamed(0x30, oid(t, "1.2.840.113549.1.9.21"), streamed(0x31, encode([]byte{4}, []byte{1}))))
	key := streamed(0x30, oid(t, oidData), streamed(0xa0, pieces(0x24,
		streamed(0x30, streamed(0x30, oid(t, oidShroudedKeyBag), streamed(0xa0, shrouded), localKeyID)))))

	safe := streamed(0x30, key, certificates)
	mac := hmac.New(sha256.New, newPassword(password).derive(sha256.New, forMAC, []byte("saltsalt"), 2000, sha256.Size))
	mac.Write(safe)
	digest := streamed(0x30, encode([]byte{0x30}, append(oid(t, "2.16.840.1.101.3.4.2.1"), 5, 0)), encode([]byte{4}, mac.Sum(nil)))
	return streamed(0x30, []byte{2, 1, 3}, streamed(0x30, oid(t, oidData), streamed(0xa0, pieces(0x24, safe))),
		streamed(0x30, digest, encode([]byte{4}, []byte("saltsalt")), []byte{2, 2, 7, 0xd0}))
}

func TestReadsStreamedFiles(t *testing.T) {
	for name, key := range keys(t) {
		f := newFamily(t, key)
		for _, password := range []string{"", "correct horse"} {
			file := streamedPFX(t, f, password)
			b, err := ReadPFX(file, password, false)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			f.holds(t, b)
			if _, err := ReadPFX(file, password+"x", false); fault.As(err) == nil || fault.As(err).Reason != ReasonPassword {
				t.Errorf("a wrong password gave %v", err)
			}
			kept, err := ReadPFX(file, password, true)
			if err != nil {
				t.Fatal(err)
			}
			if !kept.Certificates[0].Equal(f.root) || !kept.Leaf.Equal(f.leaf) {
				t.Error("the order was to be kept")
			}
		}
	}
}

// Any change of one byte is noticed: by the MAC, or because the container around it breaks.
func TestDamageIsNoticed(t *testing.T) {
	f := p256Family(t)
	file := streamedPFX(t, f, "p")
	for i := 0; i < len(file); i += 29 {
		changed := bytes.Clone(file)
		changed[i] ^= 0x55
		b, err := ReadPFX(changed, "p", false)
		if err == nil {
			f.holds(t, b) // only what the MAC does not cover and nobody reads
		} else if fault.As(err) == nil {
			t.Fatalf("byte %d: %v has no kind", i, err)
		}
	}
	for n := range len(file) {
		if n%53 == 0 {
			if _, err := ReadPFX(file[:n], "p", false); err == nil {
				t.Fatalf("%d bytes of %d were enough", n, len(file))
			}
		}
	}
}

func TestBER(t *testing.T) {
	for in, want := range map[string]string{
		"0400":                          "0400",
		"3003020103":                    "3003020103",
		"30800201030000":                "3003020103",
		"308103020103":                  "3003020103", // a longer length than needed
		"30840000000302 0103":           "3003020103",
		"2480040161040162 0000":         "04026162",
		"24060401610401 62":             "04026162",
		"24802480040161000004016200 00": "04026162",   // pieces of pieces
		"a0800401610000":                "a003040161", // could be a string, could be an element: it stays
		"2c800c01610c01620000":          "0c026162",
		"7f8101020400":                  "7f8101020400",
		"30800000":                      "3000",
	} {
		der, err := toDER(unhex(t, in))
		if err != nil || hex.EncodeToString(der) != hex.EncodeToString(unhex(t, want)) {
			t.Errorf("%s became %x, %v; want %s", in, der, err, want)
		}
	}
	for _, in := range []string{
		"", "30", "3080", "30800201030000ff", "0480040161 0000", "0000", "3002 0000", "2480020103 0000", "30820001", "3084ffffffff00", "30ff00", "1f", "1fffffffff7f00", "308002010300",
		"3003 0201",
	} {
		if der, err := toDER(unhex(t, in)); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s became %x, %v", in, der, err)
		}
	}
	for levels, fine := range map[int]bool{maxBERDepth: true, maxBERDepth + 2: false, 100_000: false} {
		deep := append(bytes.Repeat([]byte{0x30, 0x80}, levels), bytes.Repeat([]byte{0, 0}, levels)...)
		if _, err := toDER(deep); (err == nil) != fine {
			t.Errorf("%d levels: %v", levels, err)
		}
	}
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(string(bytes.ReplaceAll([]byte(s), []byte(" "), nil)))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The vectors of RFC 2268, section 5, whose effective length is that of the key.
func TestRC2(t *testing.T) {
	for _, v := range [][3]string{
		{"ffffffffffffffff", "ffffffffffffffff", "278b27e42e2f0d49"},
		{"3000000000000000", "1000000000000001", "30649edf9be7d2c2"},
		{"88bca90e90875a7f0f79c384627bafb2", "0000000000000000", "2269552ab0f85ca6"},
	} {
		got := make([]byte, 8)
		newRC2(unhex(t, v[0])).Decrypt(got, unhex(t, v[2]))
		if hex.EncodeToString(got) != v[1] {
			t.Errorf("key %s: %x, want %s", v[0], got, v[1])
		}
	}
}

// A file may not ask for more work than a bounded amount, wherever it asks.
func TestWorkIsBounded(t *testing.T) {
	p := newPassword("x")
	total := 0
	for p.spend(900_000) == nil {
		total += 900_000
	}
	if total > MaxIterations || total < MaxIterations/2 {
		t.Errorf("%d iterations were granted", total)
	}
	for _, n := range []int{0, -1, -1 << 62, 1 << 62, MaxIterations + 1} {
		if err := newPassword("x").spend(n); !fault.Is(err, fault.Invalid) {
			t.Errorf("%d iterations: %v", n, err)
		}
	}
	// 2^62 doubled for the key and its vector must not wrap around to something small.
	params := encode([]byte{0x30}, append(encode([]byte{4}, []byte("saltsalt")), 2, 8, 0x40, 0, 0, 0, 0, 0, 0, 1))
	if _, _, err := newPassword("x").cipher(algorithm{oid3DES3, params}); !fault.Is(err, fault.Invalid) {
		t.Errorf("2^62 iterations: %v", err)
	}
	junk := make([]byte, MaxFileBytes+1)
	if _, err := rand.Read(junk); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadPFX(junk, "", false); !fault.Is(err, fault.TooLarge) {
		t.Error(err)
	}
}
