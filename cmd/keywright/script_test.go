package main

import (
	"bytes"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/keywright/keywright/client/keywrighttest"
	"github.com/keywright/keywright/e2e/transcript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"keywright": main})
}

// canary begins every value that the scripts store. It may be on standard output where a value was asked for, and nowhere else.
const canary = "canary-7f3a"

// TestScripts runs the scripts of testdata, which read like the manual, against one server. Each works with names of its own.
func TestScripts(t *testing.T) {
	var log transcript.Buffer
	dir := filepath.Join(t.TempDir(), "kw")
	s := keywrighttest.Start(t, keywrighttest.Dir(dir), keywrighttest.Logger(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))), quickRotation)
	t.Cleanup(func() {
		s.Close()
		if strings.Contains(log.String(), canary) {
			t.Error("the server's log holds a value that was stored")
		}
		noCanary(t, dir)
	})
	db := newDatabase(t)
	testscript.Run(t, testscript.Params{
		Condition: db.condition,
		Dir:       "testdata",
		Setup: func(e *testscript.Env) error {
			for name, value := range s.Env() {
				e.Setenv(name, value)
			}
			e.Setenv("SERVER_DIR", dir)
			e.Setenv("KEYWRIGHT_CONFIG_DIR", filepath.Join(e.WorkDir, "config"))
			e.Setenv("CANARY", canary)
			races := filepath.Join(e.WorkDir, "race")
			e.Setenv("GORACE", "atexit_sleep_ms=10 log_path="+races)
			e.Defer(func() { noRace(t, races) })
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"await": await, "mode": mode, "capture": capture, "load": load, "hook": hook, "sign-in": signIn(s.HTTPClient()), "postgres": db.prepare, "accepts": accepts, "template": template, "eventually": eventually, "certificate": certificate, "free-ports": freePorts},
	})
}

// noRace looks for what the race detector wrote: a command that a script expects to fail would hide it in its exit code. The detector lets a program wait a
// second before it ends, for what others of its goroutines still do; hundreds of commands that have done their work need not wait that long.
func noRace(t *testing.T, path string) {
	t.Helper()
	reports, err := filepath.Glob(path + ".*")
	if err != nil {
		t.Error(err)
	}
	for _, name := range reports {
		text, err := os.ReadFile(name)
		t.Errorf("a command of the script has a data race: %v\n%s", err, text)
	}
}

// noCanary reads every file of a directory.
func noCanary(t *testing.T, dir string) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		files++
		content, err := os.ReadFile(path)
		if bytes.Contains(content, []byte(canary)) {
			t.Errorf("%s holds a value in clear", path)
		}
		return err
	})
	if err != nil || files == 0 {
		t.Errorf("looking through %d files of the server: %v", files, err)
	}
}

// await waits until a file exists and holds a text, for what a program in the background writes: await FILE [TEXT].
func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: await FILE [TEXT]")
	}
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		content, err := os.ReadFile(ts.MkAbs(args[0]))
		if err == nil && (len(args) == 1 || strings.Contains(string(content), args[1])) {
			return
		}
	}
	ts.Fatalf("%s did not appear", args[0])
}

// mode checks a file's permissions: mode 600 FILE.
func mode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: mode OCTAL FILE")
	}
	info, err := os.Stat(ts.MkAbs(args[1]))
	ts.Check(err)
	if got := strings.TrimPrefix(info.Mode().Perm().String(), "-"); got != map[string]string{"600": "rw-------"}[args[0]] {
		ts.Fatalf("%s has mode %s, want %s", args[1], got, args[0])
	}
}

// capture keeps the one line of the last output in a variable, or one of its fields that tabs divide: capture NAME [FIELD].
func capture(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: capture NAME [FIELD]")
	}
	text := strings.TrimSpace(ts.ReadFile("stdout"))
	if len(args) == 2 {
		line, _, _ := strings.Cut(text, "\n")
		fields := strings.Split(line, "\t")
		n, err := strconv.Atoi(args[1])
		if err != nil || n < 1 || n > len(fields) {
			ts.Fatalf("%q has no field %s", line, args[1])
		}
		text = fields[n-1]
	}
	ts.Setenv(args[0], text)
}

// load sets the variables of a file of NAME=VALUE lines, as ". FILE" does in a shell: load FILE.
func load(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: load FILE")
	}
	for line := range strings.Lines(ts.ReadFile(args[0])) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		ts.Setenv(name, value)
	}
}

// template puts the values of variables into a file: template FILE.
func template(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: template FILE")
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(os.Expand(ts.ReadFile(args[0]), ts.Getenv)), 0o600))
}

// eventually runs a command until it prints something, for what the server does by itself: eventually COMMAND [ARGUMENT...].
func eventually(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: eventually COMMAND [ARGUMENT...]")
	}
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if err := ts.Exec(args[0], args[1:]...); err == nil && strings.TrimSpace(ts.ReadFile("stdout")) != "" {
			return
		}
	}
	ts.Fatalf("it printed nothing")
}
