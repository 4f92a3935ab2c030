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

	"github.com/keywright/keywright/e2e/process"
	"github.com/keywright/keywright/e2e/testca"
)

// ErrMissing says that RabbitMQ is not installed here.
var ErrMissing = errors.New("RabbitMQ is not installed: apt-get install rabbitmq-server")

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

	dir          string
	distribution int
	names        *process.Process // Erlang's port mapper
	broker       *process.Process
}

// Start returns when the broker answers. The caller must call Stop.
func Start(ctx context.Context) (*Server, error) {
	program, err := find()
	if err != nil {
		return nil, err
	}
	s := &Server{Password: rand.Text()}
	if s.dir, err = os.MkdirTemp("", "rabbitmqtest-"); err != nil {
		return nil, err
	}
	pair, err := testca.New()
	if err == nil {
		s.CA = pair.CA
		err = pair.Write(s.dir)
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(s.dir))
	}
	for range 3 { // a port that was free a moment ago may be taken by now
		if err = s.launch(ctx, program); err == nil || ctx.Err() != nil {
			break
		}
		err = errors.Join(err, s.end())
	}
	if err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

// Run is Start for tests: the broker stops with the test. Without RabbitMQ the test is skipped, or fails under CI=true.
func Run(t testing.TB) *Server {
	t.Helper()
	s, err := Start(t.Context())
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

// Management is the address of the management API in clear, ManagementTLS with TLS.
func (s *Server) Management() string { return "http://127.0.0.1:" + strconv.Itoa(s.ManagementPort) }

// ManagementTLS is the address of the management API with TLS.
func (s *Server) ManagementTLS() string {
	return "https://127.0.0.1:" + strconv.Itoa(s.ManagementTLSPort)
}

// AMQP is the address for clients in clear.
func (s *Server) AMQP() string { return "amqp://127.0.0.1:" + strconv.Itoa(s.Port) }

// AMQPS is the address for clients with TLS.
func (s *Server) AMQPS() string { return "amqps://127.0.0.1:" + strconv.Itoa(s.TLSPort) }

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
func (s *Server) Logs() ([]byte, error) {
	return os.ReadFile(s.log())
}

func (s *Server) log() string { return filepath.Join(s.dir, "output") }

// Stop ends the broker and removes its directory. Calling it again does nothing.
func (s *Server) Stop() error { return errors.Join(s.end(), os.RemoveAll(s.dir)) }

// end kills the broker: an orderly shutdown takes seconds and saves what nobody wants.
func (s *Server) end() error {
	var errs []error
	for _, p := range []*process.Process{s.broker, s.names} {
		if p != nil {
			errs = append(errs, p.Stop(syscall.SIGKILL, 10*time.Second))
		}
	}
	return errors.Join(errs...)
}

// find returns the script that starts the broker itself; the one in the search path would change to another user.
func find() (string, error) {
	found, _ := filepath.Glob("/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server")
	if _, err := exec.LookPath("epmd"); err != nil || len(found) == 0 {
		return "", ErrMissing
	}
	slices.Sort(found)
	return found[len(found)-1], nil
}

func (s *Server) launch(ctx context.Context, program string) error {
	var mapper int
	for _, port := range []*int{&s.Port, &s.TLSPort, &s.ManagementPort, &s.ManagementTLSPort, &s.distribution, &mapper} {
		var err error
		if *port, err = process.FreePort(); err != nil {
			return err
		}
	}
	if err := s.configure(); err != nil {
		return err
	}
	environment := append(s.environment(), "ERL_EPMD_PORT="+strconv.Itoa(mapper), "ERL_EPMD_ADDRESS=127.0.0.1")
	names := exec.Command("epmd") // in the foreground: the broker would start a daemon that outlives it
	names.Env, names.Dir = environment, s.dir
	var err error
	if s.names, err = process.Start("epmd", names); err != nil {
		return err
	}
	// Straight into a file: what the broker keeps in its own log file reaches the disk seconds later.
	output, err := os.OpenFile(s.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer output.Close()
	broker := exec.Command(program)
	broker.Env, broker.Dir, broker.Stdout, broker.Stderr = environment, s.dir, output, output
	if s.broker, err = process.Start("RabbitMQ", broker); err != nil {
		return err
	}
	if err := s.broker.Await(ctx, 90*time.Second, func() bool { return s.answers(ctx) }); err != nil {
		log, _ := s.Logs() // as far as it can be read: the error is the other one
		return fmt.Errorf("%w; it printed:\n%s", err, log[max(0, len(log)-4096):])
	}
	return nil
}

func (s *Server) configure() error {
	settings := fmt.Sprintf(`listeners.tcp.1 = 127.0.0.1:%[1]d
listeners.ssl.1 = 127.0.0.1:%[2]d
ssl_options.cacertfile = %[3]s/ca.pem
ssl_options.certfile = %[3]s/cert.pem
ssl_options.keyfile = %[3]s/key.pem
management.tcp.ip = 127.0.0.1
management.tcp.port = %[4]d
management.ssl.ip = 127.0.0.1
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
`, s.Port, s.TLSPort, s.dir, s.ManagementPort, s.ManagementTLSPort, Administrator, s.Password)
	return errors.Join(
		os.RemoveAll(filepath.Join(s.dir, "data")), // of a launch that failed
		os.WriteFile(filepath.Join(s.dir, "rabbitmq.conf"), []byte(settings), 0o600),
		os.WriteFile(filepath.Join(s.dir, "plugins"), []byte("[rabbitmq_management].\n"), 0o600))
}

// environment is little of this process's, and paths that keep the broker inside its directory.
func (s *Server) environment() []string {
	in := func(name string) string { return filepath.Join(s.dir, name) }
	return []string{
		"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "HOME=" + s.dir,
		"RUNNING_UNDER_SYSTEMD=true", // the script then becomes the broker instead of waiting for it
		"RABBITMQ_NODENAME=t" + strconv.Itoa(s.Port) + "@localhost",
		"RABBITMQ_DIST_PORT=" + strconv.Itoa(s.distribution),
		"RABBITMQ_CONFIG_FILE=" + in("rabbitmq"), "RABBITMQ_CONF_ENV_FILE=" + in("none"),
		"RABBITMQ_ENABLED_PLUGINS_FILE=" + in("plugins"),
		"RABBITMQ_MNESIA_BASE=" + in("data"), "RABBITMQ_LOG_BASE=" + in("log"),
		// Two busy-waiting schedulers would take the machine's time from the tests.
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=+sbwt none +sbwtdcpu none +sbwtdio none",
	}
}

func (s *Server) answers(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	status, _, err := s.Call(ctx, http.MethodGet, "health/checks/port-listener/"+strconv.Itoa(s.TLSPort), "")
	return err == nil && status == http.StatusOK
}
