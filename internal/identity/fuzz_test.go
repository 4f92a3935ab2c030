package identity

import (
	"strings"
	"testing"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/redact"
)

func FuzzAssertion(f *testing.F) {
	f.Add("eyJhbGciOiJFUzI1NiIsIng1dCI6ImFiYz0ifQ.eyJleHAiOjE3MDAwMDAwMDAuNX0.AAAA")
	f.Add("a.b.c")
	f.Fuzz(func(t *testing.T, text string) {
		a, err := parseAssertion(text)
		if err != nil {
			if a != nil || !fault.Is(err, fault.Unauthenticated) {
				t.Errorf("got %v, %v", a, err)
			}
			return
		}
		if a.text != strings.TrimSpace(text) || a.header.Algorithm == "none" || strings.HasPrefix(a.header.Algorithm, "HS") {
			t.Errorf("parsed %q with the algorithm %q", a.text, a.header.Algorithm)
		}
	})
}

func FuzzRefreshToken(f *testing.F) {
	f.Add(strings.Repeat("A", 64))
	f.Fuzz(func(t *testing.T, text string) {
		id, secret, err := parseRefresh(redact.String(text))
		if err != nil && (id != "" || secret != nil) || err == nil && (len(id) != 2*familyBytes || len(secret) != secretBytes) {
			t.Errorf("got %q, %d bytes, %v", id, len(secret), err)
		}
	})
}

func FuzzEndpointSecret(f *testing.F) {
	f.Add(strings.Repeat("A", 86))
	f.Fuzz(func(t *testing.T, text string) {
		tenant, id, err := parseEndpointSecret(redact.String(text))
		if (err == nil) != (tenant != "" && id != "") {
			t.Errorf("got %q, %q, %v", tenant, id, err)
		}
	})
}

func FuzzPasswordDigest(f *testing.F) {
	f.Add(string(formatPassword(make([]byte, argonSalt), make([]byte, argonSum))))
	f.Fuzz(func(t *testing.T, text string) {
		salt, sum, ok := parsePassword([]byte(text))
		if !ok {
			return
		}
		salt2, sum2, ok := parsePassword(formatPassword(salt, sum))
		if !ok || string(salt2) != string(salt) || string(sum2) != string(sum) {
			t.Errorf("%q does not come back", text)
		}
	})
}

func FuzzCertificate(f *testing.F) {
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if cert, err := parseCertificate(text); (cert == nil) == (err == nil) {
			t.Errorf("got %v, %v", cert, err)
		}
	})
}

func FuzzKeySet(f *testing.F) {
	f.Add([]byte(`{"keys":[{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if set, err := parseKeySet(text); err != nil && len(set.Keys) > 0 || err == nil && len(set.Keys) == 0 {
			t.Errorf("got %v, %v", set, err)
		}
	})
}

func FuzzResource(f *testing.F) {
	f.Add("https://vault.azure.net/")
	f.Fuzz(func(t *testing.T, text string) {
		if checkResource(text) == nil && (text == "" || strings.ContainsAny(text, "\r\n\" ")) {
			t.Errorf("%q is taken", text)
		}
		NewAudiences(text).Accepts(text)
	})
}
