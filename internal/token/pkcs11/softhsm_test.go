//go:build pkcs11

package pkcs11_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/keywright/keywright/internal/cryptokey"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/token/pkcs11"
)

const (
	label = "keywright test"
	pin   = "271828"
)

// module is SoftHSM's library, or empty when it is not installed.
var module string

// TestMain makes a token in a directory of its own. SoftHSM reads its configuration once in a process, so all tests share it.
func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (int, error) {
	for _, pattern := range []string{"/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/*/softhsm/libsofthsm2.so", "/usr/local/lib/softhsm/libsofthsm2.so"} {
		if found, _ := filepath.Glob(pattern); len(found) > 0 {
			module = found[0]
		}
	}
	if _, err := exec.LookPath("softhsm2-util"); err != nil || module == "" {
		module = ""
		return m.Run(), nil
	}
	dir, err := os.MkdirTemp("", "softhsm")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	conf := filepath.Join(dir, "softhsm2.conf")
	if err := os.Mkdir(filepath.Join(dir, "tokens"), 0o700); err != nil {
		return 0, err
	}
	if err := os.WriteFile(conf, []byte("directories.tokendir = "+dir+"/tokens\nlog.level = ERROR\n"), 0o600); err != nil {
		return 0, err
	}
	if err := os.Setenv("SOFTHSM2_CONF", conf); err != nil {
		return 0, err
	}
	if out, err := exec.Command("softhsm2-util", "--init-token", "--free", "--label", label, "--pin", pin, "--so-pin", "31415926").CombinedOutput(); err != nil {
		return 0, fmt.Errorf("making a token: %w\n%s", err, out)
	}
	return m.Run(), nil
}

func open(t *testing.T) *pkcs11.Token {
	t.Helper()
	if module == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("SoftHSM is not installed: scripts/deps installs it")
		}
		t.Skip("SKIPPED: no PKCS#11 token was used, because SoftHSM is not installed; scripts/deps installs it")
	}
	token, err := pkcs11.Open(pkcs11.Config{Module: module, Token: label, PIN: pin, Sessions: 3})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := token.Close(); err != nil {
			t.Error(err)
		}
	})
	return token
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

var specs = []cryptokey.Spec{
	{Type: cryptokey.RSA, Bits: 2048}, {Type: cryptokey.EC, Curve: cryptokey.P256}, {Type: cryptokey.EC, Curve: cryptokey.P384},
	{Type: cryptokey.EC, Curve: cryptokey.P521}, {Type: cryptokey.EC, Curve: cryptokey.P256K}, {Type: cryptokey.Oct, Bits: 128}, {Type: cryptokey.Oct, Bits: 256},
}

// lacks are the algorithms that SoftHSM 2.6 does not have: it pads OAEP with SHA-1 alone, and takes no AES key for HMAC.
var lacks = []cryptokey.Algorithm{cryptokey.RSAOAEP256, cryptokey.HS256, cryptokey.HS384, cryptokey.HS512}

func digestFor(alg cryptokey.Algorithm) []byte {
	switch alg {
	case cryptokey.RS384, cryptokey.PS384, cryptokey.ES384:
		return random(48)
	case cryptokey.RS512, cryptokey.PS512, cryptokey.ES512:
		return random(64)
	}
	return random(32)
}

func inputFor(alg cryptokey.Algorithm) cryptokey.Input {
	in := cryptokey.Input{Value: random(32)}
	switch {
	case strings.HasSuffix(string(alg), "GCM"):
		in.AAD = random(7)
	case strings.HasPrefix(string(alg), "A") && strings.Contains(string(alg), "CBC"):
		in.IV = random(16)
	}
	return in
}

func TestKeysWorkInTheToken(t *testing.T) {
	token := open(t)
	for _, spec := range specs {
		t.Run(spec.String(), func(t *testing.T) {
			id := random(16)
			made, err := token.Generate(spec, id)
			if err != nil {
				t.Fatal(err)
			}
			k, err := token.Find(id)
			if err != nil {
				t.Fatal(err)
			}
			if spec.Type != cryptokey.Oct && !k.Public.Equal(&made.Public) {
				t.Error("another key was found")
			}
			if _, err := token.Generate(spec, id); !fault.Is(err, fault.Conflict) {
				t.Errorf("a second key with the id: %v", err)
			}
			signs(t, k)
			conceals(t, k, cryptokey.Encrypt)
			conceals(t, k, cryptokey.WrapKey)
			if _, err := k.AppendPrivate(nil); k.Exportable() || !fault.Is(err, fault.Unsupported) {
				t.Errorf("the private half leaves the token: %v", err)
			}
			if err := token.Destroy(id); err != nil {
				t.Error(err)
			}
			if _, err := token.Find(id); !fault.Is(err, fault.NotFound) {
				t.Errorf("a destroyed key: %v", err)
			}
			if err := token.Destroy(id); !fault.Is(err, fault.NotFound) {
				t.Errorf("destroying it again: %v", err)
			}
			value := random(32)
			if _, err := k.Sign(spec.Algorithms(cryptokey.Sign)[0], value); err == nil {
				t.Error("a destroyed key signs")
			}
		})
	}
}

func signs(t *testing.T, k *cryptokey.Key) {
	t.Helper()
	for _, alg := range k.Spec().Algorithms(cryptokey.Sign) {
		value := digestFor(alg)
		signature, err := k.Sign(alg, value)
		if slices.Contains(lacks, alg) {
			if !fault.Is(err, fault.Unsupported) {
				t.Errorf("%s: %v", alg, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", alg, err)
			continue
		}
		// Verified outside the token, by the engine.
		if ok, err := k.Verify(alg, value, signature); !ok || err != nil {
			t.Errorf("%s: its signature is not valid: %v", alg, err)
		}
		signature[len(signature)/2] ^= 1
		if ok, err := k.Verify(alg, value, signature); ok || err != nil {
			t.Errorf("%s: a changed signature: %v, %v", alg, ok, err)
		}
	}
}

func conceals(t *testing.T, k *cryptokey.Key, op cryptokey.Op) {
	t.Helper()
	conceal, reveal := k.Encrypt, k.Decrypt
	if op == cryptokey.WrapKey {
		conceal, reveal = k.WrapKey, k.UnwrapKey
	}
	for _, alg := range k.Spec().Algorithms(op) {
		in := inputFor(alg)
		out, err := conceal(alg, in)
		if err != nil {
			t.Errorf("%s: %v", alg, err)
			continue
		}
		sealed := cryptokey.Input{Value: out.Value, IV: out.IV, AAD: out.AAD, Tag: out.Tag}
		plain, err := reveal(alg, sealed)
		if slices.Contains(lacks, alg) {
			if !fault.Is(err, fault.Unsupported) {
				t.Errorf("%s: %v", alg, err)
			}
			continue
		}
		if err != nil || !bytes.Equal(plain, in.Value) {
			t.Errorf("%s: came back as %d bytes, %v", alg, len(plain), err)
		}
		if strings.Contains(string(alg), "CBC") || alg == cryptokey.RSA15 {
			continue // they can decrypt to something else
		}
		sealed.Value = bytes.Clone(sealed.Value)
		sealed.Value[0] ^= 0x40
		if plain, err := reveal(alg, sealed); err != cryptokey.ErrDecrypt || plain != nil {
			t.Errorf("%s: a changed value: %d bytes, %v", alg, len(plain), err)
		}
	}
}

// The token and the engine are two implementations of the same key, if the key is known to both.
func TestWrapsAreThoseOfTheEngine(t *testing.T) {
	token := open(t)
	id := random(16)
	kek, err := token.Generate(cryptokey.Spec{Type: cryptokey.Oct, Bits: 256}, id)
	if err != nil {
		t.Fatal(err)
	}
	// SoftHSM's padding loses the length. Whatever a token does, a key never comes back longer than it was.
	for n := 1; n < 40; n++ {
		value := random(n)
		wrapped, err := kek.WrapKey(cryptokey.CKMAESKeyWrapPad, cryptokey.Input{Value: value})
		if err != nil {
			if n%8 == 0 || !fault.Is(err, fault.Unsupported) {
				t.Errorf("%d bytes: %v", n, err)
			}
			continue
		}
		if got, err := kek.UnwrapKey(cryptokey.CKMAESKeyWrapPad, cryptokey.Input{Value: wrapped.Value}); err != nil || !bytes.Equal(got, value) {
			t.Errorf("%d bytes came back as %d: %v", n, len(got), err)
		}
	}
	// A key that the token wrapped for an RSA key of the engine would be the way out; there is none. So the engine's key is
	// wrapped by the token, and what comes back is used in the engine.
	secret := random(32)
	wrapped, err := kek.WrapKey(cryptokey.A256KW, cryptokey.Input{Value: secret})
	if err != nil || len(wrapped.Value) != len(secret)+8 {
		t.Fatalf("%d bytes, %v", len(wrapped.Value), err)
	}
	for _, alg := range []cryptokey.Algorithm{cryptokey.A256KW, cryptokey.CKMAESKeyWrap} {
		if got, err := kek.UnwrapKey(alg, cryptokey.Input{Value: wrapped.Value}); err != nil || !bytes.Equal(got, secret) {
			t.Errorf("%s: %v", alg, err)
		}
	}
}

func TestAKeyStaysWhenTheTokenIsClosed(t *testing.T) {
	id := random(16)
	first := open(t)
	k, err := first.Generate(specs[1], id)
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Sign(cryptokey.ES256, random(32)); !fault.Is(err, fault.Unavailable) {
		t.Errorf("a key of a closed token: %v", err)
	}
	again, err := open(t).Find(id)
	if err != nil {
		t.Fatal(err)
	}
	digest := random(32)
	signature, err := again.Sign(cryptokey.ES256, digest)
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := k.Verify(cryptokey.ES256, digest, signature); !ok || err != nil {
		t.Errorf("another key came back: %v, %v", ok, err)
	}
}

func TestManyUseTheToken(t *testing.T) {
	token := open(t) // three sessions
	k, err := token.Generate(specs[1], random(16))
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() {
			for range 5 {
				digest := random(32)
				signature, err := k.Sign(cryptokey.ES256, digest)
				if err != nil {
					t.Error(err)
					return
				}
				if ok, err := k.Verify(cryptokey.ES256, digest, signature); !ok || err != nil {
					t.Errorf("%v, %v", ok, err)
				}
			}
		})
	}
	all.Wait()
}

func TestWhatATokenRefuses(t *testing.T) {
	token := open(t)
	if info := token.Info(); info.Label != label || !strings.Contains(info.Manufacturer, "SoftHSM") || info.Serial == "" {
		t.Errorf("%+v", info)
	}
	for name, c := range map[string]struct {
		config pkcs11.Config
		kind   fault.Kind
	}{
		"no module":          {pkcs11.Config{Token: label}, fault.Invalid},
		"no label":           {pkcs11.Config{Module: module}, fault.Invalid},
		"sessions below one": {pkcs11.Config{Module: module, Token: label, Sessions: -1}, fault.Invalid},
		"another module":     {pkcs11.Config{Module: "/nowhere.so", Token: label}, fault.Unavailable},
		"another token":      {pkcs11.Config{Module: module, Token: "nobody's", PIN: pin}, fault.Unavailable},
	} {
		got, err := pkcs11.Open(c.config)
		if got != nil || !fault.Is(err, c.kind) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, id := range [][]byte{nil, random(65)} {
		if _, err := token.Generate(specs[1], id); !fault.Is(err, fault.Invalid) {
			t.Errorf("an id of %d bytes: %v", len(id), err)
		}
	}
	if _, err := token.Generate(cryptokey.Spec{Type: cryptokey.AKP, Set: cryptokey.SetMLDSA44}, random(4)); !fault.Is(err, fault.Unsupported) {
		t.Errorf("ML-DSA: %v", err)
	}
	if _, err := token.Find(random(16)); !fault.Is(err, fault.NotFound) {
		t.Errorf("an unknown id: %v", err)
	}
}

// A PIN that is wrong is refused before anything else, and shows up nowhere. The token must not be open already: a login is the process's.
func TestAWrongPIN(t *testing.T) {
	if module == "" {
		open(t)
	}
	const wrong = redact.String("000000-wrong")
	got, err := pkcs11.Open(pkcs11.Config{Module: module, Token: label, PIN: wrong})
	if got != nil || !fault.Is(err, fault.Forbidden) {
		t.Errorf("%v, %v", got, err)
	}
	for e := err; e != nil; e = errors.Unwrap(e) {
		if strings.Contains(fmt.Sprintf("%v %+v", e, e), wrong.Reveal()) {
			t.Error("the PIN is in the error")
		}
	}
	open(t) // and it was not locked by that
}

// A key that was put into the token from outside, and may leave it, is not passed off as one that hardware protects.
func TestAKeyThatCouldLeaveIsNotUsed(t *testing.T) {
	token := open(t)
	tool, err := exec.LookPath("pkcs11-tool")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("pkcs11-tool is not installed: scripts/deps installs opensc")
		}
		t.Skip("SKIPPED: pkcs11-tool is not installed; scripts/deps installs opensc")
	}
	if err := token.Close(); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(tool, "--module", module, "--token-label", label, "--login", "--pin", pin, "--keypairgen", "--key-type", "EC:prime256v1",
		"--id", "0badbeef", "--extractable").CombinedOutput()
	if err != nil {
		t.Fatalf("pkcs11-tool: %v\n%s", err, out)
	}
	if _, err := open(t).Find([]byte{0x0b, 0xad, 0xbe, 0xef}); !fault.Is(err, fault.Invalid) {
		t.Errorf("%v", err)
	}
}
