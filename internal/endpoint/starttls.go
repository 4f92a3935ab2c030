package endpoint

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
)

// negotiate says what a protocol wants before TLS begins. The connection has a deadline. Errors repeat nothing of what the server said but numbers.
func negotiate(p Protocol, conn net.Conn) error {
	switch p {
	case SMTP:
		return startSMTP(conn)
	case IMAP:
		return startIMAP(conn)
	case LDAP:
		return startLDAP(conn)
	case Postgres:
		return startPostgres(conn)
	}
	return nil
}

// Bounds of what is read before TLS begins.
const (
	maxLineBytes = 2 << 10
	maxLines     = 100
)

// lines reads a server's text lines, within bounds.
type lines struct {
	*bufio.Reader
	left int
}

func newLines(r io.Reader) *lines { return &lines{bufio.NewReaderSize(r, maxLineBytes), maxLines} }

func (l *lines) next() (string, error) {
	if l.left--; l.left < 0 {
		return "", errors.New("the server says too much before TLS begins")
	}
	line, err := l.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return "", errors.New("the server says a line that is too long before TLS begins")
	}
	if err != nil {
		return "", err
	}
	return strings.TrimRight(string(line), "\r\n"), nil
}

// done refuses what was sent before it could be protected.
func (l *lines) done() error {
	if l.Buffered() > 0 {
		return errors.New("the server sent something in clear after it had agreed to begin TLS")
	}
	return nil
}

// startSMTP is RFC 3207: greeting, EHLO, STARTTLS.
func startSMTP(conn net.Conn) error {
	in := newLines(conn)
	if err := in.reply("220", "greeting"); err != nil {
		return err
	}
	for _, step := range [][2]string{{"EHLO keywright.invalid", "250"}, {"STARTTLS", "220"}} {
		if _, err := io.WriteString(conn, step[0]+"\r\n"); err != nil {
			return err
		}
		word, _, _ := strings.Cut(step[0], " ")
		if err := in.reply(step[1], word); err != nil {
			return err
		}
	}
	return in.done()
}

// reply reads a reply of SMTP, which may have several lines (RFC 5321, section 4.2.1).
func (l *lines) reply(want, to string) error {
	for {
		line, err := l.next()
		if err != nil {
			return err
		}
		if len(line) < 3 || strings.ContainsFunc(line[:3], func(c rune) bool { return c < '0' || c > '9' }) {
			return errors.New("the server does not speak SMTP")
		}
		if line[:3] != want {
			return fmt.Errorf("the server's reply to %s is %s and not %s", to, line[:3], want)
		}
		if len(line) == 3 || line[3] == ' ' {
			return nil
		}
	}
}

// startIMAP is RFC 9051, section 6.2.1.
func startIMAP(conn net.Conn) error {
	in := newLines(conn)
	greeting, err := in.next()
	if err != nil {
		return err
	}
	if !strings.HasPrefix(strings.ToUpper(greeting), "* OK") {
		return errors.New("the server does not greet as IMAP does")
	}
	if _, err := io.WriteString(conn, "k1 STARTTLS\r\n"); err != nil {
		return err
	}
	for {
		line, err := in.next()
		if err != nil {
			return err
		}
		switch upper := strings.ToUpper(line); {
		case strings.HasPrefix(upper, "K1 OK"):
			return in.done()
		case strings.HasPrefix(upper, "K1 "):
			return errors.New("the server refuses STARTTLS")
		}
	}
}

// ldapStartTLS is the extended request 1.3.6.1.4.1.1466.20037 as message 1 (RFC 4511, section 4.14.1).
const ldapStartTLS = "\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037"

// The tags of an answer (RFC 4511, sections 4.1.1 and 4.12), and the most bytes of one.
const (
	tagSequence         = 0x30
	tagEnumerated       = 0x0a
	tagExtendedResponse = 0x78
	maxLDAPBytes        = 8 << 10
)

func startLDAP(conn net.Conn) error {
	if _, err := io.WriteString(conn, ldapStartTLS); err != nil {
		return err
	}
	message, err := readBER(conn)
	if err != nil {
		return err
	}
	code, err := ldapResult(message)
	if err == nil && code != 0 {
		err = fmt.Errorf("the server refuses STARTTLS with the result %d", code)
	}
	return err
}

// readBER reads one element and not a byte behind it: TLS begins there.
func readBER(r io.Reader) ([]byte, error) {
	head := make([]byte, 2, 6)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, err
	}
	if n := int(head[1] & 0x7f); head[1] >= 0x80 {
		if n == 0 || n > 4 {
			return nil, errNoLDAP
		}
		head = head[:2+n]
		if _, err := io.ReadFull(r, head[2:]); err != nil {
			return nil, err
		}
	}
	length, _, ok := berLength(head[1:])
	if head[0] != tagSequence || !ok || length > maxLDAPBytes {
		return nil, errNoLDAP
	}
	body := make([]byte, length)
	_, err := io.ReadFull(r, body)
	return body, err
}

// berLength reads a length in its short or its long form (X.690, section 8.1.3), with leading zeros too: Active Directory writes four bytes for every one.
func berLength(b []byte) (length int, rest []byte, ok bool) {
	if len(b) == 0 {
		return 0, nil, false
	}
	n := int(b[0] & 0x7f)
	if b[0] < 0x80 {
		return n, b[1:], true
	}
	if n == 0 || n > 4 || len(b) <= n {
		return 0, nil, false
	}
	for _, one := range b[1 : 1+n] {
		length = length<<8 | int(one)
	}
	return length, b[1+n:], length >= 0 // of four bytes on a machine of 32 bits
}

// berElement takes the first element with a tag of one byte off.
func berElement(b []byte) (tag byte, content, rest []byte, ok bool) {
	if len(b) == 0 {
		return 0, nil, nil, false
	}
	length, behind, ok := berLength(b[1:])
	if !ok || length > len(behind) {
		return 0, nil, nil, false
	}
	return b[0], behind[:length], behind[length:], true
}

var errNoLDAP = errors.New("the server does not answer as LDAP does")

// ldapResult reads the result code of an extended response: the message's id, then the response, whose first element is the code.
func ldapResult(message []byte) (int, error) {
	_, _, rest, ok := berElement(message)
	tag, response, _, found := berElement(rest)
	if !ok || !found || tag != tagExtendedResponse {
		return 0, errNoLDAP
	}
	if tag, content, _, ok := berElement(response); ok && tag == tagEnumerated && len(content) == 1 {
		return int(content[0]), nil
	}
	return 0, errNoLDAP
}

// sslRequest is PostgreSQL's: a length of 8, and the code 80877103.
const sslRequest = "\x00\x00\x00\x08\x04\xd2\x16\x2f"

func startPostgres(conn net.Conn) error {
	if _, err := io.WriteString(conn, sslRequest); err != nil {
		return err
	}
	answer := make([]byte, 1)
	if _, err := io.ReadFull(conn, answer); err != nil {
		return err
	}
	switch answer[0] {
	case 'S':
		return nil
	case 'N':
		return errors.New("the server refuses TLS")
	}
	return errors.New("the server does not answer as PostgreSQL does")
}
