package audit

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/keywright/keywright/internal/fault"
)

// Sealer encrypts record bodies under a tenant's key; the keyring is one. A tenant is named by its immutable id, and
// "" is the installation itself, whose key is not a tenant's.
//
// Both methods append to dst and return it, allocate nothing when dst has room, may be called concurrently, and bind
// additional and the purpose (audit) into the authentication. dst and plaintext do not overlap.
type Sealer interface {
	// SealAudit appends the ciphertext, with whatever is needed to find its key again.
	SealAudit(dst []byte, tenant string, plaintext, additional []byte) ([]byte, error)
	// OpenAudit appends the plaintext. It fails with fault.Gone when the key was destroyed on purpose.
	OpenAudit(dst []byte, tenant string, sealed, additional []byte) ([]byte, error)
}

// A frame is what the log keeps of a record and what a leaf hashes:
//
//	version 1 | kind | id (16) | time in us, int64 | length of tenant | tenant | sealed body
//
// The part before the body is in the clear, so that a log whose keys are gone can be read by time and tenant, and it
// is the additional data of the body.
const (
	frameVersion = 1
	frameFixed   = 2 + 16 + 8 + 1

	kindDecision = 0 // written by Append
	kindChange   = 1 // committed to the database with the change that it tells of, then sequenced into the log
)

// envelope is a frame's part in the clear.
type envelope struct {
	kind   byte
	id     ID
	micros int64
	tenant string
	clear  []byte // the encoded envelope
	sealed []byte
}

func appendEnvelope(dst []byte, kind byte, id ID, at time.Time, tenant string) []byte {
	dst = append(dst, frameVersion, kind)
	dst = append(dst, id[:]...)
	dst = binary.BigEndian.AppendUint64(dst, uint64(at.UnixMicro()))
	dst = append(dst, byte(len(tenant)))
	return append(dst, tenant...)
}

func parseEnvelope(frame []byte) (envelope, error) {
	return parseEnvelopeAs(frame, func(b []byte) string { return string(b) })
}

func parseEnvelopeAs(frame []byte, str func([]byte) string) (envelope, error) {
	if len(frame) < frameFixed || frame[0] != frameVersion || frame[1] > kindChange {
		return envelope{}, errors.New("audit: the frame has no version that this program reads")
	}
	end := frameFixed + int(frame[frameFixed-1])
	if len(frame) < end {
		return envelope{}, errors.New("audit: the frame is shorter than its envelope says")
	}
	return envelope{kind: frame[1], id: ID(frame[2:18]), micros: int64(binary.BigEndian.Uint64(frame[18:])),
		tenant: str(frame[frameFixed:end]), clear: frame[:end], sealed: frame[end:]}, nil
}

// buffers of the hot path.
type buffers struct{ plain, frame []byte }

var bufferPool = sync.Pool{New: func() any { return &buffers{make([]byte, 0, 1024), make([]byte, 0, 1280)} }}

// Seal appends to dst the frame of a change's record, for the row that is committed together with the change. Time, ID
// and Node of the record must be set.
func Seal(dst []byte, s Sealer, r *Record) ([]byte, error) {
	if r.ID == (ID{}) || r.Time.IsZero() || r.Node == "" {
		return nil, fault.New(fault.Internal, "an audit row needs its id, time and node")
	}
	b := bufferPool.Get().(*buffers)
	defer b.release()
	return b.seal(dst, s, r, kindChange, r.ID, r.Time, r.Node)
}

// release gives the buffers back; the plain text of a record is cleared first.
func (b *buffers) release() {
	clear(b.plain)
	bufferPool.Put(b)
}

func (b *buffers) seal(dst []byte, s Sealer, r *Record, kind byte, id ID, at time.Time, node string) ([]byte, error) {
	if len(r.Tenant) > maxID {
		return nil, fault.New(fault.Internal, "the tenant id of an audit record has %d bytes; %d are allowed", len(r.Tenant), maxID)
	}
	if r.Outcome < Allowed || r.Outcome > lastOutcome {
		return nil, fault.New(fault.Internal, "an audit record for %s has no outcome", r.Action)
	}
	copied := *r
	copied.ID, copied.Time = id, at
	b.plain = copied.appendBinary(b.plain[:0], node)
	start := len(dst)
	dst = appendEnvelope(dst, kind, id, at, r.Tenant)
	sealed, err := s.SealAudit(dst, r.Tenant, b.plain, dst[start:])
	if err != nil {
		return nil, fmt.Errorf("sealing an audit record of tenant %q: %w", r.Tenant, err)
	}
	return sealed, nil
}

// open decrypts a frame. A frame whose key was destroyed gives the record that its envelope tells.
func open(s Sealer, e envelope, index int64) (*Record, error) {
	plain, err := s.OpenAudit(nil, e.tenant, e.sealed, e.clear)
	if fault.Is(err, fault.Gone) {
		return &Record{Time: time.UnixMicro(e.micros).UTC(), ID: e.id, Tenant: e.tenant, Index: index, Shredded: true, Change: e.kind == kindChange}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("opening audit record %d of tenant %q: %w", index, e.tenant, err)
	}
	r, err := Decode(plain)
	clear(plain)
	if err != nil {
		return nil, fmt.Errorf("decoding audit record %d: %w", index, err)
	}
	if r.ID != e.id || r.Tenant != e.tenant || r.Time.UnixMicro() != e.micros {
		return nil, fault.New(fault.Internal, "audit record %d is not the one that its envelope names", index)
	}
	r.Index, r.Change = index, e.kind == kindChange
	return r, nil
}
