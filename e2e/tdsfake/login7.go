package tdsfake

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unicode/utf16"
)

// login7Fixed is the length of LOGIN7 before its variable data, in bytes (MS-TDS 2.2.6.4). Every number in it is
// little-endian.
const login7Fixed = 94

// Positions of the {offset, count of UTF-16 units} pairs that this server reads.
const (
	login7Host     = 36
	login7User     = 40
	login7Password = 44
	login7App      = 48
	login7Database = 68
)

// login7 is a request to log in.
type login7 struct {
	version    uint32
	packetSize uint32
	host       string
	user       string
	password   string
	app        string
	database   string
}

func parseLogin7(payload []byte) (login7, error) {
	if len(payload) < login7Fixed {
		return login7{}, errors.New("LOGIN7: shorter than its fixed part")
	}
	if declared := binary.LittleEndian.Uint32(payload); int64(declared) != int64(len(payload)) {
		return login7{}, fmt.Errorf("LOGIN7: %d bytes long, but it says %d", len(payload), declared)
	}
	l := login7{version: binary.LittleEndian.Uint32(payload[4:]), packetSize: binary.LittleEndian.Uint32(payload[8:])}
	for _, field := range []struct {
		pair  int
		plain bool
		value *string
	}{
		{login7Host, true, &l.host}, {login7User, true, &l.user}, {login7Password, false, &l.password},
		{login7App, true, &l.app}, {login7Database, true, &l.database},
	} {
		raw, err := login7Field(payload, field.pair)
		if err != nil {
			return login7{}, err
		}
		if !field.plain {
			raw = unmask(raw)
		}
		*field.value = decodeUTF16(raw)
	}
	return l, nil
}

func login7Field(payload []byte, pair int) ([]byte, error) {
	offset := int(binary.LittleEndian.Uint16(payload[pair:]))
	end := offset + 2*int(binary.LittleEndian.Uint16(payload[pair+2:]))
	if end > len(payload) || (end > offset && offset < login7Fixed) {
		return nil, fmt.Errorf("LOGIN7: the field at %d points outside the variable data", pair)
	}
	return payload[offset:end], nil
}

// unmask undoes what clients do to a password: swap the halves of each byte, then XOR with A5. It hides nothing;
// TLS does. The source is left as it is.
func unmask(masked []byte) []byte {
	plain := make([]byte, len(masked))
	for i, b := range masked {
		b ^= 0xA5
		plain[i] = b<<4 | b>>4
	}
	return plain
}

// decodeUTF16 reads little-endian UTF-16; an odd last byte is dropped by the callers' bounds.
func decodeUTF16(b []byte) string {
	units := make([]uint16, len(b)/2)
	for i := range units {
		units[i] = binary.LittleEndian.Uint16(b[2*i:])
	}
	return string(utf16.Decode(units))
}

func appendUTF16(b []byte, s string) []byte {
	for _, unit := range utf16.Encode([]rune(s)) {
		b = binary.LittleEndian.AppendUint16(b, unit)
	}
	return b
}
