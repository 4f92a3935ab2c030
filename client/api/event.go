package api

import "time"

// EventSubscription says who is told of which events of a vault.
type EventSubscription struct {
	Name  string `json:"name"`
	Vault string `json:"vault"`
	// Endpoint is the URL without its query, which may authenticate; Query says that it has one. Headers names the additional headers.
	Endpoint string   `json:"endpoint"`
	Query    bool     `json:"query,omitempty"`
	Headers  []string `json:"headers,omitempty"`
	// Schema is EventGridSchema or CloudEventSchemaV1_0.
	Schema        string   `json:"schema"`
	Types         []string `json:"types,omitempty"`
	SubjectBegins string   `json:"subjectBegins,omitempty"`
	SubjectEnds   string   `json:"subjectEnds,omitempty"`
	MaxAttempts   int      `json:"maxAttempts"`
	TTLMinutes    int      `json:"ttlMinutes"`
	Concurrency   int      `json:"concurrency"`
	// State is Creating, AwaitingManualAction, Active, Failed or Deleting. Detail says why it is not active.
	State   string    `json:"state"`
	Detail  string    `json:"detail,omitempty"`
	Created time.Time `json:"created"`
	// Waiting counts events that are still to be delivered, Dead those that could not be.
	Waiting int `json:"waiting"`
	Dead    int `json:"dead"`
}

// CreateEventSubscription asks for the events of a vault. Everything but the endpoint may be absent.
type CreateEventSubscription struct {
	// Endpoint is an https URL, query included.
	Endpoint Text `json:"endpoint"`
	// Headers are sent with every request, such as Authorization.
	Headers map[string]Text `json:"headers,omitempty"`
	Schema  string          `json:"schema,omitempty"`
	// Types are those of events, such as Microsoft.KeyVault.SecretNearExpiry; none means all.
	Types         []string `json:"types,omitempty"`
	SubjectBegins string   `json:"subjectBegins,omitempty"`
	SubjectEnds   string   `json:"subjectEnds,omitempty"`
	// MaxAttempts is 1 to 30, TTLMinutes 1 to 1440; the greatest when absent.
	MaxAttempts int `json:"maxAttempts,omitempty"`
	TTLMinutes  int `json:"ttlMinutes,omitempty"`
	// Concurrency is how many deliveries may be under way at once, 1 to 64; 8 when absent.
	Concurrency int `json:"concurrency,omitempty"`
	// CA is a PEM bundle in which the endpoint's authority is, beside those that the server trusts.
	CA string `json:"ca,omitempty"`
}

// EventSubscriptionList is the subscriptions to the events of a vault.
type EventSubscriptionList struct {
	Items []EventSubscription `json:"items"`
	Next  string              `json:"next,omitempty"`
}

// DeadLetter is an event that could not be delivered.
type DeadLetter struct {
	// Seq is by which it is replayed.
	Seq     int64     `json:"seq"`
	ID      string    `json:"id"`
	Type    string    `json:"type"`
	Subject string    `json:"subject"`
	Time    time.Time `json:"time"`
	// Reason is why it is not tried any more; the rest tells of the latest attempt.
	Reason      string     `json:"reason"`
	Attempts    int        `json:"attempts"`
	Outcome     string     `json:"outcome,omitempty"`
	Status      int        `json:"status,omitempty"`
	LastAttempt *time.Time `json:"lastAttempt,omitempty"`
}

// DeadLetterList is a page of dead letters, oldest first.
type DeadLetterList struct {
	Items []DeadLetter `json:"items"`
	Next  string       `json:"next,omitempty"`
}

// ReplayDeadLetters delivers one dead letter again, or as many as one call takes when Seq is 0.
type ReplayDeadLetters struct {
	Seq int64 `json:"seq,omitempty"`
}

// ReplayedDeadLetters says how many dead letters are delivered again.
type ReplayedDeadLetters struct {
	Count int `json:"count"`
}
