// Package examples runs the example applications of the documentation, unmodified, against a real PostgreSQL and a real Keywright.
package examples

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/keywright/keywright/client/keywrighttest"
	"github.com/keywright/keywright/e2e/changeover"
	"github.com/keywright/keywright/e2e/netns"
	"github.com/keywright/keywright/e2e/npm"
)

const examples = "../../docs/examples"

// patience is how long one thing may take on a busy machine.
const patience = time.Minute

func TestMain(m *testing.M) {
	netns.Init()
	os.Exit(m.Run())
}

// missing skips the test, loudly, and fails it in CI.
func missing(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf(format, args...)
	}
	t.Skip("SKIPPED, NOT PASSED: ", fmt.Sprintf(format, args...))
}

// program makes the command of an example. Its environment has what every program of a reader has.
type program func(t *testing.T, s *keywrighttest.Server) *exec.Cmd

// debianPython is the interpreter that Debian's packages are installed for.
const debianPython = "/usr/bin/python3"

func python(t *testing.T, _ *keywrighttest.Server) *exec.Cmd {
	if out, err := exec.Command(debianPython, "-c", "import azure.identity, azure.keyvault.secrets, psycopg2").CombinedOutput(); err != nil {
		missing(t, "the example needs packages (as root: apt-get install --no-install-recommends python3-azure python3-psycopg2): %v %s", err, out)
	}
	cmd := exec.CommandContext(t.Context(), debianPython, "app.py")
	cmd.Dir = filepath.Join(examples, "change-over-python")
	return cmd
}

// node runs where the names of the vault and of the sign-in lead to the server: the SDK accepts no vault whose address is a number.
func node(t *testing.T, s *keywrighttest.Server) *exec.Cmd {
	source := filepath.Join(examples, "change-over-node")
	modules := npm.Modules(t, source)
	dir := t.TempDir()
	if err := npm.Lay(npm.Config{Package: source}, modules, dir, "app.mjs", "pool.mjs"); err != nil {
		t.Fatal(err)
	}
	if err := netns.Available(false); err != nil {
		missing(t, "the example needs names of its own: %v", err)
	}
	host := regexp.MustCompile(`^https://([^:/]+)`).FindStringSubmatch(s.Env()["KEYWRIGHT_VAULT_URL"])[1]
	_, suffix, _ := strings.Cut(host, ".vault.")
	spec := netns.Spec{Hosts: "127.0.0.1 localhost " + host + " login." + suffix + " " + suffix + "\n"}
	cmd, err := spec.Command(t.Context(), "node", "app.mjs")
	if err != nil {
		t.Fatal(err)
	}
	cmd.Dir = dir
	return cmd
}

// app is a running example.
type app struct {
	t    *testing.T
	cmd  *exec.Cmd
	mu   sync.Mutex
	said []string
	over chan struct{}
}

func start(t *testing.T, s *keywrighttest.Server, p program, env ...string) *app {
	t.Helper()
	a := &app{t: t, cmd: p(t, s), over: make(chan struct{})}
	a.cmd.Env = append(s.Environ(), env...)
	a.cmd.Env = append(a.cmd.Env, "PYTHONDONTWRITEBYTECODE=1", "DB_SECRET=changing", "WORKERS=16")
	read, write := io.Pipe()
	a.cmd.Stdout, a.cmd.Stderr = write, write
	a.cmd.Cancel = func() error { return a.cmd.Process.Signal(syscall.SIGTERM) }
	a.cmd.WaitDelay = 5 * time.Second
	if err := a.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for lines := bufio.NewScanner(read); lines.Scan(); {
			a.mu.Lock()
			a.said = append(a.said, lines.Text())
			a.mu.Unlock()
		}
	}()
	go func() {
		a.cmd.Wait()
		write.Close()
		<-ended
		close(a.over)
	}()
	t.Cleanup(func() {
		a.cmd.Process.Signal(syscall.SIGTERM)
		<-a.over
	})
	return a
}

func (a *app) output() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return strings.Join(a.said, "\n")
}

// says waits until the example says something.
func (a *app) says(what string) {
	a.t.Helper()
	for end := time.Now().Add(patience); !strings.Contains(a.output(), what); time.Sleep(20 * time.Millisecond) {
		select {
		case <-a.over:
			if !strings.Contains(a.output(), what) {
				a.t.Fatalf("the example ended before it said %q:\n%s", what, a.output())
			}
		default:
		}
		if time.Now().After(end) {
			a.t.Fatalf("the example does not say %q:\n%s", what, a.output())
		}
	}
}

var summary = regexp.MustCompile(`(\d+) queries, (\d+) failed`)

// end stops the example, which must have asked much and failed never.
func (a *app) end() {
	a.t.Helper()
	a.cmd.Process.Signal(syscall.SIGTERM)
	<-a.over
	m := summary.FindStringSubmatch(a.output())
	if m == nil || len(m[1]) < 3 || m[2] != "0" {
		a.t.Errorf("the example did not go through without a failure:\n%s", a.output())
	} else {
		a.t.Log(m[0])
	}
}

func gone(t *testing.T, target changeover.Postgres, n int) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		left, err := target.Sessions(context.Background(), n)
		if err == nil && left == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d sessions with the old credential are left, %v", left, err)
		}
	}
}

// TestExamplesChangeOver rotates a credential twice under each example: the first new version is found by the poll; the second by the refusal of the one
// before, because nobody polls.
func TestExamplesChangeOver(t *testing.T) {
	for name, p := range map[string]program{"node": node, "python": python} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			target := changeover.StartPostgres(t)
			s := keywrighttest.Start(t)
			n := -1
			next := func() string {
				t.Helper()
				n++
				value, err := target.Widen(t.Context(), n)
				if err != nil {
					t.Fatal(err)
				}
				return s.SetSecret("changing", value)
			}
			narrow := func() {
				t.Helper()
				if err := target.Narrow(t.Context(), n-1); err != nil {
					t.Fatal(err)
				}
			}
			database := []string{"DB_HOST=127.0.0.1", fmt.Sprint("DB_PORT=", target.Port)}
			first := next()

			polls := start(t, s, p, append(database, "POLL_SECONDS=1")...)
			polls.says("signed in with " + first)
			second := next()
			polls.says("signed in with " + second)
			gone(t, target, n-1)
			narrow()
			time.Sleep(2 * time.Second) // every connection is opened anew in this time
			polls.end()

			lazy := start(t, s, p, append(database, "POLL_SECONDS=3600")...)
			lazy.says("signed in with " + second)
			third := next()
			narrow()
			lazy.says("signed in with " + third)
			time.Sleep(time.Second)
			lazy.end()
		})
	}
}
