// Package natstest starts a real NATS server for a test or a demonstration.
//
// The server is Debian's nats-server, lives in a temporary directory, listens on free ports of 127.0.0.1 alone and reads its users from a file of its own,
// which is read again at a SIGHUP. It starts in a few milliseconds.
package natstest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/keywright/keywright/e2e/process"
	"github.com/keywright/keywright/e2e/testca"
)

// ErrMissing says that the NATS server is not installed here.
var ErrMissing = errors.New("the NATS server is not installed: apt-get install nats-server")

// Config has a useful zero value.
type Config struct {
	// TLS asks clients for TLS, with a certificate of the server's own CA.
	TLS bool
}

// Server is a running server.
type Server struct {
	// Port is for clients, MonitoringPort for HTTP.
	Port, MonitoringPort int
	// CA is what the certificate is checked against, in PEM.
	CA []byte
	// Program is the server's file.
	Program string

	dir     string
	process *process.Process
}

// Start returns when the server answers. It has no users yet but one that nobody knows the password of. The caller must call Stop.
func Start(ctx context.Context, config Config) (*Server, error) {
	program, err := exec.LookPath("nats-server")
	if err != nil {
		if program, err = exec.LookPath("/usr/sbin/nats-server"); err != nil {
			return nil, ErrMissing
		}
	}
	s := &Server{Program: program}
	if s.dir, err = os.MkdirTemp("", "natstest-"); err != nil {
		return nil, err
	}
	if err := s.start(ctx, config); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

// Run is Start for tests: the server stops with the test. Without NATS the test is skipped, or fails under CI=true.
func Run(t testing.TB, config Config) *Server {
	t.Helper()
	s, err := Start(t.Context(), config)
	switch {
	case errors.Is(err, ErrMissing) && os.Getenv("CI") != "true":
		t.Skip("SKIPPED, NOT PASSED: ", err)
	case err != nil:
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// Address is host:port for clients, Monitoring for HTTP.
func (s *Server) Address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port)) }

// Monitoring is host:port of the monitoring endpoint.
func (s *Server) Monitoring() string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.MonitoringPort))
}

// ConfigFile, UsersFile and PIDFile are the server's files. UsersFile holds a JSON object with the member users, and is included by ConfigFile.
func (s *Server) ConfigFile() string { return filepath.Join(s.dir, "nats.conf") }

// UsersFile holds the users.
func (s *Server) UsersFile() string { return filepath.Join(s.dir, "users.json") }

// PIDFile holds the process's id.
func (s *Server) PIDFile() string { return filepath.Join(s.dir, "pid") }

// Logs are all that the server has logged up to now, its trace of the protocol included.
func (s *Server) Logs() ([]byte, error) { return os.ReadFile(filepath.Join(s.dir, "log")) }

// Reload makes the server read its files again and returns when it has, or an error when it refused them.
func (s *Server) Reload(ctx context.Context) error {
	before, err := s.loaded(ctx)
	if err != nil {
		return err
	}
	if err := syscall.Kill(s.process.Pid(), syscall.SIGHUP); err != nil {
		return err
	}
	return s.process.Await(ctx, 5*time.Second, func() bool {
		now, err := s.loaded(ctx)
		return err == nil && !now.Equal(before)
	})
}

func (s *Server) loaded(ctx context.Context) (time.Time, error) {
	var state struct {
		Loaded time.Time `json:"config_load_time"`
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.Monitoring()+"/varz", nil)
	if err != nil {
		return time.Time{}, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return time.Time{}, err
	}
	defer response.Body.Close()
	err = json.NewDecoder(response.Body).Decode(&state)
	return state.Loaded, err
}

// Stop ends the server and removes its directory. Calling it again does nothing.
func (s *Server) Stop() error {
	var err error
	if s.process != nil {
		err = s.process.Stop(syscall.SIGINT, 10*time.Second)
	}
	return errors.Join(err, os.RemoveAll(s.dir))
}

func (s *Server) start(ctx context.Context, config Config) error {
	pair, err := testca.New()
	if err != nil {
		return err
	}
	s.CA = pair.CA
	// A bcrypt hash of nothing that anybody knows: a server without users asks for no password.
	users := `{"users": [{"user": "nobody", "password": "$2a$04$cVWp4XaNU8a4v1uMRum2SO026BWLIoQMD/TXg5uZV.0P.uO8m3YEm"}]}`
	if err := errors.Join(pair.Write(s.dir), os.WriteFile(s.UsersFile(), []byte(users), 0o600)); err != nil {
		return err
	}
	for range 3 { // a port that was free a moment ago may be taken by now
		if err = s.launch(ctx, config); err == nil {
			return nil
		}
		err = errors.Join(err, s.process.Stop(syscall.SIGINT, 10*time.Second))
	}
	return err
}

func (s *Server) launch(ctx context.Context, config Config) error {
	for _, port := range []*int{&s.Port, &s.MonitoringPort} {
		var err error
		if *port, err = process.FreePort(); err != nil {
			return err
		}
	}
	settings := fmt.Sprintf("server_name: \"natstest\"\nlisten: \"127.0.0.1:%d\"\nhttp: \"127.0.0.1:%d\"\npid_file: %q\nlog_file: %q\ndebug: true\ntrace: true\nauthorization {\n  include \"./users.json\"\n}\n",
		s.Port, s.MonitoringPort, s.PIDFile(), filepath.Join(s.dir, "log"))
	if config.TLS {
		settings += fmt.Sprintf("tls {\n  cert_file: %q\n  key_file: %q\n}\n", filepath.Join(s.dir, "cert.pem"), filepath.Join(s.dir, "key.pem"))
	}
	if err := os.WriteFile(s.ConfigFile(), []byte(settings), 0o600); err != nil {
		return err
	}
	cmd := exec.Command(s.Program, "-c", s.ConfigFile())
	cmd.Dir = s.dir
	var err error
	if s.process, err = process.Start("nats-server", cmd); err != nil {
		return err
	}
	return s.process.Await(ctx, 10*time.Second, func() bool {
		_, err := s.loaded(ctx)
		return err == nil
	})
}
