// Package npm installs the dependencies of a Node.js program, once per lock file, for tests and demonstrations.
//
// The packages go into a cache directory, never beside the program's sources, exactly as its package-lock.json pins
// them (npm ci verifies each integrity hash) and without running their install scripts.
package npm

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/keywright/keywright/e2e/process"
)

// ErrMissing says that Node.js or npm is not installed here.
var ErrMissing = errors.New("node and npm are needed and not both installed: apt-get install nodejs npm (Node.js 20 or newer)")

// Config says what to install and where.
type Config struct {
	// Package is the directory with package.json and package-lock.json.
	Package string
	// Cache is the directory under which installations are kept; see CacheDir.
	Cache string
	// Log receives npm's own output; nil drops it.
	Log io.Writer
}

// CacheDir is the cache of the source tree that dir belongs to: .cache/npm beside the nearest go.mod upward.
func CacheDir(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, ".cache", "npm"), nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("no go.mod in this directory or above it: run this inside the source tree")
		}
		dir = parent
	}
}

// Install returns the node_modules directory for the package. Several processes may install at once: the first does
// the work, the others wait for it. An installation that was interrupted is made anew.
func Install(ctx context.Context, config Config) (string, error) {
	key, err := fingerprint(ctx, config.Package)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(config.Cache, key)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	unlock, err := lock(ctx, dir+".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	modules, complete := filepath.Join(dir, "node_modules"), filepath.Join(dir, "complete")
	if _, err := os.Stat(complete); err == nil {
		return modules, nil
	}
	for _, name := range []string{"package.json", "package-lock.json"} {
		if err := copyFile(filepath.Join(config.Package, name), filepath.Join(dir, name)); err != nil {
			return "", err
		}
	}
	cmd := exec.Command("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, config.Log, config.Log
	if err := process.Run(ctx, "npm ci", cmd, 5*time.Second); err != nil {
		return "", fmt.Errorf("installing the packages of %s: %w", config.Package, err)
	}
	return modules, os.WriteFile(complete, nil, 0o644)
}

// Lay copies the program's files into dir and gives it the installed modules, so that `node FILE` runs there as in
// a deployment: the sources are the very bytes of the package.
func Lay(config Config, modules, dir string, files ...string) error {
	for _, name := range append(files, "package.json") {
		if err := copyFile(filepath.Join(config.Package, name), filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return os.Symlink(modules, filepath.Join(dir, "node_modules"))
}

// Modules is Install for tests, from the package directory into the cache of the source tree. Without npm the test
// is skipped, or fails under CI=true.
func Modules(t testing.TB, dir string) string {
	t.Helper()
	cache, err := CacheDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	modules, err := Install(t.Context(), Config{Package: dir, Cache: cache})
	switch {
	case errors.Is(err, ErrMissing) && os.Getenv("CI") != "true":
		t.Skip("SKIPPED, NOT PASSED: ", err)
	case err != nil:
		t.Fatal(err)
	}
	return modules
}

// fingerprint names an installation by what decides its content: the two files and the major version of Node.js.
func fingerprint(ctx context.Context, dir string) (string, error) {
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			return "", ErrMissing
		}
	}
	version, err := exec.CommandContext(ctx, "node", "--version").Output()
	if err != nil {
		return "", fmt.Errorf("asking node for its version: %w", err)
	}
	major, _, _ := strings.Cut(string(version), ".")
	sum := sha256.New()
	for _, name := range []string{"package.json", "package-lock.json"} {
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return "", err
		}
		fmt.Fprintf(sum, "%d\n", len(content))
		sum.Write(content)
	}
	return fmt.Sprintf("%s-%s-%x", filepath.Base(dir), major, sum.Sum(nil)[:8]), nil
}

// lock takes the lock file, waiting for whoever holds it; the kernel gives it back when its holder dies.
func lock(ctx context.Context, path string) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	for {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { file.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errors.Join(fmt.Errorf("locking %s: %w", path, err), file.Close())
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), file.Close())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func copyFile(from, to string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, content, 0o644)
}
