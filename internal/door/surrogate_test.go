package door

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestLoneSurrogates(t *testing.T) {
	for text, want := range map[string]bool{
		`{"value":"plain"}`:                    false,
		`{"value":"\ud83d\ude00"}`:             false,
		`{"value":"\uD83D\uDE00 and \u00e4"}`:  false,
		`{"value":"\\ud800"}`:                  false, // an escaped backslash, then letters
		`{"value":"\\\\\ud83d\ude00"}`:         false,
		`{"value":"\ud800"}`:                   true,
		`{"value":"\udc00"}`:                   true,
		`{"value":"\ud800\ud800"}`:             true,
		`{"value":"\ude00\ud83d"}`:             true,
		`{"value":"\ud83d\n\ude00"}`:           true,
		`{"value":"\ud83d \ude00"}`:            true,
		`{"\ud800":1}`:                         true,
		`{"value":"\ud83d\ude00\ud83d\ude00"}`: false,
		`{"value":"\ud83d`:                     true,
		`{"value":"\u`:                         false, // not JSON: the decoder says so
		`\`:                                    false,
	} {
		if got := loneSurrogate([]byte(text)); got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
}

// What is let through decodes without a replacement character that was not sent.
func FuzzLoneSurrogate(f *testing.F) {
	f.Add(`"\ud83d\ude00"`)
	f.Add(`"\ud800"`)
	f.Fuzz(func(t *testing.T, text string) {
		var decoded string
		if strings.Contains(text, "\ufffd") || strings.Contains(strings.ToLower(text), `\ufffd`) || strings.ToValidUTF8(text, "") != text ||
			json.Unmarshal([]byte(text), &decoded) != nil {
			return
		}
		if replaced := strings.Contains(decoded, "\ufffd"); replaced != loneSurrogate([]byte(text)) {
			t.Errorf("%q decodes to %q, and loneSurrogate says %v", text, decoded, !replaced)
		}
	})
}
