package pgtest

import (
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
)

// programs finds the directory that holds initdb and postgres: the newest of Debian's, which are not in the search
// path, else what the search path has.
func programs() (string, error) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	slices.SortFunc(found, func(a, b string) int { return version(b) - version(a) })
	if len(found) > 0 {
		return filepath.Dir(found[0]), nil
	}
	if path, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(path), nil
	}
	return "", ErrMissing
}

// version reads the 15 of /usr/lib/postgresql/15/bin/initdb; 0 when it is no number.
func version(path string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path))))
	return n
}
