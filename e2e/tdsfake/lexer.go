package tdsfake

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// wordKind tells apart what a token of SQL is.
type wordKind byte

const (
	wordEnd     wordKind = iota
	wordPlain            // SELECT, @name, sys
	wordQuoted           // [name]
	wordText             // 'text' or N'text'
	wordNumber           // 42
	wordBinary           // 0x2A; its text is without 0x
	wordSymbol           // one character
	wordIllegal          // a quote without its partner
)

// word is one token of SQL. text is the name or the value, unquoted.
type word struct {
	kind wordKind
	text string
	line int
}

// is reports whether the token is the keyword or the symbol.
func (w word) is(text string) bool {
	return (w.kind == wordPlain || w.kind == wordSymbol) && strings.EqualFold(w.text, text)
}

// lex splits SQL into tokens; the last is wordEnd or wordIllegal.
func lex(sql string) []word {
	var words []word
	line := 1
	for {
		rest := strings.TrimLeftFunc(sql, unicode.IsSpace)
		line += strings.Count(sql[:len(sql)-len(rest)], "\n")
		if rest == "" {
			return append(words, word{kind: wordEnd, line: line})
		}
		w, length := first(rest)
		w.line = line
		words = append(words, w)
		if w.kind == wordIllegal {
			return words
		}
		line += strings.Count(rest[:length], "\n")
		sql = rest[length:]
	}
}

// first reads the token at the start of sql, which is neither empty nor begins with a space.
func first(sql string) (word, int) {
	r, width := utf8.DecodeRuneInString(sql)
	switch {
	case r == '[':
		return quoted(sql, 1, ']', wordQuoted)
	case r == '\'':
		return quoted(sql, 1, '\'', wordText)
	case (r == 'N' || r == 'n') && strings.HasPrefix(sql[1:], "'"):
		return quoted(sql, 2, '\'', wordText)
	case strings.HasPrefix(sql, "0x"):
		w, length := span(sql[2:], wordBinary, func(r rune) bool { return strings.ContainsRune("0123456789abcdefABCDEF", r) })
		return w, length + 2
	case r >= '0' && r <= '9':
		return span(sql, wordNumber, func(r rune) bool { return r >= '0' && r <= '9' })
	case r == '_' || r == '@' || r == '#' || unicode.IsLetter(r):
		return span(sql, wordPlain, func(r rune) bool {
			return r == '_' || r == '@' || r == '#' || r == '$' || unicode.IsLetter(r) || unicode.IsDigit(r)
		})
	}
	return word{kind: wordSymbol, text: sql[:width]}, width
}

func span(sql string, kind wordKind, inside func(rune) bool) (word, int) {
	end := strings.IndexFunc(sql, func(r rune) bool { return !inside(r) })
	if end < 0 {
		end = len(sql)
	}
	return word{kind: kind, text: sql[:end]}, end
}

// quoted reads up to the closing quote; a doubled one stands for itself.
func quoted(sql string, open int, quote byte, kind wordKind) (word, int) {
	var text strings.Builder
	for i := open; i < len(sql); i++ {
		if sql[i] != quote {
			text.WriteByte(sql[i])
			continue
		}
		if i+1 < len(sql) && sql[i+1] == quote {
			text.WriteByte(quote)
			i++
			continue
		}
		return word{kind: kind, text: text.String()}, i + 1
	}
	return word{kind: wordIllegal}, len(sql)
}
