package postgres

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/rotator"
)

// The exchange of RFC 7677 section 3 (user "user", password "pencil") has this salt; its server signature proves the ServerKey and its client proof
// the StoredKey, from which these two were computed.
func TestVerifierOfTheRFC(t *testing.T) {
	salt, err := base64.StdEncoding.DecodeString("W22ZaJ0SNY7soEsUEjb6gQ==")
	if err != nil {
		t.Fatal(err)
	}
	v, err := saltedVerifier(redact.Bytes("pencil"), salt)
	if err != nil {
		t.Fatal(err)
	}
	const want = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
	if string(v) != want {
		t.Errorf("got  %s\nwant %s", v, want)
	}
	if err := v.check(); err != nil {
		t.Error(err)
	}
}

func TestVerifiersHaveTheirOwnSalt(t *testing.T) {
	a, err := newVerifier(redact.Bytes("one value"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := newVerifier(redact.Bytes("one value"))
	if err != nil || a == b || strings.Contains(string(a), "one value") {
		t.Errorf("two verifiers of one value: %s, %s, %v", a, b, err)
	}
}

func TestMalformedVerifiersAreNotSent(t *testing.T) {
	good, err := newVerifier(redact.Bytes("x"))
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{
		"", "x", string(good) + "=", string(good[1:]), strings.Replace(string(good), "256", "512", 1), strings.Replace(string(good), "4096", "1", 1),
		strings.Replace(string(good), ":", "'", 1), strings.Replace(string(good), "=$", "$", 1), string(good) + "\n",
	} {
		if err := verifier(bad).check(); rotator.ClassOf(err) != rotator.Misconfigured {
			t.Errorf("%q: %v, want a refusal", bad, err)
		}
	}
}

func TestValuesThatClientsPrepareDifferently(t *testing.T) {
	for _, bad := range []string{"", "pässword", "tab\t", "zero\x00", "\x7f", "soft\u00adhyphen"} {
		if _, err := newVerifier(redact.Bytes(bad)); rotator.ClassOf(err) != rotator.Refused {
			t.Errorf("%q: %v, want a refusal", bad, err)
		}
	}
	if _, err := newVerifier(redact.Bytes(" ~!'\\\"")); err != nil {
		t.Error(err)
	}
}
