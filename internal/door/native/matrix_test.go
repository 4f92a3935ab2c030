package native_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/keywright/keywright/client"
	"github.com/keywright/keywright/client/api"
	"github.com/keywright/keywright/client/keywrighttest"
)

// endpoint is one operation of the served description, which is made from the route tables: no route can be forgotten.
type endpoint struct {
	method, path, id string
	public, hasBody  bool
}

// stand is a server with what the tables are tested by.
type stand struct {
	*keywrighttest.Server
	http      *http.Client
	endpoints []endpoint
}

func newStand(t *testing.T) *stand {
	s := &stand{Server: keywrighttest.Start(t)}
	s.http = s.HTTPClient()
	resp, err := s.http.Get(s.URL() + "/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var doc struct {
		OpenAPI string
		Paths   map[string]map[string]struct {
			OperationID string
			Security    *[]any
			RequestBody *struct{}
			Servers     []any
			Responses   map[string]any
		}
	}
	if err := json.NewDecoder(resp.Body).Decode(&doc); err != nil || doc.OpenAPI != "3.1.0" {
		t.Fatalf("reading the description: %v, version %q", err, doc.OpenAPI)
	}
	for path, methods := range doc.Paths {
		for method, o := range methods {
			if o.Servers != nil {
				continue // another door's, which has tests of its own
			}
			for _, status := range []string{"400", "401", "403", "404", "409", "429", "500", "503"} {
				if o.Responses[status] == nil {
					t.Errorf("%s does not describe the answer %s", o.OperationID, status)
				}
			}
			if (o.Security != nil) != public[o.OperationID] {
				t.Errorf("%s: is described as public: %t", o.OperationID, o.Security != nil)
			}
			s.endpoints = append(s.endpoints, endpoint{method: strings.ToUpper(method), path: fill.ReplaceAllStringFunc(path, value), id: o.OperationID,
				public: public[o.OperationID], hasBody: o.RequestBody != nil})
		}
	}
	if len(s.endpoints) < 50 {
		t.Fatalf("the description has %d operations: too few", len(s.endpoints))
	}
	return s
}

// public are the operations that need no token. A new one is added here knowingly.
var public = map[string]bool{"Health": true, "Ready": true, "OpenAPI": true}

var fill = regexp.MustCompile(`\{\w+\}`)

// value is what stands for a parameter of a path.
func value(param string) string {
	switch param {
	case "{vault}":
		return "demo"
	case "{version}":
		return strings.Repeat("0", 32)
	}
	return "thing"
}

func (s *stand) send(t *testing.T, e endpoint, token, body string) (int, string, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), e.method, s.URL()+e.path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := s.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header.Get("Content-Type"), content
}

// token signs an application in for a resource.
func (s *stand) token(t *testing.T, id, secret, resource string) string {
	t.Helper()
	env := s.Env()
	source := client.NewClientSecret(client.Authority{URL: env["KEYWRIGHT_LOGIN_URL"], Tenant: env["KEYWRIGHT_TENANT_ID"], HTTP: s.http}, id, secret, resource)
	token, err := source.Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return token.Access
}

func (s *stand) own(t *testing.T, resource string) string {
	return s.token(t, s.Env()["AZURE_CLIENT_ID"], s.Env()["AZURE_CLIENT_SECRET"], resource)
}

// stranger makes an application that may nothing and returns its token.
func (s *stand) stranger(t *testing.T) string {
	t.Helper()
	p, err := s.Client().CreatePrincipal(t.Context(), api.CreatePrincipal{Kind: api.ServicePrincipal, Name: "stranger"})
	if err != nil {
		t.Fatal(err)
	}
	c, err := s.Client().AddCredential(t.Context(), p.ID, api.AddCredential{Kind: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	return s.token(t, p.AppID, c.Secret.Reveal(), s.URL())
}

// problem checks that an answer is a problem of the status.
func problem(t *testing.T, e endpoint, status int, contentType string, body []byte) {
	t.Helper()
	var p api.Problem
	if err := json.Unmarshal(body, &p); err != nil || contentType != api.ProblemContentType || p.Status != status || p.Kind == "" || p.Detail == "" ||
		p.Correlation == "" {
		t.Errorf("%s: %d is no problem: %s %s", e.id, status, contentType, body)
	}
}

func TestEveryEndpointWantsAToken(t *testing.T) {
	s := newStand(t)
	vaultResource := strings.Replace(s.URL(), "127.0.0.1", "0.0.1", 1)
	bad := map[string]string{"none": "", "garbage": "a.b.c", "for a vault": s.own(t, vaultResource), "for Key Vault": s.own(t, "https://vault.azure.net"),
		"for elsewhere": s.own(t, "https://elsewhere.example.org")}
	for _, e := range s.endpoints {
		for name, token := range bad {
			status, contentType, body := s.send(t, e, token, "{}")
			if e.public {
				if status == http.StatusUnauthorized {
					t.Errorf("%s: public, and answered 401 for the token %s", e.id, name)
				}
				continue
			}
			if status != http.StatusUnauthorized {
				t.Errorf("%s: answered %d for the token %s", e.id, status, name)
				continue
			}
			problem(t, e, status, contentType, body)
		}
	}
	// An unknown path is not told apart from a known one.
	if status, _, _ := s.send(t, endpoint{method: "GET", path: "/api/v1/no-such-thing"}, "", ""); status != http.StatusUnauthorized {
		t.Errorf("an unknown path without a token is answered %d", status)
	}
}

// harmless are the operations that every signed-in caller may do: they show what the caller may see, which for a stranger is nothing.
var harmless = map[string]bool{"Status": true, "RotatorList": true, "VaultList": true, "VaultListDeleted": true}

// aCertificate is one, for what takes certificates.
const aCertificate = `-----BEGIN CERTIFICATE-----
MIIBjjCCATOgAwIBAgIUMx8Suhv89L0+LSbHWBk8M3vTntcwCgYIKoZIzj0EAwIw
GzEZMBcGA1UEAwwQc3RyYW5nZXIuZXhhbXBsZTAgFw0yNjExMjIxMDE3MTZaGA8y
MTI2MTAyOTEwMTcxNlowGzEZMBcGA1UEAwwQc3RyYW5nZXIuZXhhbXBsZTBZMBMG
ByqGSM49AgEGCCqGSM49AwEHA0IABAMLJDo0VGV6A4TZpKYyDUHF8Mr5tPnnzHuU
EcD2g+csOfSxcb8cEPv6wOIz8Hxztr5D6xMzmxuMuyks87WdkTujUzBRMB0GA1Ud
DgQWBBSlOWqlfnXQkgKRi2jy1MS51WcXNjAfBgNVHSMEGDAWgBSlOWqlfnXQkgKR
i2jy1MS51WcXNjAPBgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0kAMEYCIQCH
0Bt2r9GtIPIb1hx4fSI7pajzoZrY2y+R1MKEqe1lkgIhAIAE0yEbZZ+BXrO5nePT
UjeaFQgU2Nj0VYZ05j9VyMLj
-----END CERTIFICATE-----
`

// bodies are valid ones, so that a stranger is refused for who it is and not for what it sends.
var bodies = map[string]string{
	"SecretSet": `{"value":"x"}`, "SecretUpdate": `{}`, "SecretRestore": `{"blob":""}`,
	"VaultCreate": `{"subscription":"11111111-1111-4111-8111-111111111111","resourceGroup":"g"}`, "VaultUpdate": `{}`, "VaultNetworkUpdate": `{}`, "VaultPolicySet": `{"secrets":["get"]}`,
	"VaultEncryptionSet": `{"keyVault":"demo","key":"root"}`,
	"PrincipalCreate":    `{"kind":"ServicePrincipal","name":"x"}`, "PrincipalUpdate": `{"name":"x"}`, "CredentialAdd": `{"kind":"secret"}`,
	"PasswordSet": `{"password":"a-long-password"}`, "MemberAdd": `{"principal":"x"}`, "TrustedIssuerAdd": `{"issuer":"https://i.example.org"}`,
	"RolePut":     `{"name":"x","assignableScopes":["/"],"permissions":[]}`,
	"GrantCreate": `{"role":"Owner","principal":"11111111-1111-4111-8111-111111111111","scope":"/"}`, "AuditVerify": `{}`,
	"KeyCreate": `{"type":"EC"}`, "KeyImport": `{"jwk":{"kty":"oct","k":"AAECAwQFBgcICQoLDA0ODw"}}`, "KeyUpdate": `{}`, "KeyRestore": `{"blob":""}`, "KeyRotationPolicySet": `{}`,
	"KeyEncrypt": `{"value":"AA=="}`, "KeyDecrypt": `{"value":"AA=="}`, "KeyWrap": `{"value":"AA=="}`, "KeyUnwrap": `{"value":"AA=="}`, "KeySign": `{"value":"AA=="}`,
	"KeyVerify":         `{"digest":"AA==","signature":"AA=="}`,
	"CertificateCreate": `{}`, "CertificateImport": `{"file":"AA=="}`, "CertificateUpdate": `{}`, "CertificatePolicyUpdate": `{}`, "CertificateRestore": `{"blob":""}`,
	"CertificatePendingMerge": "{\"pem\":\"" + strings.ReplaceAll(aCertificate, "\n", "\\n") + "\"}",
	"CertificateEndpointSet":  `{"address":"127.0.0.1:1"}`,
	"AccessRuleSet":           `{"domains":["shop.example"]}`, "EnrolmentRevoke": `{"serial":"1"}`,
	"CertificateIssuerSet": `{"provider":"x"}`, "CertificateIssuerUpdate": `{}`, "CertificateRevoke": `{}`, "TrustBundlePublish": `{}`, "AuthorityChange": `{"cause":"on-demand"}`, "CertificateContactsSet": `{"items":[{"email":"a@example.org"}]}`,
	"RotationPolicySet": `{}`, "RotationStart": `{"cause":"on-demand"}`, "RotationOrder": `{"order":"abort"}`, "VersionRevoke": `{}`,
	"LeaseIssue": `{}`, "LeaseRenew": `{}`, "LeaseRevoke": `{}`,
	"IncidentCauseSet": `{"what":"x","how":"y","measures":"z"}`, "AgeExemptionSet": `{"reason":"x","until":"2100-01-01T00:00:00Z"}`, "RotationSchedulesResume": `{"reason":"x"}`,
	"RotationTaskSubmit": `{"value":"x"}`,
	"SecretTemplateSet":  `{"template":"{{x}}"}`,
	"BackupCreate":       `{}`, "BackupVerify": `{}`, "VaultCopy": `{"address":"https://127.0.0.1:1/c"}`, "VaultCopyRestore": `{"address":"https://127.0.0.1:1/c","folder":"f"}`,
	"VersionAck": `{"level":"used"}`, "VersionClear": `{"instance":"x","reason":"x"}`,
	"EventSubscriptionCreate": `{"endpoint":"https://127.0.0.1:1/"}`, "DeadLetterReplay": `{}`,
}

func TestAStrangerMayNothing(t *testing.T) {
	s := newStand(t)
	token := s.stranger(t)
	for _, e := range s.endpoints {
		if e.public {
			continue
		}
		if e.hasBody && bodies[e.id] == "" {
			t.Errorf("%s: give it a valid body in this test", e.id)
		}
		switch {
		case e.id == "AccessExplain" || e.id == "AccessWhoCan":
			e.path += "?principal=11111111-1111-4111-8111-111111111111&scope=/&action=" + url.QueryEscape("Microsoft.KeyVault/vaults/read")
		case e.id == "AuditExport":
			e.path += "?format=cef"
		case strings.HasPrefix(e.id, "Grant") || strings.HasPrefix(e.id, "Role"):
			e.path += "?scope=/"
		}
		status, contentType, body := s.send(t, e, token, bodies[e.id])
		switch {
		case harmless[e.id]:
			if status != http.StatusOK || e.id != "Status" && e.id != "RotatorList" && !bytes.Contains(body, []byte(`"items":[]`)) {
				t.Errorf("%s: answered %d %s", e.id, status, body)
			}
		case status == http.StatusForbidden:
			problem(t, e, status, contentType, body)
		case status == http.StatusNotFound && (strings.Contains(e.path, "deleted-vaults") || e.id == "VaultCreate"):
			// What a stranger may not see is not there.
		case status == http.StatusConflict && e.id == "VaultCreate":
			// Names of vaults are known to the whole installation.
		default:
			t.Errorf("%s: a stranger is answered %d %s", e.id, status, body)
		}
	}
}

func TestMalformedRequestsAreTheCallersFault(t *testing.T) {
	s := newStand(t)
	token := s.own(t, s.URL())
	sent := 0
	for _, e := range s.endpoints {
		if !e.hasBody {
			continue
		}
		for _, body := range []string{"", "{", "null x", "[]", `"text"`, `{"value":1,"name":2,"kind":3,"principal":4,"role":5,"issuer":6,"blob":7,"subscription":8,` +
			`"access":9,"add":10,"password":11,"checkpoint":12}`, "{}{}", "\xff\xfe", strings.Repeat("[", 100000), `{"value":"` + strings.Repeat("x", 300<<10) + `"}`} {
			if e.id == "AuditVerify" && body == "" {
				continue // nothing is a valid request there
			}
			status, contentType, answer := s.send(t, e, token, body)
			sent++
			if status < 400 || status > 499 {
				t.Errorf("%s: %.40q is answered %d %s", e.id, body, status, answer)
				continue
			}
			problem(t, e, status, contentType, answer)
		}
	}
	for _, query := range []string{"?limit=0", "?limit=x", "?limit=100000", "?after=%25", "?after=!!!"} {
		for _, path := range []string{"/api/v1/vaults/demo/secrets", "/api/v1/principals", "/api/v1/audit/records"} {
			e := endpoint{method: "GET", path: path + query, id: path + query}
			status, contentType, answer := s.send(t, e, token, "")
			sent++
			if status != http.StatusBadRequest {
				t.Errorf("%s is answered %d %s", e.id, status, answer)
				continue
			}
			problem(t, e, status, contentType, answer)
		}
	}
	if sent < 100 {
		t.Errorf("only %d requests were sent", sent)
	}
}
