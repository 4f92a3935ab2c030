// Package redact holds values that must not be seen. Whatever prints, logs or encodes one of its types gets a fixed
// word; only a call to Reveal gives the value, so that every place where one leaves can be found by searching for it.
package redact

import "log/slog"

const word = "[redacted]"

// Bytes is a secret value.
type Bytes []byte

// Reveal returns the value itself.
func (b Bytes) Reveal() []byte { return b }

// Zero overwrites the value.
func (b Bytes) Zero() { clear(b) }

// String returns a fixed word.
func (Bytes) String() string { return word }

// GoString returns a fixed word, so that %#v is safe.
func (Bytes) GoString() string { return word }

// LogValue returns a fixed word.
func (Bytes) LogValue() slog.Value { return slog.StringValue(word) }

// MarshalText returns a fixed word, so that no encoder leaks the value by accident.
func (Bytes) MarshalText() ([]byte, error) { return []byte(word), nil }

// MarshalJSON returns a fixed word; without it encoding/json would write the bytes in base64.
func (Bytes) MarshalJSON() ([]byte, error) { return []byte(`"` + word + `"`), nil }

// String is a secret text.
type String string

// Reveal returns the text itself.
func (s String) Reveal() string { return string(s) }

// String returns a fixed word.
func (String) String() string { return word }

// GoString returns a fixed word, so that %#v is safe.
func (String) GoString() string { return word }

// LogValue returns a fixed word.
func (String) LogValue() slog.Value { return slog.StringValue(word) }

// MarshalText returns a fixed word, so that no encoder leaks the text by accident.
func (String) MarshalText() ([]byte, error) { return []byte(word), nil }
