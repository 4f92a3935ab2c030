package oauth_test

import (
	"encoding/json"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/audit"
	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/identity/identitytest"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/store"
)

const enrolPath = "/common/oauth2/enrol"

var registerForm = regexp.MustCompile(`(?s)id="register" data-options="([^"]*)".*name="passkey_id" value="([^"]*)"`)

// prove signs Ada in on the enrolment page.
func (w *world) prove(seed string) answer {
	w.t.Helper()
	return w.post(enrolPath, url.Values{"step": {"allow"}, "upn": {upn}, "password": {password}, "code": {w.totp(seed)}})
}

// made is the form that the page's script sends after the browser made a passkey.
func (w *world) made(page answer, key *identitytest.Authenticator) url.Values {
	w.t.Helper()
	m := registerForm.FindStringSubmatch(page.text)
	if page.status != 200 || m == nil {
		w.t.Fatalf("no registration begins: %d %s", page.status, page.text)
	}
	return url.Values{"step": {"register"}, "passkey_id": {m[2]}, "name": {"laptop"}, "passkey": {string(key.Create(json.RawMessage(html.UnescapeString(m[1]))))}}
}

func (w *world) ada() (p *principal.Principal) {
	w.t.Helper()
	w.must(w.store.View(w.t.Context(), func(tx store.Tx) (err error) {
		p, err = tx.PrincipalByUPN(w.t.Context(), w.tenant, upn)
		return err
	}))
	return p
}

func TestEnrolmentAndSignIn(t *testing.T) {
	w := newWorld(t)
	seed := w.addUser()
	first := w.get(enrolPath)
	if first.status != 200 || !strings.Contains(first.text, `name="password"`) || strings.Contains(first.text, `value="deny"`) ||
		!strings.Contains(first.header.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Fatalf("%d %v %s", first.status, first.header, first.text)
	}
	key := identitytest.NewAuthenticator(t, "https://"+host)
	page := w.prove(seed)
	if !strings.Contains(page.text, upn) || !strings.Contains(page.text, "/common/oauth2/passkey.js") || strings.Contains(page.text, password) {
		t.Errorf("the second step: %s", page.text)
	}
	form := w.made(page, key)
	form.Set("name", "<b>laptop</b>")
	if a := w.post(enrolPath, form, "Origin", "https://"+host, "Sec-Fetch-Site", "same-origin"); a.status != 200 ||
		!strings.Contains(a.text, "&lt;b&gt;laptop&lt;/b&gt;") || !strings.Contains(a.text, "is registered") {
		t.Fatalf("%d %s", a.status, a.text)
	}
	ada := w.ada()
	if len(ada.Passkeys) != 1 || ada.Passkeys[0].Name != "<b>laptop</b>" {
		t.Fatalf("passkeys %+v", ada.Passkeys)
	}
	w.isRecorded(ada)

	// The passkey signs a device in.
	start := w.post("/common/oauth2/v2.0/devicecode", url.Values{"client_id": {cliID}, "scope": {"https://vault.test:8443/.default openid"}})
	challenge := w.post("/common/oauth2/passkey", nil)
	signIn := url.Values{"step": {"allow"}, "user_code": {start.body["user_code"].(string)}, "passkey_id": {challenge.body["id"].(string)},
		"passkey": {string(key.Get(challenge.body["options"]))}}
	if a := w.post("/common/oauth2/deviceauth", signIn); a.status != 200 || !strings.Contains(a.text, "signed in as "+upn) {
		t.Fatalf("%d %s", a.status, a.text)
	}
	token := w.post("/common/oauth2/v2.0/token", url.Values{"grant_type": {"device_code"}, "client_id": {cliID}, "device_code": {start.body["device_code"].(string)}})
	if token.status != 200 || token.body["access_token"] == nil {
		t.Errorf("%d %s", token.status, token.text)
	}
}

// isRecorded finds the record of the registration in the commit that made it.
func (w *world) isRecorded(ada *principal.Principal) {
	w.t.Helper()
	records := w.audit.Records(authz.PrincipalCredentials)
	if len(records) != 1 || records[0].Outcome != audit.Allowed || records[0].Caller.PrincipalID != string(ada.ID) || records[0].ObjectName != string(ada.ID) ||
		records[0].Operation != "PasskeyEnrol" || records[0].Door != "oauth" || records[0].Tenant != string(w.tenant) {
		w.t.Errorf("records %+v", records)
	}
	found := 0
	w.must(w.store.View(w.t.Context(), func(tx store.Tx) error {
		commits, err := tx.Commits(w.t.Context(), 0, 0)
		for _, c := range commits {
			for _, ch := range c.Changes {
				if len(c.Audit) > 0 && ch.Kind == store.PrincipalChanged && ch.Key == string(ada.ID) {
					found++
				}
			}
		}
		return err
	}))
	if found != 1 {
		w.t.Errorf("%d commits change the person and tell of it", found)
	}
}

func TestEnrolmentIsRefused(t *testing.T) {
	form := func(w *world, seed string) url.Values {
		return url.Values{"step": {"allow"}, "upn": {upn}, "password": {password}, "code": {w.totp(seed)}}
	}
	for name, tt := range map[string]struct {
		send   func(w *world, seed string, key *identitytest.Authenticator) answer
		status int
		says   string
		// failed is how many failures of a proved person are recorded.
		failed int
	}{
		"a wrong password": {func(w *world, seed string, _ *identitytest.Authenticator) answer {
			f := form(w, seed)
			f.Set("password", "not the one")
			return w.post(enrolPath, f)
		}, 400, "is not right", 0},
		"a wrong code": {func(w *world, seed string, _ *identitytest.Authenticator) answer {
			f := form(w, seed)
			w.clock.Advance(time.Hour)
			return w.post(enrolPath, f)
		}, 400, "is not right", 0},
		"a code again": {func(w *world, seed string, _ *identitytest.Authenticator) answer {
			w.prove(seed)
			return w.prove(seed)
		}, 400, "Each code is good once", 0},
		"no proof": {func(w *world, _ string, key *identitytest.Authenticator) answer {
			options := map[string]any{"publicKey": map[string]any{"challenge": "AAAA", "rp": map[string]any{"id": "login.test"}}}
			return w.post(enrolPath, url.Values{"step": {"register"}, "passkey_id": {"AAAA"}, "passkey": {string(key.Create(options))}})
		}, 400, "too late or twice", 0},
		"many guesses": {func(w *world, _ string, _ *identitytest.Authenticator) answer {
			for range 7 {
				w.post(enrolPath, url.Values{"step": {"register"}, "passkey_id": {"AAAA"}})
			}
			return w.post(enrolPath, url.Values{"step": {"register"}, "passkey_id": {"AAAA"}})
		}, 429, "Too many failed attempts", 0},
		"a replayed challenge": {func(w *world, seed string, key *identitytest.Authenticator) answer {
			f := w.made(w.prove(seed), key)
			f.Set("passkey", "{}")
			w.post(enrolPath, f) // spends it
			return w.post(enrolPath, f)
		}, 400, "too late or twice", 1},
		"an expired challenge": {func(w *world, seed string, key *identitytest.Authenticator) answer {
			f := w.made(w.prove(seed), key)
			w.clock.Advance(5 * time.Minute)
			return w.post(enrolPath, f)
		}, 400, "too late or twice", 0},
		"a passkey of another origin": {func(w *world, seed string, key *identitytest.Authenticator) answer {
			key.Origin = "https://evil.test"
			return w.post(enrolPath, w.made(w.prove(seed), key))
		}, 400, "does not fit", 1},
		"a person who was not verified": {func(w *world, seed string, key *identitytest.Authenticator) answer {
			key.Flags = identitytest.UserPresent
			return w.post(enrolPath, w.made(w.prove(seed), key))
		}, 400, "does not fit", 1},
		"a sign-in that another site sent": {func(w *world, seed string, _ *identitytest.Authenticator) answer {
			return w.post(enrolPath, form(w, seed), "Origin", "https://evil.test")
		}, 403, "another site", 0},
		"a passkey that another site sent": {func(w *world, seed string, key *identitytest.Authenticator) answer {
			return w.post(enrolPath, w.made(w.prove(seed), key), "Sec-Fetch-Site", "cross-site")
		}, 403, "another site", 0},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			seed := w.addUser()
			a := tt.send(w, seed, identitytest.NewAuthenticator(t, "https://"+host))
			if a.status != tt.status || !strings.Contains(a.text, tt.says) || strings.Contains(a.text, password) {
				t.Errorf("%d %s", a.status, a.text)
			}
			if n := len(w.ada().Passkeys); n != 0 {
				t.Errorf("%d passkeys are registered", n)
			}
			records := w.audit.Records(authz.PrincipalCredentials)
			for _, r := range records {
				if r.Outcome != audit.Failed || r.Caller.UPN != upn {
					t.Errorf("recorded %+v", r)
				}
			}
			if len(records) != tt.failed {
				t.Errorf("%d failures are recorded", len(records))
			}
		})
	}
}

func TestEnrolmentNeedsAName(t *testing.T) {
	w := newWorld(t)
	seed := w.addUser()
	form := url.Values{"step": {"allow"}, "upn": {upn}, "password": {password}, "code": {w.totp(seed)}}
	for method, status := range map[string]int{http.MethodGet: 200, http.MethodPost: 400} {
		a := w.do(w.login, method, "https://127.0.0.1:8443"+enrolPath, form)
		if a.status != status || !strings.Contains(a.text, `href="https://`+host+enrolPath+`"`) || strings.Contains(a.text, "<form") {
			t.Errorf("%s: %d %s", method, a.status, a.text)
		}
	}
	if a := w.post(enrolPath, form); registerForm.FindString(a.text) == "" {
		t.Errorf("the code was spent at the address: %d %s", a.status, a.text)
	}
}

// TestFieldsAreFoundByName: a form's members are its fields by name and by id, so that a script which sets the field "x" of a form
// where a button has the id "x" sets nothing.
func TestFieldsAreFoundByName(t *testing.T) {
	w := newWorld(t)
	seed := w.addUser()
	for _, page := range []answer{w.get(enrolPath), w.prove(seed)} {
		names, ids := regexp.MustCompile(` name="([^"]+)"`).FindAllStringSubmatch(page.text, -1), regexp.MustCompile(` id="([^"]+)"`).FindAllStringSubmatch(page.text, -1)
		if len(names) < 3 || len(ids) < 2 {
			t.Fatalf("the page has %d names and %d ids: %s", len(names), len(ids), page.text)
		}
		for _, n := range names {
			for _, id := range ids {
				if n[1] == id[1] {
					t.Errorf("%q is both a field and an id", n[1])
				}
			}
		}
	}
}

// TestAFirstPasskeyComesByAnEnrolment registers a passkey by an enrolment on the page, which uses it up, and asks for other credentials with another.
func TestAFirstPasskeyComesByAnEnrolment(t *testing.T) {
	w := newWorld(t)
	w.addUser()
	issue := func() string {
		t.Helper()
		code, _, put, err := w.svc.PrepareEnrolment(w.tenant, w.ada().ID, time.Hour)
		w.must(err)
		w.must(w.svc.Apply(t.Context(), nil, put))
		return code.Reveal()
	}
	before := len(w.ada().Passkeys)
	code := issue()
	page := w.post(enrolPath, url.Values{"step": {"prove"}, "enrolment": {code}})
	if strings.Contains(page.text, code) {
		t.Error("the page repeats the enrolment")
	}
	form := w.made(page, identitytest.NewAuthenticator(t, "https://"+host))
	if a := w.post(enrolPath, form, "Origin", "https://"+host, "Sec-Fetch-Site", "same-origin"); a.status != 200 || !strings.Contains(a.text, "is registered") {
		t.Fatalf("%d %s", a.status, a.text)
	}
	if n := len(w.ada().Passkeys); n != before+1 {
		t.Errorf("%d passkeys", n)
	}
	if a := w.post(enrolPath, url.Values{"step": {"prove"}, "enrolment": {code}}); a.status == 200 || !strings.Contains(a.text, "used before") {
		t.Errorf("the enrolment proves somebody twice: %d %s", a.status, a.text)
	}
	if a := w.post("/common/oauth2/v2.0/enrolment", url.Values{"enrolment": {code}, "kind": {"totp"}, "password": {password}}); a.status != 400 || a.body["error"] != "invalid_grant" {
		t.Errorf("and gives another credential: %d %s", a.status, a.text)
	}
	if a := w.post("/common/oauth2/v2.0/enrolment", url.Values{"enrolment": {issue()}, "kind": {"totp"}, "password": {password}}); a.status != 200 ||
		!strings.HasPrefix(a.body["totp"].(string), "otpauth://") || a.body["username"] != upn {
		t.Errorf("a generator: %d %s", a.status, a.text)
	}
}
