// Package ldaptest starts a real OpenLDAP server for a test or a demonstration.
//
// The server is Debian's slapd, lives in a temporary directory, listens on free ports of 127.0.0.1 alone (one in clear that takes StartTLS,
// one with TLS), and has password policies with lockout and Argon2 loaded. It starts in less than a second.
package ldaptest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/keywright/keywright/e2e/process"
	"github.com/keywright/keywright/e2e/testca"
)

// ErrMissing says that OpenLDAP is not installed here.
var ErrMissing = errors.New("OpenLDAP's server is not installed: apt-get install slapd")

// Names in the directory. Root may do everything; Keeper may write and read passwords, Reader reads all but passwords; both have the
// password Password. Policy applies to every entry.
const (
	Suffix = "dc=example,dc=org"
	Root   = "cn=root," + Suffix
	Keeper = "cn=keeper," + Suffix
	Reader = "cn=reader," + Suffix
	Policy = "cn=policy," + Suffix
)

// Server is a running directory.
type Server struct {
	// Port is plain LDAP, TLSPort LDAP over TLS.
	Port, TLSPort int
	// Password is that of Root, Keeper and Reader.
	Password string
	// CA is what the certificate is checked against, in PEM.
	CA []byte

	dir     string
	process *process.Process
}

// Start returns when the server answers and has its first entries. The caller must call Stop.
func Start(ctx context.Context) (*Server, error) {
	program, err := find()
	if err != nil {
		return nil, err
	}
	s := &Server{Password: rand.Text()}
	if s.dir, err = os.MkdirTemp("", "ldaptest-"); err != nil {
		return nil, err
	}
	if err := s.start(ctx, program); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

// Run is Start for tests: the server stops with the test. Without OpenLDAP the test is skipped, or fails under CI=true.
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

// find looks where Debian has it, which is in no user's search path.
func find() (string, error) {
	if path, err := exec.LookPath("/usr/sbin/slapd"); err == nil {
		return path, nil
	}
	path, err := exec.LookPath("slapd")
	if err != nil {
		return "", ErrMissing
	}
	return path, nil
}

// Address is host:port in clear, TLSAddress with TLS.
func (s *Server) Address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port)) }

// TLSAddress is host:port with TLS.
func (s *Server) TLSAddress() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.TLSPort)) }

// Bind connects and logs in. The caller closes the connection.
func (s *Server) Bind(name, password string) (*ldap.Conn, error) {
	conn, err := ldap.DialURL("ldap://"+s.Address(), ldap.DialWithDialer(&net.Dialer{Timeout: 5 * time.Second}))
	if err != nil {
		return nil, err
	}
	if err := conn.Bind(name, password); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// As runs f with a connection of Root.
func (s *Server) As(f func(*ldap.Conn) error) error {
	conn, err := s.Bind(Root, s.Password)
	if err != nil {
		return err
	}
	return errors.Join(f(conn), conn.Close())
}

// Logs are all that the server has logged up to now: connections, operations and their results.
func (s *Server) Logs() ([]byte, error) { return os.ReadFile(s.log()) }

func (s *Server) log() string { return filepath.Join(s.dir, "log") }

// Stop ends the server and removes its directory. Calling it again does nothing.
func (s *Server) Stop() error {
	var err error
	if s.process != nil {
		err = s.process.Stop(syscall.SIGTERM, 10*time.Second)
	}
	return errors.Join(err, os.RemoveAll(s.dir))
}

func (s *Server) start(ctx context.Context, program string) error {
	pair, err := testca.New()
	if err != nil {
		return err
	}
	s.CA = pair.CA
	if err := errors.Join(pair.Write(s.dir), os.Mkdir(filepath.Join(s.dir, "db"), 0o700),
		os.WriteFile(filepath.Join(s.dir, "slapd.conf"), []byte(s.settings()), 0o600)); err != nil {
		return err
	}
	for range 3 { // a port that was free a moment ago may be taken by now
		if err = s.launch(ctx, program); err == nil {
			return s.As(s.fill)
		}
		err = errors.Join(err, s.process.Stop(syscall.SIGTERM, 10*time.Second))
	}
	return err
}

func (s *Server) launch(ctx context.Context, program string) error {
	for _, port := range []*int{&s.Port, &s.TLSPort} {
		var err error
		if *port, err = process.FreePort(); err != nil {
			return err
		}
	}
	log, err := os.OpenFile(s.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	// 768 is "stats" and "stats2": every operation with its result. -d keeps the server in the foreground.
	cmd := exec.Command(program, "-f", filepath.Join(s.dir, "slapd.conf"), "-d", "768",
		"-h", fmt.Sprintf("ldap://127.0.0.1:%d/ ldaps://127.0.0.1:%d/", s.Port, s.TLSPort))
	cmd.Stdout, cmd.Stderr, cmd.Dir = log, log, s.dir
	if s.process, err = process.Start("slapd", cmd); err != nil {
		return err
	}
	return s.process.Await(ctx, 20*time.Second, func() bool { return s.As(func(*ldap.Conn) error { return nil }) == nil })
}

func (s *Server) settings() string {
	return fmt.Sprintf(`include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb.la
moduleload ppolicy.la
moduleload argon2.la
pidfile %[1]s/pid
TLSCACertificateFile %[1]s/ca.pem
TLSCertificateFile %[1]s/cert.pem
TLSCertificateKeyFile %[1]s/key.pem
access to attrs=userPassword by dn.exact="%[2]s" write by anonymous auth by * none
access to * by dn.exact="%[2]s" write by * read
database mdb
suffix %[3]s
rootdn %[4]s
rootpw %[5]s
directory %[1]s/db
dbnosync
overlay ppolicy
ppolicy_default %[6]s
`, s.dir, Keeper, Suffix, Root, s.Password, Policy)
}

// fill makes the first entries.
func (s *Server) fill(conn *ldap.Conn) error {
	for _, entry := range []struct {
		dn         string
		attributes map[string][]string
	}{
		{Suffix, map[string][]string{"objectClass": {"dcObject", "organization"}, "dc": {"example"}, "o": {"example"}}},
		{Policy, map[string][]string{"objectClass": {"device", "pwdPolicy"}, "pwdAttribute": {"userPassword"}, "pwdLockout": {"TRUE"}, "pwdMaxFailure": {"50"}}},
		{Keeper, map[string][]string{"objectClass": {"person"}, "sn": {"keeper"}, "userPassword": {s.Password}}},
		{Reader, map[string][]string{"objectClass": {"person"}, "sn": {"reader"}, "userPassword": {s.Password}}},
	} {
		request := ldap.NewAddRequest(entry.dn, nil)
		for name, values := range entry.attributes {
			request.Attribute(name, values)
		}
		if err := conn.Add(request); err != nil {
			return fmt.Errorf("adding %s: %w", entry.dn, err)
		}
	}
	return nil
}
