package store

import (
	"context"
	"time"
)

// AuditLogs keeps what nodes share of their audit logs: which logs there are, the parts of them that were shipped, the checkpoints that sign them, and which
// rows of one node another node's log took in. None of it makes an entry of the journal: it tells of entries, or of records that are in a log already.
type AuditLogs interface {
	// AuditLog finds a log by its origin.
	AuditLog(ctx context.Context, origin string) (*AuditLog, error)
	// AuditLogs lists in the order of origins.
	AuditLogs(ctx context.Context) ([]*AuditLog, error)
	// PutAuditLog inserts a log or replaces it whole.
	PutAuditLog(ctx context.Context, l *AuditLog) error

	// AuditParts lists parts of a log in the order of their records.
	AuditParts(ctx context.Context, q AuditPartQuery) ([]*AuditPart, error)
	// AddAuditPart inserts a part; one that begins at the same record is a fault.Conflict.
	AddAuditPart(ctx context.Context, p *AuditPart) error
	// DeleteAuditParts removes the parts all of whose records are below an index, at most limit, oldest first, and returns how many it removed.
	DeleteAuditParts(ctx context.Context, origin string, below int64, limit int) (int, error)

	// AuditCheckpoints lists the kept checkpoints of a log in the order of their sizes.
	AuditCheckpoints(ctx context.Context, origin string) ([]*AuditCheckpoint, error)
	// AddAuditCheckpoint inserts a checkpoint; another one of the same size is a fault.Conflict.
	AddAuditCheckpoint(ctx context.Context, c *AuditCheckpoint) error

	// Adoptions lists the adopted rows whose instants lie in [from, to], in the order of instants and operations.
	Adoptions(ctx context.Context, from, to time.Time) ([]*Adoption, error)
	// PutAdoption inserts an adoption or replaces the one of the same operation.
	PutAdoption(ctx context.Context, a *Adoption) error
	// DeleteAdoptions removes adoptions of rows before an instant, at most limit, and returns how many it removed.
	DeleteAdoptions(ctx context.Context, before time.Time, limit int) (int, error)
}

// AuditLog is one node's audit log as the others know it. A node begins another one, under another origin, when its directory is not what it was.
type AuditLog struct {
	// Origin names the log in its checkpoints, Node is who writes it, Key the public key of its checkpoints as text.
	Origin, Node, Key string
	Begun             time.Time
	// Before is the origin of the node's log before this one, and Why it came to an end; both are empty for the first.
	Before, Why string `json:",omitempty"`

	// Shipped is how many records, from the first on, are or were in parts; Level is an instant before which no record was made that is behind them.
	Shipped int64
	Level   time.Time
	// Checkpoint is the newest signed one, Size what it covers.
	Checkpoint []byte
	Size       int64

	// Pruned is how many records, from the first on, are in no part any more, and Frontier the Merkle tree's of them.
	Pruned   int64
	Frontier []byte `json:",omitempty"`

	// Closed is when the log came to its end; zero while it may grow. Whole says that everything that was in it is shipped.
	Closed time.Time
	Whole  bool
}

// AuditPart is consecutive records of a log.
type AuditPart struct {
	Origin string
	// Base is the index of the first record, Next that behind the last.
	Base, Next int64
	// From and To are the first and the last instant of the records.
	From, To time.Time
	// Data holds the frames, compressed.
	Data []byte
}

// AuditPartQuery selects parts. Zero fields select all; Limit 0 means no limit.
type AuditPartQuery struct {
	Origin string
	// Behind selects parts with records from this index on, Below parts with records before that one.
	Behind, Below int64
	// From and To select parts that may have records in [From, To].
	From, To time.Time
	// NewestFirst turns the order round.
	NewestFirst bool
	Limit       int
}

// AuditCheckpoint is a signed checkpoint of a log.
type AuditCheckpoint struct {
	Origin string
	Size   int64
	Signed []byte
}

// Adoption says that the audit row of an operation counts in the log of a node that did not commit it.
type Adoption struct {
	Op OpID
	// At is the operation's instant.
	At time.Time
	// Node committed the operation; it is empty when nobody knows. Origin is the log that took the row in.
	Node, Origin string
}
