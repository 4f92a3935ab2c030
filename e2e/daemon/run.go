package daemon

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"testing"
)

// Missing says that a program is not installed, and how to install it.
type Missing string

func (m Missing) Error() string { return string(m) }

// Find returns the first of the programs that is here; a name without a directory is looked for in the search path, which rarely has the directories
// of an administrator. It fails with missing.
func Find(missing Missing, programs ...string) (string, error) {
	for _, p := range programs {
		if path, err := exec.LookPath(p); err == nil {
			return path, nil
		}
	}
	return "", missing
}

// Run starts a server for a test, which stops with the test. Without the program the test is skipped, or fails under CI=true.
func Run[S interface{ Stop() error }](t testing.TB, start func(context.Context) (S, error)) S {
	t.Helper()
	s, err := start(t.Context())
	var missing Missing
	switch {
	case errors.As(err, &missing) && os.Getenv("CI") != "true":
		t.Skip("SKIPPED, NOT PASSED: ", err)
	case err != nil:
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}
