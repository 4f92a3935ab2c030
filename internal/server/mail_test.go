package server

import (
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/keywright/keywright/internal/clock"
)

// inbox is a relay that keeps what it takes.
type inbox struct {
	to      string
	letters chan string
}

func (i *inbox) Mail(string, *smtp.MailOptions) error { return nil }
func (i *inbox) Rcpt(to string, _ *smtp.RcptOptions) error {
	i.to = to
	return nil
}
func (i *inbox) Data(r io.Reader) error {
	raw, err := io.ReadAll(r)
	i.letters <- i.to + "\n" + string(raw)
	return err
}
func (i *inbox) Reset()        {}
func (i *inbox) Logout() error { return nil }

// TestContactsAreWrittenTo follows a lifetime action from the vault's protocol to a relay.
func TestContactsAreWrittenTo(t *testing.T) {
	letters := make(chan string, 10)
	relay := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &inbox{letters: letters}, nil }))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() { relay.Serve(l) })
	t.Cleanup(func() { relay.Close(); serving.Wait() })

	s := &shop{now: clock.NewManual(time.Now())}
	d := startDevWith(t, DevConfig{Config: Config{Dir: filepath.Join(t.TempDir(), "d"), Clock: s.now, Mail: Mail{Relay: "smtp://" + l.Addr().String(), From: "keywright@vault.example"}}})
	s.target = &target{Dev: d, t: t, client: d.httpClient(t)}
	s.vault = d.variable("AZURE_KEYVAULT_URL")
	s.login()
	s.ask("PUT", "/certificates/contacts", `{"contacts":[{"email":"ops@example.org","name":"Ops"}]}`, http.StatusOK, nil)
	s.ask("POST", "/certificates/shop/create", `{"policy":{"issuer":{"name":"Self"},"key_props":{"kty":"EC"},"x509_props":{"subject":"CN=shop"},
		"lifetime_actions":[{"trigger":{"lifetime_percentage":50},"action":{"action_type":"EmailContacts"}}]}}`, http.StatusAccepted, nil)
	s.settle("shop")
	s.now.Advance(200 * 24 * time.Hour)
	s.core.certificates.Wake()
	select {
	case got := <-letters:
		if !strings.HasPrefix(got, "ops@example.org\n") || !strings.Contains(got, `The certificate "shop" of the vault "demo" ends at`) {
			t.Errorf("the letter is %s", got)
		}
	case <-time.After(time.Minute):
		t.Fatal("nobody was written to")
	}
}

// TestMailThatCannotBeSet refuses to start a server whose mail would go nowhere.
func TestMailThatCannotBeSet(t *testing.T) {
	for name, m := range map[string]Mail{"relay": {Relay: "mail.example", From: "a@b.example"}, "sender": {Relay: "smtps://mail.example"}, "authorities": {Relay: "smtps://mail.example", From: "a@b.example", CAFile: "absent.pem"}} {
		d, err := StartDev(t.Context(), DevConfig{Listen: "127.0.0.1:0", Config: Config{Dir: filepath.Join(t.TempDir(), "d"), Mail: m}})
		if err == nil {
			d.Close()
			t.Errorf("a server with a wrong %s starts", name)
		}
	}
}
