package auditnodes

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/keywright/keywright/e2e/pgtest"
	"github.com/keywright/keywright/e2e/process"
	"github.com/keywright/keywright/e2e/program"
)

var keywright = program.Program{Variable: "KEYWRIGHT_AUDITNODES_PROGRAM", Root: "../.."}

func TestMain(m *testing.M) {
	code := m.Run()
	keywright.Remove()
	os.Exit(code)
}

// node is a server in a process of its own.
type node struct {
	*testing.T
	dir     string
	process *process.Process
	env     []string
}

// start starts a node in the directory, which shares the database of the file, and waits until it is ready.
func start(t *testing.T, dir, database string) *node {
	t.Helper()
	n := &node{T: t, dir: dir}
	var err error
	n.process, err = process.Start("keywright", exec.Command(os.Getenv(keywright.Variable), "dev", "--dir", dir, "--listen", "127.0.0.1:0", "--store-dsn-file", database,
		"--audit-ship-every", "200ms"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.process.Stop(syscall.SIGTERM, 10*time.Second) })
	env := filepath.Join(dir, "dev.env")
	if err := n.process.Await(t.Context(), time.Minute, func() bool { _, err := os.Stat(env); return err == nil }); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(env)
	if err != nil {
		t.Fatal(err)
	}
	n.env = append(os.Environ(), "HOME="+t.TempDir())
	n.env = append(n.env, strings.Split(strings.TrimSpace(string(text)), "\n")...)
	return n
}

// run runs the command line against the node.
func (n *node) run(instance, input string, args ...string) (stdout, stderr string, err error) {
	cmd := exec.CommandContext(n.Context(), os.Getenv(keywright.Variable), args...)
	cmd.Env = append(n.env, "KEYWRIGHT_INSTANCE="+instance)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &out, &errs
	err = cmd.Run()
	return out.String(), errs.String(), err
}

func (n *node) must(instance, input string, args ...string) string {
	n.Helper()
	stdout, stderr, err := n.run(instance, input, args...)
	if err != nil {
		n.Fatalf("keywright %s: %v\n%s", strings.Join(args, " "), err, stderr)
	}
	return stdout
}

// within tries again until it works.
func (n *node) within(limit time.Duration, what string, try func() error) {
	n.Helper()
	until := time.Now().Add(limit)
	for {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(until) {
			n.Fatalf("%s: %v", what, err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// deadAfter is how long a node is waited for that was never heard of again.
const deadAfter = 9 * time.Second

type record struct{ Node, Operation, ID, Object string }

// query returns the records about an object, and what the command said beside them.
func (n *node) query(object string) (list []record, said string) {
	n.Helper()
	stdout, said, err := n.run("", "", "audit", "query", "--object", object, "--output", "json")
	if err != nil {
		n.Fatalf("audit query: %v\n%s", err, said)
	}
	if err := json.Unmarshal([]byte(stdout), &list); err != nil {
		n.Fatal(err)
	}
	return list, said
}

func count(list []record, operation string) (n int, nodes map[string]bool) {
	nodes = make(map[string]bool)
	for _, r := range list {
		if r.Operation == operation {
			n++
			nodes[r.Node] = true
		}
	}
	return n, nodes
}

// TestNodeIsKilled: of two nodes one is killed with a change whose record is in no log yet. The other one shows the records of both, says what may be missing,
// takes the record over, proves both logs, and tells who holds a version as soon as the dead node cannot have delivered anything any more. When that comes
// back, each record is still there once.
func TestNodeIsKilled(t *testing.T) {
	keywright.Build(t)
	server := pgtest.Run(t)
	database := filepath.Join(t.TempDir(), "dsn")
	if err := os.WriteFile(database, []byte(server.AdminDSN()), 0o600); err != nil {
		t.Fatal(err)
	}
	dirA, dirB := t.TempDir(), t.TempDir()
	a := start(t, dirA, database)
	seal, err := os.ReadFile(filepath.Join(dirA, "seal.key"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dirB, "seal.key"), seal, 0o600); err != nil {
		t.Fatal(err)
	}
	b := start(t, dirB, database)

	a.must("", "first", "secret", "set", "db-password", "--file", "-")
	a.must("pod-a", "", "secret", "get", "db-password")
	b.within(10*time.Second, "reading on the other node", func() error {
		_, stderr, err := b.run("pod-b", "", "secret", "get", "db-password")
		if err != nil {
			return fmt.Errorf("%w: %s", err, stderr)
		}
		return nil
	})
	holders := a.must("", "", "version", "holders", "db-password")
	if !strings.Contains(holders, "pod-a") || !strings.Contains(holders, "pod-b") {
		t.Errorf("right behind the reads the holders are\n%s", holders)
	}
	a.within(10*time.Second, "one query", func() error {
		list, _ := a.query("db-password")
		if reads, nodes := count(list, "SecretGet"); reads < 2 || len(nodes) != 2 {
			return fmt.Errorf("%d reads of %d nodes", reads, len(nodes))
		}
		return nil
	})

	b.must("", "last words", "secret", "set", "orphan", "--file", "-")
	killed := time.Now()
	if err := b.process.Stop(syscall.SIGKILL, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	id, err := os.ReadFile(filepath.Join(dirB, "node.id"))
	if err != nil {
		t.Fatal(err)
	}
	name := strings.TrimSpace(string(id))
	_, stderr, err := a.run("", "", "version", "holders", "db-password")
	if asked := time.Since(killed); asked > deadAfter {
		t.Logf("the machine is so busy that the node is long dead after %s: whether the ledger waits is not seen", asked)
	} else if err == nil || !strings.Contains(stderr, name) {
		t.Errorf("who holds a version was told although a node may have delivered it a moment ago, or the node was not named: %v, %s", err, stderr)
	}
	a.within(40*time.Second, "the ledger goes on", func() error {
		stdout, stderr, err := a.run("", "", "version", "holders", "db-password")
		if err != nil || !strings.Contains(stdout, "pod-b") {
			return fmt.Errorf("%w: %s%s", err, stdout, stderr)
		}
		return nil
	})
	if waited := time.Since(killed); waited < 5*time.Second {
		t.Errorf("the ledger went on after %s: the node may have answered until then", waited)
	}
	a.within(30*time.Second, "taking the record over", func() error {
		list, said := a.query("orphan")
		if n, nodes := count(list, "SecretSet"); n != 1 || !nodes[name] || !strings.Contains(said, name) {
			return fmt.Errorf("%d records, of %v; said was %q", n, nodes, said)
		}
		return nil
	})
	if report := a.must("", "", "audit", "verify"); strings.Count(report, "yes") < 2 || !strings.Contains(report, "keywright/"+name) {
		t.Errorf("the proof is\n%s", report)
	}

	os.Remove(filepath.Join(dirB, "dev.env"))
	b = start(t, dirB, database)
	for _, n := range []*node{a, b} {
		n.within(15*time.Second, "each record once", func() error {
			list, _ := n.query("orphan")
			if sets, _ := count(list, "SecretSet"); sets != 1 {
				return fmt.Errorf("%d records", sets)
			}
			list, _ = n.query("db-password")
			if sets, _ := count(list, "SecretSet"); sets != 1 {
				return fmt.Errorf("%d records of the first secret", sets)
			}
			return nil
		})
		if report := n.must("", "", "audit", "verify"); strings.Contains(report, "no ") {
			t.Errorf("the proof is\n%s", report)
		}
	}
}
