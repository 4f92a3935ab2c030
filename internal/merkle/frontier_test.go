package merkle

import (
	"bytes"
	"fmt"
	"testing"
)

// TestFrontierIsTheTree compares the roots of all small sizes, each reached through bytes, with those of the tree.
func TestFrontierIsTheTree(t *testing.T) {
	tree, err := Open(memory{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	var f Frontier
	for size := range 600 {
		want, err := tree.Root()
		if err != nil {
			t.Fatal(err)
		}
		if f, err = ParseFrontier(f.AppendBinary(nil)); err != nil {
			t.Fatal(err)
		}
		if f.Size() != int64(size) || f.Root() != want {
			t.Fatalf("at size %d the frontier has size %d and root %v, want %v", size, f.Size(), f.Root(), want)
		}
		leaf := LeafHash(fmt.Append(nil, size))
		f.Add(leaf)
		if err := tree.Append([]Hash{leaf}); err != nil {
			t.Fatal(err)
		}
	}
}

func FuzzFrontier(f *testing.F) {
	var seed Frontier
	for i := range 5 {
		f.Add(seed.AppendBinary(nil))
		seed.Add(LeafHash([]byte{byte(i)}))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		parsed, err := ParseFrontier(b)
		if err != nil {
			return
		}
		parsed.Root()
		if again := parsed.AppendBinary(nil); len(b) > 0 && !bytes.Equal(again, b) {
			t.Errorf("%x was read as %x", b, again)
		}
	})
}
