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
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/keywright/keywright/e2e/daemon"
	"github.com/keywright/keywright/e2e/testca"
)

// ErrMissing says that OpenLDAP is not installed here.
const ErrMissing daemon.Missing = "OpenLDAP's server is not installed: apt-get install slapd"

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

	program string
	daemon  *daemon.Daemon
}

// Start returns when the server answers and has its first entries. The caller must call Stop.
func Start(ctx context.Context) (*Server, error) {
	program, err := daemon.Find(ErrMissing, "/usr/sbin/slapd", "slapd") // Debian has it in no user's search path
	if err != nil {
		return nil, err
	}
	s := &Server{Password: rand.Text(), program: program}
	s.daemon, err = daemon.New(daemon.Config{
		Name: "slapd", Ports: []*int{&s.Port, &s.TLSPort}, Log: "log",
		Command: s.command, Answers: s.answers, Patience: 20 * time.Second, Quit: syscall.SIGTERM,
	})
	if err != nil {
		return nil, err
	}
	if err := s.daemon.Launch(ctx, s.configure); err != nil {
		return nil, err
	}
	if err := s.As(s.fill); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

// Run is Start for tests: the server stops with the test. Without OpenLDAP the test is skipped, or fails under CI=true.
func Run(t testing.TB) *Server {
	t.Helper()
	return daemon.Run(t, Start)
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
func (s *Server) Logs() ([]byte, error) { return s.daemon.Log() }

// Stop ends the server and removes its directory. Calling it again does nothing.
func (s *Server) Stop() error { return s.daemon.Stop() }

func (s *Server) configure(context.Context) error {
	pair, err := testca.New()
	if err != nil {
		return err
	}
	s.CA = pair.CA
	return errors.Join(pair.Write(s.daemon.Dir()), os.Mkdir(s.daemon.Path("db"), 0o700),
		os.WriteFile(s.daemon.Path("slapd.conf"), []byte(s.settings()), 0o600))
}

func (s *Server) command() (*exec.Cmd, error) {
	// 768 is "stats" and "stats2": every operation with its result. -d keeps the server in the foreground.
	return exec.Command(s.program, "-f", s.daemon.Path("slapd.conf"), "-d", "768",
		"-h", fmt.Sprintf("ldap://127.0.0.1:%d/ ldaps://127.0.0.1:%d/", s.Port, s.TLSPort)), nil
}

func (s *Server) answers(context.Context) bool {
	return s.As(func(*ldap.Conn) error { return nil }) == nil
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
`, s.daemon.Dir(), Keeper, Suffix, Root, s.Password, Policy)
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
