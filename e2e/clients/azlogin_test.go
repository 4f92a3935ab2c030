package clients_test

import (
	"errors"
	"fmt"
	"html"
	"io"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"github.com/keywright/keywright/e2e/process"
	"github.com/keywright/keywright/e2e/transcript"
)

// tenantVariable keeps the tenant's id for az, which wants it even where SDKs say "adfs".
const tenantVariable = "KEYWRIGHT_TENANT_ID"

// azSignIns tries each way to sign in, side by side.
func (s *server) azSignIns(t *testing.T, fresh *az) {
	principal := func(what, value string) func(*testing.T) {
		return func(t *testing.T) {
			t.Parallel()
			a := fresh.copy(t, nil)
			a.want(t, "servicePrincipal\n"+os.Getenv("AZURE_CLIENT_ID"), "login", "--service-principal", "-u", os.Getenv("AZURE_CLIENT_ID"),
				what, value, "--tenant", a.tenant(t), "--query", "[0].user.[type, name]")
			a.want(t, "demo", "keyvault", "show", "-n", "demo", "--query", "name")
		}
	}
	token, err := os.ReadFile(s.tokenFile)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("secret", principal("-p", os.Getenv("AZURE_CLIENT_SECRET")))
	t.Run("certificate", principal("-p", s.certificateFile))
	t.Run("federated token", principal("--federated-token", strings.TrimSpace(string(token))))
	t.Run("wrong secret", func(t *testing.T) {
		t.Parallel()
		a := fresh.copy(t, nil)
		a.fails(t, "AADSTS7000215", "login", "--service-principal", "-u", s.strangerID, "-p", "not the secret", "--tenant", a.tenant(t))
	})
	t.Run("managed identity of a web application", func(t *testing.T) {
		t.Parallel()
		s.azManaged(t, fresh.copy(t, map[string]string{"APPSETTING_WEBSITE_SITE_NAME": "dev-workload",
			"MSI_ENDPOINT": s.env["IDENTITY_ENDPOINT"], "MSI_SECRET": s.env["IDENTITY_HEADER"]}))
	})
	t.Run("managed identity of a virtual machine", func(t *testing.T) {
		t.Parallel()
		s.azManaged(t, fresh.copy(t, nil))
	})
	t.Run("device code", func(t *testing.T) { t.Parallel(); s.azDevice(t, fresh.copy(t, nil)) })
}

// azManaged signs in as an identity that has no role on the subscription, only on the vault.
func (s *server) azManaged(t *testing.T, a *az) {
	a.want(t, a.tenant(t), "login", "--identity", "--allow-no-subscriptions", "--query", "[0].tenantId")
	if token := a.run(t, "account", "get-access-token", "--resource", s.resource(), "--query", "accessToken", "-o", "tsv"); strings.Count(token, ".") != 2 {
		t.Errorf("az has a token with %d parts", strings.Count(token, ".")+1)
	}
}

// resource is what challenges of vaults name.
func (s *server) resource() string { return "https://" + s.suffix + s.port() }

// azDevice signs a person in: az shows a code, the person types it into the page.
func (s *server) azDevice(t *testing.T, a *az) {
	cmd, stdout, _ := a.command(t, "login", "--use-device-code", "--tenant", a.tenant(t), "--query", "[0].user.[type, name]", "-o", "tsv")
	said := &transcript.Buffer{}
	cmd.Env = append(lines(without(a.env, "AZURE_CORE_ONLY_SHOW_ERRORS")), "PYTHONUNBUFFERED=1")
	cmd.Stderr = said
	p, err := process.Start("az login", cmd)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Stop(syscall.SIGTERM, time.Second) }() // it has ended, if all went well
	instruction := regexp.MustCompile(`open the page (\S+) and enter the code (\S+) to authenticate`)
	if err := p.Await(t.Context(), time.Minute, func() bool { return instruction.MatchString(said.String()) }); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	found := instruction.FindStringSubmatch(said.String())
	if err := s.typeCode(found[1], found[2]); err != nil {
		t.Fatal(err)
	}
	<-p.Done()
	if got := strings.TrimSpace(stdout.String()); !p.Succeeded() || got != "user\n"+s.upn {
		t.Fatalf("az printed %q and said:\n%s", got, said)
	}
	a.want(t, "demo", "keyvault", "show", "-n", "demo", "--query", "name")
	a.fails(t, "AuthorizationFailed", "group", "create", "-n", "not-mine", "-l", "local")
}

// typeCode does what a person does in a browser: opens the page, types the code, signs in and allows.
func (s *server) typeCode(page, code string) error {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return err
	}
	browser := &http.Client{Jar: jar, Timeout: 20 * time.Second}
	address, _, err := fetch(browser, http.MethodGet, page, nil)
	if err != nil {
		return err
	}
	address, text, err := fetch(browser, http.MethodPost, address, url.Values{"user_code": {code}, "step": {"find"}})
	if err != nil {
		return err
	}
	if !strings.Contains(text, code) || !strings.Contains(text, "Azure CLI") {
		return fmt.Errorf("the page does not name the code and the program:\n%s", text)
	}
	once, err := totp.GenerateCode(s.seed, time.Now())
	if err != nil {
		return err
	}
	_, text, err = fetch(browser, http.MethodPost, address, url.Values{"user_code": {code}, "step": {"allow"}, "upn": {s.upn},
		"password": {s.password}, "code": {once}})
	if err == nil && !strings.Contains(html.UnescapeString(text), "signed in as") {
		err = fmt.Errorf("the page does not say that the device is signed in:\n%s", text)
	}
	return err
}

// fetch returns where the page's form leads, and the page.
func fetch(browser *http.Client, method, address string, form url.Values) (action, text string, err error) {
	request, err := http.NewRequest(method, address, strings.NewReader(form.Encode()))
	if err != nil {
		return "", "", err
	}
	if form != nil {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		request.Header.Set("Origin", request.URL.Scheme+"://"+request.URL.Host)
		request.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	response, err := browser.Do(request)
	if err != nil {
		return "", "", err
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err := errors.Join(err, response.Body.Close()); err != nil {
		return "", "", err
	}
	if response.StatusCode != http.StatusOK {
		return "", "", fmt.Errorf("%s %s was answered with %s:\n%s", method, address, response.Status, body)
	}
	found := regexp.MustCompile(`<form method="post" action="([^"]*)"`).FindSubmatch(body)
	if found == nil {
		return "", string(body), nil
	}
	target, err := response.Request.URL.Parse(html.UnescapeString(string(found[1])))
	if err != nil {
		return "", "", err
	}
	return target.String(), string(body), nil
}

func without(env map[string]string, name string) map[string]string {
	out := maps.Clone(env)
	delete(out, name)
	return out
}
