// Package mutants_test takes the safeguards of the product away, one at a time, and wants a named test to fail each time.
//
// A mutant is one edit of one file. The sources stay as they are: the compiler is given the edited file in place of the other (go test -overlay).
package mutants_test

import (
	"cmp"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// runEnv asks for all mutants: each compiles a package and its tests, which takes seconds to a minute. CI=true asks for those of the store.
const runEnv = "KEYWRIGHT_MUTANTS"

// mutant is one edit, and the tests that have to notice it.
type mutant struct {
	name string
	// file is in the package, below the module's root; old stands in it exactly once.
	pkg, file, old, new string
	test                string
	// in is the package of the test, where it is another.
	in string
}

// tested is the package whose test has to fail.
func (m *mutant) tested() string { return cmp.Or(m.in, m.pkg) }

const rotation = "internal/rotation"

// rotations are the safeguards of rotations.
var rotations = []mutant{
	{"no journal before set", rotation, "drive.go", "err = d.commit(ctx, next, effects, reason)",
		"if next.State == Setting {\n\t\td.run = next\n\t} else {\n\t\terr = d.commit(ctx, next, effects, reason)\n\t}", "TestJournalBeforeEffect", ""},
	{"no probe after a lost reply", rotation, "change.go", "m.enter(Probing, SetInDoubt)", "m.again(Generated, Retrying)", "TestDoubtIsProbed", ""},
	{"no probe after a crash", rotation, "step.go", "(*machine).set, (*machine).doubtSet,", "(*machine).set, (*machine).set,", "TestDoubtIsProbed", ""},
	{"no wait for late statements", rotation, "next.go", "if m.Doubt && m.now.Before(due) {", "if false && m.now.Before(due) {", "TestNobodyIsCutOff", ""},
	{"no lock of the target's account", rotation, "lease.go", "for _, identity := range r.Identities {", "for _, identity := range map[string]string{} {", "TestTwoSecretsOneAccount", ""},
	{"no wait for the ledger", rotation, "await.go", "case !w.Safe:", "case false:", "TestRevocationWaitsForItsConsumers", ""},
	{"no grace from the loss of evidence", rotation, "await.go", "if w.Whole.After(m.WholeSince) {", "if false {", "TestGraceStartsAnewWhenEvidenceWasLost", ""},
	{"no look at the current value before the old goes", rotation, "end.go", "case m.accepts(m.Current) && m.rejects(m.old()):\n\t\t// It is gone", "case true:\n\t\t// It is gone", "TestAcknowledgedAndLost", ""},
}

// durable are the safeguards on which everything else stands: CI takes these away on every run.
var durable = []mutant{
	{name: "no fence", pkg: rotation, file: "commit.go", old: "if err := c.d.leases.check(ctx, tx); err != nil {", new: "if err := error(nil); err != nil {",
		test: "TestHeldUpWorkerWritesNothing"},
	{name: "no fsync of the store", pkg: "internal/store/sqlite", file: "conn.go", old: `"synchronous=FULL"`, new: `"synchronous=OFF"`,
		in: "e2e/durability", test: "TestPowerLoss"},
	{name: "no fsync of the audit log", pkg: "internal/audit/disk", file: "dir.go", old: "func (f osFile) Sync() error {", new: "func (f osFile) Sync() error {\n\treturn nil",
		in: "e2e/durability", test: "TestPowerLoss"},
	{name: "no operation id", pkg: "internal/guard", file: "guard.go", old: "case done:\n\t\t\treturn nil", new: "case done && false:\n\t\t\treturn nil",
		test: "TestAmbiguousCommitsAreResolved"},
	{name: "no wait for the audit record", pkg: "internal/guard", file: "guard.go", old: "err := g.Audit.Append(ctx, r)\n\tfreeRecord(r)", new: "err := error(nil)\n\tgo func() { _ = g.Audit.Append(context.WithoutCancel(ctx), r) }()",
		test: "TestWithoutARecordNothingHappens"},
	{name: "no place in the additional data", pkg: "internal/keyring", file: "bind.go", old: "for _, f := range fields {\n\t\tb = binary", new: "for _, f := range fields[:1] {\n\t\tb = binary",
		test: "TestValuesOpenInTheirPlaceAlone"},
	{name: "no view of access is dropped", pkg: "internal/guard", file: "view.go", old: "for i := range c.Changes {", new: "for i := range c.Changes[:0] {",
		test: "TestAccessFollowsEveryAcknowledgedChange"},
	{name: "no value is dropped", pkg: "internal/object", file: "cache.go", old: "for i := range c.Changes {", new: "for i := range c.Changes[:0] {",
		in: "internal/secret", test: "TestReadsSeeEveryAcknowledgedWrite"},
	{name: "no commit of another node", pkg: "internal/store/postgres", file: "feed.go", old: "f.watchers.Show(c)\n", new: "_ = c\n", test: "TestFreshness"},
}

// coherent are further ones by which what a node remembers is never older than it may be.
var coherent = []mutant{
	{name: "no token is taken back", pkg: "internal/identity", file: "changed.go", old: "if len(ids) > 0 {", new: "if false {", test: "TestRevocationIsImmediate"},
	{name: "no key is forgotten", pkg: "internal/keyring", file: "keyring.go", old: "for i := range c.Changes {", new: "for i := range c.Changes[:0] {", test: "TestShreddingReachesOpeners"},
	{name: "no age of the memory", pkg: "internal/guard", file: "fresh.go", old: "if call.age < MaxAge {", new: "if true {", test: "TestNodeBehindFailsClosed"},
	{name: "no flush behind a gap", pkg: "internal/store/postgres", file: "feed.go", old: "f.watchers.Show(&store.Commit{Position: p, Flush: true})", new: "", test: "TestPrunedFeed"},
	{name: "no cache hears of commits", pkg: "internal/server", file: "server.go", old: "for _, changed := range k.caches {", new: "for _, changed := range k.caches[:0] {",
		test: "TestRolesAtTheScopeOfKeys"},
}

func TestMutants(t *testing.T) {
	t.Run("rotation", func(t *testing.T) { takeAway(t, rotations, os.Getenv(runEnv) != "") })
	t.Run("coherent", func(t *testing.T) { takeAway(t, coherent, os.Getenv(runEnv) != "") })
	t.Run("durable", func(t *testing.T) { takeAway(t, durable, os.Getenv(runEnv) != "" || os.Getenv("CI") == "true") })
}

// takeAway looks whether the edits still apply, and what the tests say to them.
func takeAway(t *testing.T, mutants []mutant, whole bool) {
	for _, m := range mutants {
		t.Run(strings.ReplaceAll(m.name, " ", "-"), func(t *testing.T) {
			t.Parallel()
			path := filepath.Join("..", "..", m.pkg, m.file)
			source, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(string(source), m.old); n != 1 {
				t.Fatalf("%s holds what the mutant changes %d times, want once: bring the mutant up to date", path, n)
			}
			if !whole {
				return
			}
			edited := filepath.Join(t.TempDir(), m.file)
			if err := os.WriteFile(edited, []byte(strings.Replace(string(source), m.old, m.new, 1)), 0o600); err != nil {
				t.Fatal(err)
			}
			out, err := run(t, m, path, edited)
			switch {
			case err == nil:
				t.Errorf("%s passes without it", m.test)
			case !strings.Contains(out, "--- FAIL: "+m.test):
				t.Errorf("%s did not fail, something else did:\n%s", m.test, out[max(0, len(out)-2048):])
			}
		})
	}
	if !whole {
		t.Logf("only that the edits apply was checked: %s=1 runs the mutants, as scripts/soak rotation does", runEnv)
	}
}

// run runs the mutant's test with the edited file.
func run(t *testing.T, m mutant, path, edited string) (string, error) {
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
	args := []string{"test", "-vet=off", "-count=1", "-timeout", "5m", "-overlay", file, "-run", "^" + m.test + "$", "./" + m.tested()}
	if m.tested() == rotation {
		args = append(args, "-rapid.nofailfile")
	}
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = filepath.Join("..", "..")
	out, err := cmd.CombinedOutput()
	return string(out), err
}
