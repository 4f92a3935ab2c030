package acme

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

// Whatever an account signs, the answer is one of the protocol, and never the server's failure.
func FuzzPayload(f *testing.F) {
	w := newWorld(f, func(c *settings) {
		c.Limits = Limits{Accounts: 1 << 30, Orders: 1 << 30, Failures: 1 << 30}
		c.Validator = &Validator{Resolver: &network{txt: map[string][]string{}}} // which connects to nobody: every name is this machine
	})
	key := newKey(f)
	host, _, _ := strings.Cut(strings.TrimPrefix(w.url, "https://"), "/")
	send := func(path, body string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodPost, strings.TrimPrefix(w.url, "https://"+host)+path, strings.NewReader(body))
		r.Header.Set("Content-Type", jose0)
		answer := httptest.NewRecorder()
		w.server.ServeHTTP(answer, r)
		return answer
	}
	nonce := send(pathNewAccount, "").Header().Get("Replay-Nonce")
	post := func(t testing.TB, path, payload string, kid string) *httptest.ResponseRecorder {
		o := (&jose.SignerOptions{EmbedJWK: kid == ""}).WithHeader("url", w.url+path).WithHeader("nonce", nonce)
		if kid != "" {
			o = o.WithHeader("kid", kid)
		}
		answer := send(path, sign(t, jose.ES256, key, o, payload))
		nonce = answer.Header().Get("Replay-Nonce")
		return answer
	}
	kid := post(f, pathNewAccount, "{}", "").Header().Get("Location")
	if kid == "" {
		f.Fatal("no account")
	}
	order := post(f, pathNewOrder, `{"identifiers":[{"type":"dns","value":"a.trusted.test"}]}`, kid).Header().Get("Location")
	order = order[strings.LastIndex(order, "/")+1:]
	paths := []string{pathNewAccount, pathNewOrder, pathKeyChange, pathRevoke, pathFinalize + order, pathOrder + order, pathCertificate + order, strings.TrimPrefix(kid, w.url)}
	for n, seed := range []string{`{"contact":["mailto:a@b"],"externalAccountBinding":{"protected":"e30","payload":"","signature":"AAAA"}}`, `{"identifiers":[{"type":"dns","value":"*.a.test"}],"replaces":"AAAA.AQID"}`,
		`{"protected":"e30","payload":"","signature":"AAAA"}`, `{"certificate":"MIIB","reason":4}`, `{"csr":"MIIB"}`, "", "", `{"contact":[]}`} {
		f.Add(n, seed)
	}
	f.Fuzz(func(t *testing.T, n int, payload string) {
		path := paths[uint(n)%uint(len(paths))]
		if strings.Contains(payload, "deactivated") {
			t.Skip("closes the account")
		}
		signer := kid
		if path == pathNewAccount {
			signer = ""
		}
		if a := post(t, path, payload, signer); a.Code >= 500 || a.Header().Get("Replay-Nonce") == "" {
			t.Errorf("%s %q: %d %s", path, payload, a.Code, a.Body)
		}
	})
}
