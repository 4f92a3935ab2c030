package npm_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keywright/keywright/e2e/npm"
)

// local writes a package whose only dependency lies beside it, so that npm ci needs no registry.
func local(t *testing.T) npm.Config {
	t.Helper()
	if _, err := exec.LookPath("npm"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(npm.ErrMissing)
		}
		t.Skip("SKIPPED, NOT PASSED: ", npm.ErrMissing)
	}
	dir := t.TempDir()
	for name, content := range map[string]string{
		"package.json": `{"name":"p","version":"1.0.0","private":true}`,
		"package-lock.json": `{"name":"p","version":"1.0.0","lockfileVersion":3,"requires":true,
			"packages":{"":{"name":"p","version":"1.0.0"}}}`,
		"main.js": "console.log('it runs')\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return npm.Config{Package: dir, Cache: t.TempDir()}
}

func TestInstallOnceAndLay(t *testing.T) {
	config := local(t)
	modules, err := npm.Install(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(modules, "mark"), 0o755); err != nil {
		t.Fatal(err)
	}
	again, err := npm.Install(t.Context(), config)
	if err != nil || again != modules {
		t.Fatalf("the second time: %q, %v; want %q", again, err, modules)
	}
	if _, err := os.Stat(filepath.Join(modules, "mark")); err != nil {
		t.Error("the second Install did the work again")
	}
	dir := t.TempDir()
	if err := npm.Lay(config, modules, dir, "main.js"); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("node", filepath.Join(dir, "main.js")).CombinedOutput()
	if err != nil || string(out) != "it runs\n" {
		t.Errorf("got %q, %v", out, err)
	}
}

func TestChangedLockIsAnotherInstallation(t *testing.T) {
	config := local(t)
	first, err := npm.Install(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	lock := filepath.Join(config.Package, "package-lock.json")
	content, err := os.ReadFile(lock)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(lock, append(content, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
	second, err := npm.Install(t.Context(), config)
	if err != nil || first == second {
		t.Errorf("the same directory %q serves two lock files (%v)", second, err)
	}
}

func TestMismatchFails(t *testing.T) {
	config := local(t)
	path := filepath.Join(config.Package, "package.json")
	if err := os.WriteFile(path, []byte(`{"name":"p","version":"1.0.0","dependencies":{"q":"1.0.0"}}`), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := npm.Install(t.Context(), config); err == nil || !strings.Contains(err.Error(), "npm ci") {
		t.Errorf("a package that its lock file does not cover was installed: %v", err)
	}
}

func TestCancelled(t *testing.T) {
	config := local(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := npm.Install(ctx, config); err == nil {
		t.Error("Install went on though it was told to stop")
	}
}
