package api

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
