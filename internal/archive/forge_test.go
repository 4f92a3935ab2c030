package archive_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"testing"

	"filippo.io/age"
)

// pack makes a file of a stream of frames, as whoever has a recipient can.
func pack(t *testing.T, stream string, to age.Recipient) []byte {
	t.Helper()
	var out bytes.Buffer
	sealed, err := age.Encrypt(&out, to)
	if err != nil {
		t.Fatal(err)
	}
	packed := gzip.NewWriter(sealed)
	_, err = io.WriteString(packed, stream)
	if err := errors.Join(err, packed.Close(), sealed.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
