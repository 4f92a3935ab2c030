package object

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/keywright/keywright/internal/keyring"
	"github.com/keywright/keywright/internal/rollout"
	"github.com/keywright/keywright/internal/vault"
)

// Record is a sealed version as it is kept in memory. The opener of its value is made on the first read and kept: it
// costs more than the opening itself.
//
// Reads of many objects wait for memory rather than for the processor, so a record is three blocks: itself, its texts and its
// bytes.
type Record struct {
	Item   // points to the two below
	tenant vault.TenantID
	opener atomic.Pointer[keyring.Opener]
	// made is what Use keeps.
	made atomic.Pointer[any]
	// warm says that the record was read more than once, and so has an opener or is about to get one. The lock of its shard guards writes.
	warm atomic.Bool
	// used is set by each hit and cleared by the sweep that looks for something to drop.
	used atomic.Bool
	// rollout is the object's, nil while there is none.
	rollout *rollout.Rollout
	object  vault.Object
	version vault.Version
}

// newRecord keeps a version of one of the vault's objects. It takes nothing of the arguments' memory but maps and the rollout.
func newRecord(k vault.Kind, v *vault.Vault, o *vault.Object, ver *vault.Version) (*Record, error) {
	open, err := rolloutOf(o)
	if err != nil {
		return nil, err
	}
	r := &Record{tenant: v.Tenant, object: *o, version: *ver, rollout: open}
	r.Item = Item{&r.object, &r.version}
	o, ver = &r.object, &r.version
	pack(&o.Name, (*string)(&ver.ID), &ver.ContentType, (*string)(&o.ID), (*string)(&ver.Previous), &ver.Value.Key, (*string)(&o.Current))
	o.Vault, o.Kind, ver.Object = v.ID, k, o.ID
	n, m := len(ver.Value.Ciphertext), len(ver.Value.Ciphertext)+len(ver.Value.WrappedKey)
	block := slices.Concat(ver.Value.Ciphertext, ver.Value.WrappedKey, ver.Doc)
	ver.Value.Ciphertext, ver.Value.WrappedKey = block[:n:n], block[n:m:m]
	if ver.Doc != nil {
		ver.Doc = block[m:]
	}
	return r, nil
}

// pack moves texts next to each other.
func pack(texts ...*string) {
	n := 0
	for _, t := range texts {
		n += len(*t)
	}
	var all strings.Builder
	all.Grow(n)
	for _, t := range texts {
		all.WriteString(*t)
	}
	rest := all.String()
	for _, t := range texts {
		*t, rest = rest[:len(*t)], rest[len(*t):]
	}
}

func (r *Record) place() keyring.Place {
	return keyring.Place{Tenant: r.tenant, Vault: r.object.Vault, Object: r.object.ID, Version: r.version.ID}
}

// openTries bounds how often an opener is made again whose key left the keyring's memory.
const openTries = 3

// Open appends the value to dst, and returns dst itself when it cannot. The opener is made by the second read: of many objects that are read once, it
// would take more memory than they. The keyring forgets keys when it is locked, when
// they change and when it needs the room; the record outlives that, its opener does not.
func (r *Record) Open(ctx context.Context, keys *keyring.Keyring, dst []byte) ([]byte, error) {
	for range openTries {
		o := r.opener.Load()
		if o == nil && !r.warm.Load() {
			break
		}
		if o == nil || o.Stale() {
			made, err := keys.Opener(ctx, r.place(), r.Version.Value)
			if err != nil {
				return dst, err
			}
			r.opener.Store(made)
			o = made
		}
		out, err := o.Open(dst, r.Version.Value.Ciphertext)
		switch {
		case err == nil:
			return out, nil
		case !errors.Is(err, keyring.ErrStale):
			return dst, err
		}
	}
	// The first read, or keys leave as fast as they come: do without keeping one.
	value, err := keys.Open(ctx, r.place(), r.Version.Value)
	if err != nil {
		return dst, err
	}
	defer clear(value)
	return append(dst, value...), nil
}

// Use returns what make makes of the value, and keeps it for as long as the record and the key that opens it stay in memory: a service that would
// have to parse the value for each request parses it once. make must not keep the bytes that it gets; they are zeroed.
func (r *Record) Use(ctx context.Context, keys *keyring.Keyring, make func(value []byte) (any, error)) (any, error) {
	if o := r.opener.Load(); o == nil || o.Stale() {
		r.made.Store(nil)
	} else if m := r.made.Load(); m != nil {
		return *m, nil
	}
	value, err := r.Open(ctx, keys, nil)
	defer clear(value)
	if err != nil {
		return nil, err
	}
	m, err := make(value)
	if err != nil {
		return nil, err
	}
	r.made.Store(&m)
	return m, nil
}

// size estimates the bytes that the record holds in memory.
func (r *Record) size() int64 {
	// The structures, their ids and labels; and the key schedule of an opener with what it is bound to.
	const fixed, opener = 900, 1300
	n := fixed
	if r.warm.Load() {
		n += opener
	}
	n += len(r.Version.Value.Ciphertext) + len(r.Version.Value.WrappedKey) + len(r.Version.Doc) + len(r.Object.Name) + len(r.Version.ContentType)
	for k, v := range r.Version.Tags {
		n += len(k) + len(v) + 32
	}
	return int64(n)
}
