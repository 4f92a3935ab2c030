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
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/keywright/keywright/e2e/daemon"
	"github.com/keywright/keywright/e2e/testca"
)

// ErrMissing says that the NATS server is not installed here.
const ErrMissing daemon.Missing = "the NATS server is not installed: apt-get install nats-server"

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

	config Config
	daemon *daemon.Daemon
}

// Start returns when the server answers. It has no users yet but one that nobody knows the password of. The caller must call Stop.
func Start(ctx context.Context, config Config) (*Server, error) {
	program, err := daemon.Find(ErrMissing, "nats-server", "/usr/sbin/nats-server")
	if err != nil {
		return nil, err
	}
	s := &Server{Program: program, config: config}
	s.daemon, err = daemon.New(daemon.Config{
		Name: "nats-server", Ports: []*int{&s.Port, &s.MonitoringPort}, Configure: s.configure, Log: "log",
		Command: s.command, Answers: s.answers, Patience: 10 * time.Second, Quit: syscall.SIGINT,
	})
	if err != nil {
		return nil, err
	}
	return s, s.daemon.Launch(ctx, s.prepare)
}

// Run is Start for tests: the server stops with the test. Without NATS the test is skipped, or fails under CI=true.
func Run(t testing.TB, config Config) *Server {
	t.Helper()
	return daemon.Run(t, func(ctx context.Context) (*Server, error) { return Start(ctx, config) })
}

// Address is host:port for clients, Monitoring for HTTP.
func (s *Server) Address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port)) }

// Monitoring is host:port of the monitoring endpoint.
func (s *Server) Monitoring() string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.MonitoringPort))
}

// ConfigFile, UsersFile and PIDFile are the server's files. UsersFile holds a JSON object with the member users, and is included by ConfigFile.
func (s *Server) ConfigFile() string { return s.daemon.Path("nats.conf") }

// UsersFile holds the users.
func (s *Server) UsersFile() string { return s.daemon.Path("users.json") }

// PIDFile holds the process's id.
func (s *Server) PIDFile() string { return s.daemon.Path("pid") }

// Logs are all that the server has logged up to now, its trace of the protocol included.
func (s *Server) Logs() ([]byte, error) { return s.daemon.Log() }

// Reload makes the server read its files again and returns when it has, or an error when it refused them.
func (s *Server) Reload(ctx context.Context) error {
	before, err := s.loaded(ctx)
	if err != nil {
		return err
	}
	if err := syscall.Kill(s.daemon.Pid(), syscall.SIGHUP); err != nil {
		return err
	}
	return s.daemon.Await(ctx, 5*time.Second, func() bool {
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
func (s *Server) Stop() error { return s.daemon.Stop() }

// prepare writes the files that do not depend on the ports.
func (s *Server) prepare(context.Context) error {
	pair, err := testca.New()
	if err != nil {
		return err
	}
	s.CA = pair.CA
	// A bcrypt hash of nothing that anybody knows: a server without users asks for no password.
	users := `{"users": [{"user": "nobody", "password": "$2a$04$cVWp4XaNU8a4v1uMRum2SO026BWLIoQMD/TXg5uZV.0P.uO8m3YEm"}]}`
	return errors.Join(pair.Write(s.daemon.Dir()), os.WriteFile(s.UsersFile(), []byte(users), 0o600))
}

func (s *Server) configure() error {
	settings := fmt.Sprintf("server_name: \"natstest\"\nlisten: \"127.0.0.1:%d\"\nhttp: \"127.0.0.1:%d\"\npid_file: %q\nlog_file: %q\ndebug: true\ntrace: true\nauthorization {\n  include \"./users.json\"\n}\n",
		s.Port, s.MonitoringPort, s.PIDFile(), s.daemon.Path("log"))
	if s.config.TLS {
		settings += fmt.Sprintf("tls {\n  cert_file: %q\n  key_file: %q\n}\n", s.daemon.Path("cert.pem"), s.daemon.Path("key.pem"))
	}
	return os.WriteFile(s.ConfigFile(), []byte(settings), 0o600)
}

func (s *Server) command() (*exec.Cmd, error) {
	return exec.Command(s.Program, "-c", s.ConfigFile()), nil
}

func (s *Server) answers(ctx context.Context) bool {
	_, err := s.loaded(ctx)
	return err == nil
}
