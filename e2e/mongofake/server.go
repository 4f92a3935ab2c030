package mongofake

import (
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"

	"github.com/xdg-go/scram"

	"github.com/keywright/keywright/e2e/testca"
)

// iterations is the least that clients accept (RFC 7677 asks for 4096; MongoDB uses 15000).
const iterations = 4096

// User is an account of the database admin.
type User struct {
	Password string
	// Admin may change every user's password and see all users and connections.
	Admin bool
	Roles []string
}

type user struct {
	id     []byte
	stored scram.StoredCredentials
	admin  bool
	locked bool
	roles  []string
}

// Server is the protocol fake.
type Server struct {
	listener net.Listener
	ca       []byte

	mu       sync.Mutex // guards the rest
	users    map[string]*user
	sessions map[*session]struct{}
	last     int64
	log      io.Writer
	primary  bool
	closed   bool

	serving sync.WaitGroup
}

// Start listens on a free port of loopback and serves until Close. Commands are written to log, with the passwords in them as MongoDB's own log has them: not at all.
func Start(users map[string]User, log io.Writer) (*Server, error) {
	pair, err := testca.New()
	if err != nil {
		return nil, err
	}
	certificate, err := pair.TLS()
	if err != nil {
		return nil, err
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12})
	if err != nil {
		return nil, err
	}
	s := &Server{listener: l, ca: pair.CA, users: map[string]*user{}, sessions: map[*session]struct{}{}, log: log, primary: true}
	for name, u := range users {
		if err := s.Add(name, u); err != nil {
			return nil, errors.Join(err, l.Close())
		}
	}
	s.serving.Go(s.accept)
	return s, nil
}

// Addr is where the server listens; CA, in PEM, is to be trusted.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// CA is the certificate that clients have to trust.
func (s *Server) CA() []byte { return s.ca }

// Add makes a user, or replaces it.
func (s *Server) Add(name string, u User) error {
	stored, err := credentials(name, u.Password)
	if err != nil {
		return err
	}
	id := make([]byte, 16)
	_, _ = rand.Read(id) // never fails on the systems that Go supports
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users[name] = &user{id: id, stored: stored, admin: u.Admin, roles: slices.Clone(u.Roles)}
	return nil
}

// Grant changes the roles of a user.
func (s *Server) Grant(name string, roles ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users[name].roles = slices.Clone(roles)
}

// Restrict makes the server turn a user's logins away for another reason than the password.
func (s *Server) Restrict(name string, locked bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users[name].locked = locked
}

// StepDown makes the server refuse changes, or take them again.
func (s *Server) StepDown(secondary bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.primary = !secondary
}

// Describe is a user apart from the password.
func (s *Server) Describe(name string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.users[name]
	if u == nil {
		return "absent"
	}
	return fmt.Sprintf("%x %v %v", u.id, u.roles, u.locked)
}

func credentials(name, password string) (scram.StoredCredentials, error) {
	client, err := scram.SHA256.NewClient(name, password, "")
	if err != nil {
		return scram.StoredCredentials{}, err
	}
	salt := make([]byte, 28)
	_, _ = rand.Read(salt) // never fails on the systems that Go supports
	return client.GetStoredCredentialsWithError(scram.KeyFactors{Salt: string(salt), Iters: iterations})
}

// Close ends every connection and waits for them.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	for one := range s.sessions {
		_ = one.conn.Close()
	}
	s.mu.Unlock()
	err := s.listener.Close()
	s.serving.Wait()
	return err
}

func (s *Server) accept() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		one := &session{server: s, conn: conn}
		s.mu.Lock()
		s.last++
		one.id = s.last
		s.sessions[one] = struct{}{}
		closed := s.closed
		s.mu.Unlock()
		if closed {
			_ = conn.Close()
			return
		}
		s.serving.Go(func() {
			one.serve()
			_ = conn.Close()
			s.mu.Lock()
			delete(s.sessions, one)
			s.mu.Unlock()
		})
	}
}
