package tdsfake

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// loginTimeout is how long a client may take to log in.
const loginTimeout = 15 * time.Second

// session is one connection.
type session struct {
	server *Server
	// conn is the bare connection: closing it ends the session from any goroutine.
	conn net.Conn
	// login is written under the server's lock, by the session's own goroutine.
	login string
	// id, app and since are written with it.
	id    int64
	app   string
	since time.Time

	// The rest belongs to the goroutine that serves the session.
	stream     *tls.Conn
	packetSize int
	// open is the transaction in progress, nil when there is none.
	open *transaction
}

// transaction collects the changes that its commit will make.
type transaction struct {
	id      uint64
	changes []alterLogin
}

func (s *session) serve() error {
	if err := s.conn.SetDeadline(time.Now().Add(loginTimeout)); err != nil {
		return err
	}
	stream, strict, err := secure(s.conn, s.server.tls)
	if err != nil {
		return err
	}
	s.stream = stream
	if err := s.authenticate(strict); err != nil {
		return err
	}
	if err := s.conn.SetDeadline(time.Time{}); err != nil {
		return err
	}
	if err := s.answerRequests(); !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

func (s *session) authenticate(strict bool) error {
	m, err := readMessage(s.stream, maxLoginMessage)
	if err != nil {
		return err
	}
	if m.kind != kindLogin {
		return fmt.Errorf("a packet of type %#02x instead of LOGIN7", byte(m.kind))
	}
	request, err := parseLogin7(m.payload)
	if err != nil {
		return err
	}
	s.packetSize = packetSize
	if asked := int(request.packetSize); asked >= minPacketSize && asked < packetSize {
		s.packetSize = asked
	}
	var r reply
	if refused := s.server.logins.check(request.user, request.password); refused != nil {
		s.server.log.Info("login refused", "login", clip(request.user))
		r.failure(refused)
		r.done(tokenDone, doneError, 0)
		return errors.Join(errors.New("wrong login or password"), s.write(&r))
	}
	s.server.loggedIn(s, request)
	s.server.log.Info("login accepted", "login", clip(request.user), "application", clip(request.app))
	version := uint32(0x74000004)
	if strict {
		version = 0x08000000
	}
	r.loginAck(version)
	r.done(tokenDone, 0, 0)
	return s.write(&r)
}

func (s *session) write(r *reply) error { return writeMessage(s.stream, kindReply, r.b, s.packetSize) }

// answerRequests serves one request after the other. A goroutine reads ahead, because an attention comes while a
// request runs; it ends with the connection, which the caller closes. The error is io.EOF when the client has gone.
func (s *session) answerRequests() error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	incoming := make(chan message)
	failed := make(chan error, 1)
	s.server.serving.Go(func() { failed <- s.readAhead(ctx, incoming) })
	for {
		select {
		case m := <-incoming:
			if err := s.answer(m, incoming, failed); err != nil {
				return err
			}
		case err := <-failed:
			return err
		}
	}
}

// readAhead returns io.EOF when the client hung up, or Close did, and never nil.
func (s *session) readAhead(ctx context.Context, incoming chan<- message) error {
	for {
		m, err := readMessage(s.stream, maxMessage)
		if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) {
			return io.EOF
		}
		if err != nil {
			return err
		}
		select {
		case incoming <- m:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// answer runs one request and writes its reply, or, when the client sends an attention meanwhile, ends the request
// and then acknowledges in a second message: tedious waits in vain for an acknowledgement that comes in the first.
func (s *session) answer(m message, incoming <-chan message, failed <-chan error) error {
	if m.kind == kindAttention { // it crossed the reply on its way
		return s.acknowledge()
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	finished := make(chan *reply, 1)
	go func() { finished <- s.execute(ctx, m) }()
	select {
	case r := <-finished:
		return s.write(r)
	case next := <-incoming:
		cancel()
		<-finished
		if next.kind != kindAttention {
			return fmt.Errorf("a packet of type %#02x while a request runs", byte(next.kind))
		}
		var ended reply
		ended.done(tokenDone, doneError, 0)
		return errors.Join(s.write(&ended), s.acknowledge())
	case err := <-failed:
		cancel()
		<-finished
		return err
	}
}

func (s *session) acknowledge() error {
	var r reply
	r.done(tokenDone, doneAttention, 0)
	return s.write(&r)
}
