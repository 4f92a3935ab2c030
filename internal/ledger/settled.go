package ledger

import (
	"encoding/binary"
	"hash/maphash"
	"math"
	"time"

	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/vault"
)

// settled keeps the groups of which nothing is queued, packed into blocks of bytes in which a garbage collector finds nothing to follow. They are found by a
// hash, and compared in full: a delivery that was wrongly taken for a known one would be missing from the evidence.
//
// A record stands in a slot of a multiple of eight bytes:
//
//	2  the size of the slot
//	1  how many versions are held; 0 in a slot that is free
//	1  whether one was delivered again since room was made last
//	4  the hash of the object; in a free slot where the next free one of its size is
//	16 of each version: its last delivery in microseconds (8), by how many microseconds the store is behind it (4), of which the highest bit says that
//	   the store has it as of the group's changes, and the way by which it was delivered (4)
//	   vault, kind, principal, instance, name and versions
//
// A slot that becomes free is used again for a record of its size, which nearly always is that of the same group a moment later.
type settled struct {
	seed   maphash.Seed
	blocks [][]byte
	// used is how much of the last block is.
	used int
	free [maxSlot/slotUnit + 1]uint32
	// at finds the records. A cell holds the hash of a group and, in its upper half, the place of the record behind the first, 0 for none. A group stands
	// in the first free cell from that of its hash on. How many cells there are is a power of two, and groups take three quarters of them at most.
	at     []uint64
	groups int
	// pairs counts the versions that are held.
	pairs   int
	texts   dictionary
	scratch []byte
	// bits are those of a hash that count; tests take few, so that groups collide.
	bits uint32
}

const (
	slotUnit = 8
	maxSlot  = 4096
	// slotBlock is the size of a block, and blockUnits how many units it has.
	slotBlock  = 1 << 16
	blockUnits = slotBlock / slotUnit

	slotHead = 8
	heldSize = 16
	agrees   = 1 << 31

	// fewCells is how many cells there are at first.
	fewCells = 64
)

func newSettled() *settled {
	return &settled{seed: maphash.MakeSeed(), bits: math.MaxUint32, at: make([]uint64, fewCells), texts: newDictionary()}
}

func (q *settled) hash(k *groupKey) uint32 { return uint32(maphash.Comparable(q.seed, *k)) & q.bits }

// slot returns the slot at a place, and all that is behind it in its block.
func (q *settled) slot(at uint32) []byte { return q.blocks[at/blockUnits][at%blockUnits*slotUnit:] }

func slotSize(s []byte) int { return int(binary.LittleEndian.Uint16(s)) }

// pack keeps a group that it does not have. It reports false when the group has no compact form.
func (q *settled) pack(k *groupKey, g *group) bool {
	if len(g.held) == 0 {
		return false
	}
	b := append(q.scratch[:0], 0, 0, byte(len(g.held)), 0)
	if g.used {
		b[3] = 1
	}
	b = binary.LittleEndian.AppendUint32(b, q.object(k.object()))
	for i := range g.held {
		h := &g.held[i]
		rough := h.last.Sub(h.stored).Microseconds()
		if h.queued != nil || h.stored.IsZero() || rough < 0 || rough >= agrees {
			return false
		}
		if h.changes == g.changes {
			rough |= agrees
		}
		b = binary.LittleEndian.AppendUint64(b, uint64(h.last.UnixMicro()))
		b = binary.LittleEndian.AppendUint32(b, uint32(rough))
		b = binary.LittleEndian.AppendUint32(b, h.way)
	}
	for _, t := range [...]string{string(k.vault), string(k.kind), string(k.principal), k.instance} {
		b = q.texts.append(b, t)
	}
	b = appendID(b, k.name)
	for i := range g.held {
		b = appendID(b, string(g.held[i].version))
	}
	q.scratch = b
	size := (len(b) + slotUnit - 1) / slotUnit * slotUnit
	if size > maxSlot {
		q.scratch = nil
		return false
	}
	binary.LittleEndian.PutUint16(b, uint16(size))
	at := q.take(size)
	copy(q.slot(at), b)
	if q.groups++; q.groups > len(q.at)/4*3 {
		cells := q.at
		q.at = make([]uint64, 2*len(cells))
		for _, c := range cells {
			if c > 0 {
				q.enter(c)
			}
		}
	}
	q.enter(uint64(at+1)<<32 | uint64(q.hash(k)))
	q.pairs += len(g.held)
	return true
}

// enter puts a group into the first free cell.
func (q *settled) enter(cell uint64) {
	i := q.home(cell)
	for q.at[i] > 0 {
		i = q.next(i)
	}
	q.at[i] = cell
}

// home is the first cell in which a group may stand.
func (q *settled) home(cell uint64) int { return int(uint32(cell)) & (len(q.at) - 1) }

func (q *settled) next(i int) int { return (i + 1) & (len(q.at) - 1) }

// leave empties a cell, and moves those behind it that would not be found any more.
func (q *settled) leave(i int) {
	for n := q.next(i); q.at[n] > 0; n = q.next(n) {
		// One that stands n-home cells behind its first may move back by n-i, when that is no more.
		if (n-q.home(q.at[n]))&(len(q.at)-1) >= (n-i)&(len(q.at)-1) {
			q.at[i], i = q.at[n], n
		}
	}
	q.at[i] = 0
	q.groups--
}

// take returns a slot of a size.
func (q *settled) take(size int) uint32 {
	first := &q.free[size/slotUnit]
	if *first > 0 {
		at := *first - 1
		*first = binary.LittleEndian.Uint32(q.slot(at)[4:])
		return at
	}
	last := len(q.blocks) - 1
	if last < 0 || q.used+size > slotBlock {
		if last >= 0 && q.used < slotBlock { // what is left over is a slot too
			rest := uint32(last*blockUnits + q.used/slotUnit)
			binary.LittleEndian.PutUint16(q.slot(rest), uint16(slotBlock-q.used))
			q.release(rest)
		}
		q.blocks, q.used = append(q.blocks, make([]byte, slotBlock)), 0
		last++
	}
	at := uint32(last*blockUnits + q.used/slotUnit)
	q.used += size
	return at
}

// release makes a slot free.
func (q *settled) release(at uint32) {
	s := q.slot(at)
	s[2] = 0
	first := &q.free[slotSize(s)/slotUnit]
	binary.LittleEndian.PutUint32(s[4:], *first)
	*first = at + 1
}

// find returns the record of a group, the versions in it and its cell; an empty one when there is none.
func (q *settled) find(k *groupKey) (r record, versions []byte, cell int) {
	hash := q.hash(k)
	for i := q.home(uint64(hash)); q.at[i] > 0; i = q.next(i) {
		if uint32(q.at[i]) != hash {
			continue
		}
		r = q.record(q.at[i])
		if is, versions := q.is(r, k); is {
			return r, versions, i
		}
	}
	return record{}, nil, 0
}

// drop forgets a group.
func (q *settled) drop(k *groupKey) {
	r, _, i := q.find(k)
	if r.held() == 0 {
		return
	}
	q.pairs -= r.held()
	q.release(place(q.at[i]))
	q.leave(i)
}

// unpack returns a group, and keeps it no longer; nil when there is none.
func (q *settled) unpack(k *groupKey) *group {
	r, _, _ := q.find(k)
	if r.held() == 0 {
		return nil
	}
	_, g := q.open(r)
	q.drop(k)
	return g
}

// each calls f for every record, until it returns false. f may drop the record that it is given.
func (q *settled) each(f func(r record) bool) {
	for i, b := range q.blocks {
		end := slotBlock
		if i == len(q.blocks)-1 {
			end = q.used
		}
		for n := 0; n < end; {
			s := b[n:]
			size := slotSize(s)
			if s[2] > 0 && !f(record(s[:size])) {
				return
			}
			n += size
		}
	}
}

// object is the hash of an object.
func (q *settled) object(o objectKey) uint32 { return uint32(maphash.Comparable(q.seed, o)) }

// renew packs everything anew, so that the dictionary has the texts alone that somebody needs. It calls left for groups that have no compact form any more.
func (q *settled) renew(left func(groupKey, *group)) {
	old := *q
	q.blocks, q.used, q.pairs, q.texts = nil, 0, 0, newDictionary()
	q.at, q.groups, q.free = make([]uint64, fewCells), 0, [len(q.free)]uint32{}
	old.each(func(r record) bool {
		k, g := old.open(r)
		if !q.pack(&k, g) {
			left(k, g)
		}
		return true
	})
}

// record is the packed form of a group; see settled.
type record []byte

// place is that of the record in a cell.
func place(cell uint64) uint32 { return uint32(cell>>32) - 1 }

func (q *settled) record(cell uint64) record {
	s := q.slot(place(cell))
	return record(s[:slotSize(s)])
}

// held is how many versions are held; 0 of an empty record.
func (r record) held() int {
	if len(r) == 0 {
		return 0
	}
	return int(r[2])
}

func (r record) again() bool { return r[3] > 0 }

func (r record) setAgain(again bool) {
	r[3] = 0
	if again {
		r[3] = 1
	}
}

func (r record) object() uint32 { return binary.LittleEndian.Uint32(r[4:]) }

func (r record) fixed(i int) []byte { return r[slotHead+i*heldSize:] }

// last returns the last delivery of a version in microseconds, and by how many the store is behind it.
func (r record) last(i int) (last, rough int64) {
	f := r.fixed(i)
	return int64(binary.LittleEndian.Uint64(f)), int64(binary.LittleEndian.Uint32(f[8:]) &^ agrees)
}

func (r record) agrees(i int) bool { return r.fixed(i)[11]&0x80 != 0 }

// setLast moves the last delivery of a version; the store hears nothing of it.
func (r record) setLast(i int, last, rough int64) {
	f := r.fixed(i)
	binary.LittleEndian.PutUint64(f, uint64(last))
	binary.LittleEndian.PutUint32(f[8:], binary.LittleEndian.Uint32(f[8:])&agrees|uint32(rough))
}

// disagree notes that the consumer did something besides reading a version again.
func (r record) disagree() {
	for i := range r.held() {
		r.fixed(i)[11] &^= 0x80
	}
}

// rough reports whether the store has a last delivery only roughly.
func (r record) rough() bool {
	for i := range r.held() {
		if _, behind := r.last(i); behind > 0 {
			return true
		}
	}
	return false
}

// is reports whether the record is that of a group, and returns what is behind that.
func (q *settled) is(r record, k *groupKey) (same bool, b []byte) {
	b = r.fixed(r.held())
	for _, want := range [...]string{string(k.vault), string(k.kind), string(k.principal), k.instance} {
		if same, b = q.texts.is(b, want); !same {
			return false, nil
		}
	}
	return isID(b, k.name)
}

// version returns the place of a version among those of a record; -1 when it is not held.
func (r record) version(b []byte, v vault.VersionID) int {
	for i := range r.held() {
		var same bool
		if same, b = isID(b, string(v)); same {
			return i
		}
	}
	return -1
}

// key reads whose record it is, and returns what is behind that.
func (q *settled) key(r record) (k groupKey, b []byte) {
	b = r.fixed(r.held())
	var t [4]string
	for i := range t {
		t[i], b = q.texts.read(b)
	}
	k = groupKey{vault: vault.ID(t[0]), kind: vault.Kind(t[1]), principal: principal.ID(t[2]), instance: t[3]}
	k.name, b = readID(b)
	return k, b
}

// open reads a record.
func (q *settled) open(r record) (k groupKey, g *group) {
	k, b := q.key(r)
	g = &group{used: r.again(), changes: 1, held: make([]held, r.held())}
	for i := range g.held {
		h := &g.held[i]
		last, rough := r.last(i)
		h.last, h.stored = time.UnixMicro(last).UTC(), time.UnixMicro(last-rough).UTC()
		h.way = binary.LittleEndian.Uint32(r.fixed(i)[12:])
		if r.agrees(i) {
			h.changes = g.changes
		}
		var v string
		v, b = readID(b)
		h.version = vault.VersionID(v)
	}
	return k, g
}
