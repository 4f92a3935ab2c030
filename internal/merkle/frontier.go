package merkle

import (
	"encoding/binary"
	"errors"

	"golang.org/x/mod/sumdb/tlog"
)

// Frontier is a tree of which only the roots of its complete subtrees are kept, one for each bit of its size: enough to add leaves and to tell the root, in a
// kilobyte for any number of leaves. The zero value is the empty tree.
type Frontier struct {
	size int64
	// roots are those of the complete subtrees, the largest and leftmost first.
	roots []Hash
}

// Size returns the number of leaves.
func (f *Frontier) Size() int64 { return f.size }

// Add appends a leaf's hash.
func (f *Frontier) Add(leaf Hash) {
	f.roots = append(f.roots, leaf)
	for n := f.size; n&1 == 1; n >>= 1 {
		last := len(f.roots) - 1
		f.roots[last-1] = tlog.NodeHash(f.roots[last-1], f.roots[last])
		f.roots = f.roots[:last]
	}
	f.size++
}

// Root returns the hash of the whole tree; of the empty one it is the hash of nothing, as RFC 6962 says.
func (f *Frontier) Root() Hash {
	if f.size == 0 {
		empty, _ := tlog.TreeHash(0, nil) // it reads no hashes
		return empty
	}
	root := f.roots[len(f.roots)-1]
	for i := len(f.roots) - 2; i >= 0; i-- {
		root = tlog.NodeHash(f.roots[i], root)
	}
	return root
}

// AppendBinary appends the size, big-endian, and the roots.
func (f *Frontier) AppendBinary(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(f.size))
	for _, h := range f.roots {
		dst = append(dst, h[:]...)
	}
	return dst
}

// ParseFrontier reads what AppendBinary wrote; nothing is the empty tree. It believes the roots: whoever goes on from them compares the result with a
// checkpoint.
func ParseFrontier(b []byte) (f Frontier, err error) {
	if len(b) == 0 {
		return f, nil
	}
	if len(b) < 8 {
		return f, errors.New("merkle: a frontier begins with a size")
	}
	f.size = int64(binary.BigEndian.Uint64(b))
	want := 0
	for n := f.size; n > 0; n &= n - 1 {
		want++
	}
	if b = b[8:]; f.size < 0 || len(b) != want*HashBytes {
		return Frontier{}, errors.New("merkle: the frontier has not the roots that its size needs")
	}
	for ; len(b) > 0; b = b[HashBytes:] {
		f.roots = append(f.roots, Hash(b[:HashBytes]))
	}
	return f, nil
}
