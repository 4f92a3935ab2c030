package cryptokey_test

import (
	"bytes"
	"crypto"
	"crypto/mlkem"
	"encoding/base64"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/keywright/keywright/internal/cryptokey"
	"github.com/keywright/keywright/internal/fault"
)

// vectorGroup is a line of testdata/wycheproof.json: cases that share a key.
type vectorGroup struct {
	File string
	Alg  cryptokey.Algorithm
	Use  string
	Key  struct {
		SPKI, PKCS8, K, Seed, Pub raw
	}
	Cases []vectorCase

	imported *cryptokey.Key
}

type vectorCase struct {
	ID                                int
	Msg, Sig, CT, IV, AAD, Tag, Label raw
	Flags                             string
	Result                            string
}

// raw is bytes in base64url.
type raw []byte

func (r *raw) UnmarshalText(text []byte) (err error) {
	*r, err = base64.RawURLEncoding.AppendDecode(nil, text)
	return err
}

// hashOf is the hash that a client applies before it asks for a signature.
func hashOf(alg cryptokey.Algorithm, message []byte) []byte {
	h := map[string]crypto.Hash{"256": crypto.SHA256, "384": crypto.SHA384, "512": crypto.SHA512}
	if strings.HasPrefix(string(alg), "HS") || strings.HasPrefix(string(alg), "ML-") {
		return message
	}
	hash := h[strings.TrimRight(string(alg[2:]), "K")].New()
	hash.Write(message)
	return hash.Sum(nil)
}

func readVectors(t testing.TB) []vectorGroup {
	t.Helper()
	data, err := os.ReadFile("testdata/wycheproof.json")
	if err != nil {
		t.Fatal(err)
	}
	var groups []vectorGroup
	if err := json.Unmarshal(data, &groups); err != nil {
		t.Fatal(err)
	}
	return groups
}

// want says whether a case must succeed here. What Wycheproof calls acceptable (keys that are too short, padding without
// a NULL) is refused.
func (c *vectorCase) want() bool {
	return c.Result == "valid" && len(c.Label) == 0
}

func TestVectors(t *testing.T) {
	seen := map[cryptokey.Algorithm][2]int{}
	for _, g := range readVectors(t) {
		for _, c := range g.Cases {
			if len(c.Sig) == 0 {
				c.Sig = c.Tag // HMAC
			}
			got, want := false, c.want()
			switch g.Use {
			case "verify":
				want = want && (!strings.HasPrefix(string(g.Alg), "HS") || len(c.Sig) == tagBytes[g.Alg])
				got = g.verify(t, &c)
			case "reject": // valid for other parameters than ours
				want, got = false, g.verify(t, &c)
			case "sign":
				got = g.sign(t, &c)
			case "decrypt", "unwrap":
				want = want && (len(c.Tag) == 0 || len(c.IV) == 12)
				got = g.open(t, &c, want)
			case "decapsulate":
				got = g.decapsulate(t, &c)
			default:
				t.Fatalf("unknown use %q", g.Use)
			}
			if got != want {
				t.Errorf("%s %d (%s), %s: %v, want %v", g.File, c.ID, c.Flags, g.Alg, got, want)
			}
			n := seen[g.Alg]
			if want {
				n[0]++
			} else {
				n[1]++
			}
			seen[g.Alg] = n
		}
	}
	for _, alg := range []cryptokey.Algorithm{"RSA1_5", "RSA-OAEP", "RSA-OAEP-256", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512",
		"ES256", "ES384", "ES512", "ES256K", "A128GCM", "A192GCM", "A256GCM", "A128CBCPAD", "A192CBCPAD", "A256CBCPAD", "A128KW", "A192KW", "A256KW",
		"CKM_AES_KEY_WRAP_PAD", "HS256", "HS384", "HS512", "ML-DSA-44", "ML-DSA-65", "ML-DSA-87"} {
		if n := seen[alg]; n[0] == 0 || n[1] == 0 {
			t.Errorf("%s: %d right and %d wrong cases: the selection proves too little", alg, n[0], n[1])
		}
	}
}

var tagBytes = map[cryptokey.Algorithm]int{cryptokey.HS256: 32, cryptokey.HS384: 48, cryptokey.HS512: 64}

func (g *vectorGroup) verify(t *testing.T, c *vectorCase) bool {
	t.Helper()
	value := hashOf(g.Alg, c.Msg)
	if len(g.Key.K) != 0 {
		k := octKey(t, g.Key.K)
		ok, err := k.Verify(g.Alg, value, c.Sig)
		if err != nil {
			t.Errorf("%s %d: %v", g.File, c.ID, err)
		}
		if mac, err := k.Sign(g.Alg, value); err != nil || c.want() && !bytes.HasPrefix(mac, c.Sig) {
			t.Errorf("%s %d: another tag: %v", g.File, c.ID, err)
		}
		return ok
	}
	pub := g.public(t)
	ok, err := pub.Verify(g.Alg, value, c.Sig)
	if err != nil {
		t.Errorf("%s %d: %v", g.File, c.ID, err)
	}
	return ok
}

func (g *vectorGroup) public(t *testing.T) *cryptokey.Public {
	t.Helper()
	if len(g.Key.Seed) != 0 {
		k := g.seeded(t)
		return &k.Public
	}
	if len(g.Key.Pub) != 0 {
		j := cryptokey.JWK{Kty: "AKP", Alg: string(g.Alg), Pub: cryptokey.Bytes(g.Key.Pub)}
		pub, err := j.PublicKey()
		if err != nil {
			t.Fatalf("%s: %v", g.File, err)
		}
		return pub
	}
	pub, err := cryptokey.ParseSPKI(g.Key.SPKI)
	if err != nil {
		t.Fatalf("%s: %v", g.File, err)
	}
	// The exact DER of the file: OpenSSL's order and encoding.
	if der, err := pub.SPKI(); err != nil || !bytes.Equal(der, g.Key.SPKI) {
		t.Errorf("%s: the public key encodes differently: %v", g.File, err)
	}
	return pub
}

// seeded imports a seed together with the public key that must come of it.
func (g *vectorGroup) seeded(t *testing.T) *cryptokey.Key {
	t.Helper()
	j := parse(t, map[string]any{"kty": "AKP", "alg": g.Alg, "priv": []byte(g.Key.Seed), "pub": []byte(g.Key.Pub)})
	k, err := j.PrivateKey()
	if err != nil {
		t.Fatalf("%s: %v", g.File, err)
	}
	return k
}

func (g *vectorGroup) private(t testing.TB) *cryptokey.Key {
	t.Helper()
	if g.imported == nil { // once: it tests the primes, which takes its time
		k, err := cryptokey.ParsePKCS8(g.Key.PKCS8)
		if err != nil {
			t.Fatalf("%s: %v", g.File, err)
		}
		g.imported = k
	}
	return g.imported
}

func (g *vectorGroup) sign(t *testing.T, c *vectorCase) bool {
	t.Helper()
	k := g.private(t)
	digest := hashOf(g.Alg, c.Msg)
	signature, err := k.Sign(g.Alg, digest)
	if err != nil {
		t.Errorf("%s %d: %v", g.File, c.ID, err)
	}
	// RSNULL signs what is there, so with the DigestInfo in front it must give the same (RFC 8017, section 9.2).
	prefix := map[cryptokey.Algorithm][]byte{
		cryptokey.RS256: {0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20},
		cryptokey.RS384: {0x30, 0x41, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00, 0x04, 0x30},
		cryptokey.RS512: {0x30, 0x51, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03, 0x05, 0x00, 0x04, 0x40},
	}[g.Alg]
	bare, err := k.Sign(cryptokey.RSNULL, append(prefix, digest...))
	if err != nil || !bytes.Equal(bare, c.Sig) {
		t.Errorf("%s %d: RSNULL: %v", g.File, c.ID, err)
	}
	return bytes.Equal(signature, c.Sig)
}

func (g *vectorGroup) open(t *testing.T, c *vectorCase, want bool) bool {
	t.Helper()
	var k *cryptokey.Key
	if len(g.Key.K) != 0 {
		k = octKey(t, g.Key.K)
	} else {
		k = g.private(t)
	}
	in := cryptokey.Input{Value: c.CT, IV: c.IV, AAD: c.AAD, Tag: c.Tag}
	algorithms := []cryptokey.Algorithm{g.Alg}
	reveal, conceal := k.Decrypt, k.Encrypt
	if g.Use == "unwrap" {
		reveal, conceal = k.UnwrapKey, k.WrapKey
		if strings.HasSuffix(string(g.Alg), "KW") {
			algorithms = append(algorithms, cryptokey.CKMAESKeyWrap) // another name of the same
		}
	}
	opened := false
	for _, alg := range algorithms {
		plain, err := reveal(alg, in)
		if err != nil && !fault.Is(err, fault.Invalid) {
			t.Errorf("%s %d: %v", g.File, c.ID, err)
		}
		opened = err == nil && bytes.Equal(plain, c.Msg)
		if err != nil && plain != nil {
			t.Errorf("%s %d: a failure leaves %d bytes", g.File, c.ID, len(plain))
		}
		if len(g.Key.K) == 0 || len(c.Tag) != 0 || !want {
			continue // randomised
		}
		if out, err := conceal(alg, cryptokey.Input{Value: c.Msg, IV: c.IV}); err != nil || !bytes.Equal(out.Value, c.CT) {
			t.Errorf("%s %d: encrypts to something else: %v", g.File, c.ID, err)
		}
	}
	return opened
}

// decapsulate checks that a seed gives the published encapsulation key, and that key the published secret. What is made of the secret,
// TestMLKEMIsHPKE checks.
func (g *vectorGroup) decapsulate(t *testing.T, c *vectorCase) bool {
	t.Helper()
	g.seeded(t)
	var k crypto.Decapsulator
	var err error
	if g.Alg == cryptokey.MLKEM768 {
		k, err = mlkem.NewDecapsulationKey768(g.Key.Seed)
	} else {
		k, err = mlkem.NewDecapsulationKey1024(g.Key.Seed)
	}
	if err != nil {
		t.Fatal(err)
	}
	secret, err := k.Decapsulate(c.CT)
	return err == nil && bytes.Equal(secret, c.Msg)
}

// parse makes a JWK of members; byte strings become base64url.
func parse(t testing.TB, members map[string]any) *cryptokey.JWK {
	t.Helper()
	for name, value := range members {
		if b, ok := value.([]byte); ok {
			members[name] = base64.RawURLEncoding.EncodeToString(b)
		}
	}
	data, err := json.Marshal(members)
	if err != nil {
		t.Fatal(err)
	}
	j, err := cryptokey.ParseJWK(data)
	if err != nil {
		t.Fatal(err)
	}
	return &j
}

func octKey(t testing.TB, k []byte) *cryptokey.Key {
	t.Helper()
	imported, err := parse(t, map[string]any{"kty": "oct", "k": k}).PrivateKey()
	if err != nil {
		t.Fatal(err)
	}
	return imported
}
