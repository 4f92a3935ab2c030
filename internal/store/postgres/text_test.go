package postgres

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func FuzzText(f *testing.F) {
	for _, s := range []string{"", "plain", "\x00", "a\xffb", mark, mark + "00", mark[:2], "\U0010FFFF", "é\x00" + mark} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		kept := escape(s)
		if strings.IndexByte(kept, 0) >= 0 || !utf8.ValidString(kept) {
			t.Errorf("%q is kept as %q, which PostgreSQL refuses", s, kept)
		}
		if got := unescape(kept); got != s {
			t.Errorf("%q is kept as %q and read as %q", s, kept, got)
		}
	})
}

func TestDialect(t *testing.T) {
	for query, want := range map[string]string{
		"SELECT 1":                                      "SELECT 1",
		"a = ? AND b = ? LIMIT ?":                       "a = $1 AND b = $2 LIMIT $3",
		"?1 = '' OR a = ?1 LIMIT ?12":                   "$1 = '' OR a = $1 LIMIT $12",
		"FROM v CROSS JOIN o ON o.id = v.o WHERE c > ?": "FROM v JOIN o ON o.id = v.o WHERE c > $1",
	} {
		if got := translate(query); got != want {
			t.Errorf("%s\nis translated as\n%s\nwant\n%s", query, got, want)
		}
	}
	const script = "CREATE TABLE t (id TEXT PRIMARY KEY, n INTEGER, doc BLOB);"
	if got, want := step(script), `CREATE TABLE t (id TEXT COLLATE "C" PRIMARY KEY, n BIGINT, doc BYTEA);`; got != want {
		t.Errorf("the step is %s, want %s", got, want)
	}
}
