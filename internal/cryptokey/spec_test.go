package cryptokey_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/keywright/keywright/internal/cryptokey"
	"github.com/keywright/keywright/internal/fault"
)

func TestSpecs(t *testing.T) {
	for _, c := range []struct {
		in, want cryptokey.Spec
		text     string
	}{
		{cryptokey.Spec{Type: "RSA"}, cryptokey.Spec{Type: "RSA", Bits: 2048, Exponent: 65537}, "RSA 2048"},
		{cryptokey.Spec{Type: "RSA", Bits: 3072, Exponent: 3}, cryptokey.Spec{Type: "RSA", Bits: 3072, Exponent: 3}, "RSA 3072"},
		{cryptokey.Spec{Type: "RSA", Bits: 4096, Exponent: 1<<31 - 1}, cryptokey.Spec{Type: "RSA", Bits: 4096, Exponent: 1<<31 - 1}, "RSA 4096"},
		{cryptokey.Spec{Type: "EC"}, cryptokey.Spec{Type: "EC", Curve: "P-256"}, "EC P-256"},
		{cryptokey.Spec{Type: "EC", Curve: "P-521", Bits: 521}, cryptokey.Spec{Type: "EC", Curve: "P-521"}, "EC P-521"},
		{cryptokey.Spec{Type: "EC", Curve: "P-256K", Bits: 256}, cryptokey.Spec{Type: "EC", Curve: "P-256K"}, "EC P-256K"},
		{cryptokey.Spec{Type: "oct"}, cryptokey.Spec{Type: "oct", Bits: 256}, "oct 256"},
		{cryptokey.Spec{Type: "oct", Bits: 192}, cryptokey.Spec{Type: "oct", Bits: 192}, "oct 192"},
		{cryptokey.Spec{Type: "AKP", Set: "ML-KEM-1024"}, cryptokey.Spec{Type: "AKP", Set: "ML-KEM-1024"}, "AKP ML-KEM-1024"},
	} {
		got, err := c.in.Complete()
		if err != nil || got != c.want || got.String() != c.text {
			t.Errorf("%+v became %+v (%s), %v", c.in, got, got, err)
		}
	}
	for _, wrong := range []cryptokey.Spec{
		{}, {Type: "OKP"}, {Type: "RSA-HSM"}, {Type: "RSA", Bits: 1024}, {Type: "RSA", Bits: 2049}, {Type: "RSA", Bits: 8192}, {Type: "RSA", Bits: -1},
		{Type: "RSA", Exponent: 1}, {Type: "RSA", Exponent: 4}, {Type: "RSA", Exponent: -3}, {Type: "RSA", Exponent: 1<<31 + 1}, {Type: "RSA", Curve: "P-256"},
		{Type: "RSA", Set: "ML-DSA-44"}, {Type: "EC", Curve: "P-224"}, {Type: "EC", Curve: "secp256k1"}, {Type: "EC", Bits: 384}, {Type: "EC", Exponent: 3},
		{Type: "oct", Bits: 64}, {Type: "oct", Bits: 512}, {Type: "oct", Curve: "P-256"}, {Type: "AKP"}, {Type: "AKP", Set: "ML-DSA-44", Bits: 44}, {Type: "AKP", Set: "SLH-DSA"},
	} {
		_, err := wrong.Complete()
		refused(t, wrong.String(), err)
		_, err = cryptokey.Generate(wrong)
		refused(t, wrong.String(), err)
	}
}

func TestParseType(t *testing.T) {
	for word, want := range map[string]struct {
		t   cryptokey.Type
		hsm bool
	}{"RSA": {"RSA", false}, "RSA-HSM": {"RSA", true}, "EC": {"EC", false}, "EC-HSM": {"EC", true}, "oct": {"oct", false}, "oct-HSM": {"oct", true}, "AKP": {"AKP", false}} {
		got, hsm, err := cryptokey.ParseType(word)
		if err != nil || got != want.t || hsm != want.hsm || got.Kty(hsm) != word {
			t.Errorf("%s is read as %s, %v, %v", word, got, hsm, err)
		}
	}
	for _, word := range []string{"", "-HSM", "rsa", "ec", "Oct", "OKP", "RSA-HSM-HSM", "AKP-HSM", "RSA ", strings.Repeat("x", 1000)} {
		got, hsm, err := cryptokey.ParseType(word)
		refused(t, word, err)
		if got != "" || hsm {
			t.Errorf("%q: on an error the rest is %q, %v", word, got, hsm)
		}
	}
}

func TestOps(t *testing.T) {
	// Azure's defaults: all six for RSA, sign and verify for EC, the other four for oct.
	for _, c := range []struct {
		spec cryptokey.Spec
		want string
	}{
		{specs[0], "encrypt decrypt sign verify wrapKey unwrapKey"}, {specs[2], "sign verify"}, {specs[6], "encrypt decrypt wrapKey unwrapKey"},
		{cryptokey.Spec{Type: "AKP", Set: "ML-DSA-87"}, "sign verify"}, {cryptokey.Spec{Type: "AKP", Set: "ML-KEM-768"}, "encrypt decrypt wrapKey unwrapKey"},
	} {
		if got := strings.Join(c.spec.DefaultOps().Words(), " "); got != c.want {
			t.Errorf("%s: %s", c.spec, got)
		}
		for _, op := range c.spec.DefaultOps() {
			if len(c.spec.Algorithms(op)) == 0 {
				t.Errorf("%s: no algorithm for %s", c.spec, op)
			}
		}
	}
	words := []string{"verify", "sign", "export", "import", "unwrapKey"}
	ops, err := cryptokey.ParseOps(words)
	if err != nil || !slices.Equal(ops.Words(), words) {
		t.Errorf("%v, %v: the order is the owner's", ops, err)
	}
	if err := ops.Require(cryptokey.Sign); err != nil {
		t.Error(err)
	}
	err = ops.Require(cryptokey.Decrypt)
	if !fault.Is(err, fault.Forbidden) || fault.As(err).Reason != "KeyOperationForbidden" {
		t.Errorf("%v", err)
	}
	if none, err := cryptokey.ParseOps(nil); err != nil || len(none) != 0 {
		t.Errorf("%v, %v", none, err)
	}
	for _, wrong := range [][]string{{"Sign"}, {"wrapkey"}, {"sign", "sign"}, {"deriveKey"}, {""}} {
		_, err := cryptokey.ParseOps(wrong)
		refused(t, strings.Join(wrong, ","), err)
	}
}
