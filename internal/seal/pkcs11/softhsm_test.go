//go:build pkcs11

package pkcs11_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/seal"
	"github.com/keywright/keywright/internal/seal/pkcs11"
	"github.com/keywright/keywright/internal/seal/sealtest"
	token "github.com/keywright/keywright/internal/token/pkcs11"
)

// tokens makes two tokens with the same label in the places of two machines. SoftHSM reads its configuration once in a process, so both are in one.
func tokens(t *testing.T) (module string) {
	t.Helper()
	for _, pattern := range []string{"/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/*/softhsm/libsofthsm2.so", "/usr/local/lib/softhsm/libsofthsm2.so"} {
		if found, _ := filepath.Glob(pattern); len(found) > 0 {
			module = found[0]
		}
	}
	if _, err := exec.LookPath("softhsm2-util"); err != nil || module == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("SoftHSM is not installed: scripts/deps installs it")
		}
		t.Skip("SKIPPED: no PKCS#11 token was used, because SoftHSM is not installed; scripts/deps installs it")
	}
	dir := t.TempDir()
	conf := filepath.Join(dir, "softhsm2.conf")
	if err := os.Mkdir(filepath.Join(dir, "tokens"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(conf, []byte("directories.tokendir = "+dir+"/tokens\nlog.level = ERROR\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SOFTHSM2_CONF", conf)
	for _, label := range []string{"home", "elsewhere"} {
		if out, err := exec.Command("softhsm2-util", "--init-token", "--free", "--label", label, "--pin", "271828", "--so-pin", "31415926").CombinedOutput(); err != nil {
			t.Fatalf("making a token: %v\n%s", err, out)
		}
	}
	return module
}

func TestSealInAToken(t *testing.T) {
	module := tokens(t)
	// One session of the process stays open throughout, as the module is one for all.
	keep, err := token.Open(token.Config{Module: module, Token: "home", PIN: "271828", Sessions: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { keep.Close() })
	at := func(label string) func(t *testing.T) seal.Seal {
		return func(t *testing.T) seal.Seal {
			t.Helper()
			s, err := pkcs11.New(pkcs11.Config{Token: token.Config{Module: module, Token: label, PIN: "271828", Sessions: 2}, Make: true})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
			return s
		}
	}
	sealtest.Run(t, sealtest.Maker{Reopen: at("home"), Other: at("elsewhere")})

	if _, err := pkcs11.New(pkcs11.Config{Token: token.Config{Module: module, Token: "home", PIN: "271828"}, Key: "none"}); !fault.Is(err, fault.NotFound) {
		t.Errorf("without its key: %v", err)
	}
	if _, err := pkcs11.New(pkcs11.Config{Token: token.Config{Module: module, Token: "nowhere", PIN: "271828"}}); !fault.Is(err, fault.Unavailable) {
		t.Errorf("without the token: %v", err)
	}
}
