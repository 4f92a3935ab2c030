package server

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/admission"
	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/vault"
)

// classesSaid are the operations whose class does not follow from their method. All others that change something are writes, and the rest are queries.
var classesSaid = map[admission.Class][]string{
	admission.Exempt: {"native Health", "native Ready", "native SecretChanges"},
	admission.Read: {"azure CertificateGet", "azure KeyGet", "azure SecretGet", "native CertificateGet", "native KeyGet", "native SecretGet", "native Status",
		"oauth Discovery", "oauth InstanceDiscovery", "oauth Keys", "oauth PageAsset"},
	admission.Use: {"azure KeyDecrypt", "azure KeyEncrypt", "azure KeyGetRandomBytes", "azure KeyRelease", "azure KeySign", "azure KeyUnwrap", "azure KeyVerify", "azure KeyWrap",
		"native KeyDecrypt", "native KeyEncrypt", "native KeySign", "native KeyUnwrap", "native KeyVerify", "native KeyWrap",
		"native RotationOrder", "native RotationStart", "native VersionRevoke"},
	admission.Query: {"native AuditVerify", "oauth Token"},
}

func TestEveryRouteHasItsClass(t *testing.T) {
	x := startTarget(t)
	got := map[admission.Class][]string{}
	for name, routes := range x.mounted() {
		for _, r := range routes {
			usual := admission.Write
			if r.Method == http.MethodGet || r.Method == http.MethodHead {
				usual = admission.Query
			}
			if what := name + " " + r.Operation; r.Class != usual && !slices.Contains(got[r.Class], what) {
				got[r.Class] = append(got[r.Class], what)
			}
		}
	}
	for class := range got {
		slices.Sort(got[class])
	}
	for class, want := range classesSaid {
		if !slices.Equal(got[class], want) {
			t.Errorf("of class %s are\n%q, want\n%q", class, got[class], want)
		}
	}
}

// fill takes every place of the classes that give way before reads, for a tenant.
func (x *target) fill(tenant vault.TenantID) {
	for _, class := range []admission.Class{admission.Use, admission.Query, admission.Write} {
		for range x.core.admission.Stats(class).Limit {
			p, err := x.core.admission.Enter(x.t.Context(), class, string(tenant))
			if err != nil {
				x.t.Fatal(err)
			}
			x.t.Cleanup(p.Leave)
		}
	}
}

// standAdmission lets limits stay what they are, and requests that find no place wait for a moment only.
func standAdmission(t *testing.T) {
	admissionPatience, admissionStands = time.Millisecond, true
	t.Cleanup(func() { admissionPatience, admissionStands = 0, false })
}

// refusals recognise what the doors answer a request with that is not let in.
var refusals = map[string]func(body string) bool{
	"azure": func(b string) bool { return codeOf(b, "error", "code") == "ServiceUnavailable" },
	"arm":   func(b string) bool { return codeOf(b, "error", "code") != "" },
	"graph": func(b string) bool { return codeOf(b, "error", "code") != "" },
	"native": func(b string) bool {
		return codeOf(b, "kind") == "unavailable" && codeOf(b, "reason") == string(admission.Overloaded)
	},
	"oauth": func(b string) bool { return codeOf(b, "error") == "temporarily_unavailable" },
	"acme":  func(b string) bool { return strings.HasPrefix(codeOf(b, "type"), "urn:ietf:params:acme:error:") },
}

func codeOf(body string, path ...string) string {
	var v any
	if json.Unmarshal([]byte(body), &v) != nil {
		return ""
	}
	for _, p := range path {
		m, _ := v.(map[string]any)
		v = m[p]
	}
	s, _ := v.(string)
	return s
}

// TestFullServerAnswersReadsAlone asks every route of every door, with bodies of nonsense, which are not read.
func TestFullServerAnswersReadsAlone(t *testing.T) {
	standAdmission(t)
	x := startTarget(t)
	x.make()
	there, tokens := x.existing(), map[string]string{}
	asked := map[string]string{}
	x.each(func(name string, at front, r door.Route) {
		if asked[at.resource] == "" {
			asked[at.resource] = x.token(t, at.resource)
		}
		tokens[name] = asked[at.resource]
	})
	x.fill(x.estate.Tenant)
	counts := map[admission.Class]int{}
	x.each(func(name string, at front, r door.Route) {
		if r.Class == admission.Exempt {
			return
		}
		counts[r.Class]++
		body := ""
		if r.MaxBody > 0 {
			body = "{nonsense"
		}
		a, what := x.send(r.Method, x.url(at, r.Pattern, there), tokens[name], body), name+" "+r.Operation
		if r.Class == admission.Read {
			if a.status == 503 || a.status == 429 {
				t.Errorf("%s: a read was answered with %d", what, a.status)
			}
			return
		}
		if a.status != 503 || a.header.Get("Retry-After") == "" || r.Method != http.MethodHead && !refusals[name](a.body) {
			t.Errorf("%s: %d, Retry-After %q, %s", what, a.status, a.header.Get("Retry-After"), a.body)
		}
	})
	if counts[admission.Read] < 5 || counts[admission.Use] < 10 || counts[admission.Query] < 50 || counts[admission.Write] < 50 {
		t.Errorf("asked %v", counts)
	}
	login := x.fronts()["oauth"].base
	if a := x.send("POST", login+"/adfs/oauth2/token", "", "nonsense"); a.status != 503 || a.header.Get("Retry-After") == "" || !refusals["oauth"](a.body) {
		t.Errorf("a token: %+v", a)
	}
	if a := x.send("GET", login+"/adfs/.well-known/openid-configuration", "", ""); a.status != 200 {
		t.Errorf("the metadata of the authority: %+v", a)
	}
	if a := x.send("GET", x.fronts()["native"].base+"/readyz", "", ""); a.status != 200 {
		t.Errorf("readiness: %+v", a)
	}
	for _, want := range []string{`keywright_shed_requests_total{class="query"} `, `keywright_admission_running{class="write"} `, `keywright_admission_limit{class="read"} 0`,
		`keywright_work_delay_seconds{resource="processor"} `, "keywright_shedding "} {
		if !strings.Contains(x.scrape(t), want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
}

// TestFullOfOneTenantLetsTheOthersIn: whoever floods the server is told that it is too much, and nobody else notices.
func TestFullOfOneTenantLetsTheOthersIn(t *testing.T) {
	standAdmission(t)
	x := startTarget(t)
	other, _ := x.newTenant("theirs")
	x.fill(other)
	base, token := x.namedVault(devVault), x.token(t, x.vaultResource())
	for range 3 {
		if a := x.send("GET", base+"/secrets?api-version=7.6", token, ""); a.status != 200 {
			t.Errorf("a listing beside a tenant that floods: %+v", a)
		}
		if a := x.send("PUT", base+"/secrets/mine?api-version=7.6", token, `{"value":"v"}`); a.status != 200 {
			t.Errorf("a write beside a tenant that floods: %+v", a)
		}
	}
	// The flood itself: a tenant that holds all places asks for one more while another one is there.
	p, err := x.core.admission.Enter(t.Context(), admission.Query, string(x.estate.Tenant))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Leave()
	if _, err := x.core.admission.Enter(t.Context(), admission.Query, string(other)); err == nil || !strings.Contains(err.Error(), "its part") {
		t.Errorf("the flood is answered %v", err)
	}
}

// TestInventedTenantsShareOnePlace asks for tokens of tenants that do not exist.
func TestInventedTenantsShareOnePlace(t *testing.T) {
	standAdmission(t)
	x := startTarget(t)
	x.token(t, x.vaultResource())
	x.fill("")
	login := x.fronts()["oauth"].base
	for range 3 {
		if a := x.send("POST", login+"/"+vault.NewGUID()+"/oauth2/token", "", ""); a.status != 503 {
			t.Errorf("a tenant that does not exist: %+v", a)
		}
	}
	for _, segment := range []string{"adfs", string(x.estate.Tenant)} {
		if a := x.send("POST", login+"/"+segment+"/oauth2/token", "", ""); a.status != 400 {
			t.Errorf("%s: %+v", segment, a)
		}
	}
}

// TestSlowBodyKeepsNobodyOut holds back the end of a body: its place is given back meanwhile, and taken again at its end.
func TestSlowBodyKeepsNobodyOut(t *testing.T) {
	x := startTarget(t)
	reader, writer := io.Pipe()
	r, err := http.NewRequestWithContext(t.Context(), "PUT", x.namedVault(devVault)+"/secrets/slow?api-version=7.6", reader)
	if err != nil {
		t.Fatal(err)
	}
	const body = `{"value":"v"}`
	r.ContentLength = int64(len(body))
	r.Header.Set("Authorization", "Bearer "+x.token(t, x.vaultResource()))
	done := make(chan reply)
	go func() { done <- x.roundTrip(r) }()
	if _, err := writer.Write([]byte(body[:5])); err != nil {
		t.Fatal(err)
	}
	running := func() int { return x.core.admission.Stats(admission.Write).Running }
	await(t, "the request to run", func() bool { return running() == 1 })
	await(t, "its place to be given back", func() bool { return running() == 0 })
	writer.Write([]byte(body[5:]))
	writer.Close()
	if a := <-done; a.status != 200 {
		t.Errorf("a slow body was answered with %+v", a)
	}
	if n := running(); n != 0 {
		t.Errorf("%d run at the end", n)
	}
}
