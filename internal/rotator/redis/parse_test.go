package redis

import (
	"strings"
	"testing"
)

func FuzzParseClients(f *testing.F) {
	f.Add("id=3 addr=127.0.0.1:52555 laddr=127.0.0.1:6379 fd=8 name= age=0 user=app\n")
	f.Add("id= user=app\nnonsense\n\n")
	f.Fuzz(func(t *testing.T, text string) {
		for _, c := range parseClients(text) {
			if c["id"] == "" {
				t.Error("a connection without an id")
			}
			for key, value := range c {
				if !strings.Contains(text, key+"="+value) {
					t.Errorf("%q=%q is not in %q", key, value, text)
				}
			}
		}
	})
}

func TestParseUserRefusesWhatItCannotRead(t *testing.T) {
	good := []any{"flags", []any{"on", "sanitize-payload"}, "passwords", []any{"ab"}, "commands", "-@all +get", "keys", "~*", "channels", "&*", "selectors", []any{}}
	u, err := parseUser(good)
	if err != nil || !u.on || u.nopass || len(u.hashes) != 1 || !strings.Contains(u.rules, "commands=-@all +get") || !strings.Contains(u.rules, "sanitize-payload") {
		t.Errorf("%+v, %v", u, err)
	}
	for _, bad := range [][]any{good[:len(good)-1], {"passwords", []any{1}, "keys", "~*"}, {"flags", []any{"on"}}} {
		if u, err := parseUser(bad); err == nil {
			t.Errorf("%v is %+v", bad, u)
		}
	}
}

func TestKeepingNamesItsCommand(t *testing.T) {
	for k := nowhere; k <= sentinelFile; k++ {
		if k.String() == "" || (k.command() == nil) != (k == nowhere) {
			t.Errorf("%v: %v", k, k.command())
		}
	}
}
