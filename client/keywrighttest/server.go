package keywrighttest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keywright/keywright/client"
	"github.com/keywright/keywright/internal/server"
)

// Server is a running server. It ends with its test.
type Server struct {
	t      testing.TB
	dev    *server.Dev
	env    map[string]string
	pool   *x509.CertPool
	client *client.Client
}

// Option changes how a server is started.
type Option func(*server.DevConfig)

// Dir keeps the server's files in a directory, so that a test can start it again with everything that it had. By default
// they are in a directory of the test's.
func Dir(path string) Option { return func(c *server.DevConfig) { c.Dir = path } }

// Logger takes what the server logs; by default that is nothing.
func Logger(l *slog.Logger) Option { return func(c *server.DevConfig) { c.Logger = l } }

// Sizes of the audit log's files, in bytes: a test's log is small, and preallocating a production one takes longer than a test.
const (
	segmentBytes = 1 << 20
	reserveBytes = 1 << 20
)

// Start starts a server on a free port of loop-back and ends it when the test ends. It fails the test if it cannot.
func Start(t testing.TB, options ...Option) *Server {
	t.Helper()
	c := server.DevConfig{Listen: "127.0.0.1:0"}
	c.AuditSegmentBytes, c.AuditReserveBytes = segmentBytes, reserveBytes
	for _, o := range options {
		o(&c)
	}
	if c.Dir == "" {
		c.Dir = filepath.Join(t.TempDir(), "keywright")
	}
	d, err := server.StartDev(context.Background(), c)
	if err != nil {
		t.Fatalf("keywrighttest: starting the server: %v", err)
	}
	s := &Server{t: t, dev: d, env: make(map[string]string)}
	t.Cleanup(s.Close)
	for _, line := range d.Env() {
		name, value, _ := strings.Cut(line, "=")
		s.env[name] = value
	}
	s.connect()
	return s
}

// connect makes the client of the server's own application.
func (s *Server) connect() {
	s.t.Helper()
	var err error
	if s.pool, err = client.ReadCAFile(s.CAFile()); err != nil {
		s.t.Fatalf("keywrighttest: %v", err)
	}
	config, err := client.ConfigFromEnv(func(name string) string { return s.env[name] })
	if err == nil {
		s.client, err = client.New(config)
	}
	if err != nil {
		s.t.Fatalf("keywrighttest: making the client: %v", err)
	}
}

// Close ends the server before its test does. Its files stay. It may be called more than once.
func (s *Server) Close() {
	s.t.Helper()
	if err := s.dev.Close(); err != nil {
		s.t.Errorf("keywrighttest: ending the server: %v", err)
	}
}

// Client returns a client of an application that administers the vault and the tenant.
func (s *Server) Client() *client.Client { return s.client }

// VaultName returns the name of the vault to begin with.
func (s *Server) VaultName() string { return s.dev.VaultName() }

// URL returns the address of the native API.
func (s *Server) URL() string { return s.dev.URL() }

// VaultURL returns the address of the vault for Azure SDKs. It is an address and needs no name resolution.
func (s *Server) VaultURL() string { return s.env["AZURE_KEYVAULT_URL"] }

// CAFile returns the path of the certificate by which the server's own is checked.
func (s *Server) CAFile() string { return s.dev.CAFile() }

// CertPool returns the certificate by which the server's own is checked.
func (s *Server) CertPool() *x509.CertPool { return s.pool }

// HTTPClient returns an HTTP client that trusts the server, such as the transport of an Azure SDK.
func (s *Server) HTTPClient() *http.Client {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: s.pool}
	s.t.Cleanup(t.CloseIdleConnections)
	return &http.Client{Transport: t}
}

// Env returns the environment that a program needs to use the server: what a development server writes to dev.env.
func (s *Server) Env() map[string]string { return maps.Clone(s.env) }

// Environ returns the environment of this process with Env on top, for exec.Cmd.
func (s *Server) Environ() []string {
	list := os.Environ()
	for name, value := range s.env {
		list = append(list, name+"="+value)
	}
	return list
}

// SetSecret stores a text in the vault and returns the id of its version. It fails the test if it cannot.
func (s *Server) SetSecret(name, value string) string {
	s.t.Helper()
	set, err := s.client.Vault(s.VaultName()).Set(context.Background(), name, []byte(value))
	if err != nil {
		s.t.Fatalf("keywrighttest: setting the secret %s: %v", name, err)
	}
	return set.Version
}
