package object

import (
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/vault"
)

// A packed record is a text without pointers, a quarter of what it takes otherwise:
//
//	heads of the texts, lengths of the blocks, numbers and flags, as varints and bytes, in the order of the packer's calls
//	then the texts, then the blocks, one behind the other
//
// It never leaves memory, so its form may change at any time.

// How a text is packed stands in the low bits of its head.
const (
	asItIs  = iota // the rest is its length
	asID           // it is an id, of half its length. The rest says how many bytes it has in common with the id before, and in its lowest bit how it is written
	asKnown        // the rest is its number in the dictionary
	asOther        // the rest is which text before it has the same characters

	formBits = 2
)

// packer writes the heads of a packed record and gathers the texts that stand behind them. It keeps its memory for the next record.
type packer struct {
	head, body []byte
	texts      []string
	words      *dictionary
	// last is the id that was packed last.
	last [idBytes]byte
}

// maxScratch is the largest buffer that is kept for the next record, in bytes.
const maxScratch = 64 << 10

// pack returns a record in its packed form, in memory of the packer. It is not ok for what is rare: a record of an object with an open rollout, or a deleted
// one.
func (p *packer) pack(words *dictionary, k cacheKey, r *Record) (packed []byte, ok bool) {
	o, v := &r.object, &r.version
	if o.Rollout != nil || o.Deleted != nil {
		return nil, false
	}
	*p = packer{head: p.head[:0], body: p.body[:0], texts: p.texts[:0], words: words}
	for _, t := range [...]string{string(k.vault), string(r.tenant), string(o.Kind), v.Value.Key} {
		p.word(t, ours)
	}
	for _, t := range [...]string{k.name, o.Name, string(o.ID), string(o.Current), string(v.ID), string(v.Previous)} {
		p.text(t)
	}
	p.word(string(v.State), ours)
	p.word(v.ContentType, callers)
	p.blocks(v.Value.Ciphertext, v.Value.WrappedKey, v.Doc)
	p.flags(o.Managed, v.Attributes.Enabled)
	p.number(o.Revision)
	a := &v.Attributes
	p.instant(o.Created, microOf(string(o.ID)))
	p.instant(a.Created, microOf(string(v.ID)))
	for _, t := range [...]time.Time{a.Updated, a.NotBefore, a.Expires} {
		p.instant(t, a.Created.UnixMicro())
	}
	packMap(p, o.Labels)
	packMap(p, v.Tags)
	packed = p.head
	for _, b := range [...][]byte{p.body, v.Value.Ciphertext, v.Value.WrappedKey, v.Doc} {
		packed = append(packed, b...)
	}
	p.head = packed
	if cap(p.head) > maxScratch {
		p.head, p.body = nil, nil
	}
	clear(p.texts) // they are the record's
	return packed, true
}

// unpackRecord is the inverse of packRecord. It is not ok when the record is that of another object. What it returns shares no memory with packed, and has
// the texts of the dictionary.
func unpackRecord(packed []byte, words *dictionary, k cacheKey) (*Record, bool) {
	var texts [24]packedText
	u := unpacker{rest: packed, texts: texts[:0], words: words.texts}
	r := new(Record)
	o, v := &r.object, &r.version
	var of cacheKey
	for _, t := range [...]*string{(*string)(&of.vault), (*string)(&r.tenant), (*string)(&o.Kind), &v.Value.Key, &of.name, &o.Name, (*string)(&o.ID),
		(*string)(&o.Current), (*string)(&v.ID), (*string)(&v.Previous), (*string)(&v.State), &v.ContentType} {
		u.text(t)
	}
	lengths := u.lengths()
	o.Managed, v.Attributes.Enabled = u.flags()
	o.Revision = u.number()
	var instants [5]packedInstant
	for i := range instants {
		instants[i] = u.instant()
	}
	labels, tags := u.pairs(), u.pairs()
	u.fill()
	if of != k {
		return nil, false
	}
	a := &v.Attributes
	o.Created = instants[0].from(microOf(string(o.ID)))
	a.Created = instants[1].from(microOf(string(v.ID)))
	for i, t := range [...]*time.Time{&a.Updated, &a.NotBefore, &a.Expires} {
		*t = instants[2+i].from(a.Created.UnixMicro())
	}
	o.Labels, v.Tags = unpackMap[vault.Label, vault.VersionID](labels), unpackMap[string, string](tags)
	o.Vault, v.Object = of.vault, o.ID
	rest := slices.Clone(u.rest)
	for i, b := range [...]*[]byte{&v.Value.Ciphertext, &v.Value.WrappedKey, &v.Doc} {
		if n := lengths[i]; n >= 0 {
			*b, rest = rest[:n:n], rest[n:]
		}
	}
	r.Item = Item{&r.object, &r.version}
	return r, true
}

func (p *packer) text(t string) {
	head := uint64(len(t)) << formBits // asItIs
	if i := slices.Index(p.texts, t); i >= 0 {
		head = uint64(i)<<formBits | asOther
	} else if id, written, ok := parseID(t); ok {
		same := 0
		for same < idBytes-1 && id[same] == p.last[same] {
			same++
		}
		head = (uint64(same)<<1|uint64(written))<<formBits | asID
		p.last, p.body = id, append(p.body, id[same:]...)
	} else {
		p.body = append(p.body, t...)
	}
	p.add(t, head)
}

// word packs a text that others have too.
func (p *packer) word(t string, by whose) {
	if t != "" {
		if n, ok := p.words.number(t, by); ok {
			p.add(t, uint64(n)<<formBits|asKnown)
			return
		}
	}
	p.text(t)
}

func (p *packer) add(t string, head uint64) {
	p.head = binary.AppendUvarint(p.head, head)
	p.texts = append(p.texts, t)
}

// An id is 16 bytes, written as hexadecimal digits.
const (
	inARow   = iota // 32 of them: the ids of vaults, objects and versions
	inGroups        // of 8, 4, 4, 4 and 12, with a hyphen between them: the ids of tenants

	idBytes = 16
)

// parseID returns the bytes of an id and how they are written. It is not ok for any other text.
func parseID(t string) (id [idBytes]byte, written int, ok bool) {
	if len(t) != guidLen || t[8] != '-' || t[13] != '-' || t[18] != '-' || t[23] != '-' {
		id, ok = vault.IDBytes(t)
		return id, inARow, ok
	}
	digits := append(make([]byte, 0, hexLen), t[:8]...)
	digits = append(append(append(append(digits, t[9:13]...), t[14:18]...), t[19:23]...), t[24:]...)
	id, ok = vault.IDBytes(string(digits))
	return id, inGroups, ok
}

const (
	hexLen  = 2 * idBytes
	guidLen = hexLen + 4
)

// appendID is the inverse of parseID.
func appendID(dst []byte, id [idBytes]byte, written int) []byte {
	if written == inARow {
		return hex.AppendEncode(dst, id[:])
	}
	return append(dst, vault.FormatGUID(id)...)
}

// blocks writes how long each is; 0 stands for none.
func (p *packer) blocks(list ...[]byte) {
	for _, b := range list {
		n := uint64(0)
		if b != nil {
			n = uint64(len(b)) + 1
		}
		p.head = binary.AppendUvarint(p.head, n)
	}
}

func (p *packer) number(n int64) { p.head = binary.AppendVarint(p.head, n) }

func (p *packer) flags(managed, enabled bool) {
	b := byte(0)
	if managed {
		b = 1
	}
	if enabled {
		b |= 2
	}
	p.head = append(p.head, b)
}

// How an instant is packed. Any other number is how far it is from one that is known, in microseconds, above these.
const (
	isZero = iota
	isFull // its seconds and nanoseconds follow
	isNear
)

// maxNear bounds from which instants on others are packed by their distance: some thousand years around 1970.
const maxNear = 1 << 57

// instant writes an instant by its distance from a known one: most are the same.
func (p *packer) instant(t time.Time, known int64) {
	micro := t.UnixMicro()
	switch {
	case t.IsZero():
		p.head = append(p.head, isZero)
	case !time.UnixMicro(micro).Equal(t) || max(micro, known) > maxNear || min(micro, known) < -maxNear:
		p.head = append(p.head, isFull)
		p.number(t.Unix())
		p.number(int64(t.Nanosecond()))
	default:
		far := micro - known
		p.head = binary.AppendUvarint(p.head, uint64(far<<1^far>>63)+isNear)
	}
}

// microOf returns when an object or a version was made, by its id, to the microsecond; any number for an id that does not say so. See RFC 9562, section 5.7:
// milliseconds, a version, and a fraction of 12 bits.
func microOf(id string) int64 {
	b, _, _ := parseID(id)
	n := binary.BigEndian.Uint64(b[:])
	return int64(n>>16)*1000 + int64(n&0xfff*1000+0xfff)>>12
}

// packMap writes how many pairs there are, 0 for a nil map, and their texts.
func packMap[K, V ~string](p *packer, m map[K]V) {
	if m == nil {
		p.number(0)
		return
	}
	p.number(int64(len(m)) + 1)
	for k, v := range m {
		p.word(string(k), callers)
		p.text(string(v))
	}
}

// unpacker reads what a packer wrote. Texts get their place in turn when fill is called.
type unpacker struct {
	rest  []byte
	texts []packedText
	words []string
	// all is how long the texts are together that are not known.
	all int
}

// packedText is a text that has its place yet to get.
type packedText struct {
	into *string
	head uint64
}

func (t packedText) form() int { return int(t.head & (1<<formBits - 1)) }

// rest is what stands in the head behind the form.
func (t packedText) rest() int { return int(t.head >> formBits) }

// length is how many characters of its own the text gets.
func (t packedText) length() int {
	switch {
	case t.form() == asItIs:
		return t.rest()
	case t.form() == asID && t.rest()&1 == inARow:
		return hexLen
	case t.form() == asID:
		return guidLen
	}
	return 0
}

func (u *unpacker) text(into *string) {
	head, size := binary.Uvarint(u.rest)
	u.rest = u.rest[size:]
	t := packedText{into, head}
	u.texts = append(u.texts, t)
	u.all += t.length()
}

func (u *unpacker) unsigned() int {
	n, size := binary.Uvarint(u.rest)
	u.rest = u.rest[size:]
	return int(n)
}

func (u *unpacker) number() int64 {
	n, size := binary.Varint(u.rest)
	u.rest = u.rest[size:]
	return n
}

func (u *unpacker) flags() (managed, enabled bool) {
	b := u.rest[0]
	u.rest = u.rest[1:]
	return b&1 != 0, b&2 != 0
}

// lengths reads those of the blocks; -1 stands for none.
func (u *unpacker) lengths() (n [3]int) {
	for i := range n {
		n[i] = u.unsigned() - 1
	}
	return n
}

// packedInstant is an instant before it is known from which other one it was measured.
type packedInstant struct {
	head uint64
	full time.Time
}

func (u *unpacker) instant() (t packedInstant) {
	head, size := binary.Uvarint(u.rest)
	u.rest = u.rest[size:]
	t.head = head
	if head == isFull {
		seconds := u.number()
		t.full = time.Unix(seconds, u.number()).UTC()
	}
	return t
}

func (t packedInstant) from(known int64) time.Time {
	if t.head < isNear {
		return t.full
	}
	far := t.head - isNear
	return time.UnixMicro(known + (int64(far>>1) ^ -int64(far&1))).UTC()
}

// pairs reads how many pairs there are and makes room for their texts; it is nil for a nil map.
func (u *unpacker) pairs() [][2]string {
	n := u.number()
	if n == 0 {
		return nil
	}
	list := make([][2]string, n-1)
	for i := range list {
		u.text(&list[i][0])
		u.text(&list[i][1])
	}
	return list
}

// fill copies the texts, all into one block of memory but those of the dictionary.
func (u *unpacker) fill() {
	var block strings.Builder
	block.Grow(u.all)
	var last [idBytes]byte
	var written [guidLen]byte
	for _, t := range u.texts {
		switch t.form() {
		case asItIs:
			block.Write(u.rest[:t.rest()])
			u.rest = u.rest[t.rest():]
		case asID:
			n := copy(last[t.rest()>>1:], u.rest)
			u.rest = u.rest[n:]
			block.Write(appendID(written[:0], last, t.rest()&1))
		}
	}
	all := block.String()
	for _, t := range u.texts {
		switch t.form() {
		case asKnown:
			*t.into = u.words[t.rest()]
		case asOther:
			*t.into = *u.texts[t.rest()].into
		default:
			n := t.length()
			*t.into, all = all[:n], all[n:]
		}
	}
}

func unpackMap[K, V ~string](pairs [][2]string) map[K]V {
	if pairs == nil {
		return nil
	}
	m := make(map[K]V, len(pairs))
	for _, p := range pairs {
		m[K(p[0])] = V(p[1])
	}
	return m
}
