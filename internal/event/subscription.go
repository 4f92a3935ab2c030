package event

import (
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Schema is the form in which events are delivered, in the words of Event Grid's management API.
type Schema string

// The schemas.
const (
	EventGrid   Schema = "EventGridSchema"
	CloudEvents Schema = "CloudEventSchemaV1_0"
)

// State is how far a subscription is.
type State string

// The states of a subscription. Only an active one gets events.
const (
	Creating State = "Creating"
	// Awaiting means that the endpoint took the handshake without answering it, and that somebody has to open the validation URL.
	Awaiting State = "AwaitingManualAction"
	Active   State = "Active"
	Failed   State = "Failed"
	Deleting State = "Deleting"
)

// Filter selects events. Empty fields select all; comparison does not regard case, as Event Grid's does not unless it is told to.
type Filter struct {
	Types         []string `json:"types,omitempty"`
	SubjectBegins string   `json:"subjectBegins,omitempty"`
	SubjectEnds   string   `json:"subjectEnds,omitempty"`
}

func (f *Filter) match(e *store.Event) bool {
	if len(f.Types) > 0 && !slices.ContainsFunc(f.Types, func(t string) bool { return strings.EqualFold(t, e.Type) }) {
		return false
	}
	subject := strings.ToLower(e.Subject)
	return strings.HasPrefix(subject, strings.ToLower(f.SubjectBegins)) && strings.HasSuffix(subject, strings.ToLower(f.SubjectEnds))
}

// Spec is a subscription that somebody asks for.
type Spec struct {
	Tenant vault.TenantID
	// Vault is empty for the events of all of the tenant's vaults.
	Vault vault.ID
	Name  string
	// Endpoint is the URL to which events are posted. Its query counts as a secret.
	Endpoint redact.String
	// Headers are sent with every request; their values are secrets.
	Headers map[string]redact.String
	// Schema is EventGrid when empty.
	Schema Schema
	Filter Filter
	// MaxAttempts is 1 to 30, and 30 when 0. TTL is one minute to one day, and one day when 0: who has it longer gets it no more.
	MaxAttempts int
	TTL         time.Duration
	// Concurrency is how many deliveries may be under way at once, each of another subject; 8 when 0.
	Concurrency int
	// CA is a PEM bundle in which the endpoint's authority is, beside those of the system.
	CA string
}

// Bounds of subscriptions; those of attempts and time to live are Event Grid's.
const (
	maxAttempts    = 30
	maxTTL         = 24 * time.Hour
	minTTL         = time.Minute
	maxConcurrency = 64
	usual          = 8
	maxNameBytes   = 64
	maxHeaders     = 10
	maxTypes       = 25
	maxCABytes     = 64 << 10
)

// Subscription says who is told of what. Its JSON is what the store keeps of it beside the columns.
type Subscription struct {
	ID       string         `json:"-"`
	Tenant   vault.TenantID `json:"-"`
	Vault    vault.ID       `json:"-"`
	Name     string         `json:"-"`
	Revision int64          `json:"-"`

	// Endpoint is the URL without its query. Query says that it has one, Headers names the additional headers.
	Endpoint    string        `json:"endpoint"`
	Query       bool          `json:"query,omitempty"`
	Headers     []string      `json:"headers,omitempty"`
	Schema      Schema        `json:"schema"`
	Filter      Filter        `json:"filter"`
	MaxAttempts int           `json:"maxAttempts"`
	TTL         time.Duration `json:"ttl"`
	Concurrency int           `json:"concurrency"`
	CA          string        `json:"ca,omitempty"`
	// Rate is how many requests a minute the endpoint allows; 0 means that it set no bound.
	Rate    int       `json:"rate,omitempty"`
	Created time.Time `json:"created"`

	State State `json:"state"`
	// Detail says why a subscription is not active.
	Detail string `json:"detail,omitempty"`
	// Since is when the state was reached. Events from before it became active are not delivered.
	Since time.Time `json:"since"`
	// ValidateBefore is when the validation URL ends; Code is the digest of what has to come in it.
	ValidateBefore time.Time `json:"validateBefore,omitzero"`
	Code           []byte    `json:"code,omitempty"`

	// Sealed holds the secrets.
	Sealed vault.Envelope `json:"sealed"`
}

// secrets are what a delivery is authenticated by. They exist in the clear only while a request is made.
type secrets struct {
	Query   string            `json:"query,omitempty"`
	Headers map[string]string `json:"headers,omitempty"`
}

// purpose binds sealed secrets to subscriptions.
const purpose = "event-subscription"

func (s *Subscription) row() (*store.EventSubscription, error) {
	doc, err := json.Marshal(s)
	return &store.EventSubscription{ID: s.ID, Tenant: s.Tenant, Vault: s.Vault, Name: s.Name, Revision: s.Revision, Doc: doc}, err
}

func fromRow(r *store.EventSubscription) (*Subscription, error) {
	s := &Subscription{}
	if err := json.Unmarshal(r.Doc, s); err != nil {
		return nil, fmt.Errorf("decoding the event subscription %s: %w", r.ID, err)
	}
	s.ID, s.Tenant, s.Vault, s.Name, s.Revision = r.ID, r.Tenant, r.Vault, r.Name, r.Revision
	return s, nil
}

// wants reports whether an event of a commit made at an instant is for the subscription.
func (s *Subscription) wants(e *store.Event, at time.Time) bool {
	return s.State == Active && s.Tenant == e.Tenant && (s.Vault == "" || s.Vault == e.Vault) && !at.Before(s.Since) && s.Filter.match(e)
}

// check completes a spec and splits it into what may be shown and what may not.
func (c *Config) check(spec *Spec) (*Subscription, *secrets, error) {
	invalid := func(format string, args ...any) (*Subscription, *secrets, error) {
		return nil, nil, fault.New(fault.Invalid, "the event subscription %q cannot be made: "+format, append([]any{spec.Name}, args...)...)
	}
	s := &Subscription{Tenant: spec.Tenant, Vault: spec.Vault, Name: spec.Name, Schema: spec.Schema, Filter: spec.Filter, MaxAttempts: spec.MaxAttempts,
		TTL: spec.TTL, Concurrency: spec.Concurrency, CA: spec.CA}
	setDefault(&s.Schema, EventGrid)
	setDefault(&s.MaxAttempts, maxAttempts)
	setDefault(&s.TTL, maxTTL)
	setDefault(&s.Concurrency, usual)
	switch {
	case !validName(spec.Name):
		return invalid("a name has 3 to %d letters, digits and hyphens", maxNameBytes)
	case s.Schema != EventGrid && s.Schema != CloudEvents:
		return invalid("the schema is %s or %s", EventGrid, CloudEvents)
	case s.MaxAttempts < 1 || s.MaxAttempts > maxAttempts:
		return invalid("there are 1 to %d attempts", maxAttempts)
	case s.TTL < minTTL || s.TTL > maxTTL:
		return invalid("the time to live is between %s and %s", minTTL, maxTTL)
	case s.Concurrency < 1 || s.Concurrency > maxConcurrency:
		return invalid("between 1 and %d deliveries may be under way", maxConcurrency)
	case len(spec.Filter.Types) > maxTypes:
		return invalid("a filter names at most %d types of events", maxTypes)
	case len(spec.CA) > maxCABytes || spec.CA != "" && !x509.NewCertPool().AppendCertsFromPEM([]byte(spec.CA)):
		return invalid("the CA is not a PEM bundle of at most %d bytes", maxCABytes)
	}
	secret := &secrets{Headers: make(map[string]string, len(spec.Headers))}
	for name, value := range spec.Headers {
		name = http.CanonicalHeaderKey(name)
		if why := refuseHeader(name, value.Reveal()); why != "" || len(spec.Headers) > maxHeaders {
			return invalid("the header %q is not possible (%s), or there are more than %d", name, why, maxHeaders)
		}
		secret.Headers[name] = value.Reveal()
		s.Headers = append(s.Headers, name)
	}
	slices.Sort(s.Headers)
	u, err := c.Network.checkEndpoint(spec.Endpoint.Reveal())
	if err != nil {
		return nil, nil, err
	}
	secret.Query, s.Query, u.RawQuery = u.RawQuery, u.RawQuery != "", ""
	s.Endpoint = u.String()
	return s, secret, nil
}

func setDefault[T comparable](v *T, usual T) {
	var zero T
	if *v == zero {
		*v = usual
	}
}

func validName(name string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-"
	return len(name) >= 3 && len(name) <= maxNameBytes && strings.Trim(name, letters) == ""
}

// refuseHeader keeps headers to what authenticates: those that frame a request, or that this package sets, are not the subscriber's.
func refuseHeader(name, value string) string {
	switch name {
	case "Host", "Content-Type", "Content-Length", "Transfer-Encoding", "Connection", "Upgrade", "Te", "Trailer", "Expect":
		return "it is not the subscriber's to set"
	}
	if strings.HasPrefix(name, "Aeg-") || strings.HasPrefix(name, "Webhook-") || strings.HasPrefix(name, "Proxy-") {
		return "it is not the subscriber's to set"
	}
	if name == "" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "" {
		return "names have letters, digits, hyphens and underscores"
	}
	if len(value) > 4096 || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
		return "a value has at most 4096 bytes and no control characters"
	}
	return ""
}

// address joins the endpoint with the query that is kept apart from it.
func (s *Subscription) address(secret *secrets) (string, error) {
	u, err := url.Parse(s.Endpoint)
	if err != nil {
		return "", fmt.Errorf("reading the endpoint of the event subscription %s: %w", s.ID, err)
	}
	u.RawQuery = secret.Query
	return u.String(), nil
}
