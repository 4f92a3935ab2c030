package api

// Problem is the body of an error (RFC 9457). Type is about:blank; Kind and Reason are for programs.
type Problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	// Detail is a sentence for people: what happened, to which object, what to do next.
	Detail string `json:"detail,omitempty"`
	// Kind is one of a closed set; see the constants.
	Kind Kind `json:"kind"`
	// Reason refines the kind; it may be empty.
	Reason string `json:"reason,omitempty"`
	// Correlation names the request in the audit log and in the server's log.
	Correlation string `json:"correlation,omitempty"`
}

// ProblemContentType is the media type of a Problem.
const ProblemContentType = "application/problem+json"

// Kind says what a caller can do about an error.
type Kind string

// The kinds.
const (
	Internal        Kind = "internal"
	Invalid         Kind = "invalid"
	Unauthenticated Kind = "unauthenticated"
	Forbidden       Kind = "forbidden"
	NotFound        Kind = "not found"
	Conflict        Kind = "conflict"
	Gone            Kind = "gone"
	TooLarge        Kind = "too large"
	Throttled       Kind = "throttled"
	Unavailable     Kind = "unavailable"
	Unsupported     Kind = "unsupported"
)
