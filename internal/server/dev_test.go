package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"

	"github.com/keywright/keywright/internal/identity"
	"github.com/keywright/keywright/internal/redact"
)

// startDev starts a development server that ends with the test.
func startDev(t testing.TB, dir string) *Dev {
	t.Helper()
	return startDevWith(t, DevConfig{Config: Config{Dir: dir}})
}

// startDevWith starts one as configured, with small files for its audit log.
func startDevWith(t testing.TB, c DevConfig) *Dev {
	t.Helper()
	c.Listen, c.AuditReserveBytes, c.AuditSegmentBytes = "127.0.0.1:0", 1<<20, 1<<20
	d, err := StartDev(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Errorf("closing the server: %v", err)
		}
	})
	return d
}

// variable returns the value of a line of dev.env.
func (d *Dev) variable(name string) string {
	for _, v := range d.env {
		if v.name == name {
			return v.value
		}
	}
	return ""
}

// httpClient believes the server's CA.
func (d *Dev) httpClient(t testing.TB) *http.Client {
	t.Helper()
	pem, err := os.ReadFile(d.CAFile())
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// token issues a token for the development application without going over the network.
func (d *Dev) token(t testing.TB, resource string) string {
	t.Helper()
	tok, err := d.core.identity.ClientCredentials(context.Background(), identity.ClientRequest{Tenant: d.estate.Tenant, ClientID: d.estate.AppID,
		Secret: redact.String(d.variable("AZURE_CLIENT_SECRET")), Resource: resource})
	if err != nil {
		t.Fatal(err)
	}
	return tok.Access.Reveal()
}

// secretsClient is the Azure SDK's client with the credentials of dev.env.
func (d *Dev) secretsClient(t testing.TB) *azsecrets.Client {
	t.Helper()
	options := policy.ClientOptions{Transport: d.httpClient(t),
		Cloud: cloud.Configuration{ActiveDirectoryAuthorityHost: d.variable("AZURE_AUTHORITY_HOST")}}
	cred, err := azidentity.NewClientSecretCredential(d.variable("AZURE_TENANT_ID"), d.variable("AZURE_CLIENT_ID"), d.variable("AZURE_CLIENT_SECRET"),
		&azidentity.ClientSecretCredentialOptions{ClientOptions: options})
	if err != nil {
		t.Fatal(err)
	}
	c, err := azsecrets.NewClient(d.variable("AZURE_KEYVAULT_URL"), cred, &azsecrets.ClientOptions{ClientOptions: azcore.ClientOptions{Transport: options.Transport}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestDevServerKeepsEverythingOverARestart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	const value = "hällo \"x\" \u2028 \x00"
	var id azsecrets.ID
	var secret string
	t.Run("first start", func(t *testing.T) {
		d := startDev(t, dir)
		set, err := d.secretsClient(t).SetSecret(t.Context(), "Db-Password", azsecrets.SetSecretParameters{Value: to.Ptr(value),
			ContentType: to.Ptr("text/plain"), Tags: map[string]*string{"a": to.Ptr("b")}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		id, secret = *set.ID, d.variable("AZURE_CLIENT_SECRET")
	})
	t.Run("second start", func(t *testing.T) {
		d := startDev(t, dir)
		if got := d.variable("AZURE_CLIENT_SECRET"); got != secret {
			t.Error("the client secret of dev.env changed although it still works")
		}
		got, err := d.secretsClient(t).GetSecret(t.Context(), "db-password", id.Version(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if *got.Value != value || *got.Tags["a"] != "b" || *got.ContentType != "text/plain" || got.ID.Name() != "Db-Password" {
			t.Errorf("got %+v", got.Secret)
		}
	})
	t.Run("dev.env lost", func(t *testing.T) {
		if err := os.Remove(filepath.Join(dir, envFile)); err != nil {
			t.Fatal(err)
		}
		d := startDev(t, dir)
		if d.variable("AZURE_CLIENT_SECRET") == secret {
			t.Error("the server knows a secret of which it should have a digest only")
		}
		if _, err := d.secretsClient(t).GetSecret(t.Context(), "db-password", "", nil); err != nil {
			t.Fatal(err)
		}
	})
}

func TestChallengesNameTheTenantAsConfigured(t *testing.T) {
	for _, c := range []struct{ suffix, setting, want string }{
		{DefaultSuffix, "", "adfs"},
		{DefaultSuffix, "id", "TENANT"},
		{publicSuffix, "", "TENANT"},
		{publicSuffix, "adfs", "adfs"},
	} {
		t.Run(c.suffix+" "+c.setting, func(t *testing.T) {
			d := startDevWith(t, DevConfig{Config: Config{Dir: filepath.Join(t.TempDir(), "d")}, Suffix: c.suffix, ChallengeTenant: c.setting})
			h, err := d.doors()
			if err != nil {
				t.Fatal(err)
			}
			r := httptest.NewRequest("GET", "https://demo."+c.suffix+d.names.port+"/secrets/a/?api-version=7.4", nil)
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			want := "/" + strings.ReplaceAll(c.want, "TENANT", string(d.estate.Tenant)) + `"`
			if got := w.Header().Get("WWW-Authenticate"); w.Code != http.StatusUnauthorized || !strings.Contains(got, want) {
				t.Errorf("%d %s: want a challenge with %s", w.Code, got, want)
			}
		})
	}
	if _, err := StartDev(t.Context(), DevConfig{Config: Config{Dir: t.TempDir()}, ChallengeTenant: "guess"}); err == nil {
		t.Error("an unknown way to name the tenant was accepted")
	}
}
