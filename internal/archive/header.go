package archive

import (
	"regexp"
	"time"

	"github.com/keywright/keywright/internal/fault"
)

// Version is the format's.
const Version = 1

// Header says what an archive is.
type Header struct {
	Format int `json:"format"`
	// ID names the archive for ever: 32 hexadecimal digits, time-ordered.
	ID string `json:"id"`
	// Made is when the state was taken.
	Made time.Time `json:"made"`
	// Release is the version of the program, Engine the store's, Seal the name of the seal that wraps the root keys.
	Release string `json:"release"`
	Engine  string `json:"engine"`
	Seal    string `json:"seal"`
	// Node is the persistent id of the node that made it.
	Node string `json:"node,omitempty"`
}

var idPattern = regexp.MustCompile(`^[0-9a-f]{32}$`)

// CheckID refuses what is no id of an archive.
func CheckID(id string) error {
	if !idPattern.MatchString(id) {
		return fault.New(fault.Invalid, "%q is no id of a backup: it has 32 hexadecimal digits; list those that there are", fault.Clip(id))
	}
	return nil
}

// End says what an archive held.
type End struct {
	Tables []TableEnd `json:"tables"`
}

// TableEnd is the sum of one table.
type TableEnd struct {
	Name string `json:"name"`
	Rows int64  `json:"rows"`
	// Digest is the exclusive or of the SHA-256 of the rows, in hexadecimal digits.
	Digest string `json:"digest"`
}

// Rows counts all rows.
func (e *End) Rows() (n int64) {
	for _, t := range e.Tables {
		n += t.Rows
	}
	return n
}
