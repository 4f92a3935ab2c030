package object

import "encoding/binary"

// attic keeps packed records of objects that were read once, or not of late, within a bound of bytes. What was put there first leaves first, a segment at a time. A
// garbage collector finds nothing in it to follow. Its shard's lock guards it.
type attic struct {
	max int
	// segments are in the order of their age, the newest first.
	segments [atticSegments]segment
	scratch  []byte
}

const atticSegments = 4

// segment is a block of records, one behind the other. Each stands behind its length, in four bytes, and the hash of its vault, in eight.
type segment struct {
	block []byte
	// at finds a record by the hash of its key.
	at map[uint64]uint32
}

const recordHead = 4 + 8

// put keeps a record and reports whether it does. It replaces one of the same hash.
func (a *attic) put(hash, vault uint64, k cacheKey, r *Record) bool {
	a.drop(hash)
	room := a.max / atticSegments
	packed, ok := packRecord(a.scratch[:0], k, r)
	a.scratch = packed[:0]
	if cap(a.scratch) > maxScratch {
		a.scratch = nil
	}
	if !ok || recordHead+len(packed) > room {
		return false
	}
	s := &a.segments[0]
	if len(s.block)+recordHead+len(packed) > room {
		s = a.turn()
	}
	if s.at == nil {
		s.block, s.at = make([]byte, 0, room), make(map[uint64]uint32)
	}
	s.at[hash] = uint32(len(s.block))
	s.block = binary.LittleEndian.AppendUint32(s.block, uint32(len(packed)))
	s.block = append(binary.LittleEndian.AppendUint64(s.block, vault), packed...)
	return true
}

// has reports whether there is a record of a key.
func (a *attic) has(hash uint64) bool {
	for i := range a.segments {
		if _, ok := a.segments[i].at[hash]; ok {
			return true
		}
	}
	return false
}

// maxScratch is the largest buffer that is kept for the next record, in bytes.
const maxScratch = 64 << 10

// turn empties the oldest segment and makes it the newest.
func (a *attic) turn() *segment {
	oldest := a.segments[atticSegments-1]
	copy(a.segments[1:], a.segments[:])
	clear(oldest.at)
	oldest.block = oldest.block[:0]
	a.segments[0] = oldest
	return &a.segments[0]
}

// take returns the record of a key and forgets it, or nil.
func (a *attic) take(hash uint64, k cacheKey) *Record {
	for i := range a.segments {
		s := &a.segments[i]
		if at, ok := s.at[hash]; ok {
			delete(s.at, hash)
			r, ok := unpackRecord(s.record(at), k)
			if !ok {
				return nil // another key of the same hash
			}
			return r
		}
	}
	return nil
}

func (s *segment) record(at uint32) []byte {
	n := binary.LittleEndian.Uint32(s.block[at:])
	return s.block[at+recordHead:][:n]
}

func (s *segment) vault(at uint32) uint64 { return binary.LittleEndian.Uint64(s.block[at+4:]) }

// drop forgets the record of a key.
func (a *attic) drop(hash uint64) {
	for i := range a.segments {
		delete(a.segments[i].at, hash)
	}
}

// dropVault forgets the records of vaults with a hash.
func (a *attic) dropVault(vault uint64) {
	for i := range a.segments {
		s := &a.segments[i]
		for hash, at := range s.at {
			if s.vault(at) == vault {
				delete(s.at, hash)
			}
		}
	}
}

// empty forgets everything.
func (a *attic) empty() {
	for i := range a.segments {
		s := &a.segments[i]
		clear(s.at)
		s.block = s.block[:0]
	}
}

// stats counts the records and the bytes of the blocks.
func (a *attic) stats() (records int, bytes int64) {
	for i := range a.segments {
		records += len(a.segments[i].at)
		bytes += int64(cap(a.segments[i].block))
	}
	return records, bytes
}
