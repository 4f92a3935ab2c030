package nats

import (
	"bytes"
	"strings"
	"testing"
)

func TestParseUsersRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":        ``,
		"another member": `{"users": [], "port": 4222}`,
		"a user twice":   `{"users": [{"user": "a"}, {"user": "a"}]}`,
		"more":           `{"users": []} {}`,
		"null":           `{"users": [null]}`,
		"not a list":     `{"users": {"canary": 1}}`,
		"not JSON":       `users: [ {user: canary} ]`,
	} {
		if f, err := parseUsers([]byte(text)); err == nil || f != nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v, %v", name, f, err)
		}
	}
}

func FuzzParseUsers(f *testing.F) {
	for _, seed := range []string{`{"users": [{"user": "a\"<&>", "password": "$2a$05$x", "permissions": {"publish": [">"]}}, {"nkey": "U"}]}`, `{}`, `{"users":[{"user":1}]}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		first, err := parseUsers(text)
		if err != nil {
			return
		}
		once := first.bytes()
		second, err := parseUsers(once)
		if err != nil {
			t.Fatalf("%q was written as %q, which does not parse: %v", text, once, err)
		}
		if again := second.bytes(); !bytes.Equal(once, again) {
			t.Errorf("%q, then %q", once, again)
		}
	})
}
