package mongofake

import (
	"bytes"
	"encoding/binary"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// Whatever a client sends, reading it ends without a panic, and what is read is a valid document.
func FuzzReadRequest(f *testing.F) {
	body, err := bson.Marshal(bson.D{{Key: "ping", Value: 1}})
	if err != nil {
		f.Fatal(err)
	}
	var message []byte
	for _, n := range []uint32{uint32(21 + len(body)), 7, 0, opMsg} {
		message = binary.LittleEndian.AppendUint32(message, n)
	}
	f.Add(append(append(message, 0, 0, 0, 0, 0), body...))
	f.Add([]byte{16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xd4, 0x07, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		q, err := readRequest(bytes.NewReader(b))
		if err == nil && q.body.Validate() != nil {
			t.Error("a document that is not valid was read")
		}
	})
}
