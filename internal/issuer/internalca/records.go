package internalca

import (
	"context"
	"iter"
	"math/big"
	"time"

	"github.com/keywright/keywright/internal/issuer"
)

// Record is one issued certificate.
type Record struct {
	// Serial is the serial number in lower-case hex, without leading zeros.
	Serial string
	// RequestID is Request.ID.
	RequestID string
	// Profile is the profile's name.
	Profile string
	// DER is the certificate.
	DER []byte
	// NotAfter is its end.
	NotAfter time.Time
	// Revoked is nil while it is good.
	Revoked *Revocation
}

// Revocation is when and why a certificate was taken back.
type Revocation struct {
	At     time.Time
	Reason issuer.Reason
}

// Records keeps what one authority has issued. Each method is atomic and durable when it returns. Absent records are fault.NotFound.
type Records interface {
	// Add keeps a record; fault.Conflict when its serial or its RequestID is there already.
	Add(context.Context, Record) error
	// BySerial and ByRequest find a record.
	BySerial(ctx context.Context, serial string) (Record, error)
	ByRequest(ctx context.Context, id string) (Record, error)
	// Revoke marks a record. A record that is marked already keeps its first mark.
	Revoke(ctx context.Context, serial string, revocation Revocation) error
	// Revoked goes over the marked records that end after an instant, in any order.
	Revoked(ctx context.Context, endAfter time.Time) iter.Seq2[Record, error]
	// NextCRLNumber returns a larger number each time, beginning with 1.
	NextCRLNumber(context.Context) (int64, error)
}

// SerialText is the form of a serial number in records.
func SerialText(n *big.Int) string { return n.Text(16) }
