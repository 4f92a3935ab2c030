package api

import "time"

// Incident is a leak, from its report until somebody has written down how it came about. It stays open after its run has ended.
type Incident struct {
	// Version leaked. Opened is when that was reported, and By who did.
	Version string    `json:"version"`
	Opened  time.Time `json:"opened"`
	By      string    `json:"by"`
	ByName  string    `json:"byName,omitempty"`
	// From is since when the version was out, as far as that is known, and Until until when the target accepted it; absent while it still may.
	From  *time.Time `json:"from,omitempty"`
	Until *time.Time `json:"until,omitempty"`
	// Cause is absent until it is recorded.
	Cause *RootCause `json:"cause,omitempty"`
	// Closed is when somebody closed the incident, and ClosedBy who did.
	Closed       *time.Time `json:"closed,omitempty"`
	ClosedBy     string     `json:"closedBy,omitempty"`
	ClosedByName string     `json:"closedByName,omitempty"`
}

// RootCause says what leaked, how that could happen, and what was done so that it does not happen again. It holds no value.
type RootCause struct {
	SetRootCause
	By     string    `json:"by"`
	ByName string    `json:"byName,omitempty"`
	At     time.Time `json:"at"`
}

// SetRootCause records the root cause of an incident.
type SetRootCause struct {
	What     string `json:"what"`
	How      string `json:"how"`
	Measures string `json:"measures"`
}

// IncidentPage is a page of runs whose incidents are open.
type IncidentPage struct {
	Items []Rotation `json:"items"`
	Next  string     `json:"next,omitempty"`
}

// SetExemption lets a secret become older than the default of its vault or server until a date. Reason is why, and is recorded.
type SetExemption struct {
	Reason string    `json:"reason"`
	Until  time.Time `json:"until"`
}

// SchedulePause is why no rotation of the tenant is started by schedule: the clock of the server was moved by so many seconds, ahead or, with a minus, back.
type SchedulePause struct {
	ClockMovedSeconds int64 `json:"clockMovedSeconds"`
}

// ResumeSchedules takes the clock of the server for right. Reason is how the caller made sure, and is recorded.
type ResumeSchedules struct {
	Reason string `json:"reason"`
}
