package clients_test

import (
	"errors"
	"os"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
)

func TestGo(t *testing.T)            { testGo(t, named) }
func TestGoPublicNames(t *testing.T) { testGo(t, public) }

// testGo drives the SDK in this process, whose environment it takes over.
func testGo(t *testing.T, c cloud) {
	if !enter(t, c) {
		return
	}
	s := start(t, c)
	s.use(t, bySecret)
	walk{t, s.goClient(t, must(azidentity.NewEnvironmentCredential(nil))(t))}.all(s)
	t.Run("sign in", func(t *testing.T) { s.goSignIns(t) })
}

// use makes this process's environment that of an application which signs in this way.
func (s *server) use(t *testing.T, way signIn) {
	t.Helper()
	if err := setenv(s.environment(way)); err != nil {
		t.Fatal(err)
	}
}

// must ends the test when a constructor fails: must(New(…))(t).
func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// goClient is a client of the demo vault, without any option.
func (s *server) goClient(t *testing.T, credential azcore.TokenCredential) *azsecrets.Client {
	t.Helper()
	return must(azsecrets.NewClient(os.Getenv("VAULT_URL"), credential, nil))(t)
}

// goSignIns tries every way to sign in: what the service principal writes, the managed identity reads and may not write.
func (s *server) goSignIns(t *testing.T) {
	writers := []struct {
		name       string
		way        signIn
		credential func(*testing.T) azcore.TokenCredential
	}{
		{"secret", bySecret, func(t *testing.T) azcore.TokenCredential {
			return must(azidentity.NewClientSecretCredential(os.Getenv("AZURE_TENANT_ID"), os.Getenv("AZURE_CLIENT_ID"), os.Getenv("AZURE_CLIENT_SECRET"), nil))(t)
		}},
		{"certificate", byCertificate, s.goCertificate},
		{"workload identity", byWorkload, func(t *testing.T) azcore.TokenCredential {
			return must(azidentity.NewWorkloadIdentityCredential(nil))(t)
		}},
		{"tenant by its id, without instance discovery", bySecret, s.goTenantID},
		{"default credential, secret", bySecret, goDefault},
		{"default credential, certificate", byCertificate, goDefault},
		{"default credential, workload identity", byWorkload, goDefault},
	}
	for _, w := range writers {
		t.Run(w.name, func(t *testing.T) {
			s.use(t, w.way)
			client := s.goClient(t, w.credential(t))
			if _, err := client.SetSecret(t.Context(), "greeting", azsecrets.SetSecretParameters{Value: to.Ptr("hello from " + w.name)}, nil); err != nil {
				t.Fatal(err)
			}
			if got, err := client.GetSecret(t.Context(), "greeting", "", nil); err != nil || *got.Value != "hello from "+w.name {
				t.Errorf("read back %v, %v", got.Value, err)
			}
		})
	}
	if !s.public {
		t.Run("vault without a name", func(t *testing.T) {
			s.use(t, bySecret)
			credential := must(azidentity.NewEnvironmentCredential(nil))(t)
			client := must(azsecrets.NewClient(s.env["AZURE_KEYVAULT_URL"], credential, nil))(t)
			if got, err := client.GetSecret(t.Context(), "greeting", "", nil); err != nil || got.ID.Name() != "greeting" {
				t.Errorf("got %v, %v", got.ID, err)
			}
		})
	}
	for _, way := range []signIn{byAppService, byOldAppService, byMetadata} {
		for name, credential := range map[string]func(*testing.T) azcore.TokenCredential{
			"managed identity": func(t *testing.T) azcore.TokenCredential {
				return must(azidentity.NewManagedIdentityCredential(nil))(t)
			},
			"default": goDefault,
		} {
			t.Run(string(way)+", "+name, func(t *testing.T) {
				s.use(t, way)
				mayOnlyRead(t, s.goClient(t, credential(t)))
			})
		}
	}
	t.Run("refusals", s.goRefusals)
}

func goDefault(t *testing.T) azcore.TokenCredential {
	return must(azidentity.NewDefaultAzureCredential(nil))(t)
}

func (s *server) goCertificate(t *testing.T) azcore.TokenCredential {
	pem, err := os.ReadFile(os.Getenv("AZURE_CLIENT_CERTIFICATE_PATH"))
	if err != nil {
		t.Fatal(err)
	}
	certificates, key, err := azidentity.ParseCertificates(pem, nil)
	if err != nil {
		t.Fatal(err)
	}
	return must(azidentity.NewClientCertificateCredential(os.Getenv("AZURE_TENANT_ID"), os.Getenv("AZURE_CLIENT_ID"), certificates, key, nil))(t)
}

// goTenantID names the tenant by its id at an authority that the library does not know. Where challenges name the tenant "adfs",
// the application has to allow that.
func (s *server) goTenantID(t *testing.T) azcore.TokenCredential {
	return must(azidentity.NewClientSecretCredential(s.env["KEYWRIGHT_TENANT_ID"], os.Getenv("AZURE_CLIENT_ID"), os.Getenv("AZURE_CLIENT_SECRET"),
		&azidentity.ClientSecretCredentialOptions{DisableInstanceDiscovery: true, AdditionallyAllowedTenants: []string{"*"}}))(t)
}

func mayOnlyRead(t *testing.T, client *azsecrets.Client) {
	t.Helper()
	if got, err := client.GetSecret(t.Context(), "greeting", "", nil); err != nil || *got.Value == "" {
		t.Fatalf("reading: %v", err)
	}
	_, err := client.SetSecret(t.Context(), "greeting", azsecrets.SetSecretParameters{Value: to.Ptr("x")}, nil)
	wantError(t, err, 403, "Forbidden", "ForbiddenByRbac")
}

func (s *server) goRefusals(t *testing.T) {
	s.use(t, bySecret)
	tenant := os.Getenv("AZURE_TENANT_ID")
	stranger := s.goClient(t, must(azidentity.NewClientSecretCredential(tenant, s.strangerID, s.strangerSecret, nil))(t))
	for _, name := range []string{"greeting", "not-there"} {
		_, err := stranger.GetSecret(t.Context(), name, "", nil)
		wantError(t, err, 403, "Forbidden", "ForbiddenByRbac")
	}
	wrong := s.goClient(t, must(azidentity.NewClientSecretCredential(tenant, s.strangerID, "not the secret", nil))(t))
	_, err := wrong.GetSecret(t.Context(), "greeting", "", nil)
	var failed *azidentity.AuthenticationFailedError
	if !errors.As(err, &failed) || !contains(err, "AADSTS7000215") {
		t.Errorf("a wrong secret: %v", err)
	}
}
