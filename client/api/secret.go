package api

import (
	"log/slog"
	"time"
)

// Text is a secret value that is text. It prints as a fixed word; as JSON it is the value itself.
type Text string

// Binary is a secret value of any bytes. It prints as a fixed word; as JSON it is base64 (RFC 4648, section 4).
type Binary []byte

const redacted = "[redacted]"

// String returns a fixed word.
func (Text) String() string { return redacted }

// GoString returns a fixed word.
func (Text) GoString() string { return redacted }

// LogValue returns a fixed word.
func (Text) LogValue() slog.Value { return slog.StringValue(redacted) }

// Reveal returns the value itself.
func (t Text) Reveal() string { return string(t) }

// String returns a fixed word.
func (Binary) String() string { return redacted }

// GoString returns a fixed word.
func (Binary) GoString() string { return redacted }

// LogValue returns a fixed word.
func (Binary) LogValue() slog.Value { return slog.StringValue(redacted) }

// Reveal returns the value itself.
func (b Binary) Reveal() []byte { return b }

// Secret is one version of a secret. It has a value only where one was asked for.
type Secret struct {
	Vault   string `json:"vault"`
	Name    string `json:"name"`
	Version string `json:"version,omitempty"`
	// One of the two holds the value: Value when it is valid UTF-8, else ValueBase64.
	Value       *Text  `json:"value,omitempty"`
	ValueBase64 Binary `json:"valueBase64,omitempty"`

	ContentType string            `json:"contentType,omitempty"`
	Tags        map[string]string `json:"tags,omitempty"`
	Enabled     bool              `json:"enabled"`
	NotBefore   *time.Time        `json:"notBefore,omitempty"`
	Expires     *time.Time        `json:"expires,omitempty"`
	Created     time.Time         `json:"created,omitzero"`
	Updated     time.Time         `json:"updated,omitzero"`
	// Labels are those that point to this version, such as current.
	Labels []string `json:"labels,omitempty"`
	// Previous is the version that this one followed.
	Previous string `json:"previous,omitempty"`
	// Managed is true for the secret behind a certificate.
	Managed bool `json:"managed,omitempty"`
	// Deleted and PurgeAt are set while the secret is soft-deleted.
	Deleted *time.Time `json:"deleted,omitempty"`
	PurgeAt *time.Time `json:"purgeAt,omitempty"`
}

// Bytes returns the value as it was set; nil where the secret has none.
func (s *Secret) Bytes() []byte {
	if s.Value != nil {
		return []byte(*s.Value)
	}
	return s.ValueBase64
}

// SetSecret is a new version of a secret. Exactly one of Value and ValueBase64 is set.
type SetSecret struct {
	Value       *Text             `json:"value,omitempty"`
	ValueBase64 *Binary           `json:"valueBase64,omitempty"`
	ContentType string            `json:"contentType,omitempty"`
	Tags        map[string]string `json:"tags,omitempty"`
	// Enabled is true when absent.
	Enabled   *bool      `json:"enabled,omitempty"`
	NotBefore *time.Time `json:"notBefore,omitempty"`
	Expires   *time.Time `json:"expires,omitempty"`
}

// UpdateSecret says what to change of a version. An absent member stays as it is.
type UpdateSecret struct {
	ContentType *string `json:"contentType,omitempty"`
	// Tags replaces all tags; an empty object removes them.
	Tags      map[string]string `json:"tags,omitzero"`
	Enabled   *bool             `json:"enabled,omitempty"`
	NotBefore *time.Time        `json:"notBefore,omitempty"`
	Expires   *time.Time        `json:"expires,omitempty"`
	// ClearNotBefore and ClearExpires remove the instants.
	ClearNotBefore bool `json:"clearNotBefore,omitempty"`
	ClearExpires   bool `json:"clearExpires,omitempty"`
}

// SecretList is a page of secrets, without values.
type SecretList struct {
	Items []Secret `json:"items"`
	Next  string   `json:"next,omitempty"`
}

// SecretBackup is a sealed copy of a secret with all of its versions. Only this installation can read it.
type SecretBackup struct {
	Blob []byte `json:"blob"`
}
