package relational

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/clock"
)

// micros is the column of an instant: microseconds since 1970, NULL for the zero time.
func micros(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UnixMicro()
}

// nullable is the column of a search key that may be absent, so that absent ones do not collide.
func nullable(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// bytesColumn is the column of bytes that may be absent: NULL for none.
func bytesColumn(b []byte) any {
	if b == nil {
		return nil
	}
	return b
}

// mapColumn is the column of a map: JSON, NULL for a nil one.
func mapColumn[K ~string, V ~string](m map[K]V) (any, error) {
	if m == nil {
		return nil, nil
	}
	b, err := json.Marshal(m)
	return string(b), err
}

// parseMap is the inverse of mapColumn.
func parseMap[K ~string, V ~string](column string) (m map[K]V, err error) {
	if column == "" {
		return nil, nil
	}
	if m, ok := parsePlain[K, V](column); ok {
		return m, nil
	}
	if err := json.Unmarshal([]byte(column), &m); err != nil {
		return nil, fmt.Errorf("decoding a stored map: %w", err)
	}
	return m, nil
}

// parsePlain reads a JSON object of texts as mapColumn writes it: without blanks, and for most maps without an escape. It is not ok for any other. Every
// object that is read has a map of labels, and a decoder for all of JSON takes as long as its query.
func parsePlain[K ~string, V ~string](column string) (map[K]V, bool) {
	rest, ok := strings.CutPrefix(column, "{")
	if !ok {
		return nil, false
	}
	m := make(map[K]V)
	if rest == "}" {
		return m, true
	}
	for {
		var key, value string
		if key, rest, ok = plainText(rest); !ok || !strings.HasPrefix(rest, ":") {
			return nil, false
		}
		if value, rest, ok = plainText(rest[1:]); !ok || rest == "" {
			return nil, false
		}
		m[K(key)] = V(value)
		switch end := rest[0]; {
		case end == '}' && len(rest) == 1:
			return m, true
		case end != ',':
			return nil, false
		}
		rest = rest[1:]
	}
}

// plainText cuts a JSON text off that has no escape and nothing but printable ASCII.
func plainText(s string) (text, rest string, ok bool) {
	if !strings.HasPrefix(s, `"`) {
		return "", "", false
	}
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return s[1:i], s[i+1:], true
		case c == '\\' || c < ' ' || c > '~':
			return "", "", false
		}
	}
	return "", "", false
}

// encode returns the document of a record: its JSON, every instant in it cut to what the store keeps.
func encode[T any](v *T) (string, error) {
	b, err := json.Marshal(cut(reflect.ValueOf(v)).Interface())
	if err != nil {
		return "", fmt.Errorf("encoding a %T: %w", v, err)
	}
	return string(b), nil
}

// cut returns a copy of v whose instants are in UTC microseconds. What holds no instants may be shared with v.
func cut(v reflect.Value) reflect.Value {
	switch {
	case v.Type() == reflect.TypeFor[time.Time]():
		return reflect.ValueOf(clock.Micro(v.Interface().(time.Time)))
	case v.Kind() == reflect.Pointer && !v.IsNil():
		c := reflect.New(v.Type().Elem())
		c.Elem().Set(cut(v.Elem()))
		return c
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Struct && !v.IsNil():
		c := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
		for i := range v.Len() {
			c.Index(i).Set(cut(v.Index(i)))
		}
		return c
	case v.Kind() == reflect.Struct:
		c := reflect.New(v.Type()).Elem()
		c.Set(v)
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				c.Field(i).Set(cut(v.Field(i)))
			}
		}
		return c
	}
	return v
}
