package keywrighttest_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"

	"github.com/keywright/keywright/client/keywrighttest"
)

// startLimit is what package comment and README promise.
const startLimit = 100 * time.Millisecond

// TestStartIsQuick looks for one start within the limit: a busy machine makes any of them slow, but none quick. The race
// detector makes everything many times slower; the promise is about programs without it.
func TestStartIsQuick(t *testing.T) {
	limit := startLimit
	if raceEnabled {
		limit *= 20
	}
	var times []time.Duration
	for patience := time.Now().Add(time.Minute); time.Now().Before(patience); {
		began := time.Now()
		s := keywrighttest.Start(t)
		took := time.Since(began)
		s.Close()
		if took <= limit {
			t.Logf("a start took %v, after %v", took, times)
			return
		}
		times = append(times, took)
	}
	t.Errorf("of %d starts in a minute the quickest took %v, which is more than %v", len(times), slices.Min(times), limit)
}

func BenchmarkStart(b *testing.B) {
	for b.Loop() {
		keywrighttest.Start(b).Close()
	}
}

func TestSecretsOutliveTheServer(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "kw")
	s := keywrighttest.Start(t, keywrighttest.Dir(dir))
	version := s.SetSecret("db-password", "correct horse")
	s.Close()

	again := keywrighttest.Start(t, keywrighttest.Dir(dir))
	got, err := again.Client().Vault(again.VaultName()).Get(t.Context(), "db-password")
	if err != nil {
		t.Fatal(err)
	}
	if string(got.Bytes()) != "correct horse" || got.Version != version {
		t.Errorf("got version %s with %d bytes, want version %s with the value that was set", got.Version, len(got.Bytes()), version)
	}
}

// TestAzureSDK reads through Azure's own libraries what the native API stored.
func TestAzureSDK(t *testing.T) {
	s := keywrighttest.Start(t)
	s.SetSecret("shared", "value of both doors")
	env := s.Env()
	options := azcore.ClientOptions{Transport: s.HTTPClient()}
	options.Cloud.ActiveDirectoryAuthorityHost = env["AZURE_AUTHORITY_HOST"]
	credential, err := azidentity.NewClientSecretCredential(env["AZURE_TENANT_ID"], env["AZURE_CLIENT_ID"], env["AZURE_CLIENT_SECRET"],
		&azidentity.ClientSecretCredentialOptions{ClientOptions: options, DisableInstanceDiscovery: true})
	if err != nil {
		t.Fatal(err)
	}
	c, err := azsecrets.NewClient(s.VaultURL(), credential, &azsecrets.ClientOptions{ClientOptions: options})
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.GetSecret(t.Context(), "shared", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	if *got.Value != "value of both doors" {
		t.Errorf("got %q", *got.Value)
	}
}

func TestEnvironmentFileIsPrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "kw")
	keywrighttest.Start(t, keywrighttest.Dir(dir))
	info, err := os.Stat(filepath.Join(dir, "dev.env"))
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("dev.env has mode %o, want 600", info.Mode().Perm())
	}
}
