package upkeep_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// fromEnv names the commit of which old nodes are.
const fromEnv = "KEYWRIGHT_UPKEEP_FROM"

const schemaFile = "internal/store/relational/schema.go"

// stepName is a line of the list of steps.
var stepName = regexp.MustCompile(`(?m)^\t(\w+Schema),$`)

// steps are the names of a schema's steps behind the first one.
func steps(source string) (names []string) {
	for _, m := range stepName.FindAllStringSubmatch(source, -1) {
		names = append(names, m[1])
	}
	return names
}

func git(args ...string) (string, error) {
	cmd := exec.Command("git", append([]string{"-C", keywright.Root}, args...)...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("git %s: %w: %s", args[0], err, errs.String())
	}
	return string(out), nil
}

// previous finds the newest commit on the way to this one whose schema has fewer steps, and that knows PostgreSQL: there is no release yet to upgrade from.
func previous() (commit string, err error) {
	if commit = os.Getenv(fromEnv); commit != "" {
		return commit, nil
	}
	source, err := os.ReadFile(filepath.Join(keywright.Root, schemaFile))
	if err != nil {
		return "", err
	}
	present := steps(string(source))
	list, err := git("rev-list", "--first-parent", "HEAD", "--", schemaFile)
	if err != nil {
		return "", err
	}
	// Listed are the commits that changed the steps; before is the newest one with the steps of c.
	before := "HEAD"
	for c := range strings.FieldsSeq(list) {
		then, err := git("show", c+":"+schemaFile)
		if err != nil {
			break // before there was one
		}
		old := steps(then)
		if n := len(old); n > 0 && n < len(present) && slices.Equal(old, present[:n]) {
			if commit, err = git("rev-parse", before); err != nil {
				return "", err
			}
			commit = strings.TrimSpace(commit)
			if _, err := git("cat-file", "-e", commit+":internal/store/postgres/schema.go"); err == nil {
				return commit, nil
			}
		}
		before = c + "^"
	}
	return "", errors.New("the history has no commit whose schema has fewer steps: it is not all here, or begins with this one")
}

// builtFrom builds the program of a commit.
func builtFrom(t *testing.T, commit string) string {
	t.Helper()
	dir := t.TempDir()
	source := filepath.Join(dir, "source")
	if err := os.Mkdir(source, 0o700); err != nil {
		t.Fatal(err)
	}
	archive := filepath.Join(dir, "source.tar")
	if _, err := git("archive", "--output", archive, commit); err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(dir, "keywright-previous")
	for _, cmd := range []*exec.Cmd{
		exec.Command("tar", "-x", "-f", archive, "-C", source),
		exec.Command("go", "build", "-trimpath", "-ldflags", "-X github.com/keywright/keywright/internal/version.release=previous", "-o", binary, "./cmd/keywright"),
	} {
		cmd.Dir = source
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("building %s: %v\n%s", commit, err, out)
		}
	}
	return binary
}
