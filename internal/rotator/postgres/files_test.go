package postgres_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// rewrite replaces a file of the server's in place, so that its owner stays.
func rewrite(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// give writes a file that belongs to whom its directory belongs: the server reads no key of anybody else's.
func give(t *testing.T, path, text string) {
	t.Helper()
	rewrite(t, path, text)
	directory, err := os.Stat(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	owner := directory.Sys().(*syscall.Stat_t)
	if err := os.Chown(path, int(owner.Uid), int(owner.Gid)); err != nil {
		t.Fatal(err)
	}
}
