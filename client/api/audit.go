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
	TornBytes int64 `json:"tornBytes,omitempty"`
	// Copies of the records are rows of changes that stand in a second log, and count once.
	Copies   int64          `json:"copies,omitempty"`
	Problems []AuditProblem `json:"problems,omitempty"`
	// Logs are those of all nodes. A proof from the files of one node has none.
	Logs []AuditLogReport `json:"logs,omitempty"`
}

// AuditLogReport is what a proof found of one node's log.
type AuditLogReport struct {
	// Log is its origin, as its checkpoints name it.
	Log  string `json:"log"`
	Node string `json:"node"`
	// Before is the origin of the node's log that this one continues, Why that one came to its end.
	Before      string `json:"before,omitempty"`
	Why         string `json:"why,omitempty"`
	OK          bool   `json:"ok"`
	Records     int64  `json:"records"`
	Proven      int64  `json:"proven"`
	Checkpoints int    `json:"checkpoints"`
	Copies      int64  `json:"copies,omitempty"`
	// Missing is what of the log could not be read here.
	Missing *AuditMissing `json:"missing,omitempty"`
}

// AuditMissing tells of records of a node that an answer lacks.
type AuditMissing struct {
	Node string `json:"node"`
	Log  string `json:"log"`
	// Since is an instant before which nothing is missing.
	Since time.Time `json:"since"`
	// Lost says that the records will not come any more; else they follow.
	Lost bool   `json:"lost,omitempty"`
	Why  string `json:"why"`
}

// AuditProblem is one thing that is wrong with an audit log.
type AuditProblem struct {
	// Log is the origin of the log, where there are several.
	Log  string `json:"log,omitempty"`
	File string `json:"file"`
	// Offset is in bytes, Record the index of a record; -1 where there is none.
	Offset int64  `json:"offset"`
	Record int64  `json:"record"`
	Detail string `json:"detail"`
}

// AuditRecord tells of one decision. It never holds a value.
type AuditRecord struct {
	// Log is the origin of the log that has the record at the index, where there are several logs. Node is who decided, which is another one than the log's
	// when that adopted the record.
	Log    string    `json:"log,omitempty"`
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
	// Missing tells whose records the page may lack.
	Missing []AuditMissing `json:"missing,omitempty"`
}

// VerifyAudit asks for a proof of the audit log.
type VerifyAudit struct {
	// Checkpoint, when not empty, are signed checkpoints that were kept elsewhere, one behind the other.
	Checkpoint string `json:"checkpoint,omitempty"`
}

// AuditCheckpoint is a signed statement of what the audit log holds (C2SP tlog-checkpoint). Kept elsewhere it proves later that
// nothing before it was changed.
type AuditCheckpoint struct {
	// Checkpoint is that of the node that answers, and those of the other nodes' logs behind it; it is empty before the first one.
	Checkpoint string `json:"checkpoint"`
	// Key is the public key that the first one is signed by.
	Key string `json:"key"`
}

// MissingHeader is a header of an export for each node whose records it lacks, with a sentence that says which.
const MissingHeader = "X-Keywright-Audit-Missing"
