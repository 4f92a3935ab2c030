// Package rabbitmqtest starts a real RabbitMQ broker with its management API for a test or a demonstration.
//
// The broker is Debian's, lives in a temporary directory, listens on free ports of 127.0.0.1 alone, in clear and with TLS, and has one
// administrator with a random password. It takes 7 to 25 seconds to start: one for all tests of a package. What it holds is gone with it.
package rabbitmqtest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/keywright/keywright/e2e/daemon"
	"github.com/keywright/keywright/e2e/process"
	"github.com/keywright/keywright/e2e/testca"
)

// ErrMissing says that RabbitMQ is not installed here.
const ErrMissing daemon.Missing = "RabbitMQ is not installed: apt-get install rabbitmq-server"

// Administrator is the name of the user that may do everything.
const Administrator = "keeper"

// Server is a running broker.
type Server struct {
	// Port and TLSPort speak AMQP 0-9-1, ManagementPort and ManagementTLSPort HTTP.
	Port, TLSPort, ManagementPort, ManagementTLSPort int
	// Password is the administrator's.
	Password string
	// CA is what the certificate of the TLS ports is checked against, in PEM.
	CA []byte

	host                 string
	distribution, mapper int
	program              string
	names                *process.Process // epmd, Erlang's port mapper
	broker               *daemon.Daemon
}

// Start returns when the broker answers. The caller must call Stop.
func Start(ctx context.Context) (*Server, error) { return StartAt(ctx, "127.0.0.1") }

// StartAt is Start for a broker that clients reach at another address of this machine. Its certificate does not have that.
func StartAt(ctx context.Context, host string) (*Server, error) {
	program, err := find()
	if err != nil {
		return nil, err
	}
	s := &Server{Password: rand.Text(), program: program, host: host}
	s.broker, err = daemon.New(daemon.Config{
		Name: "RabbitMQ", Ports: []*int{&s.Port, &s.TLSPort, &s.ManagementPort, &s.ManagementTLSPort, &s.distribution, &s.mapper},
		Configure: func() error { return errors.Join(s.configure(), s.mapNames()) },
		Log:       "output", // what the broker keeps in a log file of its own reaches the disk seconds later
		Command:   s.command, Answers: s.answers, Patience: 90 * time.Second,
		Quit: syscall.SIGKILL, // an orderly shutdown takes seconds and saves what nobody wants
	})
	if err != nil {
		return nil, err
	}
	if err := s.broker.Launch(ctx, s.certify); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

// Run is Start for tests: the broker stops with the test. Without RabbitMQ the test is skipped, or fails under CI=true.
func Run(t testing.TB) *Server {
	t.Helper()
	return daemon.Run(t, Start)
}

// Management is the address of the management API in clear, ManagementTLS with TLS.
func (s *Server) Management() string { return "http://" + s.at(s.ManagementPort) }

// ManagementTLS is the address of the management API with TLS.
func (s *Server) ManagementTLS() string {
	return "https://" + s.at(s.ManagementTLSPort)
}

// AMQP is the address for clients in clear.
func (s *Server) AMQP() string { return "amqp://" + s.at(s.Port) }

// AMQPS is the address for clients with TLS.
func (s *Server) AMQPS() string { return "amqps://" + s.at(s.TLSPort) }

func (s *Server) at(port int) string { return net.JoinHostPort(s.host, strconv.Itoa(port)) }

// Call makes one call of the management API as the administrator. Path is escaped already and begins behind /api/; a body is JSON.
func (s *Server) Call(ctx context.Context, method, path, body string) (status int, answer []byte, err error) {
	request, err := http.NewRequestWithContext(ctx, method, s.Management()+"/api/"+path, strings.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	request.SetBasicAuth(Administrator, s.Password)
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	answer, err = io.ReadAll(response.Body)
	return response.StatusCode, answer, err
}

// Logs are all that the broker has logged up to now.
func (s *Server) Logs() ([]byte, error) { return s.broker.Log() }

// Stop ends the broker and removes its directory. Calling it again does nothing.
func (s *Server) Stop() error { return errors.Join(s.broker.Stop(), s.forgetNames()) }

// find returns the script that starts the broker itself; the one in the search path would change to another user.
func find() (string, error) {
	found, _ := filepath.Glob("/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server")
	if _, err := exec.LookPath("epmd"); err != nil || len(found) == 0 {
		return "", ErrMissing
	}
	slices.Sort(found)
	return found[len(found)-1], nil
}

func (s *Server) command() (*exec.Cmd, error) {
	cmd := exec.Command(s.program)
	cmd.Env = s.environment()
	return cmd, nil
}

// certify makes the certificate of the TLS ports.
func (s *Server) certify(context.Context) error {
	pair, err := testca.New()
	if err != nil {
		return err
	}
	s.CA = pair.CA
	return pair.Write(s.broker.Dir())
}

// mapNames starts the port mapper, in the foreground: the broker would start a daemon that outlives it.
func (s *Server) mapNames() error {
	if err := s.forgetNames(); err != nil {
		return err
	}
	cmd := exec.Command("epmd")
	cmd.Env, cmd.Dir = append(s.environment(), "PATH="+os.Getenv("PATH")), s.broker.Dir()
	started, err := process.Start("epmd", cmd)
	if err != nil {
		return err
	}
	s.names = started
	return nil
}

// forgetNames ends the port mapper.
func (s *Server) forgetNames() error {
	if s.names == nil {
		return nil
	}
	return s.names.Stop(syscall.SIGKILL, 10*time.Second)
}

func (s *Server) configure() error {
	settings := fmt.Sprintf(`listeners.tcp.1 = %[8]s:%[1]d
listeners.ssl.1 = %[8]s:%[2]d
ssl_options.cacertfile = %[3]s/ca.pem
ssl_options.certfile = %[3]s/cert.pem
ssl_options.keyfile = %[3]s/key.pem
management.tcp.ip = %[8]s
management.tcp.port = %[4]d
management.ssl.ip = %[8]s
management.ssl.port = %[5]d
management.ssl.cacertfile = %[3]s/ca.pem
management.ssl.certfile = %[3]s/cert.pem
management.ssl.keyfile = %[3]s/key.pem
default_user = %[6]s
default_pass = %[7]s
log.file = false
log.console = true
log.console.level = debug
disk_free_limit.absolute = 1MB
`, s.Port, s.TLSPort, s.broker.Dir(), s.ManagementPort, s.ManagementTLSPort, Administrator, s.Password, s.host)
	return errors.Join(
		os.RemoveAll(s.broker.Path("data")), // of a launch that failed
		os.WriteFile(s.broker.Path("rabbitmq.conf"), []byte(settings), 0o600),
		os.WriteFile(s.broker.Path("plugins"), []byte("[rabbitmq_management].\n"), 0o600))
}

// environment is the paths and ports that keep the broker inside its directory.
func (s *Server) environment() []string {
	in := s.broker.Path
	return []string{
		"RUNNING_UNDER_SYSTEMD=true", // the script then becomes the broker instead of waiting for it
		"RABBITMQ_NODENAME=t" + strconv.Itoa(s.Port) + "@localhost",
		"RABBITMQ_DIST_PORT=" + strconv.Itoa(s.distribution),
		"ERL_EPMD_PORT=" + strconv.Itoa(s.mapper), "ERL_EPMD_ADDRESS=127.0.0.1",
		"RABBITMQ_CONFIG_FILE=" + in("rabbitmq"), "RABBITMQ_CONF_ENV_FILE=" + in("none"),
		"RABBITMQ_ENABLED_PLUGINS_FILE=" + in("plugins"),
		"RABBITMQ_MNESIA_BASE=" + in("data"), "RABBITMQ_LOG_BASE=" + in("log"),
		// Two busy-waiting schedulers would take the machine's time from the tests.
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=+sbwt none +sbwtdcpu none +sbwtdio none",
	}
}

func (s *Server) answers(ctx context.Context) bool {
	status, _, err := s.Call(ctx, http.MethodGet, "health/checks/port-listener/"+strconv.Itoa(s.TLSPort), "")
	return err == nil && status == http.StatusOK
}
