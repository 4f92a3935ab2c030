package audit

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"time"
	"unicode/utf8"
)

// A record is encoded as a version byte and then fields in ascending order of their number, each a byte
// (number<<1 | kind) and a value: an unsigned varint (kind 0) or a varint length and bytes (kind 1). A field that is
// zero is absent. The encoding is canonical: what decodes encodes to the same bytes.
const codecVersion = 1

// field numbers. A number is never given a second meaning; a new field takes the next one. A program that does not know
// a field refuses the record, so the version changes only when the encoding itself does.
const (
	fieldTime = iota + 1
	fieldID
	fieldNode
	fieldTenant
	fieldVaultID
	fieldVaultName
	fieldDoor
	fieldAction
	fieldPrincipalID
	fieldAppID
	fieldUPN
	fieldCallerKind
	fieldCallerTenant
	fieldClientAddress
	fieldClientBits
	fieldInstance
	fieldObjectKind
	fieldObjectName
	fieldVersion
	fieldOutcome
	fieldReason
	fieldStatus
	fieldCorrelationID
	fieldClientRequestID
	fieldAPIVersion
	fieldUserAgent
	fieldPath
	fieldDuration
	fieldCount
	fieldOperation
	fieldScope
	fieldDetail
)

// Limits of the texts, in bytes. Object names have at most 127 characters, ids are shorter; what clients choose freely
// gets more room, and the sum stays far below segment.MaxRecord.
const (
	maxID     = 128
	maxName   = 256
	maxClient = 512 // user agent, instance
	maxScope  = 512 // the longest names of a subscription, a group, a provider, a vault and an object take 400
	maxPath   = 2048
	maxDetail = MaxDetail
)

// MaxDetail bounds a record's Detail, in bytes. What must be read back from it has to be shorter.
const MaxDetail = 1024

// cutMark ends a text that was longer than its limit.
const cutMark = "[cut]"

// texts lists the text fields in ascending order of their number. Encoder and decoder both follow it.
func (r *Record) texts() [23]text {
	return [...]text{
		{fieldNode, maxID, &r.Node, false},
		{fieldTenant, maxID, &r.Tenant, false},
		{fieldVaultID, maxID, &r.VaultID, false},
		{fieldVaultName, maxName, &r.VaultName, false},
		{fieldDoor, maxID, &r.Door, false},
		{fieldAction, maxName, &r.Action, false},
		{fieldPrincipalID, maxID, &r.Caller.PrincipalID, false},
		{fieldAppID, maxID, &r.Caller.AppID, false},
		{fieldUPN, maxName, &r.Caller.UPN, false},
		{fieldCallerKind, maxID, &r.Caller.Kind, false},
		{fieldCallerTenant, maxID, &r.Caller.Tenant, false},
		{fieldInstance, maxClient, &r.Instance, false},
		{fieldObjectKind, maxID, &r.ObjectKind, false},
		{fieldObjectName, maxName, &r.ObjectName, false},
		{fieldVersion, maxID, &r.Version, false},
		{fieldReason, maxName, &r.Reason, false},
		{fieldCorrelationID, maxID, &r.CorrelationID, false},
		{fieldClientRequestID, maxID, &r.ClientRequestID, false},
		{fieldAPIVersion, maxID, &r.APIVersion, false},
		{fieldUserAgent, maxClient, &r.UserAgent, false},
		{fieldOperation, maxID, &r.Operation, false},
		{fieldScope, maxScope, &r.Scope, false},
		{fieldDetail, maxDetail, &r.Detail, false},
	}
}

type text struct {
	field, limit int
	value        *string
	// skipped texts are checked and not read.
	skipped bool
}

// AppendBinary appends the record's encoding to dst. Index and Shredded are no part of it.
func (r *Record) AppendBinary(dst []byte) []byte { return r.appendBinary(dst, r.Node) }

func (r *Record) appendBinary(dst []byte, node string) []byte {
	dst = append(dst, codecVersion)
	dst = appendUint(dst, fieldTime, zigzag(r.Time.UnixMicro()))
	dst = appendBytes(dst, fieldID, r.ID[:])
	dst = appendText(dst, fieldNode, maxID, node)
	dst = appendText(dst, fieldTenant, maxID, r.Tenant)
	dst = appendText(dst, fieldVaultID, maxID, r.VaultID)
	dst = appendText(dst, fieldVaultName, maxName, r.VaultName)
	dst = appendText(dst, fieldDoor, maxID, r.Door)
	dst = appendText(dst, fieldAction, maxName, r.Action)
	dst = appendText(dst, fieldPrincipalID, maxID, r.Caller.PrincipalID)
	dst = appendText(dst, fieldAppID, maxID, r.Caller.AppID)
	dst = appendText(dst, fieldUPN, maxName, r.Caller.UPN)
	dst = appendText(dst, fieldCallerKind, maxID, r.Caller.Kind)
	dst = appendText(dst, fieldCallerTenant, maxID, r.Caller.Tenant)
	if a := r.ClientAddress.Unmap().WithZone(""); a.Is4() {
		b := a.As4()
		dst = appendBytes(dst, fieldClientAddress, b[:])
	} else if a.Is6() {
		b := a.As16()
		dst = appendBytes(dst, fieldClientAddress, b[:])
	}
	dst = appendUint(dst, fieldClientBits, uint64(r.ClientBits))
	dst = appendText(dst, fieldInstance, maxClient, r.Instance)
	dst = appendText(dst, fieldObjectKind, maxID, r.ObjectKind)
	dst = appendText(dst, fieldObjectName, maxName, r.ObjectName)
	dst = appendText(dst, fieldVersion, maxID, r.Version)
	dst = appendUint(dst, fieldOutcome, uint64(r.Outcome))
	dst = appendText(dst, fieldReason, maxName, r.Reason)
	dst = appendUint(dst, fieldStatus, uint64(r.Status))
	dst = appendText(dst, fieldCorrelationID, maxID, r.CorrelationID)
	dst = appendText(dst, fieldClientRequestID, maxID, r.ClientRequestID)
	dst = appendText(dst, fieldAPIVersion, maxID, r.APIVersion)
	dst = appendText(dst, fieldUserAgent, maxClient, r.UserAgent)
	dst = appendText(dst, fieldPath, maxPath, r.Path)
	dst = appendUint(dst, fieldDuration, uint64(max(r.Duration, 0)))
	dst = appendUint(dst, fieldCount, r.Count)
	dst = appendText(dst, fieldOperation, maxID, r.Operation)
	dst = appendText(dst, fieldScope, maxScope, r.Scope)
	return appendText(dst, fieldDetail, maxDetail, r.Detail)
}

func appendUint(dst []byte, field int, v uint64) []byte {
	if v == 0 {
		return dst
	}
	return binary.AppendUvarint(append(dst, byte(field<<1)), v)
}

func appendBytes(dst []byte, field int, v []byte) []byte {
	dst = binary.AppendUvarint(append(dst, byte(field<<1|1)), uint64(len(v)))
	return append(dst, v...)
}

func appendText(dst []byte, field, limit int, s string) []byte {
	if s == "" {
		return dst
	}
	if len(s) <= limit {
		dst = binary.AppendUvarint(append(dst, byte(field<<1|1)), uint64(len(s)))
		return append(dst, s...)
	}
	kept := cut(s, limit-len(cutMark))
	dst = binary.AppendUvarint(append(dst, byte(field<<1|1)), uint64(len(kept)+len(cutMark)))
	return append(append(dst, kept...), cutMark...)
}

// cut returns the longest beginning of s that has at most limit bytes and does not split a character.
func cut(s string, limit int) string {
	for i := limit; i > limit-utf8.UTFMax; i-- {
		if utf8.RuneStart(s[i]) {
			return s[:i]
		}
	}
	return s[:limit] // not UTF-8: there is nothing to split
}

func zigzag(v int64) uint64   { return uint64(v)<<1 ^ uint64(v>>63) }
func unzigzag(v uint64) int64 { return int64(v>>1) ^ -int64(v&1) }

// Decode returns the record that AppendBinary encoded. It accepts nothing else.
func Decode(b []byte) (*Record, error) {
	d := newDecoder(new(Record))
	if err := d.decode(b); err != nil {
		return nil, err
	}
	return d.rec, nil
}

// decode reads an encoding into the decoder's record, which it overwrites.
func (d *decoder) decode(b []byte) error {
	if len(b) == 0 || b[0] != codecVersion {
		return errors.New("audit: the record has no version that this program reads")
	}
	*d.rec, d.rest, d.hasID = Record{Time: time.UnixMicro(0).UTC()}, b[1:], false
	last := 0
	for len(d.rest) > 0 {
		tag := d.rest[0]
		d.rest = d.rest[1:]
		field := int(tag >> 1)
		if field <= last {
			return fmt.Errorf("audit: field %d of the record is out of order", field)
		}
		last = field
		var err error
		if tag&1 == 0 {
			err = d.number(field)
		} else {
			err = d.bytes(field)
		}
		if err != nil {
			return fmt.Errorf("audit: field %d of the record: %w", field, err)
		}
	}
	if d.rec.ID == (ID{}) && !d.hasID {
		return errors.New("audit: the record has no id")
	}
	return nil
}

type decoder struct {
	rest  []byte
	rec   *Record
	hasID bool
	texts [fieldDetail + 1]text
	// str makes the string of a text.
	str func([]byte) string
}

func newDecoder(r *Record) *decoder {
	d := &decoder{rec: r, str: func(b []byte) string { return string(b) }}
	for _, t := range r.texts() {
		d.texts[t.field] = t
	}
	d.texts[fieldPath] = text{field: fieldPath, limit: maxPath, value: &r.Path}
	return d
}

var errUnknownField = errors.New("it is unknown; a newer program wrote it")

// uvarint reads a varint in its shortest form.
func (d *decoder) uvarint() (uint64, error) {
	v, n := binary.Uvarint(d.rest)
	if n <= 0 || n > 1 && d.rest[n-1] == 0 {
		return 0, errors.New("the number is malformed")
	}
	d.rest = d.rest[n:]
	return v, nil
}

func (d *decoder) number(field int) error {
	v, err := d.uvarint()
	if err != nil {
		return err
	}
	most := uint64(math.MaxUint64)
	switch field {
	case fieldTime:
		d.rec.Time = time.UnixMicro(unzigzag(v)).UTC()
		if d.rec.Time.UnixMicro() != unzigzag(v) {
			return errors.New("the time is out of range")
		}
	case fieldClientBits:
		d.rec.ClientBits, most = uint8(v), 128
	case fieldOutcome:
		d.rec.Outcome, most = Outcome(v), uint64(lastOutcome)
	case fieldStatus:
		d.rec.Status, most = uint16(v), math.MaxUint16
	case fieldDuration:
		d.rec.Duration, most = time.Duration(v), math.MaxInt64
	case fieldCount:
		d.rec.Count = v
	default:
		return errUnknownField
	}
	if v == 0 || v > most {
		return fmt.Errorf("the number %d is not allowed", v)
	}
	return nil
}

func (d *decoder) bytes(field int) error {
	n, err := d.uvarint()
	if err != nil {
		return err
	}
	if n > uint64(len(d.rest)) {
		return errors.New("it is longer than the record")
	}
	v := d.rest[:n]
	d.rest = d.rest[n:]
	switch field {
	case fieldID:
		if len(v) != len(d.rec.ID) {
			return errors.New("the id has a wrong length")
		}
		d.rec.ID, d.hasID = ID(v), true
		return nil
	case fieldClientAddress:
		return d.address(v)
	}
	if field >= len(d.texts) || d.texts[field].value == nil {
		return errUnknownField
	}
	t := &d.texts[field]
	if len(v) == 0 || len(v) > t.limit {
		return fmt.Errorf("the text has %d bytes; 1 to %d are allowed", len(v), t.limit)
	}
	if !t.skipped {
		*t.value = d.str(v)
	}
	return nil
}

func (d *decoder) address(v []byte) error {
	a, ok := netip.AddrFromSlice(v)
	if !ok || a.Is4In6() {
		return errors.New("it is no address")
	}
	d.rec.ClientAddress = a
	return nil
}
