package mongofake

import (
	"encoding/binary"
	"errors"
	"io"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// Operation codes.
const (
	opReply = 1
	opQuery = 2004
	opMsg   = 2013
)

// maxMessage bounds a message, in bytes.
const maxMessage = 1 << 20

// request is one command, however it was wrapped.
type request struct {
	id   int32
	op   int32
	body bson.Raw
}

func readRequest(r io.Reader) (*request, error) {
	var header [16]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return nil, err
	}
	length := binary.LittleEndian.Uint32(header[:])
	if length < 16 || length > maxMessage {
		return nil, errors.New("a message of an impossible length")
	}
	payload := make([]byte, length-16)
	if _, err := io.ReadFull(r, payload); err != nil {
		return nil, err
	}
	q := &request{id: int32(binary.LittleEndian.Uint32(header[4:])), op: int32(binary.LittleEndian.Uint32(header[12:]))}
	var err error
	q.body, err = parse(q.op, payload)
	return q, err
}

// parse finds the command's document: the section of kind 0 of OP_MSG, which is the first here, or the query of OP_QUERY.
func parse(op int32, payload []byte) (bson.Raw, error) {
	switch op {
	case opMsg:
		if len(payload) < 5 || payload[4] != 0 {
			return nil, errors.New("OP_MSG does not begin with a document")
		}
		return document(payload[5:])
	case opQuery: // flags, a name that ends with a zero, two numbers, the document
		if len(payload) < 4 {
			return nil, errors.New("OP_QUERY is cut short")
		}
		rest := payload[4:]
		for i, b := range rest {
			if b == 0 && len(rest) >= i+9 {
				return document(rest[i+9:])
			}
		}
		return nil, errors.New("OP_QUERY has no document")
	}
	return nil, errors.New("an operation that is beyond this protocol fake")
}

func document(b []byte) (bson.Raw, error) {
	if len(b) < 4 {
		return nil, errors.New("a document is cut short")
	}
	length := binary.LittleEndian.Uint32(b)
	if int64(length) > int64(len(b)) {
		return nil, errors.New("a document is longer than its message")
	}
	raw := bson.Raw(b[:length])
	return raw, raw.Validate()
}

func writeReply(w io.Writer, q *request, reply bson.D) error {
	body, err := bson.Marshal(reply)
	if err != nil {
		return err
	}
	var b []byte
	op := int32(opMsg)
	if q.op == opQuery {
		op = opReply // flags, cursor, start, count
		b = append(b, make([]byte, 16)...)
		b = binary.LittleEndian.AppendUint32(b, 1)
	} else {
		b = append(b, 0, 0, 0, 0, 0)
	}
	b = append(b, body...)
	var message []byte
	for _, n := range []uint32{uint32(16 + len(b)), 0, uint32(q.id), uint32(op)} {
		message = binary.LittleEndian.AppendUint32(message, n)
	}
	_, err = w.Write(append(message, b...))
	return err
}
