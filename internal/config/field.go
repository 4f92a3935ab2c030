package config

import (
	"reflect"
	"strings"
)

// field is a key that a section may have.
type field struct {
	name  string
	index int
	tag   reflect.StructTag
}

func fieldsOf(t reflect.Type) (list []field) {
	for i := range t.NumField() {
		f := t.Field(i)
		list = append(list, field{f.Tag.Get("yaml"), i, f.Tag})
	}
	return list
}

func find(fields []field, name string) (field, bool) {
	for _, f := range fields {
		if f.name == name {
			return f, true
		}
	}
	return field{}, false
}

func namesOf(fields []field) (names []string) {
	for _, f := range fields {
		names = append(names, f.name)
	}
	return names
}

// closest is the key that was probably meant; empty when none is near.
func closest(name string, fields []field) string {
	best, least := "", 3
	for _, f := range fields {
		if n := distance(strings.ToLower(name), strings.ToLower(f.name)); n < least {
			best, least = f.name, n
		}
	}
	return best
}

// suggest names the key that was probably meant, or else all that there are.
func suggest(name string, fields []field) string {
	if best := closest(name, fields); best != "" {
		return "write " + best + ", if that is meant"
	}
	return "use one of " + strings.Join(namesOf(fields), ", ")
}

// distance is how many letters have to be put in, taken out or changed to make b of a (Levenshtein, 1966). Names that are long are not compared.
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		left := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := left
			if a[i] != b[j] {
				change++
			}
			left = row[j+1]
			row[j+1] = min(change, row[j]+1, left+1)
		}
	}
	return row[len(b)]
}
