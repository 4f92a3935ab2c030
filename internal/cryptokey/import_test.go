package cryptokey_test

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"strings"
	"testing"

	"github.com/keywright/keywright/internal/cryptokey"
	"github.com/keywright/keywright/internal/fault"
)

// rsaMembers are the members of an RSA key's JWK, as numbers.
func rsaMembers(t *testing.T, spec cryptokey.Spec) map[string]*big.Int {
	t.Helper()
	der, err := key(t, spec).PKCS8()
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		t.Fatal(err)
	}
	k := parsed.(*rsa.PrivateKey)
	return map[string]*big.Int{"n": k.N, "e": big.NewInt(int64(k.E)), "d": k.D, "p": k.Primes[0], "q": k.Primes[1],
		"dp": k.Precomputed.Dp, "dq": k.Precomputed.Dq, "qi": k.Precomputed.Qinv}
}

// rsaJWK writes numbers as the members of a JWK; other members, or nil for leaving one out, in changes.
func rsaJWK(numbers map[string]*big.Int, changes map[string]any) map[string]any {
	j := map[string]any{"kty": "RSA"}
	for name, n := range numbers {
		j[name] = n.Bytes()
	}
	for name, v := range changes {
		if n, ok := v.(*big.Int); ok {
			v = n.Bytes()
		}
		if v == nil {
			delete(j, name)
		} else {
			j[name] = v
		}
	}
	return j
}

func TestImportsOfRSA(t *testing.T) {
	spec := specs[0]
	k := rsaMembers(t, spec)
	plus := func(name string, delta int64) *big.Int { return new(big.Int).Add(k[name], big.NewInt(delta)) }
	p1q1 := new(big.Int).Mul(plus("p", -1), plus("q", -1))
	padded := func(name string, size int) []byte { return k[name].FillBytes(make([]byte, size)) }

	for name, changes := range map[string]map[string]any{
		"as it is":                        {},
		"an -HSM kty":                     {"kty": "RSA-HSM"},
		"members that nobody knows":       {"x5t": "abc", "use": "sig"},
		"fixed widths, as .NET writes it": {"d": padded("d", 256), "dp": padded("dp", 128), "dq": padded("dq", 128), "qi": padded("qi", 128)},
		"sign bytes, as Java writes it":   {"n": padded("n", 257), "p": padded("p", 129), "e": padded("e", 4)},
		"d modulo φ(n) instead of λ(n)":   {"d": new(big.Int).ModInverse(k["e"], p1q1)},
		"p and q the other way around":    {"p": k["q"], "q": k["p"], "dp": k["dq"], "dq": k["dp"], "qi": new(big.Int).ModInverse(k["p"], k["q"])},
	} {
		got, err := parse(t, rsaJWK(k, changes)).PrivateKey()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !got.Public.Equal(&key(t, spec).Public) || got.Spec() != spec {
			t.Errorf("%s: another key", name)
		}
		signature, err := got.Sign(cryptokey.RS256, make([]byte, 32))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if ok, err := key(t, spec).Verify(cryptokey.RS256, make([]byte, 32), signature); !ok || err != nil {
			t.Errorf("%s: it signs as another key", name)
		}
	}

	for name, changes := range map[string]map[string]any{
		"no d":                {"d": nil},
		"no p":                {"p": nil},
		"no q":                {"q": nil},
		"no dp":               {"dp": nil},
		"no dq":               {"dq": nil},
		"no qi":               {"qi": nil},
		"no n":                {"n": nil},
		"no e":                {"e": nil},
		"public alone":        {"d": nil, "p": nil, "q": nil, "dp": nil, "dq": nil, "qi": nil},
		"more primes":         {"oth": []any{map[string]string{"r": "Aw"}}},
		"e is 1":              {"e": big.NewInt(1)},
		"e is even":           {"e": big.NewInt(65536)},
		"another e":           {"e": big.NewInt(3)},
		"e has 33 bits":       {"e": big.NewInt(1<<32 + 1)},
		"e has 31 bits":       {"e": big.NewInt(1<<31 - 1)},
		"d is off by two":     {"d": plus("d", 2)},
		"d is zero":           {"d": []byte{0}},
		"d is n":              {"d": k["n"]},
		"d plus φ(n)":         {"d": new(big.Int).Add(k["d"], p1q1)},
		"d is far too long":   {"d": new(big.Int).Lsh(k["d"], 512)},
		"dp is off":           {"dp": plus("dp", 1)},
		"dq is off":           {"dq": plus("dq", 1)},
		"dp and dq swapped":   {"dp": k["dq"], "dq": k["dp"]},
		"dp plus p-1":         {"dp": new(big.Int).Add(k["dp"], plus("p", -1))},
		"qi is off":           {"qi": plus("qi", 1)},
		"qi is zero":          {"qi": []byte{0}},
		"p is one":            {"p": big.NewInt(1), "q": k["n"]},
		"p is q":              {"q": k["p"]},
		"p is negative-like":  {"p": plus("p", 2)},
		"n of another key":    {"n": plus("n", 2)},
		"n is even":           {"n": plus("n", 1)},
		"n is short":          {"n": new(big.Int).Rsh(k["n"], 1)},
		"n has 1024 bits":     {"n": new(big.Int).Rsh(k["n"], 1024)},
		"n has 8192 bits":     {"n": new(big.Int).Lsh(k["n"], 6144)},
		"kty of another type": {"kty": "EC"},
		"kty OKP":             {"kty": "OKP"},
		"kty rsa":             {"kty": "rsa"},
		"kty AKP-HSM":         {"kty": "AKP-HSM"},
	} {
		_, err := parse(t, rsaJWK(k, changes)).PrivateKey()
		refused(t, name, err)
	}
	_, err := parse(t, rsaJWK(k, map[string]any{"d": new(big.Int).Add(k["d"], p1q1)})).PrivateKey()
	if err == nil || !strings.Contains(err.Error(), "below n") {
		t.Errorf("d plus φ(n): the message is %v", err)
	}
	_, err = parse(t, rsaJWK(composite(t, k), nil)).PrivateKey()
	refused(t, "p is composite", err)
	if err != nil && !strings.Contains(err.Error(), "prime") {
		t.Errorf("a composite p is refused for another reason: %v", err)
	}
}

// composite gives numbers that belong together like those of k, but whose p is not a prime.
func composite(t *testing.T, k map[string]*big.Int) map[string]*big.Int {
	t.Helper()
	one := big.NewInt(1)
	p, q, e := new(big.Int).Set(k["p"]), k["q"], k["e"]
	for range 1000 {
		p.Sub(p, big.NewInt(2))
		p1, q1 := new(big.Int).Sub(p, one), new(big.Int).Sub(q, one)
		d := new(big.Int).ModInverse(e, new(big.Int).Mul(p1, q1))
		qi := new(big.Int).ModInverse(q, p)
		if d != nil && qi != nil && !p.ProbablyPrime(4) {
			return map[string]*big.Int{"n": new(big.Int).Mul(p, q), "e": e, "d": d, "p": p, "q": q,
				"dp": new(big.Int).Mod(d, p1), "dq": new(big.Int).Mod(d, q1), "qi": qi}
		}
	}
	t.Fatal("there is no composite number near p")
	return nil
}

// refused checks that an import ended as invalid input, and that its message is whole.
func refused(t *testing.T, name string, err error) {
	t.Helper()
	if !fault.Is(err, fault.Invalid) {
		t.Errorf("%s: %v, want an invalid input", name, err)
		return
	}
	if m := fault.As(err).Message; len(m) < 20 || strings.Contains(m, "%!") || strings.Contains(m, "crypto/") {
		t.Errorf("%s: the message is %q", name, m)
	}
}

// Everything about this key is right, but Fermat factors it in one step.
func TestImportsOfClosePrimes(t *testing.T) {
	p := rsaMembers(t, specs[0])["p"]
	q := new(big.Int).Add(p, big.NewInt(2))
	for !q.ProbablyPrime(4) || new(big.Int).Mod(q, big.NewInt(65537)).Cmp(big.NewInt(1)) == 0 {
		q.Add(q, big.NewInt(2))
	}
	one := big.NewInt(1)
	n := new(big.Int).Mul(p, q)
	d := new(big.Int).ModInverse(big.NewInt(65537), new(big.Int).Mul(new(big.Int).Sub(p, one), new(big.Int).Sub(q, one)))
	members := map[string]*big.Int{"n": n, "e": big.NewInt(65537), "d": d, "p": p, "q": q, "dp": new(big.Int).Mod(d, new(big.Int).Sub(p, one)),
		"dq": new(big.Int).Mod(d, new(big.Int).Sub(q, one)), "qi": new(big.Int).ModInverse(q, p)}
	_, err := parse(t, rsaJWK(members, nil)).PrivateKey()
	refused(t, "close primes", err)
	if err != nil && !strings.Contains(err.Error(), "close") {
		t.Errorf("refused for another reason: %v", err)
	}
}

// ecMembers are the members of an EC key's JWK.
func ecMembers(t *testing.T, c cryptokey.Curve) map[string]any {
	t.Helper()
	k := key(t, cryptokey.Spec{Type: cryptokey.EC, Curve: c})
	encoded, err := k.AppendPrivate(nil)
	if err != nil {
		t.Fatal(err)
	}
	j := k.PublicJWK()
	return map[string]any{"kty": "EC", "crv": string(c), "x": []byte(j.X), "y": []byte(j.Y), "d": encoded[3:]}
}

func TestImportsOfEC(t *testing.T) {
	// SEC 2 and FIPS 186: the orders of the groups, and the primes of the fields.
	orders := map[cryptokey.Curve]string{
		cryptokey.P256:  "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551",
		cryptokey.P384:  "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973",
		cryptokey.P521:  "01fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffa51868783bf2f966b7fcc0148f709a5d03bb5c9b8899c47aebb6fb71e91386409",
		cryptokey.P256K: "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141",
	}
	others := map[cryptokey.Curve]cryptokey.Curve{cryptokey.P256: cryptokey.P256K, cryptokey.P256K: cryptokey.P256, cryptokey.P384: cryptokey.P521, cryptokey.P521: cryptokey.P384}
	for curve, order := range orders {
		good := ecMembers(t, curve)
		with := func(changes map[string]any) *cryptokey.JWK {
			m := maps.Clone(good)
			for name, v := range changes {
				if v == nil {
					delete(m, name)
				} else {
					m[name] = v
				}
			}
			return parse(t, m)
		}
		flip := func(name string) []byte {
			b := bytes.Clone(good[name].([]byte))
			b[len(b)-1] ^= 1
			return b
		}
		long := func(name string) []byte { return append([]byte{0}, good[name].([]byte)...) }
		for name, changes := range map[string]map[string]any{
			"as it is": {}, "an -HSM kty": {"kty": "EC-HSM"}, "sign bytes": {"x": long("x"), "y": long("y"), "d": long("d")},
		} {
			got, err := with(changes).PrivateKey()
			if err != nil || !got.Public.Equal(&key(t, cryptokey.Spec{Type: cryptokey.EC, Curve: curve}).Public) {
				t.Errorf("%s, %s: %v", curve, name, err)
			}
		}
		zero := make([]byte, len(good["x"].([]byte)))
		for name, changes := range map[string]map[string]any{
			"no x":              {"x": nil},
			"no y":              {"y": nil},
			"no d":              {"d": nil},
			"no crv":            {"crv": nil},
			"another curve":     {"crv": string(others[curve])},
			"an unknown curve":  {"crv": "P-224"},
			"a curve of OKP":    {"crv": "Ed25519"},
			"x off the curve":   {"x": flip("x")},
			"y off the curve":   {"y": flip("y")},
			"infinity":          {"x": zero, "y": zero},
			"x and y swapped":   {"x": good["y"], "y": good["x"]},
			"d of another key":  {"d": flip("d")},
			"d is zero":         {"d": zero},
			"d is the order":    {"d": unhex(t, order)},
			"d above the order": {"d": bytes.Repeat([]byte{0xff}, len(zero))},
			"d is far too long": {"d": bytes.Repeat([]byte{1}, len(zero)+1)},
			"x is far too long": {"x": bytes.Repeat([]byte{1}, len(zero)+1)},
			"x beyond p":        {"x": bytes.Repeat([]byte{0xff}, len(zero))},
		} {
			_, err := with(changes).PrivateKey()
			refused(t, fmt.Sprintf("%s, %s", curve, name), err)
		}
		// The point with y negated is on the curve, but it is that of another key.
		negated := negate(t, curve, good["y"].([]byte))
		if _, err := with(map[string]any{"y": negated}).PublicKey(); err != nil {
			t.Errorf("%s: the other point of the same x is not on the curve: %v", curve, err)
		}
		_, err := with(map[string]any{"y": negated}).PrivateKey()
		refused(t, string(curve)+", y negated", err)
	}
}

func negate(t *testing.T, c cryptokey.Curve, y []byte) []byte {
	t.Helper()
	primes := map[cryptokey.Curve]string{
		cryptokey.P256:  "ffffffff00000001000000000000000000000000ffffffffffffffffffffffff",
		cryptokey.P384:  "fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffeffffffff0000000000000000ffffffff",
		cryptokey.P521:  "01" + strings.Repeat("ff", 65),
		cryptokey.P256K: "fffffffffffffffffffffffffffffffffffffffffffffffffffffffefffffc2f",
	}
	p := new(big.Int).SetBytes(unhex(t, primes[c]))
	return p.Sub(p, new(big.Int).SetBytes(y)).FillBytes(make([]byte, len(y)))
}

func TestImportsOfOctAndAKP(t *testing.T) {
	for _, n := range []int{16, 24, 32} {
		for _, kty := range []string{"oct", "oct-HSM"} {
			k, err := parse(t, map[string]any{"kty": kty, "k": random(n)}).PrivateKey()
			if err != nil || k.Spec().Bits != n*8 {
				t.Errorf("%d bytes: %v", n, err)
			}
		}
	}
	for _, n := range []int{1, 8, 15, 17, 31, 33, 64, 512} {
		_, err := parse(t, map[string]any{"kty": "oct", "k": random(n)}).PrivateKey()
		refused(t, fmt.Sprintf("%d bytes of oct", n), err)
	}
	for _, set := range []cryptokey.ParameterSet{"ML-DSA-44", "ML-DSA-65", "ML-DSA-87", "ML-KEM-768", "ML-KEM-1024"} {
		k := key(t, cryptokey.Spec{Type: cryptokey.AKP, Set: set})
		encoded, err := k.AppendPrivate(nil)
		if err != nil {
			t.Fatal(err)
		}
		seed, pub := encoded[3:], []byte(k.PublicJWK().Pub)
		for name, members := range map[string]map[string]any{
			"short seed":   {"priv": seed[1:]},
			"long seed":    {"priv": append(bytes.Clone(seed), 0)},
			"another seed": {"priv": random(len(seed)), "pub": pub},
			"no seed":      {"pub": pub},
			"no alg":       {"priv": seed, "alg": ""},
			"unknown alg":  {"priv": seed, "alg": "ML-DSA-45"},
		} {
			if _, there := members["alg"]; !there {
				members["alg"] = string(set)
			}
			members["kty"] = "AKP"
			_, err := parse(t, members).PrivateKey()
			refused(t, string(set)+", "+name, err)
		}
		for name, wrong := range map[string][]byte{"short": pub[1:], "long": append(bytes.Clone(pub), 0), "empty": nil} {
			j := parse(t, map[string]any{"kty": "AKP", "alg": string(set), "pub": wrong})
			_, err := j.PublicKey()
			refused(t, string(set)+", a public key that is "+name, err)
		}
	}
	// FIPS 203, section 7.2: coefficients of an encapsulation key are below q.
	j := parse(t, map[string]any{"kty": "AKP", "alg": "ML-KEM-768", "pub": bytes.Repeat([]byte{0xff}, 1184)})
	_, err := j.PublicKey()
	refused(t, "coefficients beyond q", err)
}

func TestParseJWKIsStrictAboutBase64(t *testing.T) {
	for name, text := range map[string]string{
		"padding":          `{"kty":"oct","k":"AAAAAAAAAAAAAAAAAAAAAA=="}`,
		"standard letters": `{"kty":"oct","k":"+/AAAAAAAAAAAAAAAAAAAA"}`,
		"trailing bits":    `{"kty":"oct","k":"AAAAAAAAAAAAAAAAAAAAAB"}`,
		"a line break":     `{"kty":"oct","k":"AAAAAAAAAAA\nAAAAAAAAAAA"}`,
		"a blank":          `{"kty":"oct","k":"AAAAAAAAAAA AAAAAAAAAAA"}`,
		"hex and more":     `{"kty":"oct","k":"!"}`,
		"a number":         `{"kty":"oct","k":7}`,
		"a list":           `[]`,
		"two values":       `{"kty":"oct"} {}`,
		"nothing":          ``,
		"too long":         `{"kty":"RSA","n":"` + strings.Repeat("A", 6000) + `"}`,
		"ops not a list":   `{"kty":"RSA","key_ops":"sign"}`,
	} {
		_, err := cryptokey.ParseJWK([]byte(text))
		refused(t, name, err)
	}
}

func TestJWKDoesNotLeak(t *testing.T) {
	j := parse(t, rsaJWK(rsaMembers(t, specs[0]), nil))
	secret := j.D.Reveal()
	text, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	printed := fmt.Sprintf("%v %+v %#v %s", *j, *j, *j, text)
	again := map[string]string{}
	if err := json.Unmarshal(text, &again); err != nil {
		t.Fatal(err)
	}
	if again["d"] != "[redacted]" || again["n"] == "" {
		t.Errorf("a JWK encodes as %.200s", text)
	}
	for _, form := range []string{fmt.Sprintf("%d", secret[:4]), fmt.Sprintf("%x", secret[:4])} {
		if strings.Contains(printed, strings.Trim(form, "[]")) {
			t.Error("a JWK prints its private members")
		}
	}
	j.Zero()
	if !bytes.Equal(secret, make([]byte, len(secret))) {
		t.Error("Zero leaves the private members")
	}
}

func TestPublicJWKGoesThereAndBack(t *testing.T) {
	for _, spec := range specs {
		k := key(t, spec)
		j := k.PublicJWK()
		if j.HasPrivate() {
			t.Errorf("%s: private members", spec)
		}
		text, err := json.Marshal(j)
		if err != nil {
			t.Fatal(err)
		}
		again, err := cryptokey.ParseJWK(text)
		if err != nil {
			t.Fatal(err)
		}
		pub, err := again.PublicKey()
		if spec.Type == cryptokey.Oct {
			if string(text) != `{"kty":"oct"}` {
				t.Errorf("an oct key shows as %s", text)
			}
			refused(t, "the public half of oct", err)
			continue
		}
		if err != nil || !pub.Equal(&k.Public) || pub.Spec() != spec {
			t.Errorf("%s: %v", spec, err)
		}
		if _, err := again.PrivateKey(); err == nil {
			t.Errorf("%s: a public key was imported as a private one", spec)
		}
		der, err := pub.SPKI()
		if err != nil {
			t.Fatalf("%s: %v", spec, err)
		}
		if back, err := cryptokey.ParseSPKI(der); err != nil || !back.Equal(pub) {
			t.Errorf("%s: %v", spec, err)
		}
		first, err1 := pub.Thumbprint()
		second, err2 := k.Thumbprint()
		if err1 != nil || err2 != nil || !bytes.Equal(first, second) || len(first) != 32 {
			t.Errorf("%s: thumbprints %x and %x, %v, %v", spec, first, second, err1, err2)
		}
	}
}
