package tdsfake

import (
	"encoding/binary"
	"errors"
)

// Options of PRELOGIN (MS-TDS 2.2.6.5).
const (
	optionEncryption = 0x01
	optionEnd        = 0xFF
)

// encryptRequired is the one answer that is safe with every client: after 0 (off) or 2 (not supported) tedious sends
// its password in clear even when its user asked for encryption.
const encryptRequired = 0x03

// prelogin is what this server reads of the client's PRELOGIN.
type prelogin struct {
	// encryption is what the client wants; clients that name nothing get 0.
	encryption byte
}

// parsePrelogin reads the table of {token, offset BE16, length BE16} that ends with FF, and the data it points to.
func parsePrelogin(payload []byte) (prelogin, error) {
	var p prelogin
	for at := 0; ; at += 5 {
		if at >= len(payload) {
			return prelogin{}, errors.New("PRELOGIN: the option table has no end")
		}
		if payload[at] == optionEnd {
			return p, nil
		}
		if at+5 > len(payload) {
			return prelogin{}, errors.New("PRELOGIN: the option table is cut short")
		}
		offset := int(binary.BigEndian.Uint16(payload[at+1:]))
		length := int(binary.BigEndian.Uint16(payload[at+3:]))
		if offset+length > len(payload) {
			return prelogin{}, errors.New("PRELOGIN: an option points outside the message")
		}
		if payload[at] == optionEncryption {
			if length != 1 {
				return prelogin{}, errors.New("PRELOGIN: the encryption option is not one byte")
			}
			p.encryption = payload[offset]
		}
	}
}

// preloginReply holds the encryption option alone; the drivers ask for no more.
func preloginReply() []byte {
	return []byte{optionEncryption, 0, 6, 0, 1, optionEnd, encryptRequired}
}
