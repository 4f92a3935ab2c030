package oauth_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/keywright/keywright/internal/door/oauth"
	"github.com/keywright/keywright/internal/identity"
)

func TestToken(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"/adfs/oauth2/token", "/adfs/oauth2/v2.0/token", "/" + string(w.tenant) + "/oauth2/v2.0/token",
		"/" + strings.ToUpper(string(w.tenant)) + "/oauth2/token", "/organizations/oauth2/v2.0/token", "/common/oauth2/token"} {
		form := w.clientForm()
		form.Set("claims", `{"access_token":{"xms_cc":{"values":["CP1"]}}}`)
		form.Set("client_info", "1")
		a := w.post(path+"?client-request-id=x", form)
		if a.status != 200 || a.body["token_type"] != "Bearer" {
			t.Fatalf("%s: %d %s", path, a.status, a.text)
		}
		if _, isNumber := a.body["expires_in"].(float64); isNumber != (strings.Contains(path, "v2.0") || strings.HasPrefix(path, "/adfs/")) {
			t.Errorf("%s: expires_in is %v", path, a.body["expires_in"])
		}
		c, err := w.svc.Authenticate(t.Context(), a.body["access_token"].(string), identity.VaultAudiences("https://vault.test:8443"))
		if err != nil || c.Principal != w.app.ID {
			t.Errorf("%s: %v, %v", path, c, err)
		}
	}
}

func TestTokenByBasic(t *testing.T) {
	w := newWorld(t)
	form := w.clientForm()
	form.Del("client_id")
	form.Del("client_secret")
	r, _ := http.NewRequest(http.MethodPost, "https://"+host, nil)
	r.SetBasicAuth(w.app.AppID, url.QueryEscape(w.secret.Reveal()))
	if a := w.post("/adfs/oauth2/token", form, "Authorization", r.Header.Get("Authorization")); a.status != 200 {
		t.Errorf("%d %s", a.status, a.text)
	}
	if a := w.post("/adfs/oauth2/token", w.clientForm(), "Authorization", r.Header.Get("Authorization")); a.status != 400 {
		t.Errorf("with both: %d %s", a.status, a.text)
	}
}

func TestTokenErrors(t *testing.T) {
	w := newWorld(t)
	set := func(pairs ...string) func(url.Values) {
		return func(f url.Values) {
			for i := 0; i < len(pairs); i += 2 {
				f.Set(pairs[i], pairs[i+1])
			}
		}
	}
	for name, c := range map[string]struct {
		path   string
		change func(url.Values)
		status int
		code   string
		number float64
		text   string
	}{
		"wrong secret":      {"/adfs/oauth2/token", set("client_secret", "wrong"), 401, "invalid_client", 7000215, "AADSTS7000215: Invalid client secret provided."},
		"unknown client":    {"/adfs/oauth2/token", set("client_id", "00000000-0000-0000-0000-000000000001"), 400, "unauthorized_client", 700016, "Application with identifier"},
		"no guid":           {"/adfs/oauth2/token", set("client_id", "app"), 400, "unauthorized_client", 700016, ""},
		"no client":         {"/adfs/oauth2/token", set("client_id", ""), 400, "invalid_request", 900144, "client_id"},
		"no credential":     {"/adfs/oauth2/token", set("client_secret", ""), 401, "invalid_client", 7000216, ""},
		"bad assertion":     {"/adfs/oauth2/token", set("client_secret", "", "client_assertion", "x", "client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"), 401, "invalid_client", 700027, ""},
		"assertion type":    {"/adfs/oauth2/token", set("client_secret", "", "client_assertion", "x"), 400, "invalid_request", 900144, ""},
		"unknown tenant":    {"/00000000-0000-0000-0000-000000000001/oauth2/v2.0/token", set(), 400, "invalid_request", 90002, "00000000-0000"},
		"tenant no guid":    {"/contoso.test/oauth2/v2.0/token", set(), 400, "invalid_request", 90002, "contoso.test"},
		"no grant":          {"/adfs/oauth2/token", set("grant_type", ""), 400, "invalid_request", 900144, "grant_type"},
		"unsupported grant": {"/adfs/oauth2/token", set("grant_type", "password"), 400, "unsupported_grant_type", 70003, "password"},
		"no resource":       {"/adfs/oauth2/token", set("scope", "openid"), 400, "invalid_resource", 500011, ""},
		"bad resource":      {"/adfs/oauth2/token", set("scope", "User.Read"), 400, "invalid_resource", 500011, ""},
	} {
		t.Run(name, func(t *testing.T) {
			form := w.clientForm()
			c.change(form)
			a := w.post(c.path, form, "Client-Request-Id", "11111111-2222-3333-4444-555555555555")
			codes, _ := a.body["error_codes"].([]any)
			if a.status != c.status || a.body["error"] != c.code || len(codes) != 1 || codes[0] != c.number || !strings.Contains(a.text, c.text) {
				t.Errorf("got %d %s", a.status, a.text)
			}
			if a.body["correlation_id"] != "11111111-2222-3333-4444-555555555555" || a.body["trace_id"] == "" ||
				!strings.Contains(a.text, "Timestamp: 2026-11-22 12:00:00Z") {
				t.Errorf("the members of the error are incomplete: %s", a.text)
			}
			if strings.Contains(a.text, w.secret.Reveal()) {
				t.Error("the answer repeats the secret")
			}
		})
	}
}

func TestThrottledAnswer(t *testing.T) {
	w := newWorld(t)
	form := w.clientForm()
	form.Set("client_secret", "wrong")
	for range 50 {
		if a := w.post("/adfs/oauth2/token", form); a.status == http.StatusTooManyRequests {
			if a.header.Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
			return
		}
	}
	t.Error("50 guesses were answered")
}

func TestDiscovery(t *testing.T) {
	w := newWorld(t)
	for path, want := range map[string]struct{ issuer, token, keys string }{
		"/adfs/.well-known/openid-configuration?": {"https://" + host + "/adfs", "/adfs/oauth2/token", "/adfs/discovery/keys"},
		"/" + string(w.tenant) + "/v2.0/.well-known/openid-configuration": {"https://" + host + "/" + string(w.tenant) + "/v2.0",
			"/" + string(w.tenant) + "/oauth2/v2.0/token", "/" + string(w.tenant) + "/discovery/v2.0/keys"},
		"/organizations/v2.0/.well-known/openid-configuration": {"https://" + host + "/organizations/v2.0", "/organizations/oauth2/v2.0/token",
			"/organizations/discovery/v2.0/keys"},
	} {
		a := w.get(path)
		if a.status != 200 || a.body["issuer"] != want.issuer || a.body["token_endpoint"] != "https://"+host+want.token ||
			a.body["jwks_uri"] != "https://"+host+want.keys {
			t.Errorf("%s: %d %s", path, a.status, a.text)
		}
		keys := w.get(want.keys)
		if list, _ := keys.body["keys"].([]any); keys.status != 200 || len(list) != 1 || strings.Contains(keys.text, `"d"`) {
			t.Errorf("%s: %d %s", want.keys, keys.status, keys.text)
		}
	}
	// The host that was called is the one in the answer.
	a := w.do(w.login, "GET", "https://127.0.0.1:8443/adfs/.well-known/openid-configuration", nil)
	if a.body["issuer"] != "https://127.0.0.1:8443/adfs" {
		t.Errorf("by address: %s", a.text)
	}
	if a := w.do(w.login, "GET", "https://evil.test/adfs/.well-known/openid-configuration", nil); a.status != 404 {
		t.Errorf("a foreign host: %d %s", a.status, a.text)
	}
}

func TestInstanceDiscovery(t *testing.T) {
	w := newWorld(t)
	for asked, status := range map[string]int{
		"https://" + host + "/" + string(w.tenant) + "/oauth2/v2.0/authorize": 200,
		"https://login.test/" + string(w.tenant) + "/oauth2/v2.0/authorize":   200,
		"https://evil.test/x": 400, "": 400, "::": 400,
	} {
		a := w.get("/common/discovery/instance?api-version=1.1&authorization_endpoint=" + url.QueryEscape(asked))
		if a.status != status {
			t.Errorf("%q: %d %s", asked, a.status, a.text)
		}
		if status == 200 && a.body["tenant_discovery_endpoint"] != "https://"+host+"/"+string(w.tenant)+"/v2.0/.well-known/openid-configuration" {
			t.Errorf("%q: %s", asked, a.text)
		}
	}
}

func TestManagedIdentity(t *testing.T) {
	w := newWorld(t)
	header := []string{"X-Identity-Header", w.endpoint.Reveal()}
	old := []string{"Secret", w.endpoint.Reveal()}
	metadata := []string{"Metadata", "true"}
	const resource = "resource=https%3A%2F%2Fvault.test%3A8443"
	form := url.Values{"resource": {"https://vault.test:8443"}}
	for name, c := range map[string]struct {
		method, target string
		form           url.Values
		header         []string
		bound          bool
		status         int
	}{
		"2019":                  {"GET", "/msi/token?api-version=2019-08-01&" + resource, nil, header, false, 200},
		"2017":                  {"GET", "/msi/token?api-version=2017-09-01&clientid=&" + resource, nil, old, false, 200},
		"2017 with a slash":     {"GET", "/msi/token/?api-version=2017-09-01&" + resource, nil, old, false, 200},
		"raw resource":          {"GET", "/msi/token?resource=https://vault.test:8443&api-version=2017-09-01", nil, old, false, 200},
		"own client id":         {"GET", "/msi/token?api-version=2019-08-01&client_id=" + w.managed.AppID + "&" + resource, nil, header, false, 200},
		"another client id":     {"GET", "/msi/token?api-version=2019-08-01&client_id=" + w.app.AppID + "&" + resource, nil, header, false, 400},
		"no header":             {"GET", "/msi/token?api-version=2019-08-01&" + resource, nil, nil, true, 400},
		"wrong header":          {"GET", "/msi/token?api-version=2019-08-01&" + resource, nil, []string{"X-Identity-Header", "x"}, true, 401},
		"changed header":        {"GET", "/msi/token?api-version=2019-08-01&" + resource, nil, []string{"X-Identity-Header", w.endpoint.Reveal()[:80] + "AAAAAA"}, true, 401},
		"no resource":           {"GET", "/msi/token?api-version=2019-08-01", nil, header, false, 400},
		"no version":            {"GET", "/msi/token?" + resource, nil, header, false, 400},
		"form":                  {"POST", "/msi/token", form, metadata, true, 200},
		"form, unbound":         {"POST", "/msi/token", form, metadata, false, 400},
		"form, no header":       {"POST", "/msi/token", form, nil, true, 400},
		"imds":                  {"GET", "/metadata/identity/oauth2/token?api-version=2018-02-01&" + resource, nil, metadata, true, 200},
		"imds with a slash":     {"GET", "/metadata/identity/oauth2/token/?api-version=2018-02-01&" + resource, nil, metadata, true, 200},
		"imds probe":            {"GET", "/metadata/identity/oauth2/token", nil, nil, true, 400},
		"imds, unbound":         {"GET", "/metadata/identity/oauth2/token?api-version=2018-02-01&" + resource, nil, metadata, false, 400},
		"imds from a browser":   {"GET", "/metadata/identity/oauth2/token?api-version=2018-02-01&" + resource, nil, append([]string{"Origin", "https://evil.test"}, metadata...), true, 400},
		"imds through a proxy":  {"GET", "/metadata/identity/oauth2/token?api-version=2018-02-01&" + resource, nil, append([]string{"X-Forwarded-For", "192.0.2.1"}, metadata...), true, 400},
		"another path, no leak": {"GET", "/metadata/instance", nil, metadata, true, 404},
	} {
		t.Run(name, func(t *testing.T) {
			w.bound = c.bound
			a := w.do(w.plain, c.method, "http://127.0.0.1:40342"+c.target, c.form, c.header...)
			if a.status != c.status {
				t.Fatalf("got %d %s", a.status, a.text)
			}
			if c.status != 200 {
				return
			}
			caller, err := w.svc.Authenticate(t.Context(), a.body["access_token"].(string), identity.VaultAudiences("https://vault.test:8443"))
			if err != nil || caller.Principal != w.managed.ID || caller.Resource != w.managed.Resource {
				t.Errorf("got %v, %v", caller, err)
			}
			if a.body["expires_on"] != "1795352400" || a.body["expires_in"] != "3600" || a.body["client_id"] != w.managed.AppID {
				t.Errorf("got %s", a.text)
			}
		})
	}
}

func TestOwns(t *testing.T) {
	for path, want := range map[string]bool{
		"/adfs/oauth2/token": true, "/ADFS/.well-known/openid-configuration": true, "/common/discovery/instance": true,
		"/11111111-2222-3333-4444-555555555555/oauth2/v2.0/token": true, "/devicelogin": true,
		"/secrets/adfs": false, "/": false, "/11111111-2222-3333-4444-555555555555": false, "/11111111-2222-3333-4444-555555555555/secrets": false,
	} {
		if oauth.Owns(path) != want {
			t.Errorf("Owns(%q) is %v", path, !want)
		}
	}
}
