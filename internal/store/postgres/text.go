package postgres

import (
	"encoding/hex"
	"strings"
	"unicode/utf8"
)

// PostgreSQL keeps no zero byte in a text and nothing that is not UTF-8; callers may ask for both. A byte that it refuses is written as this mark, a character
// that is none (https://www.unicode.org/faq/private_use.html#nonchar), and two hexadecimal digits; so is the first byte of the mark itself. Such texts
// sort behind all others.
const mark = "\U0010FFFE"

// escape returns the text as PostgreSQL keeps it.
func escape(s string) string {
	if strings.IndexByte(s, 0) < 0 && utf8.ValidString(s) && !strings.Contains(s, mark) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == 0 || r == utf8.RuneError && size == 1 || strings.HasPrefix(s[i:], mark) {
			b.WriteString(mark)
			b.WriteString(hex.EncodeToString([]byte{s[i]}))
			i++
			continue
		}
		b.WriteString(s[i : i+size])
		i += size
	}
	return b.String()
}

// unescape is the inverse of escape. What escape never made is left as it is.
func unescape(s string) string {
	if !strings.Contains(s, mark) {
		return s
	}
	var b strings.Builder
	for {
		before, after, found := strings.Cut(s, mark)
		b.WriteString(before)
		if !found {
			return b.String()
		}
		if len(after) < 2 {
			b.WriteString(mark + after)
			return b.String()
		}
		c, err := hex.DecodeString(after[:2])
		if err != nil {
			b.WriteString(mark)
			s = after
			continue
		}
		b.Write(c)
		s = after[2:]
	}
}
