package server

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/door"
)

// garbler makes malformed requests, the same ones for the same seed.
type garbler struct {
	*rand.Rand
	x *target
}

func (g *garbler) pick(list ...string) string { return list[g.IntN(len(list))] }

// word is something that is no good name.
func (g *garbler) word() string {
	switch g.IntN(6) {
	case 0:
		b := make([]byte, 1+g.IntN(40))
		for i := range b {
			b[i] = byte(g.IntN(256))
		}
		return string(b)
	case 1:
		return strings.Repeat(g.pick("a", "é", "%", "/", ".", "\x00"), 1+g.IntN(300))
	default:
		return g.pick("..", ".", "a b", "a_b", "$batch", "*", "';DROP TABLE versions;--", "\u202e", "\ud7ff", "%2e%2e", "a\r\nX: y", "null", "-1",
			strings.Repeat("0", 31)+"g", strings.Repeat("x", 128), "<script>", "${jndi:x}", "\\", "\"")
	}
}

// body is no body that any endpoint takes: it is no JSON, or JSON of a wrong shape, or too much of it.
func (g *garbler) body() string {
	deep, long := 1+g.IntN(400), 25_601+g.IntN(5000)
	if g.IntN(20) == 0 {
		deep, long = 20_000, 300_000
	}
	switch g.IntN(10) {
	case 0, 9:
		return g.pick("", " ", "{", "}", "[", "nul", "tru", "\"", "{\"value\":", "{\"value\":\"\\u12\"}", "{'value':'x'}", "{\"value\":\"x\",}", "//", "<xml/>", "a=b", "\x00",
			"\ufeff{}", "{}{}", "{\"value\":\"x\"} x")
	case 1:
		return strings.Repeat(g.pick("[", "{\"value\":", "{\"attributes\":", "{\"tags\":{\"a\":"), deep)
	case 2:
		return `{"value":"` + g.pick("\xff", "\xc3\x28", "\xed\xa0\x80", "\xf5") + `"}`
	case 3:
		return `{"value":"x","attributes":{"` + g.pick("nbf", "exp") + `":` + g.pick("1e999", "-1", "99999999999999999999999", "1.5", "\"1\"", "true", "[]", "253402300800",
			strings.Repeat("9", 5000), "-0.0001") + `}}`
	case 4:
		return `{"value":` + g.pick("1", "true", "{}", "[]", "[\"x\"]", "null") + `}`
	case 5:
		return `{"value":"x","tags":` + g.pick("1", "\"x\"", "[]", "{\"a\":1}", "{\"\":\"x\"}", `{"a":"`+strings.Repeat("x", 600)+`"}`, "{\"a\":{}}") + `}`
	case 6:
		return `{"value":"` + strings.Repeat("x", long) + `"}`
	case 7:
		return `{"value":"x","contentType":` + g.pick("1", "{}", `"`+strings.Repeat("x", 256)+`"`) + `}`
	default:
		b := make([]byte, g.IntN(200))
		for i := range b {
			b[i] = byte(g.IntN(256))
		}
		return "\x01" + string(b)
	}
}

// escapeBadly writes a path segment that net/http still reads.
func (g *garbler) segment() string { return url.PathEscape(g.word()) }

// path is a path of the door's own with something wrong in it, or one that the door does not have.
func (g *garbler) path(r door.Route, values map[string]string) string {
	path := parameters.ReplaceAllStringFunc(r.Pattern, func(p string) string {
		if name := strings.TrimRight(p[1:len(p)-1], "?*"); values[name] != "" && g.IntN(2) > 0 {
			return values[name]
		}
		return g.segment()
	})
	switch g.IntN(8) {
	case 0:
		return path + "/" + g.segment() + "/" + g.segment()
	case 1:
		return "/" + g.segment()
	case 2:
		return strings.ReplaceAll(path, "/", g.pick("//", "/./", "/../", "/%2F"))
	}
	return path
}

func (g *garbler) query() string {
	good := g.pick("api-version=7.6", "api-version=2025-07-01", "api%2Dversion=7.4", "api-version=2022-07-01")
	bad := g.pick("", "api-version=", "api-version=9.9", "api-version=%zz", "maxresults=0", "maxresults=26", "maxresults=-1", "maxresults=x", "maxresults="+strings.Repeat("9", 400),
		"$skiptoken=!", "$skiptoken=AAAA", "%24skiptoken="+url.QueryEscape(g.word()), "limit=0", "limit=99999999999", "after=%ff", "$filter="+url.QueryEscape(g.word()),
		"$filter=((((((((", "label="+url.QueryEscape(g.word()), "version="+url.QueryEscape(g.word()), strings.Repeat("a=b&", 500), "&&&===&;;;", "scope="+url.QueryEscape(g.word()))
	if g.IntN(3) == 0 {
		return bad
	}
	return good + "&" + bad
}

// request is one malformed request to a door. What it leaves good by chance, it spoils at the end.
func (g *garbler) request(at front, r door.Route, token string) *http.Request {
	values := g.x.existing()
	method := r.Method
	if g.IntN(5) == 0 {
		method = g.pick("GET", "PUT", "POST", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW", "M-SEARCH")
	}
	u, err := url.Parse(at.base + g.path(r, values) + "?" + g.query())
	if err != nil {
		u, _ = url.Parse(at.base + "/%20?" + "api-version=7.6")
	}
	req := &http.Request{Method: method, URL: u, Host: u.Host, Header: http.Header{}, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}
	body := g.body()
	req.Body, req.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
	if g.IntN(4) == 0 {
		req.ContentLength = -1 // chunked
	}
	req.Header.Set("Content-Type", g.pick("application/json", "text/plain", "", "application/json; charset=utf-16", "application/x-www-form-urlencoded", "multipart/form-data"))
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	switch g.IntN(12) {
	case 0:
		req.Header["Authorization"] = []string{g.pick("", "Bearer", "Bearer ", "Basic eDp5", "Bearer "+strings.Repeat("x", 20_000), "Bearer a.b.c", "bearer  "+token+"x")}
	case 1:
		req.Header["Authorization"] = []string{"Bearer " + token, "Bearer " + token}
	case 2:
		req.Header["X-Http-Method"] = []string{g.pick("", "BREW", "patch", "\t", strings.Repeat("X", 5000))}
	case 3:
		req.Header["X-Ms-Client-Request-Id"] = []string{strings.Repeat("y", g.IntN(3000))}
		req.Header["X-Keywright-Instance"] = []string{"a", "b"}
	case 4:
		req.Header["Accept-Encoding"] = []string{"bogus;q=9"}
		req.Header["Range"] = []string{"bytes=5-1"}
	}
	return req
}

// wrong says what an answer to a malformed request should not be, or nothing.
func wrong(name string, a reply) string {
	switch {
	case a.status >= 500:
		return "a server's error"
	case a.status < 400:
		return "" // some are well-formed by chance: the caller counts them
	case a.status == 401 && a.header.Get("Www-Authenticate") == "" && name != "oauth":
		return "no challenge"
	}
	if name == "oauth" && strings.HasPrefix(a.header.Get("Content-Type"), "text/html") && strings.HasPrefix(a.body, "<!doctype html>") {
		return "" // the pages on which people sign in
	}
	if a.head {
		return "" // has no body
	}
	if !strings.Contains(a.header.Get("Content-Type"), "json") {
		return "not JSON by its type " + a.header.Get("Content-Type")
	}
	var body struct {
		Error any    `json:"error"`
		Kind  string `json:"kind"`
		Type  string `json:"type"`
	}
	if err := json.Unmarshal([]byte(a.body), &body); err != nil {
		return "not JSON: " + err.Error()
	}
	switch e := body.Error.(type) {
	case map[string]any:
		if code, _ := e["code"].(string); code != "" {
			return ""
		}
	case string: // RFC 6749, section 5.2
		if name == "oauth" && e != "" {
			return ""
		}
	}
	// The door for ACME has one path of the native API's host; what a garbled path leads to is that one's.
	if (name == "native" || name == "acme") && body.Kind != "" { // RFC 9457 with our kind
		return ""
	}
	if name == "acme" && strings.HasPrefix(body.Type, "urn:ietf:params:acme:error:") {
		return ""
	}
	return "without an error's code"
}

// TestMalformedRequests sends 10,000 of them to all doors. None may be answered with a server's error or not at all, and
// the server works afterwards.
func TestMalformedRequests(t *testing.T) {
	const requests, seed = 10_000, 20261122
	x := startTarget(t)
	fronts, mounted := x.fronts(), x.mounted()
	admin := map[string]string{}
	for _, at := range fronts {
		if at.resource != "" {
			admin[at.resource] = x.token(t, at.resource)
		}
	}
	if r := x.send("PUT", fronts["azure"].base+"/secrets/exists?api-version=7.6", admin[fronts["azure"].resource], `{"value":"kept"}`); r.status != 200 {
		t.Fatal(r)
	}
	type attack struct {
		name string
		n    int
	}
	// Half of them go to the vault's door, the others to the rest.
	attacks := []attack{{"azure", requests / 2}, {"native", requests / 5}, {"arm", requests / 10}, {"graph", requests / 20}, {"acme", requests / 40},
		{"oauth", requests - requests/2 - requests/5 - requests/10 - requests/20 - requests/40}}
	if len(attacks) != len(mounted) {
		t.Fatalf("%d doors are attacked, %d are mounted: add the new one", len(attacks), len(mounted))
	}
	var all sync.WaitGroup
	for i, a := range attacks {
		all.Go(func() {
			g := &garbler{rand.New(rand.NewPCG(seed, uint64(i))), x}
			at, routes := fronts[a.name], mounted[a.name]
			// What destroys by chance what others need would make the count depend on luck.
			reached := 0
			for n := range a.n {
				r := routes[g.IntN(len(routes))]
				req := g.request(at, r, admin[at.resource])
				if req.Method == "DELETE" || strings.HasSuffix(r.Pattern, "/revoke-tokens") {
					req.URL.Path, req.URL.RawPath = "/secrets/absent", ""
				}
				if r.Media == door.EventStream {
					req.URL.RawQuery = "wait=0&" + req.URL.RawQuery // the first one counts: it must end
				}
				resp, err := x.client.Do(req)
				if err != nil {
					t.Errorf("request %d: %s %.300q: %v", n, req.Method, req.URL, err)
					return
				}
				b, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil {
					t.Errorf("request %d: %s %.300q: %v", n, req.Method, req.URL, err)
					return
				}
				answer := reply{status: resp.StatusCode, header: resp.Header, body: string(b), head: req.Method == http.MethodHead}
				if what := wrong(a.name, answer); what != "" {
					t.Errorf("%s: request %d: %s %.300q: %s: %d %.300s", a.name, n, req.Method, req.URL, what, answer.status, answer.body)
				}
				if answer.status >= 400 {
					reached++
				}
			}
			if reached < a.n*3/4 {
				t.Errorf("%s: only %d of %d requests were refused: they are not malformed enough", a.name, reached, a.n)
			}
		})
	}
	all.Wait()
	if log := x.log.String(); strings.Contains(log, "request panicked") {
		t.Errorf("a request panicked:\n%.2000s", log[strings.Index(log, "request panicked"):])
	}
	r := x.send("GET", fronts["azure"].base+"/secrets/exists?api-version=7.6", admin[fronts["azure"].resource], "")
	if r.status != 200 && r.status != 404 {
		t.Errorf("afterwards: %+v", r)
	}
}

// TestMalformedBytes speaks no HTTP, or half of it. The server hangs up and serves the next.
func TestMalformedBytes(t *testing.T) {
	x := startTarget(t)
	host := strings.TrimPrefix(x.namedVault(devVault), "https://")
	for i, bytes := range []string{"\x00\x01\x02\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
		"GET /secrets/%zz HTTP/1.1\r\nHost: " + host + "\r\n\r\n", "PUT /secrets/a HTTP/1.1\r\nHost: " + host + "\r\nContent-Length: -5\r\n\r\n",
		"PUT /secrets/a HTTP/1.1\r\nHost: " + host + "\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n12345",
		"PUT /secrets/a HTTP/1.1\r\nHost: " + host + "\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: " + host + "\r\nX: " + strings.Repeat("y", 100_000) + "\r\n\r\n", "GET / HTTP/1.1\r\nHost: \"<>\r\n\r\n", "CONNECT evil:1 HTTP/1.1\r\nHost: " + host + "\r\n\r\n"} {
		raw, err := net.Dial("tcp", x.address())
		if err != nil {
			t.Fatal(err)
		}
		raw.SetDeadline(time.Now().Add(time.Minute))
		c := tls.Client(raw, &tls.Config{InsecureSkipVerify: true, ServerName: strings.Split(host, ":")[0]}) //nolint:gosec // the certificate is not what this is about
		if _, err := c.Write([]byte(bytes)); err == nil {
			if resp, err := http.ReadResponse(bufio.NewReader(c), nil); err == nil {
				if resp.StatusCode < 400 || resp.StatusCode >= 500 && resp.StatusCode != http.StatusHTTPVersionNotSupported {
					t.Errorf("case %d: %d", i, resp.StatusCode)
				}
			} else if nerr, ok := err.(net.Error); ok && nerr.Timeout() {
				t.Errorf("case %d: the server hangs", i)
			}
		}
		raw.Close()
	}
	if r := x.send("GET", x.namedVault(devVault)+"/secrets?api-version=7.6", x.token(t, x.vaultResource()), ""); r.status != 200 {
		t.Error(fmt.Sprint("afterwards: ", r))
	}
}

// TestScopesOfNonsense asks Resource Manager for what no id can name.
func TestScopesOfNonsense(t *testing.T) {
	x := startTarget(t)
	at := x.fronts()["arm"]
	token := x.token(t, at.resource)
	group := "/subscriptions/" + string(x.estate.Subscription) + "/resourceGroups/"
	vaults := "/providers/Microsoft.KeyVault/vaults/"
	for _, scope := range []string{group + "%00", group + "%2F", group + "dev" + vaults + "%2F%2F", group + "dev" + vaults + "demo/certificates/%2F%2F%2F", group + "dev" + vaults + "demo/secrets/%00",
		group + "dev" + vaults + "demo/keys/%2F", group + "%A6%F1" + vaults + "%BC/certificates/%2F%2F%2F%2F", group + "dev/providers/%2F/%2F/%2F", "/subscriptions/%2F", "/subscriptions/%00",
		group + "dev" + vaults + "demo/secrets/%2Fa", group + "dev" + vaults + "%2Fdemo/secrets/a", group + "dev" + vaults + "demo/nonsense/a",
		group + "dev" + vaults + "demo/certificates/" + strings.Repeat("%2F", 120), group + strings.Repeat("%2F", 300), group + "dev" + vaults + strings.Repeat("%2F", 50) + "/keys/a",
		group + "dev" + vaults + strings.Repeat("%80", 80) + "/keys/a", group + strings.Repeat("%E2%84%AA", 30), group + strings.Repeat("%C4%B0", 30)} {
		for _, what := range []string{"/roleAssignments", "/roleDefinitions", "/permissions", "/roleAssignments/x", "/roleDefinitions/x"} {
			r := x.send("GET", at.base+scope+"/providers/Microsoft.Authorization"+what+"?api-version=2022-04-01", token, "")
			if why := wrong("arm", r); why != "" {
				t.Errorf("%s%s: %s: %d %s", scope, what, why, r.status, r.body)
			}
		}
	}
	if log := x.log.String(); strings.Contains(log, "request panicked") {
		t.Errorf("a request panicked:\n%.3000s", log[strings.Index(log, "request panicked"):])
	}
}
