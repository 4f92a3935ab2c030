package composition

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/vault"
)

// Limits of templates.
const (
	MaxTemplateBytes = 16 << 10
	MaxParts         = 32
)

// Template is a text with places for values: {{NAME}} is the value of a secret, {{NAME.MEMBER}} a member of one that is a JSON object. With
// |url behind it the value is escaped for any place in a URL.
type Template struct {
	pieces []piece
}

// piece is a text, or a place for a value when part is set.
type piece struct {
	text         string
	part, member string
	url          bool
}

func (p piece) String() string {
	if p.part == "" {
		return p.text
	}
	s := "{{" + p.part
	if p.member != "" {
		s += "." + p.member
	}
	if p.url {
		s += "|url"
	}
	return s + "}}"
}

// Parse reads a template. A mistake is a fault.Invalid that names the place.
func Parse(text string) (*Template, error) {
	if len(text) > MaxTemplateBytes {
		return nil, invalid("the template has %d bytes: it has at most %d", len(text), MaxTemplateBytes)
	}
	t, rest := &Template{}, text
	for {
		before, after, found := strings.Cut(rest, "{{")
		if before != "" {
			t.pieces = append(t.pieces, piece{text: before})
		}
		if !found {
			break
		}
		place, behind, closed := strings.Cut(after, "}}")
		if !closed {
			return nil, invalid("the template opens {{ after %d bytes and never closes it", len(text)-len(after)-2)
		}
		p, err := parsePlace(place)
		if err != nil {
			return nil, err
		}
		t.pieces, rest = append(t.pieces, p), behind
	}
	switch n := len(t.Parts()); {
	case n == 0:
		return nil, invalid("the template names no secret: write {{NAME}} where a value belongs")
	case n > MaxParts:
		return nil, invalid("the template names %d secrets: it names at most %d", n, MaxParts)
	}
	return t, nil
}

func parsePlace(place string) (piece, error) {
	what, filter, filtered := strings.Cut(place, "|")
	name, member, selects := strings.Cut(strings.TrimSpace(what), ".")
	p := piece{part: name, member: member, url: filtered}
	if err := vault.CheckObjectName(name); err != nil {
		return piece{}, invalid("{{%s}} names no secret: %s", fault.Clip(place), fault.As(err).Message)
	}
	if filtered && strings.TrimSpace(filter) != "url" {
		return piece{}, invalid("{{%s}} has a filter that does not exist: url is the one there is", fault.Clip(place))
	}
	if selects && (member == "" || strings.ContainsAny(member, "{}|")) {
		return piece{}, invalid("{{%s}} names no member: write {{NAME.MEMBER}}", fault.Clip(place))
	}
	return p, nil
}

func invalid(text string, args ...any) error {
	return fault.New(fault.Invalid, text, args...).Because("TemplateInvalid")
}

// String is the template as it is parsed again.
func (t *Template) String() string {
	var b strings.Builder
	for _, p := range t.pieces {
		b.WriteString(p.String())
	}
	return b.String()
}

// Parts are the name keys of the secrets in the template, each once, in order.
func (t *Template) Parts() []string {
	var names []string
	for _, p := range t.pieces {
		if p.part != "" && !slices.Contains(names, vault.NameKey(p.part)) {
			names = append(names, vault.NameKey(p.part))
		}
	}
	slices.Sort(names)
	return names
}

// Render fills in values by name key. Its errors show no value. The caller zeroes what it returns.
func (t *Template) Render(values map[string][]byte) ([]byte, error) {
	var out bytes.Buffer
	for _, p := range t.pieces {
		if p.part == "" {
			out.WriteString(p.text)
			continue
		}
		value, ok := values[vault.NameKey(p.part)]
		if !ok {
			return nil, invalid("the secret %q has no value", p.part)
		}
		if p.member != "" {
			var err error
			if value, err = memberOf(p, value); err != nil {
				return nil, err
			}
		}
		if p.url {
			value = escape(value)
		}
		out.Write(value)
	}
	return out.Bytes(), nil
}

func memberOf(p piece, value []byte) ([]byte, error) {
	var members map[string]json.RawMessage
	if json.Unmarshal(value, &members) != nil { // its error may quote the value
		return nil, invalid("the value of %q is no JSON object, so it has no member %q", p.part, p.member)
	}
	raw, ok := members[p.member]
	if !ok {
		return nil, invalid("the value of %q has no member %q", p.part, p.member)
	}
	var text string
	if json.Unmarshal(raw, &text) == nil && raw[0] == '"' {
		return []byte(text), nil
	}
	if c := raw[0]; c == '{' || c == '[' || c == 'n' {
		return nil, invalid("the member %q of %q is neither a text nor a number", p.member, p.part)
	}
	return raw, nil
}

// escape writes every byte that is not unreserved (RFC 3986, 2.3) as %XX, which is right in every part of a URL.
func escape(value []byte) []byte {
	const hex = "0123456789ABCDEF"
	var out []byte
	for _, c := range value {
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~", c) >= 0 {
			out = append(out, c)
			continue
		}
		out = append(out, '%', hex[c>>4], hex[c&15])
	}
	return out
}
