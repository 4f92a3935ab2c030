package tdsfake

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"
)

// How the fake calls itself, wherever the protocol has a place for it.
const (
	productName = "TDS protocol fake"
	serverName  = "tdsfake"
	versionText = "TDS protocol fake: not SQL Server"
)

// Login is an account.
type Login struct {
	Password string
	// Admin may change every login, see all sessions and end them. Others may change their own password, with OLD_PASSWORD.
	Admin bool
	// SID is the login's security identifier, which replicas share; nil for a random one.
	SID []byte
	// Roles are what it may do, in words of the test's own.
	Roles []string
}

// Config of a server.
type Config struct {
	// Listen is the address, on loopback only; empty means a free port of 127.0.0.1.
	Listen string
	// Names are host names that the certificate covers beside localhost and 127.0.0.1.
	Names []string
	// Logins are the accounts at the start. At least one is needed.
	Logins map[string]Login
	// Log receives connections, logins and refusals, never a password or a statement; nil drops them.
	Log *slog.Logger
	// Trace receives the text of every statement, as a trace on a server would show that redacts nothing; nil drops them.
	Trace io.Writer
}

// Server is the protocol fake. It knows these statements:
//
//	SET …
//	SELECT 1 [AS name], of any integer, text or parameter
//	SELECT @@VERSION
//	SELECT SUSER_SNAME(), SELECT ORIGINAL_LOGIN()
//	SELECT COUNT(*) [AS name] FROM sys.dm_exec_sessions WHERE login_name = N'…' (or a parameter)
//	ALTER LOGIN [name] WITH PASSWORD = N'…' [OLD_PASSWORD = N'…']
//	ALTER LOGIN [name] WITH PASSWORD = 0x… HASHED
//	ALTER LOGIN [name] ENABLE, DISABLE
//	BEGIN TRANSACTION, COMMIT TRANSACTION
//	[IF SYSUTCDATETIME() >= '…'] THROW number, '…', state
//	KILL id
//	WAITFOR DELAY 'hh:mm:ss', at most a minute
//
// in batches and through sp_executesql, the transaction requests that drivers send, and, word by word, the queries of catalog views in known.go.
type Server struct {
	listener net.Listener
	tls      *tls.Config
	ca       []byte
	logins   *logins
	log      *slog.Logger
	trace    io.Writer

	mu       sync.Mutex // guards the three below
	sessions map[*session]struct{}
	closed   bool
	lastID   uint64 // of transactions and sessions
	locks    map[string]*session
	freed    chan struct{} // closed and replaced when a lock is freed

	// serving counts the accepting goroutine and one for each connection; Close waits for it.
	serving sync.WaitGroup
}

// Start listens and serves until Close.
func Start(config Config) (*Server, error) {
	if len(config.Logins) == 0 {
		return nil, errors.New("tdsfake: no login is configured, so nobody could connect")
	}
	if config.Listen == "" {
		config.Listen = "127.0.0.1:0"
	}
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	address, err := net.ResolveTCPAddr("tcp", config.Listen)
	if err != nil {
		return nil, fmt.Errorf("tdsfake: %w", err)
	}
	if !address.IP.IsLoopback() {
		return nil, fmt.Errorf("tdsfake: %s is not a loopback address, and a fake has no business on a network", config.Listen)
	}
	leaf, ca, err := certificate(config.Names)
	if err != nil {
		return nil, fmt.Errorf("tdsfake: making a certificate: %w", err)
	}
	listener, err := net.ListenTCP("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("tdsfake: %w", err)
	}
	s := &Server{
		listener: listener,
		tls:      serverTLS(leaf),
		ca:       ca,
		logins:   newLogins(config.Logins),
		trace:    config.Trace,
		locks:    map[string]*session{},
		freed:    make(chan struct{}),
		log:      config.Log.With("server", versionText),
		sessions: make(map[*session]struct{}),
	}
	s.log.Info("listening", "address", listener.Addr().String())
	s.serving.Go(s.accept)
	return s, nil
}

// Addr is where the server listens.
func (s *Server) Addr() *net.TCPAddr { return s.listener.Addr().(*net.TCPAddr) }

// CA is the certificate, in PEM, that clients have to trust.
func (s *Server) CA() []byte { return s.ca }

// Sessions counts the open sessions of a login.
func (s *Server) Sessions(login string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for session := range s.sessions {
		if session.login == login {
			n++
		}
	}
	return n
}

// SetPassword changes a login as if somebody else had done it. It returns false when there is no such login.
func (s *Server) SetPassword(login, password string) bool {
	return s.logins.edit(login, func(a *account) { a.hash = newHash(password) })
}

// Add makes a login, or replaces it.
func (s *Server) Add(name string, login Login) { s.logins.add(name, login) }

// Lock makes the server turn a login away whatever its password, until it is unlocked.
func (s *Server) Lock(login string, locked bool) bool {
	return s.logins.edit(login, func(a *account) { a.locked = locked })
}

// Grant changes what a login may do.
func (s *Server) Grant(login string, roles ...string) bool {
	return s.logins.edit(login, func(a *account) { a.roles = slices.Clone(roles) })
}

// Describe returns the SID, roles and whether the login is enabled.
func (s *Server) Describe(login string) string {
	a, known := s.logins.get(login)
	return fmt.Sprintf("%v %x %v %v", known, a.sid, a.roles, !a.disabled)
}

// Close ends every connection and waits for them. Calling it again does nothing.
func (s *Server) Close() error {
	s.mu.Lock()
	already := s.closed
	s.closed = true
	for session := range s.sessions {
		session.conn.Close()
	}
	s.mu.Unlock()
	if already {
		return nil
	}
	err := s.listener.Close()
	s.serving.Wait()
	return err
}

func (s *Server) accept() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				s.log.Error("accepting no more connections", "error", err.Error())
			}
			return
		}
		session := &session{server: s, conn: conn}
		if !s.add(session) {
			conn.Close()
			return
		}
		s.serving.Go(func() {
			defer s.remove(session)
			if err := session.serve(); err != nil {
				s.log.Info("connection ended", "client", conn.RemoteAddr().String(), "reason", err.Error())
			}
		})
	}
}

func (s *Server) add(session *session) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.sessions[session] = struct{}{}
	return true
}

func (s *Server) remove(session *session) {
	session.conn.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, session)
	for resource, owner := range s.locks {
		if owner == session {
			delete(s.locks, resource)
			close(s.freed)
			s.freed = make(chan struct{})
		}
	}
}

// loggedIn names the session; before, it is that of no login.
func (s *Server) loggedIn(session *session, request login7) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lastID++
	session.login, session.app, session.id, session.since = request.user, request.app, int64(50+s.lastID), time.Now()
}

func (s *Server) transactionID() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lastID++
	return s.lastID
}
