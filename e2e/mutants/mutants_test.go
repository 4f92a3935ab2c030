// Package mutants_test takes the safeguards of rotations away, one at a time, and wants a named test to fail each time.
//
// A mutant is one edit of one file. The sources stay as they are: the compiler is given the edited file in place of the other (go test -overlay).
package mutants_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// runEnv asks for the mutants: each compiles a package and its tests, which takes seconds to a minute.
const runEnv = "KEYWRIGHT_MUTANTS"

// mutant is one edit, and the tests that have to notice it.
type mutant struct {
	name string
	// file is in the package, below the module's root; old stands in it exactly once.
	pkg, file, old, new string
	test                string
}

const rotation = "internal/rotation"

var mutants = []mutant{
	{"no journal before set", rotation, "drive.go", "err = d.commit(ctx, next, effects, reason)",
		"if next.State == Setting {\n\t\td.run = next\n\t} else {\n\t\terr = d.commit(ctx, next, effects, reason)\n\t}", "TestJournalBeforeEffect"},
	{"no probe after a lost reply", rotation, "change.go", "m.enter(Probing, SetInDoubt)", "m.again(Generated, Retrying)", "TestDoubtIsProbed"},
	{"no probe after a crash", rotation, "step.go", "(*machine).set, (*machine).doubtSet,", "(*machine).set, (*machine).set,", "TestDoubtIsProbed"},
	{"no wait for late statements", rotation, "next.go", "if m.Doubt && m.now.Before(due) {", "if false && m.now.Before(due) {", "TestNobodyIsCutOff"},
	{"no fence", rotation, "commit.go", "if err := c.d.leases.check(ctx, tx); err != nil {", "if err := error(nil); err != nil {", "TestHeldUpWorkerWritesNothing"},
	{"no lock of the target's account", rotation, "lease.go", "for _, identity := range r.Identities {", "for _, identity := range map[string]string{} {", "TestTwoSecretsOneAccount"},
	{"no wait for the ledger", rotation, "await.go", "case !w.Safe:", "case false:", "TestRevocationWaitsForItsConsumers"},
	{"no grace from the loss of evidence", rotation, "await.go", "if w.Whole.After(m.WholeSince) {", "if false {", "TestGraceStartsAnewWhenEvidenceWasLost"},
	{"no look at the current value before the old goes", rotation, "end.go", "case m.accepts(m.Current) && m.rejects(m.old()):\n\t\t// It is gone", "case true:\n\t\t// It is gone", "TestAcknowledgedAndLost"},
}

func TestMutants(t *testing.T) {
	root := filepath.Join("..", "..")
	for _, m := range mutants {
		t.Run(strings.ReplaceAll(m.name, " ", "-"), func(t *testing.T) {
			path := filepath.Join(root, m.pkg, m.file)
			source, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(string(source), m.old); n != 1 {
				t.Fatalf("%s holds what the mutant changes %d times, want once: bring the mutant up to date", path, n)
			}
			if os.Getenv(runEnv) == "" {
				return // that the edits still apply is looked at always
			}
			edited := filepath.Join(t.TempDir(), m.file)
			if err := os.WriteFile(edited, []byte(strings.Replace(string(source), m.old, m.new, 1)), 0o600); err != nil {
				t.Fatal(err)
			}
			out, err := run(t, root, m, path, edited)
			switch {
			case err == nil:
				t.Errorf("%s passes without it", m.test)
			case !strings.Contains(out, "--- FAIL: "+m.test):
				t.Errorf("%s did not fail, something else did:\n%s", m.test, out[max(0, len(out)-2048):])
			}
		})
	}
	if os.Getenv(runEnv) == "" {
		t.Logf("only that the edits apply was checked: %s=1 runs the mutants, as scripts/soak rotation does", runEnv)
	}
}

// run runs the mutant's test with the edited file.
func run(t *testing.T, root string, m mutant, path, edited string) (string, error) {
	t.Helper()
	abs, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{abs: edited}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "overlay.json")
	if err := os.WriteFile(file, overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "test", "-vet=off", "-count=1", "-timeout", "5m", "-overlay", file, "-run", "^"+m.test+"$", "./"+m.pkg, "-rapid.nofailfile")
	cmd.Dir = root
	out, err := cmd.CombinedOutput()
	return string(out), err
}
