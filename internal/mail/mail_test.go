package mail_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"github.com/keywright/keywright/e2e/testca"
	"github.com/keywright/keywright/internal/clock"
	keymail "github.com/keywright/keywright/internal/mail"
	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/store/sqlite"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// relay is a server of SMTP, as one that mail is handed to.
type relay struct {
	t        testing.TB
	server   *smtp.Server
	address  string
	pair     *testca.Pair
	user     string
	password string

	mu  sync.Mutex
	got []received
	// answer decides about a recipient; nil takes it.
	answer func(to string) error
}

// received is a letter that the relay took.
type received struct {
	from, to string
	user     string
	tls      bool
	raw      []byte
}

// how says how the relay is reached.
type how struct{ startTLS, implicit, login bool }

func newRelay(t testing.TB, h how) *relay {
	t.Helper()
	r := &relay{t: t}
	var err error
	if r.pair, err = testca.New(); err != nil {
		t.Fatal(err)
	}
	certificate, err := r.pair.TLS()
	if err != nil {
		t.Fatal(err)
	}
	r.server = smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) { return &session{relay: r, conn: c}, nil }))
	r.server.Domain = "relay.example"
	r.server.ErrorLog = quiet{}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{certificate}}
	if h.startTLS {
		r.server.TLSConfig = config
	}
	if h.implicit {
		l = tls.NewListener(l, config)
	}
	if h.login {
		r.user, r.password = "keywright", "canary-of-the-relay"
	}
	r.address = l.Addr().String()
	var done sync.WaitGroup
	done.Go(func() { r.server.Serve(l) })
	t.Cleanup(func() { r.server.Close(); done.Wait() })
	return r
}

type quiet struct{}

func (quiet) Printf(string, ...any) {}
func (quiet) Println(...any)        {}

// session is one of a client.
type session struct {
	relay    *relay
	conn     *smtp.Conn
	user     string
	from, to string
}

var _ smtp.AuthSession = (*session)(nil)

func (s *session) AuthMechanisms() []string {
	if s.relay.user == "" {
		return nil
	}
	return []string{sasl.Plain}
}

func (s *session) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if user != s.relay.user || password != s.relay.password {
			return smtp.ErrAuthFailed
		}
		s.user = user
		return nil
	}), nil
}

func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	if s.relay.user != "" && s.user == "" {
		return smtp.ErrAuthRequired
	}
	s.from = from
	return nil
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.to = to
	s.relay.mu.Lock()
	defer s.relay.mu.Unlock()
	if s.relay.answer != nil {
		return s.relay.answer(to)
	}
	return nil
}

func (s *session) Data(r io.Reader) error {
	raw, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	_, protected := s.conn.TLSConnectionState()
	s.relay.mu.Lock()
	defer s.relay.mu.Unlock()
	s.relay.got = append(s.relay.got, received{s.from, s.to, s.user, protected, raw})
	return nil
}

func (s *session) Reset()        {}
func (s *session) Logout() error { return nil }

func (r *relay) answers(fn func(to string) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = fn
}

// count is how many letters were taken since the last take.
func (r *relay) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.got)
}

// take returns what was taken since the last call.
func (r *relay) take() []received {
	r.mu.Lock()
	defer r.mu.Unlock()
	got := r.got
	r.got = nil
	return got
}

// parsed reads a letter as a mail program does.
func (m *received) parsed(t testing.TB) (*mail.Message, string) {
	t.Helper()
	msg, err := mail.ReadMessage(bytes.NewReader(m.raw))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(msg.Body)
	if err != nil {
		t.Fatal(err)
	}
	return msg, string(body)
}

// world is a store with an outbox.
type world struct {
	t      testing.TB
	ctx    context.Context
	now    *clock.Manual
	store  *sqlite.Store
	relay  *relay
	log    *bytes.Buffer
	outbox *keymail.Outbox
	faults faults
}

// faults are injected into commits.
type faults struct {
	mu    sync.Mutex
	after func() error
}

func (f *faults) commit() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.after == nil {
		return nil
	}
	return f.after()
}

func newWorld(t testing.TB, h how) *world {
	t.Helper()
	w := &world{t: t, ctx: context.Background(), now: clock.NewManual(noon), relay: newRelay(t, h), log: &bytes.Buffer{}}
	var err error
	if w.store, err = sqlite.Open(sqlite.Config{Dir: filepath.Join(t.TempDir(), "store"), Faults: sqlite.Faults{BeforeCommit: w.faults.commit}}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.store.Close(); err != nil {
			t.Error(err)
		}
	})
	scheme := "smtp"
	if h.implicit {
		scheme = "smtps"
	}
	w.outbox = w.open("node-1", scheme)
	return w
}

func (w *world) open(node, scheme string) *keymail.Outbox {
	w.t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(w.relay.pair.CA)
	url := scheme + "://"
	if w.relay.user != "" {
		url += w.relay.user + "@"
	}
	r, err := keymail.NewRelay(keymail.RelayConfig{URL: url + w.relay.address, Password: redact.String(w.relay.password), From: "Keywright <keywright@vault.example>", Roots: roots,
		Timeout: 10 * time.Second})
	if err != nil {
		w.t.Fatal(err)
	}
	o, err := keymail.New(keymail.Config{Store: w.store, Clock: w.now, Logger: slog.New(slog.NewTextHandler(w.log, nil)), Relay: r, Node: node})
	if err != nil {
		w.t.Fatal(err)
	}
	return o
}

func (w *world) add(l keymail.Letter) {
	w.t.Helper()
	if err := w.store.Update(w.ctx, store.NewOp(w.now.Now()), func(tx store.Tx) error { return w.outbox.Add(w.ctx, tx, l) }); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) due() int {
	w.t.Helper()
	n, err := w.outbox.Due(w.ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

func (w *world) waiting() (n int) {
	w.t.Helper()
	if err := w.store.View(w.ctx, func(tx store.Tx) (err error) {
		n, _, err = tx.CountDeliveries(w.ctx, "mail", 1000)
		return err
	}); err != nil {
		w.t.Fatal(err)
	}
	return n
}

func letter(id string, to ...string) keymail.Letter {
	l := keymail.Letter{ID: id, At: noon, Subject: "The certificate \"web\" ends — soon", Text: "It ends.\n.\nDo something: grüße\n" + strings.Repeat("long ", 100) + "\n"}
	for _, one := range to {
		l.To = append(l.To, &keymail.Address{Name: "Zoë Ops", Address: one})
	}
	return l
}

// A letter reaches everybody once, over each kind of protection, as mail programs read it.
func TestLettersArrive(t *testing.T) {
	for name, h := range map[string]how{"STARTTLS and a password": {startTLS: true, login: true}, "TLS from the first byte": {implicit: true, login: true}, "in clear on this machine": {}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, h)
			w.add(letter("1", "a@example.org", "b@example.org"))
			w.add(letter("1", "B@example.org")) // the same again
			if n := w.due(); n != 2 || w.waiting() != 0 {
				t.Errorf("%d letters were sent, %d wait", n, w.waiting())
			}
			got := w.relay.take()
			if len(got) != 2 || w.due() != 0 {
				t.Fatalf("%d letters came", len(got))
			}
			ids := map[string]bool{}
			for _, m := range got {
				if m.from != "keywright@vault.example" || m.user != w.relay.user || m.tls != (h.startTLS || h.implicit) {
					t.Errorf("%+v", m)
				}
				msg, body := m.parsed(t)
				subject, err := new(mime.WordDecoder).DecodeHeader(msg.Header.Get("Subject"))
				if err != nil || subject != "[Keywright] The certificate \"web\" ends — soon" {
					t.Errorf("the subject is %q, %v", subject, err)
				}
				to, err := mail.ParseAddress(msg.Header.Get("To"))
				if err != nil || to.Address != m.to || to.Name != "Zoë Ops" {
					t.Errorf("to %v, %v", to, err)
				}
				id := msg.Header.Get("Message-ID")
				if ids[id] || !strings.HasSuffix(id, "@vault.example>") || msg.Header.Get("Auto-Submitted") != "auto-generated" || msg.Header.Get("Date") != "Sun, 22 Nov 2026 12:00:00 +0000" {
					t.Errorf("headers %v", msg.Header)
				}
				ids[id] = true
				if text := unquoted(t, body); text != strings.ReplaceAll(letter("1").Text, "\n", "\r\n") {
					t.Errorf("the text is %q", text)
				}
			}
			if c := w.outbox.Counts(); c != (keymail.Counts{Sent: 2}) {
				t.Errorf("%+v", c)
			}
		})
	}
}

// Nothing is said in clear to a relay on another machine.
func TestRelaysWithoutTLS(t *testing.T) {
	w := newWorld(t, how{})
	w.outbox.Relay.Abroad()
	w.add(letter("1", "a@example.org"))
	w.due()
	if len(w.relay.take()) != 0 || w.waiting() != 1 || !strings.Contains(w.log.String(), "nothing is sent in clear") {
		t.Errorf("log: %s", w.log)
	}
}

// A relay whose certificate is not believed gets neither letters nor the password.
func TestRelaysThatAreNotBelieved(t *testing.T) {
	w := newWorld(t, how{startTLS: true, login: true})
	other, err := testca.New()
	if err != nil {
		t.Fatal(err)
	}
	w.relay.pair = other
	w.outbox = w.open("node-1", "smtp")
	w.add(letter("1", "a@example.org"))
	w.due()
	if len(w.relay.take()) != 0 || w.waiting() != 1 || !strings.Contains(w.log.String(), "certificate signed by unknown authority") {
		t.Errorf("log: %s", w.log)
	}
	if strings.Contains(w.log.String(), w.relay.password) {
		t.Error("the log shows the password")
	}
}

// What may pass is tried again, ever more slowly; what will not is given up at once; and nothing is tried for ever.
func TestRetries(t *testing.T) {
	w := newWorld(t, how{})
	w.relay.answers(func(to string) error {
		if to == "gone@example.org" {
			return &smtp.SMTPError{Code: 550, Message: "no such user canary-of-the-relay"}
		}
		return &smtp.SMTPError{Code: 451, Message: "later"}
	})
	w.add(letter("1", "gone@example.org", "busy@example.org"))
	w.due()
	if w.waiting() != 1 || strings.Contains(w.log.String(), "canary") {
		t.Errorf("%d wait; log: %s", w.waiting(), w.log)
	}
	tries := 1
	for range 14 * 24 * 6 {
		w.now.Advance(10 * time.Minute)
		tries += w.due()
		if w.waiting() == 0 {
			break
		}
	}
	if took := w.now.Now().Sub(noon); w.waiting() != 0 || tries != 9 || took < 46*time.Hour || took > 72*time.Hour {
		t.Errorf("given up after %d tries and %s; %d wait", tries, took, w.waiting())
	}
	if c := w.outbox.Counts(); c.Dropped != 2 || c.Sent != 0 {
		t.Errorf("%+v", c)
	}
	w.relay.answers(nil)
	w.add(letter("2", "busy@example.org"))
	w.relay.answers(func(string) error { return &smtp.SMTPError{Code: 421, Message: "later"} })
	w.due()
	w.relay.answers(nil)
	w.now.Advance(time.Minute)
	if w.due(); len(w.relay.take()) != 1 || w.waiting() != 0 {
		t.Error("a letter was not sent when the relay was well again")
	}
}

// A process that dies at any commit sends a letter neither not at all nor again and again, and what it repeats bears the same id.
func TestCrashes(t *testing.T) {
	for crash := range 6 {
		w := newWorld(t, how{})
		w.add(letter("1", "a@example.org"))
		n := 0
		w.faults.mu.Lock()
		w.faults.after = func() error {
			if n++; n > crash {
				return errors.New("the process is gone")
			}
			return nil
		}
		w.faults.mu.Unlock()
		w.outbox.Due(w.ctx) // dies with the commit of that number, and with all behind it
		w.faults.mu.Lock()
		w.faults.after = nil
		w.faults.mu.Unlock()
		w.outbox = w.open("node-1", "smtp")
		for range 10 {
			w.now.Advance(10 * time.Minute)
			w.due()
		}
		got := w.relay.take()
		if len(got) < 1 || len(got) > 2 || w.waiting() != 0 {
			t.Fatalf("died at commit %d: %d letters came, %d wait", crash, len(got), w.waiting())
		}
		first, _ := got[0].parsed(t)
		for _, again := range got[1:] {
			if m, _ := again.parsed(t); m.Header.Get("Message-ID") != first.Header.Get("Message-ID") {
				t.Errorf("two ids: %v and %v", m.Header, first.Header)
			}
		}
	}
}

// Even a process that always dies between the relay's answer and its own commit sends no more than the attempts that were noted.
func TestCrashLoopsAreBounded(t *testing.T) {
	w := newWorld(t, how{})
	w.add(letter("1", "a@example.org"))
	for range 40 {
		before := w.relay.count()
		w.faults.mu.Lock()
		w.faults.after = func() error {
			w.relay.mu.Lock()
			defer w.relay.mu.Unlock()
			if len(w.relay.got) > before {
				return errors.New("the process is gone")
			}
			return nil
		}
		w.faults.mu.Unlock()
		w.outbox.Due(w.ctx)
		w.faults.mu.Lock()
		w.faults.after = nil
		w.faults.mu.Unlock()
		w.outbox = w.open("node-1", "smtp")
		w.now.Advance(25 * time.Hour)
	}
	if got := w.relay.take(); len(got) != 9 || w.waiting() != 0 {
		t.Errorf("%d letters came, %d wait", len(got), w.waiting())
	}
}

// One worker sends at a time.
func TestOneWorkerSends(t *testing.T) {
	w := newWorld(t, how{})
	asked, answer := make(chan struct{}), make(chan struct{})
	w.relay.answers(func(string) error { asked <- struct{}{}; <-answer; return nil })
	w.add(letter("1", "a@example.org"))
	done := make(chan int)
	go func() {
		n, err := w.outbox.Due(w.ctx)
		if err != nil {
			t.Error(err)
		}
		done <- n
	}()
	<-asked
	w.now.Advance(2 * time.Minute) // the letter is due again
	if n, err := w.open("node-2", "smtp").Due(w.ctx); n != 0 || err != nil {
		t.Errorf("another worker sent %d letters, %v", n, err)
	}
	close(answer)
	if n := <-done; n != 1 || len(w.relay.take()) != 1 {
		t.Errorf("%d letters", n)
	}
}

func TestRelayConfig(t *testing.T) {
	for _, c := range []keymail.RelayConfig{
		{}, {URL: "mail.example.org:587", From: "a@b"}, {URL: "http://mail.example.org", From: "a@b"}, {URL: "smtp://", From: "a@b"}, {URL: "smtp://mail.example.org"},
		{URL: "smtp://mail.example.org", From: "nobody"}, {URL: "smtp://u:canary@mail.example.org", From: "a@b", Password: "x"}, {URL: "smtp://u@mail.example.org", From: "a@b"},
		{URL: "smtp://mail.example.org", From: "a@b", Password: "x"}, {URL: "smtp://mail.example.org/path", From: "a@b"}, {URL: "smtp://mail.example.org?x=y", From: "a@b"},
	} {
		_, err := keymail.NewRelay(c)
		if err == nil {
			t.Errorf("%+v is taken", c)
		} else if strings.Contains(err.Error(), "canary") {
			t.Errorf("the error shows the password: %v", err)
		}
	}
	for _, url := range []string{"smtp://mail.example.org", "smtps://u@mail.example.org:1465", "smtp://[2001:db8::1]:25/"} {
		c := keymail.RelayConfig{URL: url, From: "Keywright <a@b.example>"}
		if strings.Contains(url, "u@") {
			c.Password = "x"
		}
		if _, err := keymail.NewRelay(c); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
}

func TestAddresses(t *testing.T) {
	for _, bad := range []string{"", "@", "a", "a@b\r\nBcc: c@d", "A <a@b.example>", "a@b.example, c@d.example", "a@b.example>"} {
		if a, err := keymail.ParseAddress("x", bad); err == nil {
			t.Errorf("%q is taken as %v", bad, a)
		}
	}
	a, err := keymail.ParseAddress("Eve\r\nBcc: x@y.example", "a@b.example")
	if err != nil || strings.ContainsAny(a.String(), "\r\n") {
		t.Errorf("%v %v", a, err)
	}
}

// FuzzLetter holds that nothing in a letter's parts makes another header or another letter.
func FuzzLetter(f *testing.F) {
	f.Add("Ops", "subject", "text")
	f.Add("a\r\nBcc: x@example.org", "b\r\nBcc: x@example.org\r\n\r\nbody", "c\r\n.\r\nQUIT\r\n")
	f.Fuzz(func(t *testing.T, name, subject, text string) {
		to, err := keymail.ParseAddress(name, "a@example.org")
		if err != nil {
			t.Skip()
		}
		raw, err := keymail.Compose(keymail.Letter{ID: "1", At: noon, To: []*keymail.Address{to}, Subject: subject, Text: text})
		if err != nil {
			return
		}
		msg, err := mail.ReadMessage(bytes.NewReader(raw))
		if err != nil {
			t.Fatalf("%q: %v", raw, err)
		}
		if len(msg.Header) != 9 || msg.Header.Get("Bcc") != "" {
			t.Errorf("the headers are %v", msg.Header)
		}
	})
}

func unquoted(t testing.TB, body string) string {
	t.Helper()
	text, err := io.ReadAll(quotedprintable.NewReader(strings.NewReader(body)))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
