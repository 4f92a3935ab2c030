package relational

import (
	"encoding/json"
	"maps"
	"testing"

	"github.com/keywright/keywright/internal/vault"
)

// FuzzPlainMaps holds the reader of plain maps against that for all of JSON: what it takes it reads alike, and it takes what is stored for ordinary names.
func FuzzPlainMaps(f *testing.F) {
	for _, s := range []string{"", "{}", `{"previous":"0123"}`, `{"a":"1","b":"2"}`, `{"a":"1","a":"2"}`, `{"a":"1",}`, `{"a":"\u0041"}`, `{"a":"é"}`, `{"a":1}`, `{"a":"1"}x`,
		`{"a":"1""b":"2"}`, `{ "a":"1"}`, `{"a":"`, `{"a"`, `{"a":"\"}`, "{\"a\":\"\n\"}", `null`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, ok := parsePlain[string, string](s)
		if !ok {
			return
		}
		var want map[string]string
		if err := json.Unmarshal([]byte(s), &want); err != nil || !maps.Equal(got, want) {
			t.Errorf("%q is read as %q, want %q (%v)", s, got, want, err)
		}
	})
}

func TestMapsComeBack(t *testing.T) {
	for _, m := range []map[vault.Label]vault.VersionID{nil, {}, {"previous": "0123456789abcdef0123456789abcdef"}, {"a": "1", "b": "2", "c": ""}, {"<&>": "é\"\\", "\x00": "\n"}} {
		column, err := mapColumn(m)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := column.(string)
		got, err := parseMap[vault.Label, vault.VersionID](text)
		if err != nil || !maps.Equal(got, m) || (got == nil) != (m == nil) {
			t.Errorf("%q comes back as %q: %v", m, got, err)
		}
	}
	text, _ := mapColumn(map[string]string{"previous": "0123", "next": "4567"})
	if _, ok := parsePlain[string, string](text.(string)); !ok {
		t.Error("what is stored for ordinary names is not read the short way")
	}
}
