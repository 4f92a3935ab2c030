// Package devserver runs "keywright dev" as a process of its own, for tests that stop, replace or restore servers.
//
// The program is any that was built from this tree or from an older one, so everything goes by what the command line promises: dev.env when it is ready, and SIGTERM
// for an end in order. Several servers on one PostgreSQL database are nodes: they have the same port and names at different addresses of loopback.
package devserver

import (
	"bytes"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/keywright/keywright/client"
	"github.com/keywright/keywright/e2e/process"
)

const (
	// patience is how long a start may take on a machine that does much else.
	patience = 2 * time.Minute
	// callTime bounds one request: what takes longer counts as not answered.
	callTime = 30 * time.Second
	// endTime bounds an end in order, the product's own bound included.
	endTime = 30 * time.Second
)

// Server is one server and its directory.
type Server struct {
	// Program is the binary, Dir its directory, Listen its address and port; Args are further arguments.
	Program, Dir, Listen string
	Args                 []string
	// HTTP reaches this server whatever a URL names, and keeps connections open.
	HTTP *http.Client

	process *process.Process
	env     map[string]string
	log     string
}

// New makes the directory of a server that Start starts, and ends it with the test. What it logs is shown when the test fails.
func New(t *testing.T, program, listen string, args ...string) *Server {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "kw")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s := &Server{Program: program, Dir: dir, Listen: listen, Args: args, log: dir + ".log"}
	t.Cleanup(func() {
		s.Kill()
		if text, _ := os.ReadFile(s.log); t.Failed() && len(text) > 0 {
			t.Logf("%s logged:\n%s", s.Listen, text[max(0, len(text)-4096):])
		}
	})
	return s
}

// TakeSeal gives the server the key file of another one's: all that open one store have the same.
func (s *Server) TakeSeal(t testing.TB, from *Server) {
	t.Helper()
	key, err := os.ReadFile(filepath.Join(from.Dir, "seal.key"))
	if err == nil {
		err = os.WriteFile(filepath.Join(s.Dir, "seal.key"), key, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Start starts the server and returns when it is ready.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	if err := s.start(t.Context()); err != nil {
		text, _ := os.ReadFile(s.log)
		t.Fatalf("%v\n%s", err, text[max(0, len(text)-4096):])
	}
}

func (s *Server) start(ctx context.Context) error {
	ready := filepath.Join(s.Dir, "dev.env")
	if err := os.Remove(ready); err != nil && !os.IsNotExist(err) {
		return err
	}
	out, err := os.OpenFile(s.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	cmd := exec.Command(s.Program, append([]string{"dev", "--dir", s.Dir, "--listen", s.Listen, "--log-level", "info"}, s.Args...)...)
	cmd.Stdout, cmd.Stderr = out, out
	if s.process, err = process.Start("keywright", cmd); err != nil {
		return err
	}
	if err := s.process.Await(ctx, patience, func() bool { _, err := os.Stat(ready); return err == nil }); err != nil {
		return err
	}
	text, err := os.ReadFile(ready)
	if err != nil {
		return err
	}
	s.env = make(map[string]string)
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		s.env[name] = value
	}
	return s.connect()
}

// connect makes the HTTP client of a start: authority and port are those that dev.env tells.
func (s *Server) connect() error {
	pool, err := client.ReadCAFile(s.Env("KEYWRIGHT_CA_FILE"))
	if err != nil {
		return err
	}
	address := s.Env("KEYWRIGHT_ADDR")
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp4", address)
	}
	s.HTTP = &http.Client{Timeout: callTime, Transport: &http.Transport{DialContext: dial, MaxIdleConnsPerHost: 64, TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}}
	return nil
}

// Env is what dev.env says.
func (s *Server) Env(name string) string { return s.env[name] }

// Client is the administration API of the server, by the application of dev.env. Nothing is tried again.
func (s *Server) Client(t testing.TB) *client.Client { t.Helper(); return s.client(t, -1) }

// Patient is Client, and tries again what the server asks to be tried again.
func (s *Server) Patient(t testing.TB) *client.Client { t.Helper(); return s.client(t, 0) }

func (s *Server) client(t testing.TB, retries int) *client.Client {
	t.Helper()
	config, err := client.ConfigFromEnv(s.Env)
	if err == nil {
		config.HTTP, config.Retries = s.HTTP, retries
		var c *client.Client
		if c, err = client.New(config); err == nil {
			return c
		}
	}
	t.Fatal(err)
	return nil
}

// Run runs the command line against the server and returns what it prints.
func (s *Server) Run(t testing.TB, args ...string) string {
	t.Helper()
	var env []string
	for name, value := range s.env {
		env = append(env, name+"="+value)
	}
	return Run(t, s.Program, env, args...)
}

// Run runs a command of the program.
func Run(t testing.TB, program string, env []string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}, env...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("keywright %s: %v\n%s", strings.Join(args, " "), err, errs.String())
	}
	return out.String()
}

// End ends the server as SIGTERM does. It fails when the server had to be killed.
func (s *Server) End() error {
	if s.process == nil {
		return nil
	}
	if err := s.process.Stop(syscall.SIGTERM, endTime); err != nil {
		return err
	}
	s.HTTP.CloseIdleConnections()
	return nil
}

// Kill is kill -9, by the process's id.
func (s *Server) Kill() {
	if s.process != nil {
		_ = s.process.Stop(syscall.SIGKILL, endTime)
	}
}
