package vault

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/fault"
)

// The ids of the model. Each is a type of its own, so that two cannot be swapped.
type (
	// TenantID is a GUID in its canonical lower-case form.
	TenantID string
	// SubscriptionID is a GUID in its canonical lower-case form.
	SubscriptionID string
	// ID identifies a vault for ever; 32 lower-case hexadecimal digits. The vault's name is for people.
	ID string
	// ObjectID identifies an object for ever; 32 lower-case hexadecimal digits.
	ObjectID string
	// VersionID identifies a version within its object: 32 lower-case hexadecimal digits, as both cloud protocols show.
	VersionID string
)

// NewTenantID returns a random tenant id.
func NewTenantID() TenantID { return TenantID(NewGUID()) }

// NewSubscriptionID returns a random subscription id.
func NewSubscriptionID() SubscriptionID { return SubscriptionID(NewGUID()) }

// NewID returns a vault id for one made at now.
func NewID(now time.Time) ID { return ID(newHex(now)) }

// NewObjectID returns an object id for one made at now.
func NewObjectID(now time.Time) ObjectID { return ObjectID(newHex(now)) }

// NewVersionID returns a version id for one made at now. Ids made later sort later, so that a store appends to its
// index instead of touching a random page for every write.
func NewVersionID(now time.Time) VersionID { return VersionID(newHex(now)) }

// ParseVersionID checks the form of a version id and returns it in lower case.
func ParseVersionID(s string) (VersionID, error) {
	if !isHex32(s) {
		return "", fault.New(fault.Invalid, "%q is not a version: a version is 32 hexadecimal digits", fault.Clip(s))
	}
	return VersionID(strings.ToLower(s)), nil
}

// NewGUID returns a random GUID (RFC 9562, version 4) in canonical form.
func NewGUID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return FormatGUID(b)
}

// FormatGUID writes 16 bytes as 8-4-4-4-12 lower-case hexadecimal digits.
func FormatGUID(b [16]byte) string {
	var dst [36]byte
	hex.Encode(dst[:8], b[:4])
	dst[8] = '-'
	hex.Encode(dst[9:13], b[4:6])
	dst[13] = '-'
	hex.Encode(dst[14:18], b[6:8])
	dst[18] = '-'
	hex.Encode(dst[19:23], b[8:10])
	dst[23] = '-'
	hex.Encode(dst[24:], b[10:])
	return string(dst[:])
}

// ParseGUID returns the canonical lower-case form of a GUID written as 8-4-4-4-12 hexadecimal digits.
func ParseGUID(s string) (string, error) {
	if len(s) == 36 && s[8] == '-' && s[13] == '-' && s[18] == '-' && s[23] == '-' &&
		isHex32(s[:8]+s[9:13]+s[14:18]+s[19:23]+s[24:]) {
		return strings.ToLower(s), nil
	}
	return "", fault.New(fault.Invalid, "%q is not a GUID: expected 8-4-4-4-12 hexadecimal digits", fault.Clip(s))
}

// newHex returns a version-7 UUID (RFC 9562, section 5.7: 48 bits of Unix milliseconds, then random bits) without
// hyphens. The 12 bits behind the milliseconds hold their fraction, as the RFC's method 3 allows, so that ids made
// within one millisecond sort as well.
func newHex(now time.Time) string {
	var b [16]byte
	rand.Read(b[:])
	us := uint64(now.UnixMicro())
	ms, fraction := us/1000, us%1000*4096/1000
	binary.BigEndian.PutUint64(b[:8], ms<<16|0x7000|fraction)
	b[8] = b[8]&0x3f | 0x80
	return hex.EncodeToString(b[:])
}

// Made returns when an id of this package was made, to the millisecond; the zero time for one that another program made up.
func Made(id string) time.Time {
	b, err := hex.DecodeString(id)
	if err != nil || len(b) != 16 || b[6]>>4 != 7 {
		return time.Time{}
	}
	return time.UnixMilli(int64(binary.BigEndian.Uint64(b) >> 16)).UTC()
}

// IDBytes returns the 16 bytes of an id as this package writes it, in 32 lower-case hexadecimal digits: hex.EncodeToString gives that very id back. It is not
// ok for any other text.
func IDBytes(s string) (id [16]byte, ok bool) {
	if len(s) != 2*len(id) {
		return id, false
	}
	for i := range len(s) {
		d := s[i]
		switch {
		case d >= '0' && d <= '9':
			d -= '0'
		case d >= 'a' && d <= 'f':
			d -= 'a' - 10
		default:
			return id, false
		}
		id[i/2] = id[i/2]<<4 | d
	}
	return id, true
}

func isHex32(s string) bool {
	if len(s) != 32 {
		return false
	}
	for i := range len(s) {
		c := s[i] | 0x20
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') || s[i] < '0' {
			return false
		}
	}
	return true
}
