package endpoint_test

import (
	"bufio"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/keywright/keywright/internal/endpoint"
)

// The servers are as the documents of the protocols show them. say writes, hear reads a line and expects how it begins, bytes expects exactly these.
type peer struct {
	net.Conn
	*bufio.Reader
}

func (p *peer) Read(b []byte) (int, error) { return p.Conn.Read(b) }

func (p *peer) say(text string) error {
	_, err := io.WriteString(p.Conn, text)
	return err
}

func (p *peer) hear(begin string) error {
	line, err := p.ReadString('\n')
	if err == nil && !strings.HasPrefix(line, begin) {
		err = fmt.Errorf("heard %q, want %q", line, begin)
	}
	return err
}

func (p *peer) bytes(want string) error {
	got := make([]byte, len(want))
	_, err := io.ReadFull(p.Reader, got)
	if err == nil && string(got) != want {
		err = fmt.Errorf("heard %x, want %x", got, want)
	}
	return err
}

// script is what a server does before TLS: it says what begins with ">" and hears what begins with "<", or exact bytes after "=".
func script(steps ...string) func(net.Conn) error {
	return func(conn net.Conn) error {
		p := &peer{conn, bufio.NewReaderSize(conn, 16)}
		for _, s := range steps {
			var err error
			switch s[0] {
			case '>':
				err = p.say(s[1:])
			case '<':
				err = p.hear(s[1:])
			case '=':
				err = p.bytes(s[1:])
			}
			if err != nil {
				return err
			}
		}
		if p.Buffered() > 0 {
			return fmt.Errorf("the client began TLS too early")
		}
		return nil
	}
}

// plain is a server that does not know TLS.
func plain(conn net.Conn) error {
	if _, err := conn.Read(make([]byte, 16<<10)); err != nil {
		return err
	}
	_, err := io.WriteString(conn, "HTTP/1.1 400 password123\r\n\r\n")
	return errors.Join(err, io.EOF)
}

const (
	// The request of RFC 4511 and answers to it, with lengths in their short and in their long form.
	ldapRequest  = "\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037"
	ldapSuccess  = "\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00"
	ldapLong     = "\x30\x84\x00\x00\x00\x10\x02\x01\x01\x78\x84\x00\x00\x00\x07\x0a\x01\x00\x04\x00\x04\x00"
	ldapRefusal  = "\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x34\x04\x00\x04\x00"
	ldapSearch   = "\x30\x0c\x02\x01\x01\x65\x07\x0a\x01\x00\x04\x00\x04\x00"
	postgresAsks = "\x00\x00\x00\x08\x04\xd2\x16\x2f"
)

func TestProtocols(t *testing.T) {
	w := newWorld(t)
	root := newRoot(t, "Root")
	c := root.issue(noon, []*x509.Certificate{root.cert}, nil)
	w.imports("web", c)
	w.resolve("shop.example", "192.0.2.1")
	long := strings.Repeat("x", 4<<10)
	for name, s := range map[string]struct {
		protocol endpoint.Protocol
		before   func(net.Conn) error
		fails    string
	}{
		"smtp":      {endpoint.SMTP, script(">220-mx.example\r\n", ">220 ESMTP\r\n", "<EHLO ", ">250-mx.example\r\n250-PIPELINING\r\n250 STARTTLS\r\n", "<STARTTLS\r\n", ">220 go ahead\r\n"), ""},
		"imap":      {endpoint.IMAP, script(">* OK ready\r\n", "<k1 STARTTLS\r\n", ">* CAPABILITY IMAP4rev1\r\n", ">k1 OK begin\r\n"), ""},
		"ldap":      {endpoint.LDAP, script("="+ldapRequest, ">"+ldapSuccess), ""},
		"ldap, BER": {endpoint.LDAP, script("="+ldapRequest, ">"+ldapLong), ""},
		"postgres":  {endpoint.Postgres, script("="+postgresAsks, ">S"), ""},

		"smtp, busy":           {endpoint.SMTP, script(">421 password123\r\n"), "the server's reply to greeting is 421 and not 220"},
		"smtp, without":        {endpoint.SMTP, script(">220 mx\r\n", "<EHLO ", ">250 mx\r\n", "<STARTTLS", ">502 password123\r\n"), "the server's reply to STARTTLS is 502 and not 220"},
		"smtp, something else": {endpoint.SMTP, script(">SSH-2.0-password123\r\n"), "the server does not speak SMTP"},
		"smtp, injected":       {endpoint.SMTP, script(">220 mx\r\n", "<EHLO ", ">250 mx\r\n", "<STARTTLS", ">220 go\r\n250 injected\r\n"), "the server sent something in clear after it had agreed to begin TLS"},
		"smtp, long":           {endpoint.SMTP, script(">220 " + long + "\r\n"), "the server says a line that is too long before TLS begins"},
		"smtp, endless":        {endpoint.SMTP, script(">" + strings.Repeat("220-x\r\n", 200)), "the server says too much before TLS begins"},
		"imap, bye":            {endpoint.IMAP, script(">* BYE password123\r\n"), "the server does not greet as IMAP does"},
		"imap, without":        {endpoint.IMAP, script(">* OK\r\n", "<k1 ", ">k1 BAD password123\r\n"), "the server refuses STARTTLS"},
		"ldap, without":        {endpoint.LDAP, script("="+ldapRequest, ">"+ldapRefusal), "the server refuses STARTTLS with the result 52"},
		"ldap, another answer": {endpoint.LDAP, script("="+ldapRequest, ">"+ldapSearch), "the server does not answer as LDAP does"},
		"ldap, too long":       {endpoint.LDAP, script("="+ldapRequest, ">\x30\x84\x7f\xff\xff\xff"), "the server does not answer as LDAP does"},
		"postgres, without":    {endpoint.Postgres, script("="+postgresAsks, ">N"), "the server refuses TLS"},
		"postgres, other":      {endpoint.Postgres, script("="+postgresAsks, ">E"), "the server does not answer as PostgreSQL does"},
		"tls, plain":           {endpoint.TLS, plain, "tls: first record does not look like a TLS handshake"},
	} {
		w.serve("192.0.2.1:443", c.served(1), s.before)
		w.set(endpoint.Spec{Name: "front", Certificate: "web", Address: "shop.example:443", Protocol: s.protocol})
		e := w.check("front")
		sight := e.Sights[0]
		if sight.Error != s.fails || (sight.Failures == 0) != (s.fails == "") {
			t.Errorf("%s: %q, want %q", name, sight.Error, s.fails)
		}
		if strings.Contains(sight.Error, "password123") {
			t.Errorf("%s: what the server said is repeated", name)
		}
		w.do(w.svc.Remove(w.Ctx, w.call(), "front"))
	}
}
