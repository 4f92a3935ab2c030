// Package redistest starts real Redis servers for a test or a demonstration: nodes, replicas and sentinels.
//
// A server is Debian's (or any that is installed), lives in a temporary directory and listens on a free port of 127.0.0.1 alone. Its default
// user is off and its administrator needs a password. Each instance keeps its users where the caller says: in an ACL file, in its own
// configuration file, or nowhere.
package redistest

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/keywright/keywright/e2e/daemon"
)

// ErrMissing says that Redis is not installed here.
const ErrMissing daemon.Missing = "the server program of Redis is not installed: apt-get install redis-server"

// Admin is the name of the account that may do everything.
const Admin = "admin"

// Keeping says where a server keeps its users.
type Keeping uint8

// The places.
const (
	// ACLFile is a file of their own: ACL SAVE writes it.
	ACLFile Keeping = iota
	// ConfigFile is the server's configuration file: CONFIG REWRITE writes it.
	ConfigFile
	// Nowhere: a restart forgets them.
	Nowhere
)

// Config has a useful zero value.
type Config struct {
	Keeping Keeping
	// Sentinel starts a sentinel, which keeps its users in its configuration file whatever Keeping says.
	Sentinel bool
	// ReplicaOf makes the server a replica of another one.
	ReplicaOf *Server
}

// Server is a running Redis server.
type Server struct {
	// Port is where it listens, on 127.0.0.1.
	Port int
	// Password is the administrator's.
	Password string

	config  Config
	program string
	daemon  *daemon.Daemon
}

// Start returns when the server answers. The caller must call Stop.
func Start(ctx context.Context, config Config) (*Server, error) {
	program, err := daemon.Find(ErrMissing, "redis-server")
	if err != nil {
		return nil, err
	}
	s := &Server{Password: rand.Text(), config: config, program: program}
	if config.ReplicaOf != nil {
		s.Password = config.ReplicaOf.Password
	}
	s.daemon, err = daemon.New(daemon.Config{
		Name: "Redis", Ports: []*int{&s.Port}, Configure: s.configure, Log: "log",
		Command: s.command, Answers: s.answers, Patience: 15 * time.Second, Quit: syscall.SIGTERM,
	})
	if err != nil {
		return nil, err
	}
	return s, s.daemon.Launch(ctx)
}

// Run is Start for tests: the server stops with the test. Without Redis the test is skipped, or fails under CI=true.
func Run(t testing.TB, config Config) *Server {
	t.Helper()
	return daemon.Run(t, func(ctx context.Context) (*Server, error) { return Start(ctx, config) })
}

// Address is host:port.
func (s *Server) Address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port)) }

// Client logs in as a user, on one connection. The caller must close it.
func (s *Server) Client(user, password string) *redis.Client {
	return redis.NewClient(&redis.Options{
		Addr: s.Address(), Username: user, Password: password, Protocol: 2, PoolSize: 1, MaxRetries: -1, DialerRetries: 1,
		DialTimeout: 5 * time.Second, DisableIdentity: true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
}

// Do runs a command as the administrator.
func (s *Server) Do(ctx context.Context, args ...any) (any, error) {
	c := s.Client(Admin, s.Password)
	defer c.Close()
	return c.Do(ctx, args...).Result()
}

// Log returns what the server has logged so far, and the files in which it keeps its users.
func (s *Server) Log() (string, error) {
	var all strings.Builder
	for _, name := range []string{"log", "redis.conf", "users.acl"} {
		text, err := os.ReadFile(s.daemon.Path(name))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return "", err
		}
		all.Write(text)
	}
	return all.String(), nil
}

// ACLPath is the ACL file.
func (s *Server) ACLPath() string { return s.daemon.Path("users.acl") }

// Dir is where the server keeps its files.
func (s *Server) Dir() string { return s.daemon.Dir() }

// Restart kills the server as a power cut would, and starts it again on the same port.
func (s *Server) Restart(ctx context.Context) error { return s.daemon.Restart(ctx, syscall.SIGKILL) }

// Stop ends the server and removes its directory. Calling it again does nothing.
func (s *Server) Stop() error { return s.daemon.Stop() }

func (s *Server) configure() error {
	hash := sha256.Sum256([]byte(s.Password))
	users := []string{"user default off", "user " + Admin + " on #" + hex.EncodeToString(hash[:]) + " ~* &* +@all"}
	lines := []string{"port " + strconv.Itoa(s.Port), "bind 127.0.0.1", "dir " + s.daemon.Dir(), "logfile " + s.daemon.Path("log"), "loglevel debug"}
	if s.config.Sentinel {
		lines = append(lines, users...)
	} else {
		lines = append(lines, `save ""`, "appendonly no")
		switch s.config.Keeping {
		case ACLFile:
			lines = append(lines, "aclfile "+s.ACLPath())
			if err := os.WriteFile(s.ACLPath(), []byte(strings.Join(users, "\n")+"\n"), 0o600); err != nil {
				return err
			}
		default:
			lines = append(lines, users...)
		}
	}
	if primary := s.config.ReplicaOf; primary != nil {
		lines = append(lines, "replicaof 127.0.0.1 "+strconv.Itoa(primary.Port), "masteruser "+Admin, "masterauth "+primary.Password)
	}
	return os.WriteFile(s.configPath(), []byte(strings.Join(lines, "\n")+"\n"), 0o600)
}

func (s *Server) configPath() string { return s.daemon.Path("redis.conf") }

func (s *Server) command() (*exec.Cmd, error) {
	switch {
	case s.config.Sentinel:
		return exec.Command(s.program, s.configPath(), "--sentinel"), nil
	case s.config.Keeping == Nowhere:
		// Without a file of its own the server has nothing to rewrite.
		text, err := os.ReadFile(s.configPath())
		if err != nil {
			return nil, err
		}
		cmd := exec.Command(s.program, "-")
		cmd.Stdin = bytes.NewReader(text)
		return cmd, nil
	default:
		return exec.Command(s.program, s.configPath()), nil
	}
}

func (s *Server) answers(ctx context.Context) bool {
	_, err := s.Do(ctx, "PING")
	return err == nil
}
