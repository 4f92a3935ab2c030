package endpoint

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/cert"
	"github.com/keywright/keywright/internal/mail"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// The types of the events. An alarm is told when it is new, when it rises, and every day until somebody acknowledges it; then reminders go on, and the team of the endpoint
// hears of it at the escalation, whoever acknowledged. That all is well again is told once. Their data is an EventData, their subject the name of the certificate, or that of
// an endpoint without one.
const (
	EndpointAlarm     = "Keywright.EndpointAlarm"
	EndpointReminder  = "Keywright.EndpointReminder"
	EndpointEscalated = "Keywright.EndpointEscalated"
	EndpointClear     = "Keywright.EndpointClear"
)

// EventData is what the events tell.
type EventData struct {
	VaultName   string          `json:"vaultName"`
	Endpoint    string          `json:"endpoint"`
	Certificate string          `json:"certificate,omitempty"`
	Address     string          `json:"address"`
	ServerName  string          `json:"serverName"`
	Protocol    Protocol        `json:"protocol"`
	Level       Level           `json:"level,omitempty"`
	Alarms      []EventAlarm    `json:"alarms"`
	Expected    vault.VersionID `json:"expected,omitempty"`
	// Oldest is the certificate that ends first of those still presented; absent when none was seen.
	Oldest *EventOldest `json:"oldest,omitempty"`
	// Assignee sees to it until Due, Team hears of it at the escalation. Acknowledged is when somebody took it on, and By who.
	Assignee     string    `json:"assignee,omitempty"`
	Team         string    `json:"team,omitempty"`
	Due          time.Time `json:"due,omitzero"`
	Acknowledged time.Time `json:"acknowledged,omitzero"`
	By           string    `json:"by,omitempty"`
}

// EventAlarm is one alarm.
type EventAlarm struct {
	Kind      Kind      `json:"kind"`
	Level     Level     `json:"level"`
	Since     time.Time `json:"since"`
	Detail    string    `json:"detail"`
	Addresses []string  `json:"addresses,omitempty"`
}

// EventOldest is a certificate with its countdown.
type EventOldest struct {
	Address string          `json:"address"`
	Version vault.VersionID `json:"version,omitempty"`
	Leaf
	// SecondsLeft is until its end, negative behind it.
	SecondsLeft int64 `json:"secondsLeft"`
}

func (e *Endpoint) data(v *vault.Vault) *EventData {
	d := &EventData{VaultName: v.Name, Endpoint: e.Name, Certificate: e.Certificate, Address: e.Address, ServerName: e.ServerName, Protocol: e.Protocol, Level: e.Level(),
		Alarms: []EventAlarm{}, Expected: e.Expected, Assignee: e.Assignee, Team: e.Team}
	if t := e.Task; t != nil {
		d.Due, d.Acknowledged, d.By = t.Due, t.Acknowledged, t.By
	}
	for _, a := range e.Raised() {
		d.Alarms = append(d.Alarms, EventAlarm{a.Kind, a.Level, a.Since, a.Detail, a.Addresses})
	}
	if o := e.Oldest(); o != nil {
		d.Oldest = &EventOldest{Address: o.Address, Version: o.Version, Leaf: o.Leaf, SecondsLeft: int64(o.Leaf.NotAfter.Sub(e.Checked) / time.Second)}
	}
	return d
}

// tell emits the event, and writes to the contacts of the vault, and to those who see to the endpoint, where mail is set up.
func (s *Service) tell(ctx context.Context, tx store.Tx, v *vault.Vault, e *Endpoint, kind string, op store.Op) error {
	data, err := json.Marshal(e.data(v))
	if err != nil {
		return err
	}
	subject := e.Certificate
	if subject == "" {
		subject = e.Name
	}
	// The operation names the event: an update that is run again emits the same one.
	tx.Emit(store.Event{ID: string(op.ID), Type: kind, Tenant: v.Tenant, Vault: v.ID, Subject: subject, At: op.At, Data: data})
	if s.Mail == nil {
		return nil
	}
	to, err := cert.ContactAddresses(ctx, tx, v)
	if to = e.writesTo(to, kind); err != nil || len(to) == 0 {
		return err
	}
	l := mail.Letter{ID: string(op.ID), At: op.At, To: to}
	l.Subject, l.Text = e.letter(v, kind)
	return s.Mail(ctx, tx, l)
}

// writesTo adds those who see to the endpoint to the contacts of its vault, if they can be written to: the team from the escalation on.
func (e *Endpoint) writesTo(contacts []*mail.Address, kind string) []*mail.Address {
	who := []string{e.Assignee}
	if kind == EndpointEscalated || e.Task != nil && e.Task.Escalated {
		who = append(who, e.Team)
	}
	for _, w := range who {
		a, err := mail.ParseAddress("", w)
		if err != nil || slices.ContainsFunc(contacts, func(b *mail.Address) bool { return strings.EqualFold(a.Address, b.Address) }) {
			continue
		}
		contacts = append(contacts, a)
	}
	return contacts
}

// letter is what people are written.
func (e *Endpoint) letter(v *vault.Vault, kind string) (subject, text string) {
	if kind == EndpointClear {
		return fmt.Sprintf("The endpoint %q of the vault %q is well again", e.Name, v.Name),
			fmt.Sprintf("%s presents what it should. Nothing is left to do.\n", e.Address)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "At %s the endpoint %q was found to present what it should not:\n\n%s\n", e.Checked.UTC().Format(time.RFC3339), e.Name, e.summary())
	if o := e.Oldest(); o != nil {
		fmt.Fprintf(&b, "\nThe oldest certificate still presented, at %s, ends at %s: %s are left.\n", o.Address, o.Leaf.NotAfter.Format(time.RFC3339), left(o.Leaf.NotAfter.Sub(e.Checked)))
	}
	fmt.Fprintf(&b, "\naddress      %s\nserver name  %s\nprotocol     %s\n", e.Address, e.ServerName, e.Protocol)
	if e.Certificate != "" {
		fmt.Fprintf(&b, "certificate  %s\n", e.Certificate)
	}
	e.writeTask(&b)
	fmt.Fprintf(&b, "\nLook at it with:       keywright cert endpoint show %[1]s --vault %[2]s\nTake it on with:       keywright cert endpoint ack %[1]s --vault %[2]s\n", e.Name, v.Name)
	return fmt.Sprintf("%s%s: the endpoint %q of the vault %q", prefixes[kind], strings.ToUpper(string(e.Level())), e.Name, v.Name), b.String()
}

// prefixes begin the subjects of letters that are not the first.
var prefixes = map[string]string{EndpointReminder: "Reminder, ", EndpointEscalated: "Escalated, "}

// writeTask writes who sees to it.
func (e *Endpoint) writeTask(b *strings.Builder) {
	t := e.Task
	if t == nil {
		return
	}
	for _, line := range [][2]string{{"assignee", e.Assignee}, {"team", e.Team}} {
		if line[1] != "" {
			fmt.Fprintf(b, "%-11s  %s\n", line[0], line[1])
		}
	}
	fmt.Fprintf(b, "%-11s  %s\n", "due", t.Due.UTC().Format(time.RFC3339))
	if !t.Acknowledged.IsZero() {
		fmt.Fprintf(b, "%-11s  %s\n", "taken on", t.Acknowledged.UTC().Format(time.RFC3339))
	}
}

// left writes a time that is left for people.
func left(d time.Duration) string {
	switch {
	case d <= 0:
		return "no days"
	case d < 2*day:
		return fmt.Sprintf("%d hours", d/time.Hour)
	}
	return fmt.Sprintf("%d days", d/day)
}
