// Package merkle is the tamper-evident tree over an append-only log: RFC 6962 hashes, kept in tiles, signed as
// checkpoints.
//
// It is pure: hashes come in as values, tiles go through a small interface, and nothing here knows what a leaf means.
// Tree shapes, proofs and their verification are those of golang.org/x/mod/sumdb/tlog.
//
// # Tiles
//
// A tile of level L and number N holds up to 256 consecutive hashes of the tree's level 8·L, 32 bytes each, from hash
// 256·N on. Tiles of one level are adjacent, so a level is one growing sequence of hashes; a partial tile is a prefix
// of the full one. Only complete subtrees of 256 leaves appear above level 0.
//
// # Checkpoints
//
// A checkpoint is a signed note (golang.org/x/mod/sumdb/note, Ed25519) whose text is, as C2SP tlog-checkpoint says,
// origin, size in decimal and root hash in base64, each on its own line.
package merkle

import (
	"crypto/sha256"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"
)

const (
	// TileHeight is the height of a tile: it holds the hashes of one level and stands for the eight above.
	TileHeight = 8
	// TileWidth is how many hashes a full tile holds.
	TileWidth = 1 << TileHeight
	// HashBytes is the length of a hash.
	HashBytes = tlog.HashSize
)

// Hash is a SHA-256 hash of a leaf or a node.
type Hash = tlog.Hash

// LeafHash returns the hash of a leaf's data, RFC 6962 section 2.1: SHA-256(0x00 || data).
func LeafHash(data []byte) Hash {
	h := sha256.New()
	h.Write(leafPrefix[:])
	h.Write(data)
	var out Hash
	h.Sum(out[:0])
	return out
}

var leafPrefix = [1]byte{0}

// TileReader reads stored tiles.
type TileReader interface {
	// ReadTile returns the first width hashes of a tile. It fails when the tile has fewer.
	ReadTile(level int, n int64, width int) ([]byte, error)
}

// TileStore keeps tiles.
type TileStore interface {
	TileReader
	// WriteTile stores the hashes of a tile from the one with index from on; data is the whole tile so far. What was
	// stored before from is the same already. It need not be durable: the caller syncs before it signs.
	WriteTile(level int, n int64, from int, data []byte) error
}

// Tree is a growing tree. It keeps the right edge of each level in memory, 8 KiB each at most. It is not safe for
// concurrent use.
type Tree struct {
	store TileStore
	size  int64
	edge  []edge
}

// edge is the last, partial tile of a level.
type edge struct {
	n      int64
	hashes []byte
	saved  int // how many hashes the store has
}

// Open returns the tree of the given size that the store holds. The caller compares its Root with a checkpoint: Open
// itself trusts the tiles.
func Open(store TileStore, size int64) (*Tree, error) {
	t := &Tree{store: store, size: size}
	for level := 0; size>>(level*TileHeight) > 0; level++ {
		hashes := size >> (level * TileHeight)
		e := edge{n: hashes / TileWidth, saved: int(hashes % TileWidth)}
		if e.saved > 0 {
			data, err := store.ReadTile(level, e.n, e.saved)
			if err != nil {
				return nil, fmt.Errorf("reading tile %d of level %d: %w", e.n, level, err)
			}
			e.hashes = append(e.hashes, data...)
		}
		t.edge = append(t.edge, e)
	}
	return t, nil
}

// Size returns the number of leaves.
func (t *Tree) Size() int64 { return t.size }

// Append adds leaves and stores the tiles that changed, each once. After an error the tree must be opened again.
func (t *Tree) Append(leaves []Hash) error {
	for _, leaf := range leaves {
		if err := t.add(0, leaf); err != nil {
			return err
		}
		t.size++
	}
	for level := range t.edge {
		if err := t.save(level); err != nil {
			return err
		}
	}
	return nil
}

func (t *Tree) add(level int, h Hash) error {
	if level == len(t.edge) {
		t.edge = append(t.edge, edge{})
	}
	e := &t.edge[level]
	e.hashes = append(e.hashes, h[:]...)
	if len(e.hashes) < TileWidth*HashBytes {
		return nil
	}
	if err := t.save(level); err != nil {
		return err
	}
	above := TileRoot(e.hashes)
	*e = edge{n: e.n + 1, hashes: e.hashes[:0]}
	return t.add(level+1, above)
}

func (t *Tree) save(level int) error {
	e := &t.edge[level]
	if e.saved == len(e.hashes)/HashBytes {
		return nil
	}
	if err := t.store.WriteTile(level, e.n, e.saved, e.hashes); err != nil {
		return fmt.Errorf("storing tile %d of level %d: %w", e.n, level, err)
	}
	e.saved = len(e.hashes) / HashBytes
	return nil
}

// TileRoot returns the root of a full tile: the hash that stands for it one level above.
func TileRoot(hashes []byte) Hash {
	if len(hashes) == HashBytes {
		return Hash(hashes)
	}
	half := len(hashes) / 2
	return tlog.NodeHash(TileRoot(hashes[:half]), TileRoot(hashes[half:]))
}

// Root returns the hash of the whole tree.
func (t *Tree) Root() (Hash, error) { return tlog.TreeHash(t.size, t.reader()) }

// RootAt returns the hash of the tree of the first size leaves.
func (t *Tree) RootAt(size int64) (Hash, error) {
	if size < 0 || size > t.size {
		return Hash{}, fmt.Errorf("merkle: the root at size %d was asked for and the tree has %d leaves", size, t.size)
	}
	return tlog.TreeHash(size, t.reader())
}

// ProveInclusion returns the proof that leaf index is in the tree of the first size leaves.
func (t *Tree) ProveInclusion(index, size int64) ([]Hash, error) {
	if index < 0 || index >= size || size > t.size {
		return nil, fmt.Errorf("merkle: no proof of leaf %d at size %d in a tree of %d leaves", index, size, t.size)
	}
	return tlog.ProveRecord(size, index, t.reader())
}

// ProveConsistency returns the proof that the tree of the first newSize leaves begins with that of the first oldSize.
func (t *Tree) ProveConsistency(oldSize, newSize int64) ([]Hash, error) {
	if oldSize < 1 || oldSize > newSize || newSize > t.size {
		return nil, fmt.Errorf("merkle: no proof from size %d to %d in a tree of %d leaves", oldSize, newSize, t.size)
	}
	return tlog.ProveTree(newSize, oldSize, t.reader())
}

// VerifyInclusion checks that proof shows leaf at index in the tree of size leaves with the root.
func VerifyInclusion(proof []Hash, index int64, leaf Hash, size int64, root Hash) error {
	if index < 0 || index >= size {
		return errors.New("merkle: the leaf lies outside the tree")
	}
	return tlog.CheckRecord(proof, size, root, index, leaf)
}

// VerifyConsistency checks that proof shows the old tree to be the beginning of the new one.
func VerifyConsistency(proof []Hash, oldSize int64, oldRoot Hash, newSize int64, newRoot Hash) error {
	if oldSize < 1 || oldSize > newSize {
		return errors.New("merkle: the sizes are not in order")
	}
	return tlog.CheckTree(proof, newSize, newRoot, oldSize, oldRoot)
}

// RootOf returns the root at size from stored tiles alone.
func RootOf(tiles TileReader, size int64) (Hash, error) {
	return tlog.TreeHash(size, hashReader(func(level int, n int64, width int) ([]byte, error) {
		return tiles.ReadTile(level, n, width)
	}))
}

// reader reads from the edge what is there and from the store what is not.
func (t *Tree) reader() tlog.HashReader {
	return hashReader(func(level int, n int64, width int) ([]byte, error) {
		if level < len(t.edge) && t.edge[level].n == n {
			return t.edge[level].hashes[:width*HashBytes], nil
		}
		return t.store.ReadTile(level, n, width)
	})
}

type hashReader func(level int, n int64, width int) ([]byte, error)

// ReadHashes implements tlog.HashReader.
func (read hashReader) ReadHashes(indexes []int64) ([]Hash, error) {
	hashes := make([]Hash, len(indexes))
	for i, index := range indexes {
		tile := tlog.TileForIndex(TileHeight, index)
		data, err := read(tile.L, tile.N, tile.W)
		if err != nil {
			return nil, fmt.Errorf("reading tile %d of level %d: %w", tile.N, tile.L, err)
		}
		if len(data) < tile.W*HashBytes {
			return nil, fmt.Errorf("tile %d of level %d has %d bytes and %d hashes are needed", tile.N, tile.L, len(data), tile.W)
		}
		if hashes[i], err = tlog.HashFromTile(tile, data[:tile.W*HashBytes], index); err != nil {
			return nil, err
		}
	}
	return hashes, nil
}
