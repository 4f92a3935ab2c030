package object

import (
	"cmp"
	"encoding/binary"
	"slices"
)

// attic keeps packed records of objects that were read once, or not of late, within a bound of bytes. What was put there first leaves first, a block at a
// time, but for what was read there meanwhile. A garbage collector finds nothing in it to follow. Its shard's lock guards it.
type attic struct {
	max int
	// at finds a record by the hash of its key.
	at map[uint64]place
	// blocks hold the records, one behind the other, each behind its length.
	blocks [atticBlocks][]byte
	// newest is the block to which records are added. The one behind it is the oldest, around the end.
	newest uint8
	// words are texts of many records.
	words  dictionary
	packer packer
}

const atticBlocks = 8

// place is where a record is. It has no more than the eight bytes that the key beside it has.
type place struct {
	offset uint32
	// vault is a part of the hash of the record's vault: when that is forgotten, others go with it at times, and are read again.
	vault uint16
	block uint8
	// touched says that the record was read here.
	touched bool
}

// put keeps a record and reports whether it does. It replaces one of the same hash.
func (a *attic) put(hash, vault uint64, k cacheKey, r *Record) bool {
	a.drop(hash)
	packed, ok := a.packer.pack(&a.words, k, r)
	whole := len(packed) + binary.MaxVarintLen32
	if !ok || whole > a.room()/2 {
		return false
	}
	if len(a.blocks[a.newest])+whole > a.room() {
		a.turn()
	}
	b := &a.blocks[a.newest]
	if *b == nil {
		*b = make([]byte, 0, a.room())
	}
	if a.at == nil {
		a.at = make(map[uint64]place)
	}
	a.at[hash] = place{offset: uint32(len(*b)), vault: uint16(vault), block: a.newest}
	*b = append(binary.AppendUvarint(*b, uint64(len(packed))), packed...)
	return true
}

// room is how long a block may be.
func (a *attic) room() int { return a.max / atticBlocks }

// turn makes the oldest block the newest. What was touched in it stays, up to half of the room, and counts as untouched then. The rest is forgotten.
func (a *attic) turn() {
	a.newest = (a.newest + 1) % atticBlocks
	type entry struct {
		hash uint64
		place
	}
	var stay []entry
	for hash, p := range a.at {
		if p.block != a.newest {
			continue
		}
		if p.touched {
			stay = append(stay, entry{hash, p})
		}
		delete(a.at, hash)
	}
	// In this order each moves to the front, over what is not needed any more.
	slices.SortFunc(stay, func(x, y entry) int { return cmp.Compare(x.offset, y.offset) })
	b := &a.blocks[a.newest]
	end := 0
	for _, e := range stay {
		whole, _ := a.record(e.place)
		if end+len(whole) > a.room()/2 {
			break
		}
		copy((*b)[end:], whole)
		e.offset, e.touched = uint32(end), false
		a.at[e.hash] = e.place
		end += len(whole)
	}
	*b = (*b)[:end]
}

// record returns a packed record, with its length before it and without.
func (a *attic) record(p place) (whole, packed []byte) {
	rest := a.blocks[p.block][p.offset:]
	n, size := binary.Uvarint(rest)
	whole = rest[:size+int(n)]
	return whole, whole[size:]
}

// has reports whether there is a record of a key.
func (a *attic) has(hash uint64) bool {
	_, ok := a.at[hash]
	return ok
}

// get returns a copy of the record of a key, or nil.
func (a *attic) get(hash uint64, k cacheKey) *Record {
	p, ok := a.at[hash]
	if !ok {
		return nil
	}
	_, packed := a.record(p)
	r, ok := unpackRecord(packed, &a.words, k)
	if !ok {
		return nil // another key of the same hash
	}
	return r
}

// touch notes that the record of a key was read here, and reports whether it was before, since it came or last stayed when its block was the oldest.
func (a *attic) touch(hash uint64) (again bool) {
	p, ok := a.at[hash]
	if ok && !p.touched {
		p.touched = true
		a.at[hash] = p
		return false
	}
	return ok
}

// drop forgets the record of a key.
func (a *attic) drop(hash uint64) { delete(a.at, hash) }

// dropVault forgets the records of a vault, and perhaps others.
func (a *attic) dropVault(vault uint64) {
	for hash, p := range a.at {
		if p.vault == uint16(vault) {
			delete(a.at, hash)
		}
	}
}

// empty forgets everything.
func (a *attic) empty() {
	clear(a.at)
	a.words = dictionary{}
	for i := range a.blocks {
		a.blocks[i] = a.blocks[i][:0]
	}
}

// stats counts the records and the bytes of the blocks.
func (a *attic) stats() (records int, bytes int64) {
	for _, b := range a.blocks {
		bytes += int64(cap(b))
	}
	return len(a.at), bytes
}
