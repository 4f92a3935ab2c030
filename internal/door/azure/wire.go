package azure

import (
	"maps"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/object"
	"github.com/keywright/keywright/internal/vault"
)

// encoder appends the JSON of bundles. It is written by hand because it stands on the hot path; its output is compared
// with encoding/json's in tests.
type encoder struct {
	buf     []byte
	version apiVersion
	// base is the vault's address as the client wrote it, without a trailing slash.
	base  string
	vault *vault.Vault
}

// bundle appends a secret bundle. value is nil for answers without one.
func (e *encoder) bundle(it *object.Item, value []byte) {
	e.byte('{')
	if value != nil {
		e.raw(`"value":`)
		e.buf = appendString(e.buf, value)
		e.byte(',')
	}
	e.id("id", secrets, it)
	e.properties(it)
	// The API has this of certificates only ("The version of the previous certificate", SecretBundle).
	if e.version >= v2025 && it.Object.Managed && it.Version != nil && it.Version.Previous != "" {
		e.raw(`,"previousVersion":"`)
		e.raw(string(it.Version.Previous))
		e.byte('"')
	}
	e.byte('}')
}

// deletedBundle appends a deleted secret's bundle, which never has a value.
func (e *encoder) deletedBundle(it *object.Item) {
	e.byte('{')
	e.deletion(secrets, it)
	e.id("id", secrets, it)
	e.properties(it)
	e.byte('}')
}

// secrets and keys are the collections of a vault, as paths name them.
const (
	secrets = "secrets"
	keys    = "keys"
)

func (e *encoder) deletion(collection string, it *object.Item) {
	e.raw(`"recoveryId":"`)
	e.raw(e.base)
	e.raw("/deleted")
	e.raw(collection)
	e.byte('/')
	e.raw(it.Object.Name)
	e.raw(`","deletedDate":`)
	e.seconds(it.Object.Deleted.At)
	e.raw(`,"scheduledPurgeDate":`)
	e.seconds(it.Object.Deleted.PurgeAt)
	e.byte(',')
}

// id appends an item's id, with its version, as the named member.
func (e *encoder) id(member, collection string, it *object.Item) {
	e.byte('"')
	e.raw(member)
	e.raw(`":"`)
	e.raw(e.base)
	e.byte('/')
	e.raw(collection)
	e.byte('/')
	e.raw(it.Object.Name)
	if it.Version != nil {
		e.byte('/')
		e.raw(string(it.Version.ID))
	}
	e.byte('"')
}

// properties appends what is known of a version, behind other members. An object of which none was ever made, such as what was to stand behind a certificate that
// was given up, has none.
func (e *encoder) properties(it *object.Item) {
	v := it.Version
	if v == nil {
		return
	}
	if v.ContentType != "" {
		e.raw(`,"contentType":`)
		e.buf = appendString(e.buf, v.ContentType)
	}
	e.attributes(&v.Attributes)
	if len(v.Tags) > 0 {
		e.tags(v.Tags)
	}
	if it.Object.Managed {
		e.byte(',')
		e.id("kid", keys, it)
		e.raw(`,"managed":true`)
	}
}

func (e *encoder) attributes(a *vault.Attributes) {
	e.openAttributes(a)
	e.byte('}')
}

// openAttributes appends the attributes that every kind of objects has, and leaves their object open.
func (e *encoder) openAttributes(a *vault.Attributes) {
	e.raw(`,"attributes":{"enabled":`)
	e.buf = strconv.AppendBool(e.buf, a.Enabled)
	if !a.NotBefore.IsZero() {
		e.raw(`,"nbf":`)
		e.seconds(a.NotBefore)
	}
	if !a.Expires.IsZero() {
		e.raw(`,"exp":`)
		e.seconds(a.Expires)
	}
	e.raw(`,"created":`)
	e.seconds(a.Created)
	e.raw(`,"updated":`)
	e.seconds(a.Updated)
	e.raw(`,"recoveryLevel":"`)
	e.raw(door.RecoveryLevel(e.vault))
	e.byte('"')
	if e.version >= v71 {
		e.raw(`,"recoverableDays":`)
		e.buf = strconv.AppendInt(e.buf, int64(e.vault.RetentionDays), 10)
	}
}

func (e *encoder) tags(tags map[string]string) {
	e.raw(`,"tags":{`)
	for i, k := range slices.Sorted(maps.Keys(tags)) {
		if i > 0 {
			e.byte(',')
		}
		e.buf = appendString(e.buf, k)
		e.byte(':')
		e.buf = appendString(e.buf, tags[k])
	}
	e.byte('}')
}

func (e *encoder) raw(s string) { e.buf = append(e.buf, s...) }

func (e *encoder) byte(c byte) { e.buf = append(e.buf, c) }

func (e *encoder) seconds(t time.Time) { e.buf = strconv.AppendInt(e.buf, t.Unix(), 10) }

const hexDigits = "0123456789abcdef"

// appendString appends s as a JSON string (RFC 8259, section 7). Bytes that are not UTF-8 become U+FFFD, as
// encoding/json does it.
func appendString[S string | []byte](dst []byte, s S) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(string(s[i:min(i+utf8.UTFMax, len(s))]))
			if r != utf8.RuneError || size != 1 {
				i += size
				continue
			}
		}
		dst = append(dst, s[start:i]...)
		switch {
		case c >= utf8.RuneSelf:
			dst = append(dst, `\ufffd`...)
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c == '\n':
			dst = append(dst, `\n`...)
		case c == '\r':
			dst = append(dst, `\r`...)
		case c == '\t':
			dst = append(dst, `\t`...)
		default:
			dst = append(dst, `\u00`...)
			dst = append(dst, hexDigits[c>>4], hexDigits[c&15])
		}
		i++
		start = i
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}
