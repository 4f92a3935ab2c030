package object

import (
	"encoding/binary"
	"encoding/hex"
	"maps"
	"slices"
	"time"

	"github.com/keywright/keywright/internal/vault"
)

// A packed record is a text without pointers, a fifth of what it takes otherwise:
//
//	heads of the texts, lengths of the blocks, numbers and flags, as varints and bytes, in the order of the packer's calls
//	then the texts, then the blocks, one behind the other
//
// It never leaves memory, so its form may change at any time.

// How a text is packed stands in the low bits of its head.
const (
	asItIs  = iota // the rest is its length
	asHex          // 32 lower-case hexadecimal digits: the ids of vaults, objects and versions. It takes half of that
	asGUID         // the same in groups of 8, 4, 4, 4 and 12, with a hyphen between them: the ids of tenants
	asOther        // the rest is which text before it has the same characters

	formBits = 2
	idBytes  = 16
)

// packRecord appends a record in its packed form to dst. It is not ok for what is rare: a record of an object with an open rollout, or a deleted one.
func packRecord(dst []byte, k cacheKey, r *Record) (_ []byte, ok bool) {
	o, v := &r.object, &r.version
	if o.Rollout != nil || o.Deleted != nil {
		return dst, false
	}
	p := packer{head: dst}
	for _, t := range []string{string(k.vault), k.name, string(r.tenant), string(o.ID), string(o.Kind), o.Name, string(o.Current),
		string(v.ID), v.ContentType, string(v.State), string(v.Previous), v.Value.Key} {
		p.text(t)
	}
	p.blocks(v.Value.Ciphertext, v.Value.WrappedKey, v.Doc)
	p.flag(o.Managed)
	p.flag(v.Attributes.Enabled)
	p.number(o.Revision)
	for _, t := range []time.Time{o.Created, v.Attributes.NotBefore, v.Attributes.Expires, v.Attributes.Created, v.Attributes.Updated} {
		p.instant(t)
	}
	packMap(&p, o.Labels)
	packMap(&p, v.Tags)
	dst = append(p.head, p.body...)
	return append(append(append(dst, v.Value.Ciphertext...), v.Value.WrappedKey...), v.Doc...), true
}

// unpackRecord is the inverse of packRecord. It is not ok when the record is that of another object. What it returns shares no memory with packed.
func unpackRecord(packed []byte, k cacheKey) (*Record, bool) {
	u := unpacker{rest: packed}
	r := new(Record)
	o, v := &r.object, &r.version
	var of cacheKey
	for _, t := range []*string{(*string)(&of.vault), &of.name, (*string)(&r.tenant), (*string)(&o.ID), (*string)(&o.Kind), &o.Name, (*string)(&o.Current),
		(*string)(&v.ID), &v.ContentType, (*string)(&v.State), (*string)(&v.Previous), &v.Value.Key} {
		u.text(t)
	}
	lengths := u.lengths()
	o.Managed, v.Attributes.Enabled, o.Revision = u.flag(), u.flag(), u.number()
	for _, t := range []*time.Time{&o.Created, &v.Attributes.NotBefore, &v.Attributes.Expires, &v.Attributes.Created, &v.Attributes.Updated} {
		*t = u.instant()
	}
	labels, tags := u.pairs(), u.pairs()
	u.fill()
	if of != k {
		return nil, false
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

// packer writes the head of a packed record and gathers the texts that stand behind it.
type packer struct {
	head, body []byte
	texts      []string
	space      [512]byte
	room       [24]string
}

func (p *packer) text(t string) {
	if p.texts == nil {
		p.texts, p.body = p.room[:0], p.space[:0]
	}
	head := uint64(len(t)) << formBits // asItIs
	if i := slices.Index(p.texts, t); i >= 0 {
		head = uint64(i)<<formBits | asOther
	} else if id, form := parseID(t); form != asItIs {
		head, p.body = form, append(p.body, id[:]...)
	} else {
		p.body = append(p.body, t...)
	}
	p.head = binary.AppendUvarint(p.head, head)
	p.texts = append(p.texts, t)
}

// parseID returns what the digits of an id stand for and how they are written, or asItIs for any other text.
func parseID(t string) (id [idBytes]byte, form uint64) {
	form = asHex
	switch {
	case len(t) == guidLen && t[8] == '-' && t[13] == '-' && t[18] == '-' && t[23] == '-':
		form = asGUID
	case len(t) != hexLen:
		return id, asItIs
	}
	at := 0
	for i := range id {
		if form == asGUID && (i == 4 || i == 6 || i == 8 || i == 10) {
			at++ // a hyphen
		}
		high, low := digit(t[at]), digit(t[at+1])
		if high|low > 0xf {
			return id, asItIs
		}
		id[i] = high<<4 | low
		at += 2
	}
	return id, form
}

const (
	hexLen  = 2 * idBytes
	guidLen = hexLen + 4
)

// digit is the value of a lower-case hexadecimal digit, and more than 15 for any other character.
func digit(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	}
	return 0xff
}

// appendID is the inverse of parseID.
func appendID(dst, id []byte, form uint64) []byte {
	if form == asHex {
		return hex.AppendEncode(dst, id)
	}
	for _, n := range [...]int{4, 2, 2, 2} {
		dst = append(hex.AppendEncode(dst, id[:n]), '-')
		id = id[n:]
	}
	return hex.AppendEncode(dst, id)
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

func (p *packer) flag(on bool) {
	b := byte(0)
	if on {
		b = 1
	}
	p.head = append(p.head, b)
}

// instant writes an instant in full; the zero one has a flag.
func (p *packer) instant(t time.Time) {
	p.flag(!t.IsZero())
	if !t.IsZero() {
		p.number(t.Unix())
		p.number(int64(t.Nanosecond()))
	}
}

// packMap writes how many pairs there are, 0 for a nil map, and their texts.
func packMap[K, V ~string](p *packer, m map[K]V) {
	if m == nil {
		p.number(0)
		return
	}
	p.number(int64(len(m)) + 1)
	for _, k := range slices.Sorted(maps.Keys(m)) {
		p.text(string(k))
		p.text(string(m[k]))
	}
}

// unpacker reads what a packer wrote. Texts get their place in turn when fill is called.
type unpacker struct {
	rest  []byte
	texts []packedText
	room  [24]packedText
	// all is how long the texts are together.
	all int
}

// packedText is a text that has its place yet to get.
type packedText struct {
	into *string
	form uint64
	// rest is what stands in its head behind the form.
	rest int
}

func (u *unpacker) text(into *string) {
	if u.texts == nil {
		u.texts = u.room[:0]
	}
	head, size := binary.Uvarint(u.rest)
	u.rest = u.rest[size:]
	t := packedText{into, head & (1<<formBits - 1), int(head >> formBits)}
	u.texts = append(u.texts, t)
	switch t.form {
	case asItIs:
		u.all += t.rest
	case asHex:
		u.all += hexLen
	case asGUID:
		u.all += guidLen
	}
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

func (u *unpacker) flag() bool {
	on := u.rest[0] == 1
	u.rest = u.rest[1:]
	return on
}

// lengths reads those of the blocks; -1 stands for none.
func (u *unpacker) lengths() (n [3]int) {
	for i := range n {
		n[i] = u.unsigned() - 1
	}
	return n
}

func (u *unpacker) instant() time.Time {
	if !u.flag() {
		return time.Time{}
	}
	seconds := u.number()
	return time.Unix(seconds, u.number()).UTC()
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

// fill copies the texts, all into one block of memory.
func (u *unpacker) fill() {
	block := make([]byte, 0, u.all)
	for _, t := range u.texts {
		n := t.rest
		switch t.form {
		case asItIs:
			block = append(block, u.rest[:n]...)
		case asHex, asGUID:
			n = idBytes
			block = appendID(block, u.rest[:n], t.form)
		default:
			continue
		}
		u.rest = u.rest[n:]
	}
	all := string(block)
	for _, t := range u.texts {
		n := t.rest
		switch t.form {
		case asHex:
			n = hexLen
		case asGUID:
			n = guidLen
		case asOther:
			*t.into = *u.texts[t.rest].into
			continue
		}
		*t.into, all = all[:n], all[n:]
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
