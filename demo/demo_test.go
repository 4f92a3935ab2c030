package main

import (
	"errors"
	"os"
	"testing"

	"github.com/keywright/keywright/e2e/netns"
	"github.com/keywright/keywright/e2e/npm"
	"github.com/keywright/keywright/e2e/pgtest"
	"github.com/keywright/keywright/e2e/tree"
)

// TestMain lets this binary be what the demo starts itself as: the preparation of a namespace, and part three in it.
func TestMain(m *testing.M) {
	netns.Init()
	if len(os.Args) > 1 && os.Args[1] == "-public-name" {
		os.Exit(run())
	}
	os.Exit(m.Run())
}

// TestDemo tells the whole story, with fewer rotations in a row. A part that is left out for want of a tool or a namespace is a skip, or a failure
// under CI=true.
func TestDemo(t *testing.T) {
	leaveOut := t.Skip
	if os.Getenv("CI") == "true" {
		leaveOut = t.Fatal
	}
	tree.Watch(t, "..")
	temporary := openTemp(t)
	t.Setenv("TMPDIR", temporary)
	err := tell(t.Context(), options{rotations: 2})
	if errors.Is(err, npm.ErrMissing) || errors.Is(err, pgtest.ErrMissing) {
		leaveOut("SKIPPED, NOT PASSED: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(temporary); err != nil || len(left) > 0 {
		t.Errorf("the demo left files behind: %v, %v", left, err)
	}
	if denied := netns.Available(true); denied != nil {
		leaveOut("SKIPPED, NOT PASSED: part three: ", denied)
	}
}

// openTemp is a temporary directory that every account may enter, as the database's must; t.TempDir is closed to all
// but this one.
func openTemp(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "demo-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}
