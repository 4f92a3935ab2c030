// Package program builds Keywright for tests that start it as a process of its own.
package program

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/keywright/keywright/e2e/tree"
)

// Program is built once in a run of a package's tests. Its path stands in a variable of the environment, so that the copy of a test in a namespace, where there is
// no module proxy, finds it.
type Program struct {
	// Variable is the environment's variable, Root the module's root, seen from the package.
	Variable, Root string
	// Flags are for the compiler.
	Flags []string

	once sync.Once
	dir  string
	err  error
}

// Build builds the program, unless that was done.
func (p *Program) Build(t *testing.T) {
	t.Helper()
	if os.Getenv(p.Variable) != "" {
		return
	}
	tree.Watch(t, p.Root)
	p.once.Do(func() { p.err = p.build() })
	if p.err != nil {
		t.Fatal(p.err)
	}
}

func (p *Program) build() (err error) {
	if p.dir, err = os.MkdirTemp("", "keywright-program-"); err != nil {
		return err
	}
	binary := filepath.Join(p.dir, "keywright")
	cmd := exec.Command("go", slices.Concat([]string{"build"}, p.Flags, []string{"-o", binary, "./cmd/keywright"})...)
	cmd.Dir = p.Root
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building the program: %w\n%s", err, out)
	}
	return os.Setenv(p.Variable, binary)
}

// Remove removes what was built. It is for the end of TestMain.
func (p *Program) Remove() {
	if p.dir != "" {
		os.RemoveAll(p.dir)
	}
}
