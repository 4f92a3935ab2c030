// Package tree ties the cached result of a test to the whole source tree.
//
// go test keeps a result until something changes that the test was compiled from or opened itself. It does not see what
// a go command reads that the test runs, so a test that builds a program would go on passing after the program broke.
package tree

import (
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// Watch opens every directory below root but hidden ones, bin and node_modules: any change of a file there then runs the
// test again.
func Watch(t testing.TB, root string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() || path == root {
			return err
		}
		if name := entry.Name(); strings.HasPrefix(name, ".") || name == "bin" || name == "node_modules" {
			return filepath.SkipDir
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
