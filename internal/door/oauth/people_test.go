package oauth_test

import (
	"crypto/sha256"
	"encoding/base64"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/pquerna/otp/totp"

	"github.com/keywright/keywright/internal/identity"
	"github.com/keywright/keywright/internal/principal"
)

const (
	cliID    = "04b07795-8ddb-461a-bbee-02f9e1bf7b46"
	password = "correct horse battery"
	upn      = "ada@example.org"
)

// addUser makes a person and returns the secret of its code generator.
func (w *world) addUser() string {
	w.t.Helper()
	ctx := w.t.Context()
	user, create, err := w.svc.PreparePrincipal(identity.Spec{Tenant: w.tenant, Kind: principal.User, Name: "Ada", UPN: upn})
	w.must(err)
	w.must(w.svc.Apply(ctx, nil, create))
	set, err := w.svc.PreparePassword(ctx, w.tenant, user.ID, password)
	w.must(err)
	text, _, generator, err := w.svc.PrepareTOTP(ctx, w.tenant, user, "phone")
	w.must(err)
	w.must(w.svc.Apply(ctx, nil, set, generator))
	u, err := url.Parse(text.Reveal())
	w.must(err)
	return u.Query().Get("secret")
}

func (w *world) totp(seed string) string {
	w.t.Helper()
	code, err := totp.GenerateCode(seed, w.clock.Now())
	w.must(err)
	return code
}

func TestDeviceFlow(t *testing.T) {
	w := newWorld(t)
	seed := w.addUser()
	for _, v2 := range []string{"", "v2.0/"} {
		w.clock.Advance(2e12)
		start := w.post("/adfs/oauth2/"+v2+"devicecode", url.Values{"client_id": {cliID}, "scope": {"https://vault.test:8443/.default openid offline_access profile"}})
		userCode, _ := start.body["user_code"].(string)
		if start.status != 200 || !strings.Contains(start.text, "interval") || start.body["verification_uri"] != "https://"+host+"/devicelogin" || userCode == "" {
			t.Fatalf("%d %s", start.status, start.text)
		}
		poll := url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}, "client_id": {cliID}, "device_code": {start.body["device_code"].(string)}}
		if a := w.post("/adfs/oauth2/"+v2+"token", poll); a.status != 400 || a.body["error"] != "authorization_pending" {
			t.Errorf("pending: %d %s", a.status, a.text)
		}
		if a := w.post("/adfs/oauth2/"+v2+"token", poll); a.status != 400 || a.body["error"] != "slow_down" {
			t.Errorf("too soon: %d %s", a.status, a.text)
		}
		if a := w.get("/devicelogin"); a.status != 302 || a.header.Get("Location") != "/common/oauth2/deviceauth" {
			t.Errorf("%d %v", a.status, a.header)
		}
		if a := w.get("/common/oauth2/deviceauth"); a.status != 200 || !strings.Contains(a.text, `name="user_code"`) {
			t.Errorf("%d %s", a.status, a.text)
		}
		found := w.post("/common/oauth2/deviceauth", url.Values{"user_code": {strings.ToLower(userCode)}, "step": {"find"}})
		if found.status != 200 || !strings.Contains(found.text, "Microsoft Azure CLI") || !strings.Contains(found.text, userCode) {
			t.Errorf("%d %s", found.status, found.text)
		}
		form := url.Values{"user_code": {userCode}, "step": {"allow"}, "upn": {upn}, "password": {"wrong"}, "code": {w.totp(seed)}}
		if a := w.post("/common/oauth2/deviceauth", form); a.status != 400 || !strings.Contains(a.text, "is not right") || strings.Contains(a.text, "wrong\"") {
			t.Errorf("wrong password: %d %s", a.status, a.text)
		}
		form.Set("password", password)
		for _, foreign := range [][]string{{"Origin", "https://evil.test"}, {"Sec-Fetch-Site", "cross-site"}} {
			if a := w.post("/common/oauth2/deviceauth", form, foreign...); a.status != 403 {
				t.Errorf("from another site: %d %s", a.status, a.text)
			}
		}
		if a := w.post("/common/oauth2/deviceauth", form, "Origin", "https://"+host, "Sec-Fetch-Site", "same-origin"); a.status != 200 || !strings.Contains(a.text, "signed in as "+upn) {
			t.Fatalf("allow: %d %s", a.status, a.text)
		}
		token := w.post("/adfs/oauth2/"+v2+"token", poll)
		if token.status != 200 || token.body["refresh_token"] == nil || token.body["id_token"] == nil || token.body["client_info"] == nil {
			t.Fatalf("token: %d %s", token.status, token.text)
		}
		refreshed := w.post("/adfs/oauth2/"+v2+"token", url.Values{"grant_type": {"refresh_token"}, "client_id": {cliID},
			"refresh_token": {token.body["refresh_token"].(string)}, "scope": {"https://arm.test//.default openid offline_access"}})
		if refreshed.status != 200 || refreshed.body["refresh_token"] == token.body["refresh_token"] {
			t.Fatalf("refresh: %d %s", refreshed.status, refreshed.text)
		}
		if _, err := w.svc.Authenticate(t.Context(), refreshed.body["access_token"].(string), identity.NewAudiences("https://arm.test/")); err != nil {
			t.Error(err)
		}
	}
}

func TestDeviceRefusal(t *testing.T) {
	w := newWorld(t)
	start := w.post("/organizations/oauth2/v2.0/devicecode", url.Values{"client_id": {cliID}, "scope": {"https://vault.test:8443/.default"}})
	if a := w.post("/organizations/oauth2/deviceauth", url.Values{"user_code": {start.body["user_code"].(string)}, "step": {"deny"}}); a.status != 200 {
		t.Fatalf("%d %s", a.status, a.text)
	}
	poll := url.Values{"grant_type": {"device_code"}, "client_id": {cliID}, "device_code": {start.body["device_code"].(string)}}
	if a := w.post("/organizations/oauth2/v2.0/token", poll); a.status != 400 || a.body["error"] != "access_denied" {
		t.Errorf("%d %s", a.status, a.text)
	}
	if a := w.post("/organizations/oauth2/v2.0/devicecode", url.Values{"client_id": {w.app.AppID}, "scope": {"https://x.test/.default"}}); a.status != 400 ||
		a.body["error"] != "unauthorized_client" {
		t.Errorf("an application signs people in: %d %s", a.status, a.text)
	}
}

func TestAuthorizationCode(t *testing.T) {
	w := newWorld(t)
	seed := w.addUser()
	const verifier = "a-verifier-that-has-at-least-forty-three-characters"
	sum := sha256.Sum256([]byte(verifier))
	query := url.Values{"response_type": {"code"}, "client_id": {cliID}, "redirect_uri": {"http://localhost:8400/?a=b"}, "code_challenge_method": {"S256"},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "scope": {"https://vault.test:8443/.default openid profile offline_access"},
		"state": {`s"<x>`}, "nonce": {"n"}}
	path := "/organizations/oauth2/v2.0/authorize?"
	if a := w.get(path + query.Encode()); a.status != 200 || !strings.Contains(a.text, "Microsoft Azure CLI") {
		t.Fatalf("%d %s", a.status, a.text)
	}
	for name, value := range map[string]string{"redirect_uri": "https://evil.test/", "response_type": "token", "code_challenge": "", "code_challenge_method": "plain",
		"client_id": w.app.AppID, "scope": "openid", "response_mode": "fragment"} {
		bad := url.Values{}
		for k, v := range query {
			bad[k] = v
		}
		bad.Set(name, value)
		if a := w.get(path + bad.Encode()); a.status != 400 || a.header.Get("Location") != "" {
			t.Errorf("%s=%q: %d %s", name, value, a.status, a.text)
		}
	}
	done := w.post(path+query.Encode(), url.Values{"step": {"allow"}, "upn": {upn}, "password": {password}, "code": {w.totp(seed)}})
	match := regexp.MustCompile(`http-equiv="refresh" content="0;url=([^"]+)"`).FindStringSubmatch(done.text)
	if done.status != 200 || match == nil {
		t.Fatalf("%d %s", done.status, done.text)
	}
	back, err := url.Parse(html.UnescapeString(match[1]))
	w.must(err)
	if back.Host != "localhost:8400" || back.Query().Get("a") != "b" || back.Query().Get("state") != `s"<x>` {
		t.Errorf("back to %s", back)
	}
	token := w.post("/organizations/oauth2/v2.0/token", url.Values{"grant_type": {"authorization_code"}, "client_id": {cliID}, "code": {back.Query().Get("code")},
		"code_verifier": {verifier}, "redirect_uri": {query.Get("redirect_uri")}})
	if token.status != 200 || token.body["id_token"] == nil {
		t.Errorf("%d %s", token.status, token.text)
	}
	refused := w.post(path+query.Encode(), url.Values{"step": {"deny"}})
	if refused.status != 200 || !strings.Contains(refused.text, "error=access_denied") {
		t.Errorf("%d %s", refused.status, refused.text)
	}
}

func TestPagesAreClosed(t *testing.T) {
	w := newWorld(t)
	for _, a := range []answer{w.get("/common/oauth2/deviceauth"), w.post("/common/oauth2/deviceauth", url.Values{"user_code": {"<script>alert(1)</script>"}})} {
		policy := a.header.Get("Content-Security-Policy")
		if !strings.Contains(policy, "default-src 'none'") || !strings.Contains(policy, "frame-ancestors 'none'") || strings.Contains(policy, "unsafe") {
			t.Errorf("policy %q", policy)
		}
		if strings.Contains(a.text, "<script>alert") || strings.Contains(a.text, "style=") {
			t.Errorf("page %s", a.text)
		}
		if !strings.Contains(a.header.Get("Cache-Control"), "no-store") {
			t.Error("the page may be stored")
		}
	}
	for path, kind := range map[string]string{"/common/oauth2/page.css": "text/css; charset=utf-8", "/adfs/oauth2/passkey.js": "text/javascript; charset=utf-8"} {
		if a := w.get(path); a.status != 200 || a.header.Get("Content-Type") != kind || len(a.text) < 100 {
			t.Errorf("%s: %d %s", path, a.status, a.header)
		}
	}
	if a := w.post("/adfs/oauth2/passkey", nil); a.status != 200 || !strings.Contains(a.text, `"challenge"`) || !strings.Contains(a.text, `"userVerification":"required"`) {
		t.Errorf("%d %s", a.status, a.text)
	}
	if a := w.do(w.login, http.MethodPost, "https://127.0.0.1:8443/adfs/oauth2/passkey", nil); a.status != 400 {
		t.Errorf("a passkey for an address: %d %s", a.status, a.text)
	}
}
