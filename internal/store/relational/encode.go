package relational

import (
	"encoding/json"
	"fmt"
	"reflect"
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
	if err := json.Unmarshal([]byte(column), &m); err != nil {
		return nil, fmt.Errorf("decoding a stored map: %w", err)
	}
	return m, nil
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
