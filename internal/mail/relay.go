package mail

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/mail"
	"net/netip"
	"net/smtp"
	"net/textproto"
	"net/url"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/redact"
)

// RelayConfig says where letters are handed over.
type RelayConfig struct {
	// URL is smtps://user@host:port for TLS from the first byte (port 465 when left out), or smtp://user@host:port for STARTTLS (587). The user may be absent.
	URL string
	// Password is the user's.
	Password redact.String
	// From is the sender, as "Keywright <keywright@example.org>" or the address alone.
	From string
	// Roots verify the relay; nil means those of the system.
	Roots *x509.CertPool
	// Timeout bounds the handing over of one letter; 0 means DefaultTimeout.
	Timeout time.Duration
}

// DefaultTimeout is shorter than what RFC 5321, section 4.5.3.2, grants a patient client: the letter is tried again.
const DefaultTimeout = time.Minute

// Relay hands letters over by SMTP.
type Relay struct {
	host, address string
	implicit      bool
	user          string
	password      redact.String
	from          *Address
	roots         *x509.CertPool
	timeout       time.Duration
	// local reports whether what is sent to an address does not leave the machine.
	local func(net.Addr) bool
}

// NewRelay checks the configuration. It connects to nobody.
func NewRelay(c RelayConfig) (*Relay, error) {
	u, err := url.Parse(c.URL)
	if err != nil || u.Hostname() == "" || u.Opaque != "" || u.RawQuery != "" || u.Fragment != "" || u.Path != "" && u.Path != "/" {
		return nil, errors.New("the mail relay is no URL like smtps://user@mail.example.org:465 or smtp://user@mail.example.org:587")
	}
	r := &Relay{host: u.Hostname(), user: u.User.Username(), password: c.Password, roots: c.Roots, timeout: c.Timeout, local: isLoopback}
	port := u.Port()
	switch {
	case u.Scheme == "smtps" && port == "":
		port = "465"
	case u.Scheme == "smtp" && port == "":
		port = "587"
	case u.Scheme != "smtps" && u.Scheme != "smtp":
		return nil, fmt.Errorf("the mail relay's URL begins with %q: use smtps or smtp", fault.Clip(u.Scheme))
	}
	if _, ok := u.User.Password(); ok {
		return nil, errors.New("the mail relay's URL holds a password, which others could see: put it into a file")
	}
	if r.user == "" && c.Password != "" || r.user != "" && c.Password == "" {
		return nil, errors.New("the mail relay needs a user and a password, or neither")
	}
	r.implicit, r.address = u.Scheme == "smtps", net.JoinHostPort(r.host, port)
	if r.from, err = mail.ParseAddress(c.From); err != nil {
		return nil, fmt.Errorf("the sender of mail %q is no address like keywright@example.org", fault.Clip(c.From))
	}
	if r.timeout == 0 {
		r.timeout = DefaultTimeout
	}
	return r, nil
}

// domain is that of the sender, for message ids.
func (r *Relay) domain() string {
	for i := len(r.from.Address) - 1; i >= 0; i-- {
		if r.from.Address[i] == '@' {
			return r.from.Address[i+1:]
		}
	}
	return r.host
}

// send hands one letter over. A fault.Invalid says that the relay will never take it; any other error may pass.
func (r *Relay) send(ctx context.Context, p *parcel) error {
	body, err := p.compose(r.from, r.domain())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	c, err := r.connect(ctx)
	if err != nil {
		return unsent("reaching the relay", err)
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	if r.user != "" {
		// What a relay says of a password is about all letters, and a person can mend it.
		if err := c.Auth(smtp.PlainAuth("", r.user, r.password.Reveal(), r.host)); err != nil {
			return fault.Wrap(code(err), fault.Unavailable, "signing in to the mail relay as %q", r.user)
		}
	}
	if err := c.Mail(r.from.Address); err != nil {
		return unsent("naming the sender", err)
	}
	if err := c.Rcpt(p.To.Address); err != nil {
		return unsent("naming the recipient", err)
	}
	w, err := c.Data()
	if err != nil {
		return unsent("handing over the letter", err)
	}
	if _, err := w.Write(body); err != nil {
		return unsent("handing over the letter", err)
	}
	if err := w.Close(); err != nil {
		return unsent("handing over the letter", err)
	}
	c.Quit() // it has taken the letter, whatever it says now
	return nil
}

// connect opens a session that is protected, unless it does not leave the machine.
func (r *Relay) connect(ctx context.Context) (*smtp.Client, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", r.address)
	if err != nil {
		return nil, err
	}
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
	}
	config := &tls.Config{ServerName: r.host, MinVersion: tls.VersionTLS12, RootCAs: r.roots}
	local := r.local(conn.RemoteAddr())
	if r.implicit {
		conn = tls.Client(conn, config)
	}
	c, err := smtp.NewClient(conn, r.host)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	if r.implicit {
		return c, nil
	}
	if ok, _ := c.Extension("STARTTLS"); !ok {
		if local {
			return c, nil
		}
		return nil, errors.Join(errors.New("it does not offer STARTTLS, and nothing is sent in clear: use smtps, or another relay"), c.Close())
	}
	if err := c.StartTLS(config); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func isLoopback(a net.Addr) bool {
	at, err := netip.ParseAddrPort(a.String())
	return err == nil && at.Addr().Unmap().IsLoopback()
}

// unsent sorts an error of a step: a reply of 5yz is final (RFC 5321, section 4.2.1).
func unsent(doing string, err error) error {
	var reply *textproto.Error
	if errors.As(err, &reply) && reply.Code >= 500 {
		return fault.Wrap(code(err), fault.Invalid, "%s: the mail relay refuses with %d", doing, reply.Code)
	}
	return fault.Wrap(code(err), fault.Unavailable, "%s: the mail relay did not take the letter", doing)
}

// code leaves out what a relay says in words: some repeat what they were sent.
func code(err error) error {
	var reply *textproto.Error
	if errors.As(err, &reply) {
		return fmt.Errorf("the relay replied with %d", reply.Code)
	}
	return err
}
