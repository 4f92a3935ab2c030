package main

import (
	"cmp"
	"fmt"
	"os"
	"strings"

	"github.com/keywright/keywright/internal/cli"
	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/server"
)

// The variables that say where mail goes when no flag does.
const (
	mailRelayVariable    = "KEYWRIGHT_MAIL_RELAY"
	mailFromVariable     = "KEYWRIGHT_MAIL_FROM"
	mailPasswordVariable = "KEYWRIGHT_MAIL_PASSWORD_FILE"
)

// readMail completes what flags say of mail from the environment, and reads the password.
func readMail(m *server.Mail, passwordFile string, getenv func(string) string) error {
	m.Relay, m.From = cmp.Or(m.Relay, getenv(mailRelayVariable)), cmp.Or(m.From, getenv(mailFromVariable))
	if m.Relay == "" {
		return nil
	}
	if m.From == "" {
		return cli.Usage("mail has no sender: give --mail-from, or set %s", mailFromVariable)
	}
	passwordFile = cmp.Or(passwordFile, getenv(mailPasswordVariable))
	if passwordFile == "" {
		return nil
	}
	text, err := os.ReadFile(passwordFile)
	if err != nil {
		return fmt.Errorf("reading the password of the mail relay: %w", err)
	}
	m.Password = redact.String(strings.TrimRight(string(text), "\r\n"))
	clear(text)
	return nil
}
