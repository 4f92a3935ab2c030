package tdsfake

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
)

// tlsRecordHandshake is the first byte of a TLS connection; no TDS packet type has it. TDS 8 ("strict") begins so.
const tlsRecordHandshake = 0x16

// handshakeConn carries a TLS handshake inside PRELOGIN packets, both ways, and TLS records as they are afterwards.
type handshakeConn struct {
	net.Conn
	r       *bufio.Reader
	wrapped bool
	pending []byte // handshake bytes of a packet that TLS has not read yet
}

func (c *handshakeConn) Read(p []byte) (int, error) {
	if !c.wrapped {
		return c.r.Read(p)
	}
	for len(c.pending) == 0 {
		m, err := readMessage(c.r, maxLoginMessage)
		if err != nil {
			return 0, err
		}
		if m.kind != kindPrelogin {
			return 0, fmt.Errorf("a packet of type %#02x during the TLS handshake", byte(m.kind))
		}
		c.pending = m.payload
	}
	n := copy(p, c.pending)
	c.pending = c.pending[n:]
	return n, nil
}

// Write wraps each Write in one message: crypto/tls writes a flight at once, and clients take a flight in several
// packets but not in several messages. The packets are the smallest that a client can ask for: what it does ask for is
// known only with LOGIN7.
func (c *handshakeConn) Write(p []byte) (int, error) {
	if !c.wrapped {
		return c.Conn.Write(p)
	}
	if err := writeMessage(c.Conn, kindPrelogin, p, minPacketSize); err != nil {
		return 0, err
	}
	return len(p), nil
}

// secure takes the connection through PRELOGIN and TLS, in either order, up to LOGIN7.
func secure(conn net.Conn, config *tls.Config) (secured *tls.Conn, strict bool, err error) {
	inner := &handshakeConn{Conn: conn, r: bufio.NewReader(conn)}
	first, err := inner.r.Peek(1)
	if err != nil {
		return nil, false, err
	}
	strict = first[0] == tlsRecordHandshake
	secured = tls.Server(inner, config)
	if strict {
		return secured, true, answerPrelogin(secured, secured)
	}
	if err := answerPrelogin(inner.r, conn); err != nil {
		return nil, false, err
	}
	inner.wrapped = true
	if err := secured.Handshake(); err != nil {
		return nil, false, fmt.Errorf("TLS handshake: %w", err)
	}
	if len(inner.pending) > 0 {
		return nil, false, errors.New("the client sent more in its last handshake packet than the handshake")
	}
	inner.wrapped = false
	return secured, false, nil
}

func answerPrelogin(r io.Reader, w io.Writer) error {
	m, err := readMessage(r, maxLoginMessage)
	if err != nil {
		return err
	}
	if m.kind != kindPrelogin {
		return fmt.Errorf("the first packet has type %#02x, not PRELOGIN", byte(m.kind))
	}
	if _, err := parsePrelogin(m.payload); err != nil {
		return err
	}
	return writeMessage(w, kindReply, preloginReply(), minPacketSize)
}
