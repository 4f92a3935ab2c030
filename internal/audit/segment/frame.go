package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/keywright/keywright/internal/audit/disk"
)

const (
	// MaxRecord is the longest payload, in bytes.
	MaxRecord = 64 << 10
	// frameHeader is the length of a frame's header, in bytes.
	frameHeader = 8
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// frameLen returns how many bytes a payload takes in a segment.
func frameLen(payload []byte) int64 { return frameHeader + int64(len(payload)) }

// putFrameHeader fills the header of payload's frame.
func putFrameHeader(header *[frameHeader]byte, payload []byte) {
	binary.LittleEndian.PutUint32(header[:4], uint32(len(payload)))
	sum := crc32.Update(crc32.Checksum(header[:4], castagnoli), castagnoli, payload)
	binary.LittleEndian.PutUint32(header[4:], sum)
}

// AppendFrame appends payload's frame to dst.
func AppendFrame(dst, payload []byte) []byte {
	var header [frameHeader]byte
	putFrameHeader(&header, payload)
	return append(append(dst, header[:]...), payload...)
}

// DamageError says where a file stops being what was written.
type DamageError struct {
	// Offset of the frame in the file, in bytes, and the position of its record.
	Offset, Index int64
	Detail        string
}

// Error implements error.
func (e *DamageError) Error() string {
	return fmt.Sprintf("record %d at offset %d: %s", e.Index, e.Offset, e.Detail)
}

// Frame is one record as it is read.
type Frame struct {
	Index   int64  // position in the log
	Offset  int64  // of the frame in its file, in bytes
	Payload []byte // valid until the next call
}

// End returns the offset behind the frame.
func (f Frame) End() int64 { return f.Offset + frameLen(f.Payload) }

// Scan reads the frames of a file from offset on, the first of which is the record index, and calls fn for each until
// the record until (exclusive), the first zero length or the end of the file. It returns the position and offset
// behind the last whole frame. The error is a *DamageError where a frame is not whole, or what fn or the file returned.
func Scan(f io.ReaderAt, offset, index, until int64, fn func(Frame) error) (nextIndex, nextOffset int64, err error) {
	r := window{f: f, off: offset}
	for index < until {
		header, err := r.peek(frameHeader)
		if err != nil {
			return index, r.off, err
		}
		if len(header) < frameHeader || binary.LittleEndian.Uint32(header) == 0 {
			if len(header) >= 4 && !zero(header) {
				return index, r.off, &DamageError{r.off, index, "the frame's length is zero and its checksum is not"}
			}
			return index, r.off, nil
		}
		n, sum := binary.LittleEndian.Uint32(header), binary.LittleEndian.Uint32(header[4:])
		if n > MaxRecord {
			return index, r.off, &DamageError{r.off, index, fmt.Sprintf("the frame's length %d is over the limit", n)}
		}
		frame, err := r.peek(frameHeader + int(n))
		if err != nil {
			return index, r.off, err
		}
		if len(frame) < frameHeader+int(n) {
			return index, r.off, &DamageError{r.off, index, "the frame is longer than the file"}
		}
		payload := frame[frameHeader:]
		if crc32.Update(crc32.Checksum(frame[:4], castagnoli), castagnoli, payload) != sum {
			return index, r.off, &DamageError{r.off, index, "the checksum is wrong"}
		}
		if fn != nil {
			if err := fn(Frame{Index: index, Offset: r.off, Payload: payload}); err != nil {
				return index, r.off, err
			}
		}
		r.off += int64(len(frame))
		index++
	}
	return index, r.off, nil
}

func zero(p []byte) bool {
	for _, b := range p {
		if b != 0 {
			return false
		}
	}
	return true
}

// window reads a file in pieces.
type window struct {
	f    io.ReaderAt
	off  int64 // of the next frame
	buf  []byte
	base int64 // file offset of buf[0]
}

// peek returns the n bytes at off, or fewer at the end of the file.
func (w *window) peek(n int) ([]byte, error) {
	at := w.off - w.base
	if w.buf == nil || at+int64(n) > int64(len(w.buf)) {
		if cap(w.buf) == 0 {
			w.buf = make([]byte, 128<<10)
		}
		w.buf = w.buf[:cap(w.buf)]
		got, err := w.f.ReadAt(w.buf, w.off)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("reading at offset %d: %w", w.off, err)
		}
		w.buf, w.base, at = w.buf[:got], w.off, 0
	}
	return w.buf[at:min(at+int64(n), int64(len(w.buf)))], nil
}

// The header of a segment file.
const (
	headerLen = 64
	magic     = "KWAUDSEG"
	version   = 1
)

// Header is what a segment says of itself.
type Header struct {
	Base       int64 // position of its first record
	Generation int64 // of two segments that overlap, the later one counts from its base on
}

func (h Header) encode() []byte {
	b := make([]byte, headerLen)
	copy(b, magic)
	binary.LittleEndian.PutUint32(b[8:], version)
	binary.LittleEndian.PutUint64(b[16:], uint64(h.Base))
	binary.LittleEndian.PutUint64(b[24:], uint64(h.Generation))
	binary.LittleEndian.PutUint32(b[60:], crc32.Checksum(b[:60], castagnoli))
	return b
}

// ReadHeader reads and checks the header of the segment that its name says begins at base. The error is a
// *DamageError when the header is not whole.
func ReadHeader(f io.ReaderAt, base int64) (Header, error) {
	b := make([]byte, headerLen)
	if _, err := f.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		return Header{}, fmt.Errorf("reading the header: %w", err)
	}
	damaged := func(detail string) (Header, error) { return Header{}, &DamageError{0, base, detail} }
	if string(b[:8]) != magic || crc32.Checksum(b[:60], castagnoli) != binary.LittleEndian.Uint32(b[60:]) {
		return damaged("the segment's header is damaged")
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v != version {
		return damaged(fmt.Sprintf("the segment has version %d and this program reads version %d", v, version))
	}
	h := Header{int64(binary.LittleEndian.Uint64(b[16:])), int64(binary.LittleEndian.Uint64(b[24:]))}
	if h.Base != base {
		return damaged(fmt.Sprintf("the header says that the segment begins at record %d", h.Base))
	}
	return h, nil
}

// FirstOffset is the offset of a segment's first frame, in bytes.
const FirstOffset = headerLen

// Name returns the file name of the segment that begins at base.
func Name(base int64) string { return fmt.Sprintf("seg-%020d", base) }

// Bases returns the first positions of the directory's segments in ascending order.
func Bases(d disk.FS) ([]int64, error) {
	names, err := d.List()
	if err != nil {
		return nil, fmt.Errorf("listing the segments: %w", err)
	}
	var bases []int64
	for _, name := range names {
		var base int64
		if _, err := fmt.Sscanf(name, "seg-%d", &base); err == nil && name == Name(base) {
			bases = append(bases, base)
		}
	}
	return bases, nil
}
