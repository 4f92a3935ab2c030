package azure

import (
	"net/http"
	"strconv"

	"github.com/keywright/keywright/internal/cryptokey"
	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/key"
	"github.com/keywright/keywright/internal/object"
)

// hsmPlatform says where a key is (Key Vault REST API, KeyAttributes): 0 means in software, whatever its type was asked to be, and 1 a hardware module.
// That a module is of Key Vault's platform 2 is nobody's claim here.
func hsmPlatform(f *key.Facts) string {
	if f.Hardware {
		return "1"
	}
	return "0"
}

// keyShape says which of the shapes of a key an answer has.
type keyShape struct {
	deleted, attestation bool
}

// keyAnswer answers with the bundle of a key, or fails with err.
func (h *handler) keyAnswer(r *door.Request, item *object.Item, err error) error {
	if err != nil {
		return err
	}
	return h.keyBundle(r, item, keyShape{})
}

func (h *handler) keyBundle(r *door.Request, item *object.Item, shape keyShape) error {
	facts := &key.Facts{}
	if item.Version != nil {
		var err error
		if facts, err = key.Describe(item.Version); err != nil {
			return err
		}
	}
	e := h.encoder(r)
	e.keyBundle(item, facts, shape)
	r.Scratch = e.buf
	r.Reply(http.StatusOK, e.buf)
	return nil
}

// keyBundle appends a key with its public half.
func (e *encoder) keyBundle(it *object.Item, f *key.Facts, shape keyShape) {
	e.byte('{')
	if shape.deleted {
		e.deletion(keys, it)
	}
	e.raw(`"key":`)
	e.jwk(it, f)
	e.keyProperties(it, f, shape)
	if f.Release != nil && e.version >= v73 {
		e.raw(`,"release_policy":{"contentType":`)
		e.buf = appendString(e.buf, f.Release.ContentType)
		e.octets("data", f.Release.Data)
		e.raw(`,"immutable":`)
		e.buf = strconv.AppendBool(e.buf, f.Release.Immutable)
		e.byte('}')
	}
	e.byte('}')
}

// jwk appends the public half.
func (e *encoder) jwk(it *object.Item, f *key.Facts) {
	e.byte('{')
	e.id("kid", keys, it)
	if it.Version == nil {
		e.byte('}')
		return
	}
	e.member("kty", f.Kty())
	e.raw(`,"key_ops":[`)
	for i, op := range f.Ops {
		if i > 0 {
			e.byte(',')
		}
		e.buf = appendString(e.buf, string(op))
	}
	e.byte(']')
	p := &f.Public
	for _, m := range []struct{ name, value string }{{"crv", p.Crv}, {"alg", p.Alg}} {
		if m.value != "" {
			e.member(m.name, m.value)
		}
	}
	for _, m := range []struct {
		name  string
		value cryptokey.Bytes
	}{{"n", p.N}, {"e", p.E}, {"x", p.X}, {"y", p.Y}, {"pub", p.Pub}} {
		if len(m.value) > 0 {
			e.octets(m.name, m.value)
		}
	}
	e.byte('}')
}

// member appends a member of text behind others.
func (e *encoder) member(name, value string) {
	e.raw(`,"`)
	e.raw(name)
	e.raw(`":`)
	e.buf = appendString(e.buf, value)
}

// keyProperties appends what bundles and items have in common, behind other members. Like properties, it has nothing to say of what was never made.
func (e *encoder) keyProperties(it *object.Item, f *key.Facts, shape keyShape) {
	if it.Version == nil {
		return
	}
	e.openAttributes(&it.Version.Attributes)
	if e.version >= v73 {
		e.raw(`,"exportable":`)
		e.buf = strconv.AppendBool(e.buf, f.Exportable)
	}
	if e.version >= v75 {
		e.member("hsmPlatform", hsmPlatform(f))
	}
	if shape.attestation {
		e.raw(`,"attestation":{}`) // no token here attests anything
	}
	e.byte('}')
	if len(it.Version.Tags) > 0 {
		e.tags(it.Version.Tags)
	}
	if it.Object.Managed {
		e.raw(`,"managed":true`)
	}
}

// keyItem appends a live key of a listing: its id has no version.
func (e *encoder) keyItem(it *object.Item) { e.keyEntry(&object.Item{Object: it.Object}, it, false) }

func (e *encoder) deletedKeyItem(it *object.Item) {
	e.keyEntry(&object.Item{Object: it.Object}, it, true)
}

func (e *encoder) keyVersionItem(it *object.Item) { e.keyEntry(it, it, false) }

func (e *encoder) keyEntry(named, it *object.Item, deleted bool) {
	e.byte('{')
	if deleted {
		e.deletion(keys, it)
	}
	e.id("kid", keys, named)
	if it.Version != nil {
		// A document that cannot be read must not keep the others from being listed; whoever gets that key is told.
		f, err := key.Describe(it.Version)
		if err != nil {
			f = &key.Facts{}
		}
		e.keyProperties(it, f, keyShape{})
	}
	e.byte('}')
}
