package mysql

import (
	"strings"
	"testing"

	"github.com/keywright/keywright/internal/redact"
)

// The examples of https://www.akkadia.org/drepper/SHA-crypt.txt; salts are cut to 16 bytes there.
func TestSHA256Crypt(t *testing.T) {
	for _, c := range []struct {
		password, salt string
		rounds         int
		want           string
	}{
		{"Hello world!", "saltstring", 5000, "5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5"},
		{"Hello world!", "saltstringsaltst", 10000, "3xv.VbSHBb41AL9AvLeujZkZRBAwqFMz2.opqey6IcA"},
		{"a very much longer text to encrypt.  This one even stretches over morethan one line.", "anotherlongsalts", 1400, "Rx.j8H.h8HjEDGomFU8bDkXm3XIUnzyxf12oP84Bnq1"},
		{"we have a short salt string but not a short password", "short", 77777, "JiO1O3ZpDAxGJeaDIuqCoEFysAe1mZNJRs3pw0KQRd/"},
	} {
		if got := sha256Crypt([]byte(c.password), []byte(c.salt), c.rounds); got != c.want {
			t.Errorf("%s with %d rounds: %s, want %s", c.salt, c.rounds, got, c.want)
		}
	}
}

// Examples of https://mariadb.com/kb/en/password/ and https://mariadb.com/kb/en/authentication-plugin-ed25519/.
func TestUnsaltedHashes(t *testing.T) {
	if got := nativeHash(redact.Bytes("mypass")); got != "*6C8989366EAF75BB670AD8EA7A7FC1176A95CEF4" {
		t.Errorf("native: %s", got)
	}
	if got := ed25519Hash(redact.Bytes("secret")); got != "ZIgUREUg5PVgQ6LskhXmO+eZLS0nC8be6HPjYWR4YJY" {
		t.Errorf("ed25519: %s", got)
	}
}

func TestHashesMatchTheirValueAlone(t *testing.T) {
	if len(hashers) != 3 {
		t.Fatalf("%d plugins", len(hashers))
	}
	for plugin := range hashers {
		m := hashed(plugin, redact.Bytes("right"))
		if !m.accepts(redact.Bytes("right")) || m.accepts(redact.Bytes("wrong")) || m.accepts(nil) {
			t.Errorf("%s does not tell its value from others", plugin)
		}
		if (method{plugin: plugin}).accepts(redact.Bytes("")) {
			t.Errorf("%s: no password is accepted", plugin)
		}
		if strings.ContainsAny(m.stored, `'\`) {
			t.Errorf("%s: the hash needs quoting", plugin)
		}
	}
	if (method{plugin: "pam", stored: "x"}).accepts(redact.Bytes("x")) {
		t.Error("a plugin that nobody knows accepts a value")
	}
}

func FuzzCachingSHA2(f *testing.F) {
	f.Add("$A$005$abcdefghijklmnopqrstUpmI/ga84kdg0xXkrk8eMf7gb9xz2ZwGHvwK0Nn5Io3")
	f.Add("$A$000$abcdefghijklmnopqrstUpmI/ga84kdg0xXkrk8eMf7gb9xz2ZwGHvwK0Nn5Io3")
	f.Add("*6C8989366EAF75BB670AD8EA7A7FC1176A95CEF4")
	f.Fuzz(func(t *testing.T, stored string) {
		rounds, salt, digest, ok := parseCachingSHA2(stored)
		if !ok {
			if rounds != 0 || salt != "" || digest != "" {
				t.Error("a refused text has parts")
			}
			return
		}
		if rounds < 1000 || rounds > maxRounds || len(salt) != cachingSalt || stored[len(stored)-43:] != digest || stored[7:27] != salt {
			t.Errorf("%q: %d rounds, salt %q, digest %q", stored, rounds, salt, digest)
		}
	})
}
