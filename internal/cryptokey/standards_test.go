package cryptokey_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/mlkem"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"hash"
	"math/big"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/keywright/keywright/internal/cryptokey"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(strings.ToLower(s), " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Sources: RFC 3394, sections 4.1 to 4.6; RFC 5649, section 6.
func TestKeyWrapOfTheRFCs(t *testing.T) {
	const (
		kek  = "000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F"
		data = "00112233445566778899AABBCCDDEEFF000102030405060708090A0B0C0D0E0F"
		kwp  = "5840df6e29b02af1ab493b705bf16ea1ae8338f4dcc176a8"
	)
	for _, c := range []struct {
		kek, data, want string
		algs            []cryptokey.Algorithm
	}{
		{kek[:32], data[:32], "1FA68B0A8112B447AEF34BD8FB5A7B829D3E862371D2CFE5", []cryptokey.Algorithm{"A128KW", "CKM_AES_KEY_WRAP"}},
		{kek[:48], data[:32], "96778B25AE6CA435F92B5B97C050AED2468AB8A17AD84E5D", []cryptokey.Algorithm{"A192KW", "CKM_AES_KEY_WRAP"}},
		{kek[:64], data[:32], "64E8C3F9CE0F5BA263E9777905818A2A93C8191E7D6E8AE7", []cryptokey.Algorithm{"A256KW", "CKM_AES_KEY_WRAP"}},
		{kek[:48], data[:48], "031D33264E15D33268F24EC260743EDCE1C6C7DDEE725A936BA814915C6762D2", []cryptokey.Algorithm{"A192KW", "CKM_AES_KEY_WRAP"}},
		{kek[:64], data[:48], "A8F9BC1612C68B3FF6E6F4FBE30E71E4769C8B80A32CB8958CD5D17D6B254DA1", []cryptokey.Algorithm{"A256KW", "CKM_AES_KEY_WRAP"}},
		{kek[:64], data[:64], "28C9F404C4B810F4CBCCB35CFB87F8263F5786E2D80ED326CBC7F0E71A99F43BFB988B9B7A02DD21", []cryptokey.Algorithm{"A256KW", "CKM_AES_KEY_WRAP"}},
		{kwp, "c37b7e6492584340bed12207808941155068f738", "138bdeaa9b8fa7fc61f97742e72248ee5ae6ae5360d1ae6a5f54f373fa543b6a", []cryptokey.Algorithm{"CKM_AES_KEY_WRAP_PAD"}},
		{kwp, "466f7250617369", "afbeb0f07dfbf5419200f2ccb50bb24f", []cryptokey.Algorithm{"CKM_AES_KEY_WRAP_PAD"}},
	} {
		k := octKey(t, unhex(t, c.kek))
		for _, alg := range c.algs {
			out, err := k.WrapKey(alg, cryptokey.Input{Value: unhex(t, c.data)})
			if err != nil || !bytes.Equal(out.Value, unhex(t, c.want)) {
				t.Errorf("%s: wrapped to %x, %v; want %s", alg, out.Value, err, c.want)
			}
			plain, err := k.UnwrapKey(alg, cryptokey.Input{Value: unhex(t, c.want)})
			if err != nil || !bytes.Equal(plain, unhex(t, c.data)) {
				t.Errorf("%s: unwrapped to %x, %v", alg, plain, err)
			}
		}
	}
}

// Source: NIST SP 800-38A, sections F.2.1 to F.2.6.
func TestCBCOfNIST(t *testing.T) {
	iv := unhex(t, "000102030405060708090a0b0c0d0e0f")
	plain := unhex(t, "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e5130c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710")
	for _, c := range []struct {
		alg       cryptokey.Algorithm
		key, want string
	}{
		{"A128CBC", "2b7e151628aed2a6abf7158809cf4f3c",
			"7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b273bed6b8e3c1743b7116e69e222295163ff1caa1681fac09120eca307586e1a7"},
		{"A192CBC", "8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b",
			"4f021db243bc633d7178183a9fa071e8b4d9ada9ad7dedf4e5e738763f69145a571b242012fb7ae07fa9baac3df102e008b0e27988598881d920a9e64f5615cd"},
		{"A256CBC", "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4",
			"f58c4c04d6e5f1ba779eabfb5f7bfbd69cfc4e967edb808d679f777bc6702c7d39f23369a9d9bacfa530e26304231461b2eb05e2c39be9fcda6c19078c6a9d1b"},
	} {
		k := octKey(t, unhex(t, c.key))
		out, err := k.Encrypt(c.alg, cryptokey.Input{Value: plain, IV: iv})
		if err != nil || !bytes.Equal(out.Value, unhex(t, c.want)) || !bytes.Equal(out.IV, iv) {
			t.Errorf("%s: %x, %v", c.alg, out.Value, err)
		}
		back, err := k.Decrypt(c.alg, cryptokey.Input{Value: out.Value, IV: iv})
		if err != nil || !bytes.Equal(back, plain) {
			t.Errorf("%s: decrypted to %x, %v", c.alg, back, err)
		}
	}
}

// What GCM encrypts, the standard library decrypts with the iv and the tag that came along.
func TestGCMIsGCM(t *testing.T) {
	for bits, alg := range map[int]cryptokey.Algorithm{128: "A128GCM", 192: "A192GCM", 256: "A256GCM"} {
		secret := random(bits / 8)
		k := octKey(t, secret)
		block, _ := aes.NewCipher(secret)
		aead, _ := cipher.NewGCM(block)
		for n := range 40 {
			value, aad := random(n), random(n%5)
			out, err := k.Encrypt(alg, cryptokey.Input{Value: value, AAD: aad})
			if err != nil || len(out.IV) != 12 || len(out.Tag) != 16 || len(out.Value) != n || !bytes.Equal(out.AAD, aad) {
				t.Fatalf("%s: %v", alg, err)
			}
			back, err := aead.Open(nil, out.IV, append(out.Value, out.Tag...), aad)
			if err != nil || !bytes.Equal(back, value) {
				t.Errorf("%s, %d bytes: %v", alg, n, err)
			}
		}
	}
}

// Source: RFC 6979, sections A.2.5 to A.2.7, message "sample". Signatures here are randomised, so the published ones are verified. P-256K:
// the vector that libraries of the curve share, with RFC 6979's nonce and the lower s; there signatures are deterministic.
func TestECDSAOfRFC6979(t *testing.T) {
	for _, c := range []struct {
		alg     cryptokey.Algorithm
		curve   elliptic.Curve
		hash    func() hash.Hash
		x, r, s string
	}{
		{"ES256", elliptic.P256(), sha256.New,
			"C9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721",
			"EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716",
			"F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8"},
		{"ES384", elliptic.P384(), sha512.New384,
			"6B9D3DAD2E1B8C1C05B19875B6659F4DE23C3B667BF297BA9AA47740787137D896D5724E4C70A825F872C9EA60D2EDF5",
			"94EDBB92A5ECB8AAD4736E56C691916B3F88140666CE9FA73D64C4EA95AD133C81A648152E44ACF96E36DD1E80FABE46",
			"99EF4AEB15F178CEA1FE40DB2603138F130E740A19624526203B6351D0A3A94FA329C145786E679E7B82C71A38628AC8"},
		{"ES512", elliptic.P521(), sha512.New,
			"00FAD06DAA62BA3B25D2FB40133DA757205DE67F5BB0018FEE8C86E1B68C7E75CAA896EB32F1F47C70855836A6D16FCC1466F6D8FBEC67DB89EC0C08B0E996B83538",
			"00C328FAFCBD79DD77850370C46325D987CB525569FB63C5D3BC53950E6D4C5F174E25A1EE9017B5D450606ADD152B534931D7D4E8455CC91F9B15BF05EC36E377FA",
			"00617CCE7CF5064806C467F678D3B4080D6F1CC50AF26CA209417308281B68AF282623EAA63E5B5C0723D8B8C37FF0777B1A20F8CCB1DCCC43997F1EE0E44DA4A67A"},
	} {
		private, err := ecdsa.ParseRawPrivateKey(c.curve, unhex(t, c.x))
		if err != nil {
			t.Fatal(err)
		}
		point, err := private.PublicKey.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		half := len(point) / 2
		k, err := parse(t, map[string]any{"kty": "EC", "crv": c.curve.Params().Name, "x": point[1 : 1+half], "y": point[1+half:], "d": unhex(t, c.x)}).PrivateKey()
		if err != nil {
			t.Fatal(err)
		}
		h := c.hash()
		h.Write([]byte("sample"))
		signature := append(unhex(t, c.r), unhex(t, c.s)...)
		if ok, err := k.Verify(c.alg, h.Sum(nil), signature); !ok || err != nil {
			t.Errorf("%s: the published signature: %v, %v", c.alg, ok, err)
		}
	}
}

func TestP256KIsDeterministic(t *testing.T) {
	// The private key is 1, so the public one is the base point (SEC 2, section 2.4.1).
	x := unhex(t, "79BE667EF9DCBBAC55A06295CE870B07029BFCDB2DCE28D959F2815B16F81798")
	y := unhex(t, "483ADA7726A3C4655DA4FBFC0E1108A8FD17B448A68554199C47D08FFB10D4B8")
	digest := sha256.Sum256([]byte("Satoshi Nakamoto"))
	want := unhex(t, "934b1ea10a4b3c1757e2b0c017d0b6143ce3c9a7e6a4a49860d7a6ab210ee3d82442ce9d2b916064108014783e923ec36b49743e2ffa1c4496f01a512aafd9e5")
	for _, crv := range []string{"P-256K", "secp256k1", "SECP256K1"} {
		k, err := parse(t, map[string]any{"kty": "EC", "crv": crv, "x": x, "y": y, "d": []byte{1}}).PrivateKey()
		if err != nil {
			t.Fatal(err)
		}
		if got := k.PublicJWK(); got.Crv != "P-256K" || !bytes.Equal(got.X, x) || !bytes.Equal(got.Y, y) {
			t.Errorf("the public half is %+v", got)
		}
		for range 20 { // the blinding differs each time; the signature must not
			for _, alg := range []cryptokey.Algorithm{cryptokey.ES256K, cryptokey.ECDSA256} {
				got, err := k.Sign(alg, digest[:])
				if err != nil || !bytes.Equal(got, want) {
					t.Fatalf("%s: %x, %v", alg, got, err)
				}
			}
		}
		// The higher s verifies too.
		n, _ := new(big.Int).SetString("FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141", 16)
		high := slices.Concat(want[:32], new(big.Int).Sub(n, new(big.Int).SetBytes(want[32:])).FillBytes(make([]byte, 32)))
		if ok, err := k.Verify(cryptokey.ES256K, digest[:], high); !ok || err != nil {
			t.Errorf("the higher s: %v, %v", ok, err)
		}
	}
}

// Source: RFC 7638, section 3.1.
func TestThumbprintOfRFC7638(t *testing.T) {
	j, err := cryptokey.ParseJWK([]byte(`{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB","alg":"RS256","kid":"2011-04-29"}`))
	if err != nil {
		t.Fatal(err)
	}
	pub, err := j.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	got, err := pub.Thumbprint()
	if want := "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"; err != nil || base64.RawURLEncoding.EncodeToString(got) != want {
		t.Errorf("thumbprint %x, %v", got, err)
	}
	k := key(t, cryptokey.Spec{Type: cryptokey.Oct, Bits: 128})
	if _, err := k.Thumbprint(); err == nil {
		t.Error("a secret was hashed")
	}
}

// openHPKE decrypts one message by RFC 9180, written down again from its sections 4, 5.1 and 5.2.
func openHPKE(t *testing.T, seed []byte, kem, kdf uint16, newHash func() hash.Hash, enc, info, aad, sealed []byte) []byte {
	t.Helper()
	var shared []byte
	var err error
	if kem == 0x41 {
		k, keyErr := mlkem.NewDecapsulationKey768(seed)
		if keyErr != nil {
			t.Fatal(keyErr)
		}
		shared, err = k.Decapsulate(enc)
	} else {
		k, keyErr := mlkem.NewDecapsulationKey1024(seed)
		if keyErr != nil {
			t.Fatal(keyErr)
		}
		shared, err = k.Decapsulate(enc)
	}
	if err != nil {
		t.Fatal(err)
	}
	suite := []byte{'H', 'P', 'K', 'E', byte(kem >> 8), byte(kem), byte(kdf >> 8), byte(kdf), 0, 2}
	extract := func(salt []byte, label string, ikm []byte) []byte {
		prk, err := hkdf.Extract(newHash, slices.Concat([]byte("HPKE-v1"), suite, []byte(label), ikm), salt)
		if err != nil {
			t.Fatal(err)
		}
		return prk
	}
	expand := func(prk []byte, label string, context []byte, n int) []byte {
		out, err := hkdf.Expand(newHash, prk, string(slices.Concat([]byte{byte(n >> 8), byte(n)}, []byte("HPKE-v1"), suite, []byte(label), context)), n)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	context := slices.Concat([]byte{0}, extract(nil, "psk_id_hash", nil), extract(nil, "info_hash", info))
	secret := extract(shared, "secret", nil)
	block, _ := aes.NewCipher(expand(secret, "key", context, 32))
	aead, _ := cipher.NewGCM(block)
	plain, err := aead.Open(nil, expand(secret, "base_nonce", context, 12), sealed, aad)
	if err != nil {
		t.Fatalf("opening: %v", err)
	}
	return plain
}

// The reading of RFC 9180 above is right: it opens the published vector (testdata/README.md has the source).
func TestHPKEOfTheDraft(t *testing.T) {
	data, err := os.ReadFile("testdata/hpke-mlkem1024.json")
	if err != nil {
		t.Fatal(err)
	}
	var v struct{ Seed, Pub, Enc, Info, AAD, CT, Msg raw }
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	if got := openHPKE(t, v.Seed, 0x42, 2, sha512.New384, v.Enc, v.Info, v.AAD, v.CT); !bytes.Equal(got, v.Msg) || len(got) == 0 {
		t.Errorf("opened to %q", got)
	}
	if _, err := parse(t, map[string]any{"kty": "AKP", "alg": "ML-KEM-1024", "priv": []byte(v.Seed), "pub": []byte(v.Pub)}).PrivateKey(); err != nil {
		t.Error(err)
	}
}

// ML-KEM keys encrypt as the documentation says: HPKE, which anybody can open who has the seed.
func TestMLKEMIsHPKE(t *testing.T) {
	for _, c := range []struct {
		set      cryptokey.ParameterSet
		alg      cryptokey.Algorithm
		kem, kdf uint16
		hash     func() hash.Hash
		enc      int
	}{
		{cryptokey.SetMLKEM768, cryptokey.MLKEM768, 0x41, 1, sha256.New, mlkem.CiphertextSize768},
		{cryptokey.SetMLKEM1024, cryptokey.MLKEM1024, 0x42, 2, sha512.New384, mlkem.CiphertextSize1024},
	} {
		seed := random(mlkem.SeedSize)
		k, err := parse(t, map[string]any{"kty": "AKP", "alg": string(c.set), "priv": bytes.Clone(seed)}).PrivateKey()
		if err != nil {
			t.Fatal(err)
		}
		value, aad := random(32), random(9)
		out, err := k.WrapKey(c.alg, cryptokey.Input{Value: value, AAD: aad})
		if err != nil {
			t.Fatal(err)
		}
		if got := openHPKE(t, seed, c.kem, c.kdf, c.hash, out.Value[:c.enc], nil, aad, out.Value[c.enc:]); !bytes.Equal(got, value) {
			t.Errorf("%s: opened to %x", c.alg, got)
		}
	}
}
