package api

import "time"

// The kinds of events in a stream of changes, which the stream names in its lines "event".
const (
	// ReadyEvent comes first, unless ResetEvent does: everything behind its id will be told. Its data is an empty object.
	ReadyEvent = "ready"
	// ChangeEvent has a Change.
	ChangeEvent = "change"
	// ResetEvent says that changes may have been missed: read everything anew. What is behind its id will be told.
	ResetEvent = "reset"
	// EndEvent is the last one and has a StreamEnd.
	EndEvent = "end"
)

// Change tells that a secret changed. It never has a value.
type Change struct {
	Vault string `json:"vault"`
	Name  string `json:"name"`
	// Kind is that of the object, such as secret.
	Kind string `json:"kind"`
	// Version is the one that this caller would read now who names none; empty when Deleted. It is not always the newest: while a rollout
	// is open, callers differ.
	Version string `json:"version,omitempty"`
	// Deleted is true when there is nothing to read any more, or not yet.
	Deleted bool      `json:"deleted"`
	At      time.Time `json:"at"`
}

// StreamEnd says why a stream ended: shutdown, expired, forbidden, over or failed. After all but forbidden and over it is worth connecting
// again, from the last id.
type StreamEnd struct {
	Reason string `json:"reason"`
}

// The reasons of an end that a client acts on: for all others it connects again.
const (
	// EndForbidden says that the caller lost its right, or that the vault is gone.
	EndForbidden = "forbidden"
	// EndOver says that the time for which the stream was asked is over.
	EndOver = "over"
)
