package exec_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/keywright/keywright/e2e/transcript"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/rotator/contract"
	"github.com/keywright/keywright/internal/rotator/contract/contracttest"
	"github.com/keywright/keywright/internal/rotator/exec"
	"github.com/keywright/keywright/internal/rotator/rotatortest"
)

// programWord is the first argument of the test program when it plays the reference receiver; the second is its directory.
const programWord = "keywright-reference-program"

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == programWord {
		syscall.Exit(play(os.Args[2])) // os.Exit of a program with the race detector takes a second
	}
	os.Exit(m.Run())
}

// play is the reference program. It talks too much on purpose: the order with its values goes to standard error.
func play(directory string) int {
	text, err := io.ReadAll(os.Stdin)
	if err != nil {
		return 1
	}
	fmt.Fprintf(os.Stderr, "the order is %s\n", text)
	var o contract.Order
	if err := json.Unmarshal(text, &o); err != nil {
		return 1
	}
	where, _ := os.Getwd()
	seen, _ := json.Marshal(map[string]any{"arguments": os.Args, "environment": os.Environ(), "directory": where})
	if err := os.WriteFile(filepath.Join(directory, "seen"), seen, 0o600); err != nil {
		return 1
	}
	reply := contract.Reply{Answer: contract.NotApplied, Reason: contract.Denied}
	if o.Admin != nil && o.Admin.Account == "porter" && o.Admin.Clear == "porter's own code" {
		err = share(directory, func(s *contracttest.Site) {
			reply = s.Obey(&o, time.Now(), func(p *contract.Part) (string, error) { return p.Clear, nil })
		})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	_ = json.NewEncoder(os.Stdout).Encode(reply)
	switch {
	case reply.Answer == contract.Done:
		return 0
	case reply.Answer == contract.Rejected:
		return 11
	case reply.Answer == contract.Pending:
		return 15
	case reply.Answer == contract.Unknown:
		return 99
	}
	return map[contract.Reason]int{"": 10, contract.Denied: 12, contract.Misconfigured: 13, contract.Busy: 14}[reply.Reason]
}

// share changes the site that lives in a file; one after the other.
func share(directory string, f func(*contracttest.Site)) error {
	file, err := os.OpenFile(filepath.Join(directory, "site"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		return err
	}
	s := contracttest.NewSite()
	if err := json.NewDecoder(file).Decode(s); err != nil && err != io.EOF {
		return err
	}
	f(s)
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if err := file.Truncate(0); err != nil {
		return err
	}
	_, err = file.WriteAt(text, 0)
	return err
}

// world is a rotator, its program and the program's directory.
type world struct {
	t         *testing.T
	rotator   *exec.Rotator
	program   string
	directory string
	log       *transcript.Buffer
}

func newWorld(t *testing.T, programs ...string) *world {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, program: self, directory: t.TempDir(), log: &transcript.Buffer{}}
	w.rotator, err = exec.New(exec.Config{Programs: append(programs, self), Log: slog.New(slog.NewTextHandler(w.log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) target() *rotator.Target {
	config, _ := json.Marshal(map[string]any{"program": w.program, "arguments": []string{programWord, w.directory}})
	return &rotator.Target{Config: config, Attempt: "attempt", Admin: rotator.Credential{Account: "porter", Value: redact.Bytes("porter's own code")}}
}

func (w *world) with(f func(*contracttest.Site)) {
	w.t.Helper()
	if err := share(w.directory, f); err != nil {
		w.t.Fatal(err)
	}
}

func TestConformance(t *testing.T) {
	w := newWorld(t)
	s := contracttest.With(w.with).Subject(w.rotator)
	s.Target = func(*testing.T, []string) *rotator.Target { return w.target() }
	s.Log = func(*testing.T) string { return w.log.String() }
	s.Powerless = func(*testing.T) rotator.Credential {
		return rotator.Credential{Account: "guest", Value: redact.Bytes("guest's own code")}
	}
	s.Broken = json.RawMessage(`{"program":"rotate","arguments":["a\u0000b"]}`)
	s.Complaints = []string{"absolute", "zero byte"}
	rotatortest.Run(t, s)
}

// Nothing but what the policy says, and a fixed environment, reaches the program beside standard input.
func TestWhatProgramsSee(t *testing.T) {
	t.Setenv("KEYWRIGHT_TEST_CANARY", "a secret of the server's environment")
	w := newWorld(t)
	w.with(func(s *contracttest.Site) { s.Make("app", "the first value") })
	if err := w.rotator.Set(t.Context(), w.target(), rotator.Change{Credential: rotator.Credential{Account: "app", Value: redact.Bytes("the second value")}}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(w.directory, "seen"))
	if err != nil {
		t.Fatal(err)
	}
	for _, never := range []string{"second value", "porter", "KEYWRIGHT", "canary"} {
		if strings.Contains(strings.ReplaceAll(string(text), programWord, ""), never) {
			t.Errorf("the program saw %q: %s", never, text)
		}
	}
	var seen struct {
		Environment []string
		Directory   string
	}
	if err := json.Unmarshal(text, &seen); err != nil || seen.Directory != "/" || !slices.Contains(seen.Environment, "LANG=C.UTF-8") || len(seen.Environment) != 4 {
		t.Errorf("%s, %v", text, err)
	}
}

// script writes a program of its own and a target that runs it.
func script(t *testing.T, text string) (*world, *rotator.Target) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "rotate")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o700); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, path)
	config, _ := json.Marshal(map[string]any{"program": path})
	return w, &rotator.Target{Config: config}
}

var change = rotator.Change{Credential: rotator.Credential{Account: "app", Value: redact.Bytes("a value of some length")}}

func TestExitStatuses(t *testing.T) {
	for text, want := range map[string]rotator.Class{
		"exit 10": rotator.NotApplied, "exit 11": rotator.Refused, "exit 12": rotator.Denied, "exit 13": rotator.Misconfigured, "exit 14": rotator.Busy,
		"exit 1": rotator.Doubt, "exit 2": rotator.Doubt, "exit 16": rotator.Doubt, "exit 126": rotator.Doubt, "exit 127": rotator.Doubt, "exit 255": rotator.Doubt, "kill -9 $$": rotator.Doubt,
		// Output that contradicts the status, or is no reply.
		`echo '{"answer":"rejected"}'`: rotator.Doubt, "echo all is well": rotator.Doubt, "head -c 100000 /dev/zero": rotator.Doubt,
		`echo '{"answer":"not_applied","reason":"busy"}'; exit 10`: rotator.Busy,
	} {
		w, target := script(t, text)
		if err := w.rotator.Set(t.Context(), target, change); err == nil || rotator.ClassOf(err) != want {
			t.Errorf("%s: %v of class %v, want %v", text, err, rotator.ClassOf(err), want)
		}
	}
	for _, text := range []string{"exit 0", "cat >/dev/null; echo '{\"answer\":\"done\"}'", "exec 0<&-; exit 0", "head -c 1000000 /dev/zero >&2"} {
		w, target := script(t, text)
		if err := w.rotator.Set(t.Context(), target, change); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// At the deadline the whole group dies, and so does what a program that ended left behind.
func TestGroupsDie(t *testing.T) {
	alive := func(t *testing.T, file string) bool {
		t.Helper()
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err != nil {
			t.Fatal(err)
		}
		for range 100 {
			stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			if err != nil || strings.Contains(string(stat), ") Z ") {
				return false
			}
			time.Sleep(10 * time.Millisecond)
		}
		_ = syscall.Kill(pid, syscall.SIGKILL)
		return true
	}
	for name, text := range map[string]string{"at the deadline": "sleep 60 & echo $! > %s; trap '' TERM; wait", "left behind": "sleep 60 >/dev/null & echo $! > %s"} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "pid")
			w, target := script(t, fmt.Sprintf(text, file))
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			defer cancel()
			begin := time.Now()
			err := w.rotator.Set(ctx, target, change)
			if name == "left behind" && err != nil || name != "left behind" && (err == nil || rotator.ClassOf(err) != rotator.Doubt) {
				t.Errorf("%v of class %v", err, rotator.ClassOf(err))
			}
			if took := time.Since(begin); took > 30*time.Second {
				t.Errorf("it took %v", took)
			}
			if alive(t, file) {
				t.Error("a process outlived the verb")
			}
		})
	}
}

// Values in standard error are not logged, nor is more than a bound.
func TestStandardErrorIsBounded(t *testing.T) {
	w, target := script(t, `cat >&2; head -c 100000 /dev/zero | tr '\0' x >&2`)
	if err := w.rotator.Set(t.Context(), target, change); err != nil {
		t.Fatal(err)
	}
	text := w.log.String()
	if strings.Contains(text, "a value of some length") || len(text) > 4<<10 || !strings.Contains(text, "cut=true") || !strings.Contains(text, "step=set") {
		t.Errorf("the log is %d bytes: %.500s", len(text), text)
	}
}

// A program that somebody else could change is not run.
func TestTrust(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, path string) error{
		"writable for others":     func(_ *testing.T, path string) error { return os.Chmod(path, 0o722) },
		"in a writable directory": func(_ *testing.T, path string) error { return os.Chmod(filepath.Dir(path), 0o777) },
		"not executable":          func(_ *testing.T, path string) error { return os.Chmod(path, 0o600) },
		"setuid":                  func(_ *testing.T, path string) error { return os.Chmod(path, 0o700|os.ModeSetuid) },
		"gone":                    func(_ *testing.T, path string) error { return os.Remove(path) },
		"a directory": func(_ *testing.T, path string) error {
			if err := os.Remove(path); err != nil {
				return err
			}
			return os.Mkdir(path, 0o700)
		},
		"a link to a file that others may change": func(_ *testing.T, path string) error {
			other := path + "-other"
			if err := os.Rename(path, other); err != nil {
				return err
			}
			if err := os.Symlink(other, path); err != nil {
				return err
			}
			return os.Chmod(other, 0o777)
		},
		"somebody else's": func(t *testing.T, path string) error {
			if os.Geteuid() != 0 {
				t.Skip("SKIPPED, NOT PASSED: only root can give a file away")
			}
			return os.Chown(path, 65534, 65534)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, target := script(t, "exit 0")
			var config struct{ Program string }
			if err := json.Unmarshal(target.Config, &config); err != nil {
				t.Fatal(err)
			}
			if err := w.rotator.Set(t.Context(), target, change); err != nil {
				t.Fatalf("before: %v", err)
			}
			if err := spoil(t, config.Program); err != nil {
				t.Fatal(err)
			}
			if err := w.rotator.Set(t.Context(), target, change); rotator.ClassOf(err) != rotator.Misconfigured {
				t.Errorf("%v of class %v", err, rotator.ClassOf(err))
			}
		})
	}
}

// A policy cannot run what the operator did not list.
func TestOnlyListedPrograms(t *testing.T) {
	w := newWorld(t)
	for _, program := range []string{"/bin/sh", "sh", "", "/bin/../bin/sh", w.program + "/"} {
		config, _ := json.Marshal(map[string]any{"program": program})
		if err := w.rotator.Check(config); !fault.Is(err, fault.Invalid) {
			t.Errorf("%q: %v", program, err)
		}
	}
	if _, err := exec.New(exec.Config{Programs: []string{"rotate"}}); !fault.Is(err, fault.Invalid) {
		t.Errorf("a list with a relative path: %v", err)
	}
	none, err := exec.New(exec.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := none.Check(w.target().Config); !fault.Is(err, fault.Invalid) {
		t.Errorf("a server that lists none: %v", err)
	}
}

func TestProbesByConfiguration(t *testing.T) {
	w := newWorld(t)
	for text, want := range map[string]bool{`{"program":%q}`: true, `{"program":%q,"probe":true}`: true, `{"program":%q,"probe":false}`: false} {
		if got := w.rotator.Probes(json.RawMessage(fmt.Sprintf(text, w.program))); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}
