package tdsfake

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
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
	// Admin may change the password of every login. Others may change their own, with OLD_PASSWORD.
	Admin bool
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
}

// Server is the protocol fake. It knows these statements:
//
//	SET …
//	SELECT 1 [AS name], of any integer, text or parameter
//	SELECT @@VERSION
//	SELECT SUSER_SNAME(), SELECT ORIGINAL_LOGIN()
//	SELECT COUNT(*) [AS name] FROM sys.dm_exec_sessions WHERE login_name = N'…' (or a parameter)
//	ALTER LOGIN [name] WITH PASSWORD = N'…' [OLD_PASSWORD = N'…']
//	WAITFOR DELAY 'hh:mm:ss', at most a minute
//
// in batches and through sp_executesql, and the transaction requests that drivers send.
type Server struct {
	listener net.Listener
	tls      *tls.Config
	ca       []byte
	logins   *logins
	log      *slog.Logger

	mu       sync.Mutex // guards the three below
	sessions map[*session]struct{}
	closed   bool
	lastID   uint64 // of transactions

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
func (s *Server) SetPassword(login, password string) bool { return s.logins.set(login, password) }

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
}

// loggedIn names the session; before, it is that of no login.
func (s *Server) loggedIn(session *session, login string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	session.login = login
}

func (s *Server) transactionID() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lastID++
	return s.lastID
}
