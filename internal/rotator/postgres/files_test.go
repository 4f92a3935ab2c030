package postgres_test

import (
	"os"
	"testing"
)

// rewrite replaces a file of the server's in place, so that its owner stays.
func rewrite(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
