package auditnodes

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/keywright/keywright/client"
	"github.com/keywright/keywright/client/api"
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
	process *process.Process
	env     []string
	config  client.Config
}

// start starts a node in the directory, which shares the database of the file, and waits until it is ready.
func start(t *testing.T, dir, database string) *node {
	t.Helper()
	n := &node{T: t}
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
	own := strings.Split(strings.TrimSpace(string(text)), "\n")
	n.env = append(n.env, own...)
	n.config, err = client.ConfigFromEnv(func(name string) string {
		for _, line := range own {
			if value, ok := strings.CutPrefix(line, name+"="); ok {
				return value
			}
		}
		return ""
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// as is a client that declares an instance.
func (n *node) as(instance string) *client.Client {
	n.Helper()
	c := n.config
	c.Instance = instance
	cl, err := client.New(c)
	if err != nil {
		n.Fatal(err)
	}
	return cl
}

const vault = "demo"

// holders lists the instances that hold the current version.
func (n *node) holders(name string) (list []string, err error) {
	found, err := n.as("").Vault(vault).Holders(n.Context(), name, "current", 0)
	if err != nil {
		return nil, err
	}
	for _, h := range found.Items {
		list = append(list, h.Instance)
	}
	return list, nil
}

// run runs the command line against the node.
func (n *node) run(args ...string) string {
	n.Helper()
	cmd := exec.CommandContext(n.Context(), os.Getenv(keywright.Variable), args...)
	cmd.Env = n.env
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		n.Fatalf("keywright %s: %v\n%s", strings.Join(args, " "), err, errs.String())
	}
	return out.String()
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

// query returns the records about an object, and what the answer says is missing.
func (n *node) query(object string) (list []api.AuditRecord, missing []string) {
	n.Helper()
	f := client.AuditFilter{Object: object, Missing: func(why string) { missing = append(missing, why) }}
	for r, err := range n.as("").AuditRecords(n.Context(), f) {
		if err != nil {
			n.Fatal(err)
		}
		list = append(list, *r)
	}
	return list, missing
}

func (n *node) set(name, value string) {
	n.Helper()
	if _, err := n.as("").Vault(vault).Set(n.Context(), name, []byte(value)); err != nil {
		n.Fatal(err)
	}
}

func count(list []api.AuditRecord, operation string) (n int, nodes map[string]bool) {
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
	made := time.Now() // at the latest: the vault

	a.set("db-password", "first")
	for instance, n := range map[string]*node{"pod-a": a, "pod-b": b} {
		n.within(time.Minute, "reading on both nodes", func() error {
			_, err := n.as(instance).Vault(vault).Get(t.Context(), "db-password")
			return err
		})
	}
	if holders, err := a.holders("db-password"); err != nil || len(holders) != 2 || !slices.Contains(holders, "pod-b") {
		t.Errorf("right behind the reads the holders are %q: %v", holders, err)
	}
	a.within(time.Minute, "one query", func() error {
		list, _ := a.query("db-password")
		if reads, nodes := count(list, "SecretGet"); reads < 2 || len(nodes) != 2 {
			return fmt.Errorf("%d reads of %d nodes", reads, len(nodes))
		}
		return nil
	})

	// Behind that a vault's staleFor counts as known to a node that was heard of, whatever their clocks say.
	time.Sleep(time.Until(made.Add(65 * time.Second)))
	b.set("orphan", "last words")
	killed := time.Now()
	if err := b.process.Stop(syscall.SIGKILL, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	id, err := os.ReadFile(filepath.Join(dirB, "node.id"))
	if err != nil {
		t.Fatal(err)
	}
	name := strings.TrimSpace(string(id))
	_, err = a.holders("db-password")
	if asked := time.Since(killed); asked > deadAfter {
		t.Logf("the machine is so busy that the node is long dead after %s: whether the ledger waits is not seen", asked)
	} else if err == nil || !strings.Contains(err.Error(), name) {
		t.Errorf("who holds a version was told although a node may have delivered it a moment ago, or the node was not named: %v", err)
	}
	a.within(2*time.Minute, "the ledger goes on", func() error {
		holders, err := a.holders("db-password")
		if err == nil && !slices.Contains(holders, "pod-b") {
			err = fmt.Errorf("the holders are %q", holders)
		}
		return err
	})
	if waited := time.Since(killed); waited < 5*time.Second {
		t.Errorf("the ledger went on after %s: the node may have answered until then", waited)
	}
	a.within(time.Minute, "taking the record over", func() error {
		list, missing := a.query("orphan")
		if n, nodes := count(list, "SecretSet"); n != 1 || !nodes[name] || len(missing) != 1 || !strings.Contains(missing[0], name) {
			return fmt.Errorf("%d records, of %v; missing is %q", n, nodes, missing)
		}
		return nil
	})
	if report := a.run("audit", "verify"); strings.Count(report, "yes") < 2 || !strings.Contains(report, "keywright/"+name) {
		t.Errorf("the proof is\n%s", report)
	}

	os.Remove(filepath.Join(dirB, "dev.env"))
	b = start(t, dirB, database)
	for _, n := range []*node{a, b} {
		n.within(time.Minute, "each record once", func() error {
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
		if report := n.run("audit", "verify"); strings.Contains(report, "no ") {
			t.Errorf("the proof is\n%s", report)
		}
	}
}
