package contract

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/keywright/keywright/internal/redact"
)

// Answer is what came of an order.
type Answer string

// The answers.
const (
	Done       Answer = "done"
	NotApplied Answer = "not_applied"
	Rejected   Answer = "rejected"
	Pending    Answer = "pending"
	Unknown    Answer = "unknown"
)

// Reason says why an order was not applied.
type Reason string

// The reasons. None is a failure that may pass by itself.
const (
	// Denied: the receiver refuses who asks, or lacks a right itself.
	Denied Reason = "denied"
	// Misconfigured: the account does not exist, or the plan cannot be kept safe.
	Misconfigured Reason = "misconfigured"
	// Busy: the account must be left alone for a while.
	Busy Reason = "busy"
)

// MaxReplyBytes bounds a reply.
const MaxReplyBytes = 64 << 10

// maxMessage is how much of a receiver's own words is passed on, in characters.
const maxMessage = 300

// Reply is what a receiver answers.
type Reply struct {
	Answer Answer `json:"answer"`
	Reason Reason `json:"reason,omitempty"`
	// Message is for people. It must not hold a value; one that does is dropped.
	Message string `json:"message,omitempty"`
	// Identity is, for probe, who the login became, in the words of Identities.
	Identity string `json:"identity,omitempty"`
	// Identities names, for preflight, each account in a way that does not depend on how it is reached.
	Identities map[string]string `json:"identities,omitempty"`
	// System is, for preflight, the product and its version.
	System   string   `json:"system,omitempty"`
	Warnings []string `json:"warnings,omitempty"`
	// RetryAfter is, for pending, in how many seconds to ask again; 1 unless given.
	RetryAfter int `json:"retryAfter,omitempty"`
}

// Parse reads a reply. What has no known answer is an error, and means unknown.
func Parse(text []byte) (*Reply, error) {
	var r Reply
	if err := json.Unmarshal(text, &r); err != nil {
		// Its own words may quote the text, and with it a value.
		return nil, errors.New("the reply is no JSON object of the contract")
	}
	switch r.Answer {
	case Done, NotApplied, Rejected, Pending, Unknown:
	default:
		return nil, errors.New("the reply has none of the answers done, not_applied, rejected, pending, unknown")
	}
	if r.RetryAfter < 0 {
		return nil, fmt.Errorf("the reply asks to come back in %d seconds", r.RetryAfter)
	}
	return &r, nil
}

// Clean makes a receiver's words fit for logs: short, printable, and nothing at all when they hold one of the values in a form that is easily
// recognised.
func Clean(text string, values ...redact.Bytes) string {
	for _, v := range values {
		for _, form := range []string{string(v.Reveal()), base64.StdEncoding.EncodeToString(v), hex.EncodeToString(v)} {
			if len(v) > 0 && strings.Contains(text, form) {
				return "(its words hold a value and are not repeated)"
			}
		}
	}
	short := []rune(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text))
	return strings.TrimSpace(string(short[:min(len(short), maxMessage)]))
}

// clean cleans every text of the reply that is passed on.
func (r *Reply) clean(o *Order) {
	values := o.Secrets()
	r.Message, r.Identity, r.System = Clean(r.Message, values...), Clean(r.Identity, values...), Clean(r.System, values...)
	for i := range r.Warnings {
		r.Warnings[i] = Clean(r.Warnings[i], values...)
	}
}
