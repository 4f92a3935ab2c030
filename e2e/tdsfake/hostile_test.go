package tdsfake

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// rawClient is a client without manners: it sends what no driver would.
type rawClient struct {
	t *testing.T
	*tls.Conn
}

func startRaw(t *testing.T) *Server {
	t.Helper()
	s, err := Start(Config{Logins: map[string]Login{"app": {Password: "right"}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func dialRaw(t *testing.T, s *Server) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// logIn goes through PRELOGIN and TLS and logs in.
func logIn(t *testing.T, s *Server) *rawClient {
	t.Helper()
	conn := dialRaw(t, s)
	inner := &handshakeConn{Conn: conn, r: bufio.NewReader(conn)}
	if err := writeMessage(conn, kindPrelogin, preloginReply(), packetSize); err != nil {
		t.Fatal(err)
	}
	if _, err := readMessage(inner.r, maxMessage); err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(s.CA())
	inner.wrapped = true
	c := &rawClient{t, tls.Client(inner, &tls.Config{RootCAs: roots, ServerName: "localhost", MaxVersion: tls.VersionTLS12})}
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	inner.wrapped = false
	reply := c.ask(kindLogin, encodeLogin7(login7{version: 0x74000004, user: "app", password: "right"}))
	if len(reply) == 0 || reply[0] != tokenLoginAck {
		t.Fatalf("the login was answered with % x", reply)
	}
	return c
}

func (c *rawClient) ask(k kind, payload []byte) []byte {
	c.t.Helper()
	if err := writeMessage(c, k, payload, packetSize); err != nil {
		c.t.Fatal(err)
	}
	m, err := readMessage(c, maxMessage)
	if err != nil {
		c.t.Fatal(err)
	}
	return m.payload
}

// wantError checks that a reply is the error and ends.
func wantError(t *testing.T, reply []byte, number uint32) {
	t.Helper()
	if len(reply) < 7 || reply[0] != tokenError || binary.LittleEndian.Uint32(reply[3:]) != number {
		t.Errorf("the reply is % x, want error %d", reply, number)
	}
}

func headed(body ...byte) []byte { return append([]byte{4, 0, 0, 0}, body...) }

func TestNonsenseBeforeLoginEndsTheConnection(t *testing.T) {
	s := startRaw(t)
	for name, sent := range map[string][]byte{
		"HTTP":                      []byte("GET / HTTP/1.1\r\n\r\n"),
		"a packet without a body":   {byte(kindPrelogin), statusEnd, 0, 8, 0, 0, 1, 0},
		"a packet below its header": {byte(kindPrelogin), statusEnd, 0, 3, 0, 0, 1, 0},
		"LOGIN7 in clear":           {byte(kindLogin), statusEnd, 0, 9, 0, 0, 1, 0, 0},
		"an option outside":         {byte(kindPrelogin), statusEnd, 0, 14, 0, 0, 1, 0, 1, 0, 200, 0, 1, optionEnd},
		"a change of type inside":   {byte(kindPrelogin), 0, 0, 8, 0, 0, 1, 0, byte(kindBatch), statusEnd, 0, 8, 0, 0, 1, 0},
		"TLS that is none":          {tlsRecordHandshake, 3, 1, 0, 4, 9, 0, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			conn := dialRaw(t, s)
			if _, err := conn.Write(sent); err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, conn); isTimeout(err) {
				t.Errorf("the server keeps the connection: %v", err)
			}
		})
	}
	if got := s.Sessions("app"); got != 0 {
		t.Errorf("%d sessions of somebody who never logged in", got)
	}
	logIn(t, s)
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

func TestNonsenseAfterLoginIsRefusedAndSurvived(t *testing.T) {
	c := logIn(t, startRaw(t))
	for _, sent := range []struct {
		name    string
		kind    kind
		payload []byte
		number  uint32
	}{
		{"a batch without headers", kindBatch, []byte{1}, 102},
		{"headers beyond the message", kindBatch, []byte{255, 0, 0, 0}, 102},
		{"half a character", kindBatch, headed('S'), 102},
		{"an RPC cut short", kindRPC, headed(0xFF, 0xFF, procExecuteSQL), 102},
		{"an unknown procedure", kindRPC, headed(1, 0, 'x', 0, 0, 0), 2812},
		{"an RPC without a statement", kindRPC, headed(0xFF, 0xFF, procExecuteSQL, 0, 0, 0), 102},
		{"an unknown type", kindRPC, headed(0xFF, 0xFF, procExecuteSQL, 0, 0, 0, 0, 0, 0x22), 102},
		{"an integer of three bytes", kindRPC, headed(0xFF, 0xFF, procExecuteSQL, 0, 0, 0, 0, 0, typeIntN, 4, 3, 1, 2, 3), 102},
		{"a commit of nothing", kindTransaction, headed(transactionCommit, 0), 3902},
		{"a rollback of nothing", kindTransaction, headed(transactionRollback, 0), 3903},
		{"an unknown transaction request", kindTransaction, headed(99, 0), 102},
		{"a second login", kindLogin, encodeLogin7(login7{user: "app", password: "right"}), 102},
		{"a delay that is none", kindBatch, headed(appendUTF16(nil, "WAITFOR DELAY '99:99:99'")...), 102},
	} {
		t.Run(sent.name, func(t *testing.T) { wantError(t, c.ask(sent.kind, sent.payload), sent.number) })
	}
	t.Run("an attention without a request is acknowledged", func(t *testing.T) {
		if reply := c.ask(kindAttention, nil); len(reply) != 13 || reply[0] != tokenDone || reply[1] != doneAttention {
			t.Errorf("got % x", reply)
		}
	})
	t.Run("the session still works", func(t *testing.T) {
		if reply := c.ask(kindBatch, headed(appendUTF16(nil, "SELECT 1")...)); len(reply) == 0 || reply[0] != tokenColMetadata {
			t.Errorf("got % x", reply)
		}
	})
}

func TestRequestDuringARequestEndsTheConnection(t *testing.T) {
	c := logIn(t, startRaw(t))
	for _, statement := range []string{"WAITFOR DELAY '00:00:30'", "SELECT 1"} {
		if err := writeMessage(c, kindBatch, headed(appendUTF16(nil, statement)...), packetSize); err != nil {
			t.Fatal(err)
		}
	}
	if m, err := readMessage(c, maxMessage); err == nil || isTimeout(err) {
		t.Errorf("got %+v, %v; want the end of the connection", m, err)
	}
}

func TestClientGoneDuringARequestEndsTheSession(t *testing.T) {
	s := startRaw(t)
	c := logIn(t, s)
	if err := writeMessage(c, kindBatch, headed(appendUTF16(nil, "WAITFOR DELAY '00:00:30'")...), packetSize); err != nil {
		t.Fatal(err)
	}
	c.Close()
	for deadline := time.Now().Add(25 * time.Second); s.Sessions("app") > 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the session of a client that has gone stays open")
		}
	}
}

func TestCloseEndsRunningRequests(t *testing.T) {
	s := startRaw(t)
	c := logIn(t, s)
	if err := writeMessage(c, kindBatch, headed(appendUTF16(nil, "WAITFOR DELAY '00:00:30'")...), packetSize); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if err := s.Close(); err != nil || time.Since(begin) > 25*time.Second {
		t.Errorf("Close took %v: %v", time.Since(begin), err)
	}
}
