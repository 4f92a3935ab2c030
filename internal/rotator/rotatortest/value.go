package rotatortest

import (
	"crypto/rand"
	"math/big"
	"strings"

	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/rotator"
)

// Value makes a value by the rules, as the engine does.
func Value(rules rotator.ValueRules) redact.Bytes {
	for {
		value := make(redact.Bytes, rules.Length)
		for i := range value {
			alphabet := rules.Alphabet
			if i == 0 {
				alphabet = strings.Map(onlyLetters, alphabet)
			}
			n, err := rand.Int(rand.Reader, big.NewInt(int64(len(alphabet))))
			if err != nil {
				panic(err) // crypto/rand never fails on the systems that Go supports
			}
			value[i] = alphabet[n.Int64()]
		}
		text := string(value)
		if !rules.Classes || strings.ContainsFunc(text, isLower) && strings.ContainsFunc(text, isUpper) && strings.ContainsFunc(text, isDigit) {
			return value
		}
	}
}

func isLower(r rune) bool { return 'a' <= r && r <= 'z' }
func isUpper(r rune) bool { return 'A' <= r && r <= 'Z' }
func isDigit(r rune) bool { return '0' <= r && r <= '9' }

func onlyLetters(r rune) rune {
	if isLower(r) || isUpper(r) {
		return r
	}
	return -1
}
