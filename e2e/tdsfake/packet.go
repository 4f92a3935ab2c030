package tdsfake

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// kind is the type of a packet, the first byte of its header (MS-TDS 2.2.3.1.1).
type kind byte

const (
	kindBatch       kind = 0x01
	kindRPC         kind = 0x03
	kindReply       kind = 0x04
	kindAttention   kind = 0x06
	kindTransaction kind = 0x0E
	kindLogin       kind = 0x10
	kindPrelogin    kind = 0x12
)

// known keeps a client of another protocol from being waited for: its first bytes may claim any length.
func (k kind) known() bool {
	switch k {
	case kindBatch, kindRPC, kindReply, kindAttention, kindTransaction, kindLogin, kindPrelogin:
		return true
	}
	return false
}

// Bits of the second byte (MS-TDS 2.2.3.1.2). Drivers combine them: test bits, never equality.
const (
	statusEnd    = 0x01
	statusIgnore = 0x02
	// statusReset and statusResetKeep come with the first request after a pool handed the connection out.
	statusReset     = 0x08
	statusResetKeep = 0x10
)

const (
	headerSize = 8
	// packetSize is that of replies, header included. It is the drivers' default; a client may ask for less in LOGIN7.
	packetSize    = 4096
	minPacketSize = 512
	// Limits of what a client may send, in bytes: before it has proved who it is, and after.
	maxLoginMessage = 64 << 10
	maxMessage      = 4 << 20
)

// message is what the packets up to one with statusEnd carry together.
type message struct {
	kind    kind
	ignore  bool // the client took the request back while sending it
	reset   bool
	payload []byte
}

// readMessage collects one message of at most limit payload bytes. It returns io.EOF when the client closed the
// connection between messages.
func readMessage(r io.Reader, limit int) (message, error) {
	var m message
	for first := true; ; first = false {
		var header [headerSize]byte
		if _, err := io.ReadFull(r, header[:]); err != nil {
			if !first && errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return message{}, err
		}
		length := int(binary.BigEndian.Uint16(header[2:]))
		switch {
		case length < headerSize:
			return message{}, fmt.Errorf("a packet of %d bytes is shorter than its header", length)
		case !kind(header[0]).known():
			return message{}, fmt.Errorf("a packet of the unknown type %#02x", header[0])
		case first:
			m.kind = kind(header[0])
		case m.kind != kind(header[0]):
			return message{}, fmt.Errorf("a packet of type %#02x inside a message of type %#02x", header[0], byte(m.kind))
		}
		start := len(m.payload)
		if start+length-headerSize > limit {
			return message{}, fmt.Errorf("a message of more than %d bytes", limit)
		}
		m.payload = append(m.payload, make([]byte, length-headerSize)...)
		if _, err := io.ReadFull(r, m.payload[start:]); err != nil {
			return message{}, fmt.Errorf("reading a packet: %w", err)
		}
		m.reset = m.reset || header[1]&(statusReset|statusResetKeep) != 0
		if header[1]&statusEnd != 0 {
			m.ignore = header[1]&statusIgnore != 0
			return m, nil
		}
	}
}

// writeMessage sends one message in packets of at most size bytes, in a single Write.
func writeMessage(w io.Writer, k kind, payload []byte, size int) error {
	var out []byte
	for id := byte(1); ; id++ {
		part := payload[:min(len(payload), size-headerSize)]
		payload = payload[len(part):]
		var status byte
		if len(payload) == 0 {
			status = statusEnd
		}
		out = append(out, byte(k), status)
		out = binary.BigEndian.AppendUint16(out, uint16(headerSize+len(part)))
		out = append(out, 0, 0, id, 0) // SPID 0, packet id, window 0
		out = append(out, part...)
		if status == statusEnd {
			_, err := w.Write(out)
			return err
		}
	}
}
