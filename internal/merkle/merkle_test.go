package merkle

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"
)

// memory keeps each level as one sequence of hashes.
type memory map[int][]byte

func (m memory) ReadTile(level int, n int64, width int) ([]byte, error) {
	from := int(n) * TileWidth * HashBytes
	if from+width*HashBytes > len(m[level]) {
		return nil, fmt.Errorf("level %d has no %d hashes in tile %d", level, width, n)
	}
	return m[level][from : from+width*HashBytes], nil
}

func (m memory) WriteTile(level int, n int64, from int, data []byte) error {
	at := (int(n)*TileWidth + from) * HashBytes
	if at > len(m[level]) {
		return fmt.Errorf("level %d: a gap before hash %d of tile %d", level, from, n)
	}
	m[level] = append(m[level][:at], data[from*HashBytes:]...)
	return nil
}

func leaf(i int64) Hash { return LeafHash([]byte(fmt.Sprint("leaf ", i))) }

// reference is the tree as tlog stores it.
func reference(t interface{ Fatal(...any) }, size int64) tlog.HashReader {
	var hashes []Hash
	r := tlog.HashReaderFunc(func(indexes []int64) ([]Hash, error) {
		out := make([]Hash, len(indexes))
		for i, x := range indexes {
			out[i] = hashes[x]
		}
		return out, nil
	})
	for i := range size {
		more, err := tlog.StoredHashesForRecordHash(i, leaf(i), r)
		if err != nil {
			t.Fatal(err)
		}
		hashes = append(hashes, more...)
	}
	return r
}

// The published roots of RFC 6962 trees: of the empty leaf, and of the first eight inputs of the test data of the
// Certificate Transparency reference implementation.
func TestPublishedVectors(t *testing.T) {
	inputs := []string{"", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"}
	roots := map[int64]string{
		1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
		2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
		3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
		8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
	}
	tree, err := Open(memory{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i, in := range inputs {
		data, err := hex.DecodeString(in)
		if err != nil {
			t.Fatal(err)
		}
		if err := tree.Append([]Hash{LeafHash(data)}); err != nil {
			t.Fatal(err)
		}
		root, err := tree.Root()
		if err != nil {
			t.Fatal(err)
		}
		if want := roots[int64(i+1)]; want != "" && hex.EncodeToString(root[:]) != want {
			t.Errorf("root of %d leaves is %x, want %s", i+1, root, want)
		}
	}
}

// TestGrowth appends batches, reopens at random, and compares every root and proof with the reference.
func TestGrowth(t *testing.T) {
	const most = 70_000 // three levels
	want := reference(t, most)
	rapid.Check(t, func(t *rapid.T) {
		store := memory{}
		tree, err := Open(store, 0)
		if err != nil {
			t.Fatal(err)
		}
		for range rapid.IntRange(1, 6).Draw(t, "batches") {
			n := rapid.SampledFrom([]int64{1, 2, 255, 256, 257, 1000, 9999}).Draw(t, "n")
			var leaves []Hash
			for i := range n {
				leaves = append(leaves, leaf(tree.Size()+i))
			}
			if err := tree.Append(leaves); err != nil {
				t.Fatal(err)
			}
			if rapid.Bool().Draw(t, "reopen") {
				if tree, err = Open(store, tree.Size()); err != nil {
					t.Fatal(err)
				}
			}
			checkTree(t, tree, store, want)
		}
	})
}

func checkTree(t *rapid.T, tree *Tree, store memory, want tlog.HashReader) {
	size := tree.Size()
	root, err := tree.Root()
	if err != nil {
		t.Fatal(err)
	}
	if w, _ := tlog.TreeHash(size, want); root != w {
		t.Fatalf("root at size %d is wrong", size)
	}
	if fromTiles, err := RootOf(store, size); err != nil || fromTiles != root {
		t.Fatalf("the tiles give another root at size %d: %v", size, err)
	}
	index := rapid.Int64Range(0, size-1).Draw(t, "index")
	proof, err := tree.ProveInclusion(index, size)
	if err != nil {
		t.Fatal(err)
	}
	if err := VerifyInclusion(proof, index, leaf(index), size, root); err != nil {
		t.Fatal(err)
	}
	if VerifyInclusion(proof, index, leaf(index+1), size, root) == nil {
		t.Fatal("a proof holds for another leaf")
	}
	old := rapid.Int64Range(1, size).Draw(t, "old")
	oldRoot, err := tree.RootAt(old)
	if err != nil {
		t.Fatal(err)
	}
	consistency, err := tree.ProveConsistency(old, size)
	if err != nil {
		t.Fatal(err)
	}
	if err := VerifyConsistency(consistency, old, oldRoot, size, root); err != nil {
		t.Fatal(err)
	}
	oldRoot[0] ^= 1
	if VerifyConsistency(consistency, old, oldRoot, size, root) == nil {
		t.Fatal("a proof holds for another old root")
	}
}

func TestOutOfRange(t *testing.T) {
	tree, err := Open(memory{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := tree.Append([]Hash{leaf(0)}); err != nil {
		t.Fatal(err)
	}
	if _, err := tree.RootAt(2); err == nil {
		t.Error("a root beyond the tree")
	}
	if _, err := tree.ProveInclusion(1, 1); err == nil {
		t.Error("a proof of a leaf outside")
	}
	if _, err := tree.ProveConsistency(0, 1); err == nil {
		t.Error("a proof from the empty tree")
	}
	if VerifyInclusion(nil, 1, leaf(0), 1, leaf(0)) == nil || VerifyConsistency(nil, 2, leaf(0), 1, leaf(0)) == nil {
		t.Error("sizes out of order verify")
	}
	if _, err := Open(memory{}, 3); err == nil {
		t.Error("a tree opened without its tiles")
	}
}

func keys(t testing.TB, name string) (note.Signer, note.Verifiers) {
	t.Helper()
	skey, vkey, err := note.GenerateKey(rand.Reader, name)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	return signer, note.VerifierList(verifier)
}

func TestCheckpoint(t *testing.T) {
	signer, known := keys(t, "node-1")
	c := Checkpoint{Origin: "keywright.example/node-1", Size: 7, Root: leaf(7)}
	signed, err := c.Sign(signer)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := OpenCheckpoint(signed, c.Origin, known); err != nil || got != c {
		t.Fatalf("%+v, %v", got, err)
	}
	if _, err := OpenCheckpoint(signed, "another", known); err == nil {
		t.Error("a checkpoint of another log was taken")
	}
	_, others := keys(t, "node-1")
	if _, err := OpenCheckpoint(signed, c.Origin, others); err == nil {
		t.Error("a checkpoint signed by another key was taken")
	}
	forged := strings.Replace(string(signed), "\n7\n", "\n8\n", 1)
	if _, err := OpenCheckpoint([]byte(forged), c.Origin, known); err == nil {
		t.Error("a forged size was taken")
	}
	if _, err := (Checkpoint{Origin: "two\nlines"}).Sign(signer); err == nil {
		t.Error("an origin of two lines was signed")
	}
}

func FuzzParseCheckpoint(f *testing.F) {
	f.Add(Checkpoint{Origin: "o", Size: 12, Root: leaf(1)}.Text())
	f.Add("o\n-1\n\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := parseCheckpoint(text)
		if err != nil {
			return
		}
		if again, err := parseCheckpoint(c.Text()); err != nil || again != c {
			t.Errorf("%q -> %+v -> %+v, %v", text, c, again, err)
		}
	})
}
