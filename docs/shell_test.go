package docs

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/keywright/keywright/e2e/process"
)

// blockLimit is how long one block may take. The longest compiles a program and logs in with az.
const blockLimit = 3 * time.Minute

// shell is the terminal of a page's reader: one shell that keeps its variables and directory from block to block.
type shell struct {
	t     *testing.T
	home  string
	env   []string
	shell *process.Process
	in    io.Writer
	out   *bufio.Reader
	// served is what runs in terminals of its own.
	served []*process.Process
}

// endOfBlock is printed behind the output of each block, with the exit code.
const endOfBlock = "--- end of block"

func newShell(t *testing.T, env []string) *shell {
	t.Helper()
	s := &shell{t: t, home: t.TempDir()}
	s.env = append(env, "HOME="+s.home)
	cmd := exec.Command("sh")
	cmd.Dir, cmd.Env = root, s.env
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = write, write
	if s.shell, err = process.Start("sh", cmd); err != nil {
		t.Fatal(err)
	}
	write.Close()
	s.in, s.out = in, bufio.NewReader(out)
	t.Cleanup(func() {
		s.shell.Stop(syscall.SIGTERM, time.Second)
		for _, p := range s.served {
			if err := p.Stop(syscall.SIGTERM, 10*time.Second); err != nil {
				t.Error(err)
			}
		}
		out.Close()
	})
	return s
}

// run gives the shell a script and returns what it printed, and its exit code. With strict, the first command that fails ends
// the script.
func (s *shell) run(script string, strict bool) (printed string, code int) {
	s.t.Helper()
	file := filepath.Join(s.t.TempDir(), "block")
	if err := os.WriteFile(file, []byte(script+"\n"), 0o600); err != nil {
		s.t.Fatal(err)
	}
	option := "set +e"
	if strict {
		option = "set -e"
	}
	// Standard input of the commands is empty: they must not read what is meant for the shell.
	fmt.Fprintf(s.in, "%s; . %s </dev/null; printf '\\n%s %%d\\n' $?\n", option, file, endOfBlock)
	late := time.AfterFunc(blockLimit, func() { s.shell.Stop(syscall.SIGKILL, 0) })
	defer late.Stop()
	var out strings.Builder
	for {
		line, err := s.out.ReadString('\n')
		if n, _ := fmt.Sscanf(line, endOfBlock+" %d", &code); n == 1 {
			return strings.TrimSuffix(out.String(), "\n"), code
		}
		out.WriteString(line)
		if err != nil {
			// "set -e" ended the shell, or time did.
			return out.String(), -1
		}
	}
}

// serve starts a script in a terminal of its own and waits until it prints "ready".
func (s *shell) serve(script string) error {
	cmd := exec.Command("sh", "-ec", script)
	cmd.Dir, cmd.Env = root, s.env
	out := &waiter{ready: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = out, out
	p, err := process.Start("sh", cmd)
	if err != nil {
		return err
	}
	s.served = append(s.served, p)
	select {
	case <-out.ready:
		return nil
	case <-p.Done():
		return fmt.Errorf("it ended and printed:\n%s", out)
	case <-time.After(blockLimit):
		return errors.New("it did not print \"ready\"")
	}
}

// waiter keeps what is printed and closes ready at the line "ready".
type waiter struct {
	mu    sync.Mutex // guards all
	all   bytes.Buffer
	ready chan struct{}
	told  bool
}

func (w *waiter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all.Write(p)
	if !w.told && strings.Contains("\n"+w.all.String(), "\nready\n") {
		w.told = true
		close(w.ready)
	}
	return len(p), nil
}

func (w *waiter) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.all.String()
}
