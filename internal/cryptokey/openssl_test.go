package cryptokey_test

import (
	"bytes"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/keywright/keywright/internal/cryptokey"
)

// openssl runs the program in a directory of its own: an implementation that shares nothing with ours.
type openssl struct {
	t   *testing.T
	dir string
}

func newOpenSSL(t *testing.T) *openssl {
	t.Helper()
	if _, err := exec.LookPath("openssl"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("openssl is not installed: scripts/deps installs it")
		}
		t.Skip("SKIPPED: nothing was compared with openssl, which is not installed; scripts/deps installs it")
	}
	return &openssl{t, t.TempDir()}
}

func (o *openssl) file(name string, content []byte) string {
	o.t.Helper()
	path := filepath.Join(o.dir, name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		o.t.Fatal(err)
	}
	return path
}

// run answers with what the program prints, and fails if it fails.
func (o *openssl) run(stdin []byte, args ...string) []byte {
	o.t.Helper()
	out, err := o.try(stdin, args...)
	if err != nil {
		o.t.Fatalf("openssl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func (o *openssl) try(stdin []byte, args ...string) ([]byte, error) {
	cmd := exec.Command("openssl", args...)
	cmd.Stdin = bytes.NewReader(stdin)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return stderr.Bytes(), err
	}
	return out, nil
}

func block(name string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: name, Bytes: der})
}

// signatureOptions are what pkeyutl wants to hear about an algorithm.
func signatureOptions(alg cryptokey.Algorithm) []string {
	digest := "digest:sha" + strings.TrimRight(string(alg[2:]), "K")
	switch alg[:2] {
	case "RS":
		return []string{"-pkeyopt", digest}
	case "PS":
		return []string{"-pkeyopt", "rsa_padding_mode:pss", "-pkeyopt", digest, "-pkeyopt", "rsa_pss_saltlen:digest"}
	}
	return nil
}

func TestOpenSSLSignsAndVerifiesTheSame(t *testing.T) {
	o := newOpenSSL(t)
	for _, gen := range [][]string{
		{"-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"},
		{"-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:3072", "-pkeyopt", "rsa_keygen_pubexp:3"},
		{"-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"}, {"-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"},
		{"-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"}, {"-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:secp256k1"},
	} {
		generated, _ := pem.Decode(o.run(nil, append([]string{"genpkey"}, gen...)...))
		if generated == nil || generated.Type != "PRIVATE KEY" {
			t.Fatalf("%v: openssl does not make PKCS #8", gen)
		}
		der := generated.Bytes
		k, err := cryptokey.ParsePKCS8(der)
		if err != nil {
			t.Errorf("%v: %v", gen, err)
			continue
		}
		// What we write, openssl reads as the same key, and finds in order.
		ours, err := k.PKCS8()
		if err != nil {
			t.Fatal(err)
		}
		privatePEM, publicDER := o.file("key.pem", block("PRIVATE KEY", ours)), o.run(der, "pkey", "-inform", "DER", "-pubout", "-outform", "DER")
		o.run(nil, "pkey", "-in", privatePEM, "-check", "-noout")
		spki, err := k.SPKI()
		if err != nil || !bytes.Equal(spki, publicDER) {
			t.Errorf("%s: another public key: %v", k, err)
		}
		publicPEM := o.file("public.pem", block("PUBLIC KEY", spki))
		pub, err := cryptokey.ParseSPKI(publicDER)
		if err != nil {
			t.Fatal(err)
		}

		for _, alg := range k.Spec().Algorithms(cryptokey.Sign) {
			if alg == cryptokey.ECDSA256 {
				continue // ES256K by another name
			}
			digest := signable(alg)
			options := signatureOptions(alg)
			if alg == cryptokey.RSNULL {
				digest, options = random(36), nil // TLS 1.0 signs MD5 and SHA-1 together
			}
			in := o.file("digest", digest)
			theirs := o.run(nil, append([]string{"pkeyutl", "-sign", "-inkey", privatePEM, "-in", in}, options...)...)
			if k.Spec().Type == cryptokey.EC {
				if theirs, err = cryptokey.FixedSignature(k.Spec().Curve, theirs); err != nil {
					t.Fatal(err)
				}
			}
			if ok, err := pub.Verify(alg, digest, theirs); !ok || err != nil {
				t.Errorf("%s, %s: openssl's signature: %v, %v", k, alg, ok, err)
			}
			mine, err := k.Sign(alg, digest)
			if err != nil {
				t.Fatal(err)
			}
			if k.Spec().Type == cryptokey.EC {
				mine = der2(mine)
			}
			if out, err := o.try(nil, append([]string{"pkeyutl", "-verify", "-pubin", "-inkey", publicPEM, "-in", in, "-sigfile", o.file("signature", mine)}, options...)...); err != nil {
				t.Errorf("%s, %s: openssl does not take our signature: %s", k, alg, out)
			}
		}
	}
}

// der2 writes r‖s in DER, each number with a zero in front if need be.
func der2(fixed []byte) []byte {
	integer := func(n []byte) []byte {
		n = bytes.TrimLeft(n, "\x00")
		if n[0]&0x80 != 0 {
			n = append([]byte{0}, n...)
		}
		return append([]byte{2, byte(len(n))}, n...)
	}
	body := append(integer(fixed[:len(fixed)/2]), integer(fixed[len(fixed)/2:])...)
	if len(body) > 127 {
		return append([]byte{0x30, 0x81, byte(len(body))}, body...)
	}
	return append([]byte{0x30, byte(len(body))}, body...)
}

func TestOpenSSLEncryptsAndDecryptsTheSame(t *testing.T) {
	o := newOpenSSL(t)
	k := key(t, specs[0])
	der, err := k.PKCS8()
	if err != nil {
		t.Fatal(err)
	}
	private := o.file("key.pem", block("PRIVATE KEY", der))
	for alg, options := range map[cryptokey.Algorithm][]string{
		"RSA1_5":       {"-pkeyopt", "rsa_padding_mode:pkcs1"},
		"RSA-OAEP":     {"-pkeyopt", "rsa_padding_mode:oaep"},
		"RSA-OAEP-256": {"-pkeyopt", "rsa_padding_mode:oaep", "-pkeyopt", "rsa_oaep_md:sha256", "-pkeyopt", "rsa_mgf1_md:sha256"},
	} {
		value := random(100)
		theirs := o.run(nil, append([]string{"pkeyutl", "-encrypt", "-inkey", private, "-in", o.file("value", value)}, options...)...)
		if got, err := k.Decrypt(alg, cryptokey.Input{Value: theirs}); err != nil || !bytes.Equal(got, value) {
			t.Errorf("%s: what openssl encrypts: %v", alg, err)
		}
		out, err := k.Encrypt(alg, cryptokey.Input{Value: value})
		if err != nil {
			t.Fatal(err)
		}
		if got := o.run(nil, append([]string{"pkeyutl", "-decrypt", "-inkey", private, "-in", o.file("value", out.Value)}, options...)...); !bytes.Equal(got, value) {
			t.Errorf("%s: openssl decrypts something else", alg)
		}
	}
	for bits := 128; bits <= 256; bits += 64 {
		secret, iv, value := random(bits/8), random(16), random(40)
		k := octKey(t, secret)
		out, err := k.Encrypt(cryptokey.Algorithm(fmt.Sprintf("A%dCBCPAD", bits)), cryptokey.Input{Value: value, IV: iv})
		if err != nil {
			t.Fatal(err)
		}
		want := o.run(value, "enc", fmt.Sprintf("-aes-%d-cbc", bits), "-K", hex.EncodeToString(secret), "-iv", hex.EncodeToString(iv))
		if !bytes.Equal(out.Value, want) {
			t.Errorf("AES-%d-CBC differs", bits)
		}
		for alg, wrap := range map[cryptokey.Algorithm][]string{"CKM_AES_KEY_WRAP": {"-id-aes%d-wrap", "A6A6A6A6A6A6A6A6"}, "CKM_AES_KEY_WRAP_PAD": {"-id-aes%d-wrap-pad", "A65959A6"}} {
			value := random(24)
			if alg == cryptokey.CKMAESKeyWrapPad {
				value = random(29)
			}
			out, err := k.WrapKey(alg, cryptokey.Input{Value: value})
			if err != nil {
				t.Fatal(err)
			}
			want := o.run(value, "enc", fmt.Sprintf(wrap[0], bits), "-K", hex.EncodeToString(secret), "-iv", wrap[1])
			if !bytes.Equal(out.Value, want) {
				t.Errorf("%s with %d bits differs", alg, bits)
			}
		}
		for alg, md := range map[cryptokey.Algorithm]string{"HS256": "sha256", "HS384": "sha384", "HS512": "sha512"} {
			tag, err := k.Sign(alg, value)
			if err != nil {
				t.Fatal(err)
			}
			if want := o.run(value, "dgst", "-"+md, "-mac", "HMAC", "-macopt", "hexkey:"+hex.EncodeToString(secret), "-binary"); !bytes.Equal(tag, want) {
				t.Errorf("%s differs", alg)
			}
		}
	}
}

// A key that was wrapped with openssl, as those do who bring their own, comes in; and one that is released comes out.
func TestOpenSSLTransfersTheSame(t *testing.T) {
	o := newOpenSSL(t)
	target := key(t, specs[0])
	der, err := target.PKCS8()
	if err != nil {
		t.Fatal(err)
	}
	private := o.file("target.pem", block("PRIVATE KEY", der))
	own := key(t, specs[3])
	material, err := own.PKCS8()
	if err != nil {
		t.Fatal(err)
	}
	for enc, md := range map[cryptokey.TransferEncoding]string{"CKM_RSA_AES_KEY_WRAP": "sha1", "RSA_AES_KEY_WRAP_256": "sha256", "RSA_AES_KEY_WRAP_384": "sha384"} {
		options := []string{"-inkey", private, "-pkeyopt", "rsa_padding_mode:oaep", "-pkeyopt", "rsa_oaep_md:" + md, "-pkeyopt", "rsa_mgf1_md:" + md}
		once := random(32)
		outer := o.run(once, append([]string{"pkeyutl", "-encrypt"}, options...)...)
		inner := o.run(material, "enc", "-id-aes256-wrap-pad", "-K", hex.EncodeToString(once), "-iv", "A65959A6")
		got, err := target.Receive(cryptokey.EC, enc, slices.Concat(outer, inner))
		if err != nil || !got.Public.Equal(&own.Public) {
			t.Errorf("%s: %v", enc, err)
		}

		released, err := own.Release(&target.Public, enc)
		if err != nil {
			t.Fatal(err)
		}
		once = o.run(nil, append([]string{"pkeyutl", "-decrypt", "-in", o.file("outer", released[:256])}, options...)...)
		if len(once) != 32 {
			t.Fatalf("%s: an AES key of %d bytes", enc, len(once))
		}
		opened := o.run(released[256:], "enc", "-d", "-id-aes256-wrap-pad", "-K", hex.EncodeToString(once), "-iv", "A65959A6")
		if !bytes.Equal(opened, material) {
			t.Errorf("%s: openssl finds another key", enc)
		}
	}
}

// The certificate that TestSignerMakesCertificates makes is one for openssl, too.
func TestOpenSSLReadsCertificates(t *testing.T) {
	o := newOpenSSL(t)
	for _, spec := range []cryptokey.Spec{specs[0], specs[2], specs[4]} {
		c, _ := certify(t, key(t, spec), 0)
		path := o.file("cert.pem", block("CERTIFICATE", c.Raw))
		o.run(nil, "verify", "-CAfile", path, path)
	}
}
