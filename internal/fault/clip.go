package fault

import "unicode/utf8"

// clipBytes is how much of a foreign text a message shows: enough to recognise it by, and no way to fill a log.
const clipBytes = 128

// Clip shortens a text that a caller chose for a message: to at most 128 bytes, which end where a character does, and an ellipsis.
func Clip(s string) string {
	if len(s) <= clipBytes {
		return s
	}
	end := clipBytes
	for end > clipBytes-utf8.UTFMax && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "…"
}
