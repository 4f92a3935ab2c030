package archive

import (
	"encoding/binary"
	"fmt"
	"unicode/utf8"

	"github.com/keywright/keywright/internal/fault"
)

// The tags of values.
const (
	tagNull = iota
	tagInteger
	tagText
	tagBytes
)

var errRow = fault.New(fault.Invalid, "a row of the backup cannot be read: the file was written by another release, or by something else")

// appendRow appends the values of a row to dst.
func appendRow(dst []byte, values []any) ([]byte, error) {
	for i, v := range values {
		switch v := v.(type) {
		case nil:
			dst = append(dst, tagNull)
		case int64:
			dst = binary.AppendVarint(append(dst, tagInteger), v)
		case string:
			if !utf8.ValidString(v) {
				return nil, fmt.Errorf("column %d holds text that is not UTF-8", i)
			}
			dst = append(binary.AppendUvarint(append(dst, tagText), uint64(len(v))), v...)
		case []byte:
			dst = append(binary.AppendUvarint(append(dst, tagBytes), uint64(len(v))), v...)
		default:
			return nil, fmt.Errorf("column %d holds a %T, which no engine may give", i, v)
		}
	}
	return dst, nil
}

// parseRow reads a row of that many columns into values. Bytes are parts of the payload.
func parseRow(values []any, payload []byte) error {
	for i := range values {
		if len(payload) == 0 {
			return errRow
		}
		tag := payload[0]
		payload = payload[1:]
		switch tag {
		case tagNull:
			values[i] = nil
		case tagInteger:
			v, n := binary.Varint(payload)
			if n <= 0 || n != len(binary.AppendVarint(nil, v)) {
				return errRow
			}
			values[i], payload = v, payload[n:]
		case tagText, tagBytes:
			size, n := binary.Uvarint(payload)
			if n <= 0 || n != len(binary.AppendUvarint(nil, size)) || size > uint64(len(payload)-n) {
				return errRow
			}
			part := payload[n : n+int(size) : n+int(size)]
			payload = payload[n+int(size):]
			if tag == tagBytes {
				values[i] = part
				break
			}
			if !utf8.Valid(part) {
				return errRow
			}
			values[i] = string(part)
		default:
			return errRow
		}
	}
	if len(payload) > 0 {
		return errRow
	}
	return nil
}
