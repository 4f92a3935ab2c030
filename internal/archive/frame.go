package archive

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"

	"github.com/keywright/keywright/internal/fault"
)

// kind is a kind of frames.
type kind byte

const (
	kindHeader kind = 'H'
	kindTable  kind = 'T'
	kindRow    kind = 'R'
	kindEnd    kind = 'E'
)

// maxFrame bounds what is read at once, in bytes: some times the largest value that a server can be told to take.
const maxFrame = 256 << 20

func writeFrame(w *bufio.Writer, k kind, payload []byte) error {
	if len(payload) > maxFrame {
		return fault.New(fault.Internal, "a record of %d bytes is too large for a backup", len(payload))
	}
	var head [1 + binary.MaxVarintLen64]byte
	head[0] = byte(k)
	n := 1 + binary.PutUvarint(head[1:], uint64(len(payload)))
	if _, err := w.Write(head[:n]); err != nil {
		return err
	}
	_, err := w.Write(payload)
	return err
}

// readFrame reads a frame into buf, which grows as it has to. At the end of the stream it is io.EOF.
func readFrame(r *bufio.Reader, buf []byte) (kind, []byte, error) {
	k, err := r.ReadByte()
	if err != nil {
		return 0, buf, err
	}
	size, err := binary.ReadUvarint(r)
	if err == nil && size > maxFrame {
		return 0, buf, fault.New(fault.Invalid, "a record of the backup is said to have %d bytes: the file was written by another release, or by something else", size)
	}
	// What is said to be long is believed only as it comes.
	const step = 1 << 20
	buf = buf[:0]
	for err == nil && uint64(len(buf)) < size {
		n := min(int(size)-len(buf), step)
		at := len(buf)
		if cap(buf) < at+n {
			buf = append(make([]byte, 0, max(2*cap(buf), at+n)), buf...)
		}
		buf = buf[:at+n]
		_, err = io.ReadFull(r, buf[at:])
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return kind(k), buf, err
}
