package archive

import (
	"bufio"
	"bytes"
	"testing"
)

// What is read is written again byte for byte, and the payload of a row is never read beyond its end.
func FuzzRow(f *testing.F) {
	for _, row := range [][]any{{nil, int64(-5)}, {"text", []byte{0, 255}}, {"", []byte{}}, {int64(1) << 62, "ü"}} {
		payload, err := appendRow(nil, row)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(payload, len(row))
	}
	f.Fuzz(func(t *testing.T, payload []byte, columns int) {
		if columns < 0 || columns > 64 {
			return
		}
		values := make([]any, columns)
		if parseRow(values, payload) != nil {
			return
		}
		again, err := appendRow(nil, values)
		if err != nil || !bytes.Equal(again, payload) {
			t.Errorf("%x was read as %v and written as %x, %v", payload, values, again, err)
		}
	})
}

func FuzzFrame(f *testing.F) {
	f.Add([]byte("H\x02{}R\x00"))
	f.Add([]byte("R\xff\xff\xff\xff\xff\xff\xff\xff\x7f"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		r := bufio.NewReader(bytes.NewReader(stream))
		var out bytes.Buffer
		w := bufio.NewWriter(&out)
		for {
			k, payload, err := readFrame(r, nil)
			if err != nil {
				break
			}
			if err := writeFrame(w, k, payload); err != nil {
				t.Fatal(err)
			}
		}
		w.Flush()
		if out.Len() > len(stream) {
			t.Errorf("%d bytes were read from %d", out.Len(), len(stream))
		}
	})
}
