package api

import "time"

// AuditReport is what a proof of an audit log found.
type AuditReport struct {
	OK bool `json:"ok"`
	// Records were found, and Proven of them are covered by a signed checkpoint that holds.
	Records     int64 `json:"records"`
	Proven      int64 `json:"proven"`
	Checkpoints int   `json:"checkpoints"`
	// TornBytes stand behind the last record, as a crash leaves them. They are no problem.
	TornBytes int64          `json:"tornBytes,omitempty"`
	Problems  []AuditProblem `json:"problems,omitempty"`
}

// AuditProblem is one thing that is wrong with an audit log.
type AuditProblem struct {
	File string `json:"file"`
	// Offset is in bytes, Record the index of a record; -1 where there is none.
	Offset int64  `json:"offset"`
	Record int64  `json:"record"`
	Detail string `json:"detail"`
}

// AuditRecord tells of one decision. It never holds a value.
type AuditRecord struct {
	Index  int64     `json:"index"`
	Time   time.Time `json:"time"`
	ID     string    `json:"id"`
	Node   string    `json:"node,omitempty"`
	Door   string    `json:"door,omitempty"`
	Action string    `json:"action,omitempty"`
	// Operation is the endpoint that was called, Scope where an action of the control plane happened.
	Operation string `json:"operation,omitempty"`
	Scope     string `json:"scope,omitempty"`
	// Instance is what the caller declared to be, beyond its principal.
	Instance string `json:"instance,omitempty"`
	Outcome  string `json:"outcome,omitempty"`
	// Status is that of the answer, where it was known beforehand.
	Status int    `json:"status,omitempty"`
	Reason string `json:"reason,omitempty"`
	// Detail says what else was decided, such as why a person did it.
	Detail    string `json:"detail,omitempty"`
	Principal string `json:"principal,omitempty"`
	AppID     string `json:"appId,omitempty"`
	UPN       string `json:"upn,omitempty"`
	// Address is the caller's, or the network of an aggregated record.
	Address       string `json:"address,omitempty"`
	Vault         string `json:"vault,omitempty"`
	ObjectKind    string `json:"objectKind,omitempty"`
	ObjectName    string `json:"objectName,omitempty"`
	Version       string `json:"version,omitempty"`
	Correlation   string `json:"correlation,omitempty"`
	ClientRequest string `json:"clientRequest,omitempty"`
	UserAgent     string `json:"userAgent,omitempty"`
	Path          string `json:"path,omitempty"`
	// Micros is how long it took, in microseconds. Count is how many like decisions the record stands for.
	Micros int64  `json:"micros,omitempty"`
	Count  uint64 `json:"count,omitempty"`
	// Shredded says that the keys of the record are destroyed: the time is all that is left.
	Shredded bool `json:"shredded,omitempty"`
}

// AuditPage is a page of records.
type AuditPage struct {
	Items []AuditRecord `json:"items"`
	Next  string        `json:"next,omitempty"`
}

// VerifyAudit asks for a proof of the audit log.
type VerifyAudit struct {
	// Checkpoint, when not empty, is a signed checkpoint that was kept elsewhere.
	Checkpoint string `json:"checkpoint,omitempty"`
}

// AuditCheckpoint is a signed statement of what the audit log holds (C2SP tlog-checkpoint). Kept elsewhere it proves later that
// nothing before it was changed.
type AuditCheckpoint struct {
	// Checkpoint is empty before the first one.
	Checkpoint string `json:"checkpoint"`
	// Key is the public key that it is signed by.
	Key string `json:"key"`
}
