package server

import (
	"context"
	"crypto/x509"
	"fmt"
	"math"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keywright/keywright/internal/mail"
	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Mail says where letters to the contacts of vaults are handed over. Without a relay there are events alone.
type Mail struct {
	// Relay is the URL of the relay: smtps://user@host:port, or smtp://user@host:port for STARTTLS.
	Relay string
	// From is the sender.
	From string
	// Password is the user's.
	Password redact.String
	// CAFile has certificates in PEM that verify the relay; those of the system do when it is empty.
	CAFile string
}

// openMail makes the outbox of letters, when there is a relay.
func (k *core) openMail(c *Config) error {
	if c.Mail.Relay == "" {
		return nil
	}
	config := mail.RelayConfig{URL: c.Mail.Relay, From: c.Mail.From, Password: c.Mail.Password}
	if c.Mail.CAFile != "" {
		text, err := os.ReadFile(c.Mail.CAFile)
		if err != nil {
			return fmt.Errorf("reading the authorities of the mail relay: %w", err)
		}
		config.Roots = x509.NewCertPool()
		if !config.Roots.AppendCertsFromPEM(text) {
			return fmt.Errorf("the file %s of the mail relay's authorities holds no certificate in PEM", c.Mail.CAFile)
		}
	}
	relay, err := mail.NewRelay(config)
	if err != nil {
		return err
	}
	k.mail, err = mail.New(mail.Config{Store: k.store, Clock: c.Clock, Logger: c.Logger, Relay: relay, Node: k.audit.node + "/" + vault.NewGUID()})
	return err
}

// letters is where services put letters; nil without a relay.
func (k *core) letters() func(context.Context, store.Tx, mail.Letter) error {
	if k.mail == nil {
		return nil
	}
	return k.mail.Add
}

// watchMail adds the counters of letters.
func (m *metrics) watchMail(k *core) {
	counts := func() mail.Counts {
		if k.mail == nil {
			return mail.Counts{}
		}
		return k.mail.Counts()
	}
	for _, s := range []state{
		{"keywright_mail_sent_total", "Letters that the mail relay took.", func() float64 { return float64(counts().Sent) }},
		{"keywright_mail_failures_total", "Attempts to hand a letter to the mail relay that failed.", func() float64 { return float64(counts().Failed) }},
		{"keywright_mail_dropped_total", "Letters that were given up.", func() float64 { return float64(counts().Dropped) }},
	} {
		m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: s.name, Help: s.help}, s.read))
	}
}

// secondsUntil is what is left until an instant, not a number when there is none.
func secondsUntil(at, now time.Time) float64 {
	if at.IsZero() {
		return math.NaN()
	}
	return at.Sub(now).Seconds()
}
