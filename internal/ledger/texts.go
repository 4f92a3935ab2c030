package ledger

import (
	"encoding/binary"
	"encoding/hex"
	"strings"

	"github.com/keywright/keywright/internal/vault"
)

// How settled writes texts.

// dictionary writes texts that repeat as small numbers. When it is full, those that it does not have are written as they are.
type dictionary struct {
	numbers map[string]uint32
	texts   []string
}

// maxTexts bounds the texts of a dictionary.
const maxTexts = 1 << 14

func newDictionary() dictionary { return dictionary{numbers: make(map[string]uint32)} }

func (d *dictionary) full() bool { return len(d.texts) == maxTexts }

// append writes a text: its number, or 0, its length and its bytes.
func (d *dictionary) append(b []byte, text string) []byte {
	n, known := d.numbers[text]
	if !known && !d.full() {
		text = strings.Clone(text) // which may be a part of something larger
		d.texts = append(d.texts, text)
		n, known = uint32(len(d.texts)), true
		d.numbers[text] = n
	}
	if known {
		return binary.AppendUvarint(b, uint64(n))
	}
	b = binary.AppendUvarint(append(b, 0), uint64(len(text)))
	return append(b, text...)
}

// is reports whether a text comes next, and returns what is behind it.
func (d *dictionary) is(b []byte, want string) (bool, []byte) {
	n, size := binary.Uvarint(b)
	if b = b[size:]; n > 0 {
		return d.texts[n-1] == want, b
	}
	n, size = binary.Uvarint(b)
	b = b[size:]
	return string(b[:n]) == want, b[n:]
}

func (d *dictionary) read(b []byte) (string, []byte) {
	n, size := binary.Uvarint(b)
	if b = b[size:]; n > 0 {
		return d.texts[n-1], b
	}
	n, size = binary.Uvarint(b)
	b = b[size:]
	return string(b[:n]), b[n:]
}

// appendID writes a text that does not repeat: the double of its length and its bytes, or 1 and half of them for the 32 hex digits of an id.
func appendID(b []byte, text string) []byte {
	if id, ok := vault.IDBytes(text); ok {
		return append(append(b, 1), id[:]...)
	}
	b = binary.AppendUvarint(b, uint64(len(text))<<1)
	return append(b, text...)
}

// isID reports whether a text comes next, and returns what is behind it.
func isID(b []byte, want string) (bool, []byte) {
	n, size := binary.Uvarint(b)
	b = b[size:]
	if n == 1 {
		id, ok := vault.IDBytes(want)
		return ok && id == [16]byte(b[:16]), b[16:]
	}
	n >>= 1
	return string(b[:n]) == want, b[n:]
}

func readID(b []byte) (string, []byte) {
	n, size := binary.Uvarint(b)
	b = b[size:]
	if n == 1 {
		return hex.EncodeToString(b[:16]), b[16:]
	}
	n >>= 1
	return string(b[:n]), b[n:]
}
