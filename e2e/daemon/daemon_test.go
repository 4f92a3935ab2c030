package daemon_test

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/keywright/keywright/e2e/daemon"
)

// portVariable makes the test program a server: it listens on the port until it is told to end.
const portVariable = "DAEMON_TEST_PORT"

func TestMain(m *testing.M) {
	if port := os.Getenv(portVariable); port != "" {
		serve(port)
	}
	os.Exit(m.Run())
}

func serve(port string) {
	quit := make(chan os.Signal, 1)
	signal.Notify(quit, syscall.SIGTERM)
	l, err := net.Listen("tcp4", "127.0.0.1:"+port)
	if err != nil {
		println("no listener:", err.Error())
		os.Exit(1)
	}
	println("listening on", port, "in", os.Getenv("HOME"))
	<-quit
	l.Close()
	os.Exit(0)
}

// server is the test program as a daemon.
type server struct {
	*daemon.Daemon
	port       int
	configured []int // the ports at each call of Configure
}

func (s *server) address() string { return "127.0.0.1:" + strconv.Itoa(s.port) }

func (s *server) answers(ctx context.Context) bool {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp4", s.address())
	return err == nil && conn.Close() == nil
}

// newServer returns one that has no port yet; command may change how it is started.
func newServer(t *testing.T, command func(*exec.Cmd)) *server {
	t.Helper()
	s := &server{}
	d, err := daemon.New(daemon.Config{
		Name: "listener", Ports: []*int{&s.port}, Log: "log", Patience: time.Minute, Quit: syscall.SIGTERM, Answers: s.answers,
		Configure: func() error { s.configured = append(s.configured, s.port); return nil },
		Command: func() (*exec.Cmd, error) {
			cmd := exec.Command(os.Args[0])
			cmd.Env = []string{portVariable + "=" + strconv.Itoa(s.port)}
			command(cmd)
			return cmd, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Daemon = d
	t.Cleanup(func() { _ = s.Stop() })
	return s
}

func TestLife(t *testing.T) {
	s := newServer(t, func(*exec.Cmd) {})
	prepared := false
	if err := s.Launch(t.Context(), func(context.Context) error { prepared = true; return nil }); err != nil {
		t.Fatal(err)
	}
	if !prepared || !s.answers(t.Context()) {
		t.Errorf("prepared is %v, and it answers: %v", prepared, s.answers(t.Context()))
	}
	first := s.Pid()
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		if err := s.Restart(t.Context(), sig); err != nil {
			t.Fatal(err)
		}
	}
	if s.Pid() == first || len(s.configured) != 1 || !s.answers(t.Context()) {
		t.Errorf("after two restarts it is process %d (was %d), configured %d times, and answers: %v", s.Pid(), first, len(s.configured), s.answers(t.Context()))
	}
	log, err := s.Log()
	if want := "listening on " + strconv.Itoa(s.port) + " in " + s.Dir(); err != nil || strings.Count(string(log), want) != 3 {
		t.Errorf("the log is not that of three starts in its directory (%v):\n%s", err, log)
	}
	for range 2 {
		if err := s.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(s.Dir()); !errors.Is(err, os.ErrNotExist) || s.answers(t.Context()) {
		t.Errorf("its directory is left (%v), or it still answers", err)
	}
}

func TestATakenPortIsLeftForAnother(t *testing.T) {
	var taken net.Listener
	s := newServer(t, func(cmd *exec.Cmd) {
		if taken != nil {
			return
		}
		var err error
		if taken, err = net.Listen("tcp4", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		_, port, _ := net.SplitHostPort(taken.Addr().String())
		cmd.Env = append(cmd.Env, portVariable+"="+port) // the last one counts
	})
	if err := s.Launch(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	if len(s.configured) != 2 || !s.answers(t.Context()) {
		t.Errorf("it was configured for the ports %d, and answers: %v", s.configured, s.answers(t.Context()))
	}
}

func TestAFailedLaunchLeavesNothingAndSaysWhy(t *testing.T) {
	failing := errors.New("no such step")
	for name, c := range map[string]struct {
		command func(*exec.Cmd)
		prepare func(context.Context) error
		told    string
		tries   int
	}{
		"a program that ends":         {func(cmd *exec.Cmd) { cmd.Env = append(cmd.Env, portVariable+"=none") }, nil, "no listener", 3},
		"a program that is not there": {func(cmd *exec.Cmd) { cmd.Path = "/nonexistent" }, nil, "nonexistent", 1},
		"a preparation that fails":    {func(*exec.Cmd) {}, func(context.Context) error { return failing }, failing.Error(), 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, c.command)
			var prepare []func(context.Context) error
			if c.prepare != nil {
				prepare = append(prepare, c.prepare)
			}
			err := s.Launch(t.Context(), prepare...)
			if err == nil || !strings.Contains(err.Error(), c.told) || len(s.configured) != c.tries {
				t.Errorf("%v after %d tries, want %q after %d", err, len(s.configured), c.told, c.tries)
			}
			if _, err := os.Stat(s.Dir()); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("its directory is left: %v", err)
			}
		})
	}
}

func TestAProgramThatMayNotBeRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Log("not root: the program runs as this user, and the account is not chosen")
		return
	}
	if _, err := daemon.New(daemon.Config{Name: "listener", Users: []string{"nobody-of-this-name"}}); err == nil || !strings.Contains(err.Error(), "nobody-of-this-name") {
		t.Errorf("without an account: %v", err)
	}
	d, err := daemon.New(daemon.Config{Name: "listener", Users: []string{"nobody-of-this-name", "nobody"}})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Stop()
	// It has to be able to write there, and not to be root.
	if err := d.Do("looking around", exec.Command("sh", "-c", `test "$(id -u)" != 0 && touch here`)); err != nil {
		t.Error(err)
	}
	if err := d.Do("failing", exec.Command("sh", "-c", "echo what a pity; exit 3")); err == nil || !strings.Contains(err.Error(), "what a pity") || !strings.Contains(err.Error(), "failing: exit status 3") {
		t.Errorf("a failure: %v", err)
	}
}

// verdict records how a test would have ended.
type verdict struct {
	testing.TB
	said string
}

func (v *verdict) Skip(...any)  { v.said = "skipped"; runtime.Goexit() }
func (v *verdict) Fatal(...any) { v.said = "failed"; runtime.Goexit() }

func TestRunWithoutTheProgram(t *testing.T) {
	_, missing := daemon.Find("it is not installed: install it", "/nonexistent", "no-program-of-this-name")
	if found, err := daemon.Find("no shell", "no-program-of-this-name", "sh"); err != nil || !slices.Contains([]string{"/bin/sh", "/usr/bin/sh"}, found) {
		t.Errorf("the shell is %q, %v", found, err)
	}
	for _, c := range []struct {
		ci   string
		err  error
		want string
	}{
		{"", missing, "skipped"},
		{"true", missing, "failed"},
		{"", errors.New("it is broken"), "failed"},
	} {
		t.Setenv("CI", c.ci)
		v := &verdict{TB: t}
		done := make(chan struct{})
		go func() {
			defer close(done)
			daemon.Run(v, func(context.Context) (*daemon.Daemon, error) { return nil, c.err })
		}()
		<-done
		if v.said != c.want {
			t.Errorf("CI=%q and %q: %s, want %s", c.ci, c.err, v.said, c.want)
		}
	}
}
