package certfile

import (
	"slices"

	"github.com/keywright/keywright/internal/fault"
)

// maxBERDepth is how deep elements may nest. A PFX file as Windows writes it needs fewer than 20 levels.
const maxBERDepth = 48

// The tags and bits of X.690 section 8.1.2.
const (
	classBits      = 0xc0
	constructedBit = 0x20
	highTag        = 0x1f
	indefinite     = -1
)

// The universal strings that BER may cut into pieces (X.690 sections 8.7 and 8.23). Bit strings are missing: no writer of PFX cuts them.
var piecewise = []byte{4, 12, 18, 19, 20, 22, 23, 24, 25, 26, 27, 28, 30}

// toDER turns one BER element into DER as far as lengths and cut strings go: indefinite and needlessly long lengths become short definite
// ones, strings in pieces become whole. What stands in a string is left alone, and so is the order of sets. DER comes out as it went in.
//
// A context-specific tag does not tell whether its pieces are those of a string or elements of their own; those stay, see implicitOctets.
func toDER(in []byte) ([]byte, error) {
	out, rest, err := convert(in, 0)
	if err != nil {
		return nil, err
	}
	if len(rest) > 0 {
		return nil, badBER("%d bytes follow after its end", len(rest))
	}
	return out, nil
}

// convert reads the element at the start of in and returns it as DER, with what follows it.
func convert(in []byte, depth int) (out, rest []byte, err error) {
	if depth > maxBERDepth {
		return nil, nil, badBER("it nests deeper than %d levels", maxBERDepth)
	}
	tag, rest, err := readTag(in)
	if err != nil {
		return nil, nil, err
	}
	length, rest, err := readLength(rest)
	if err != nil {
		return nil, nil, err
	}
	constructed := tag[0]&constructedBit != 0
	if !constructed {
		if length == indefinite {
			return nil, nil, badBER("a primitive element has no length")
		}
		return encode(tag, rest[:length]), rest[length:], nil
	}
	parts, rest, err := readParts(rest, length, depth)
	if err != nil {
		return nil, nil, err
	}
	if len(tag) == 1 && tag[0]&classBits == 0 && slices.Contains(piecewise, tag[0]&highTag) {
		whole := tag[0] &^ constructedBit
		joined, err := join(whole, parts)
		if err != nil {
			return nil, nil, err
		}
		return encode([]byte{whole}, joined), rest, nil
	}
	return encode(tag, slices.Concat(parts...)), rest, nil
}

// readParts converts the elements within a constructed one.
func readParts(in []byte, length, depth int) (parts [][]byte, rest []byte, err error) {
	content, after := in, []byte(nil)
	if length != indefinite {
		content, after = in[:length], in[length:]
	}
	for {
		switch {
		case length != indefinite && len(content) == 0:
			return parts, after, nil
		case length == indefinite && len(content) >= 2 && content[0] == 0 && content[1] == 0:
			return parts, content[2:], nil
		}
		var part []byte
		if part, content, err = convert(content, depth+1); err != nil {
			return nil, nil, err
		}
		parts = append(parts, part)
	}
}

// join puts the pieces of a string together. They have become primitive already.
func join(tag byte, parts [][]byte) ([]byte, error) {
	var joined []byte
	for _, part := range parts {
		if part[0] != tag {
			return nil, badBER("a string in pieces holds something else")
		}
		_, content, err := readLength(part[1:])
		if err != nil {
			return nil, err
		}
		joined = append(joined, content...)
	}
	return joined, nil
}

// readTag reads one or more identifier octets; the tag 0 of the universal class ends indefinite lengths and stands nowhere else.
func readTag(in []byte) (tag, rest []byte, err error) {
	if len(in) == 0 {
		return nil, nil, badBER("it ends early")
	}
	if in[0]&^constructedBit == 0 {
		return nil, nil, badBER("an end-of-contents mark ends nothing")
	}
	n := 1
	if in[0]&highTag == highTag {
		for {
			if n == len(in) || n == 5 {
				return nil, nil, badBER("a tag is cut off or too large")
			}
			n++
			if in[n-1]&0x80 == 0 {
				break
			}
		}
	}
	return in[:n], in[n:], nil
}

// readLength reads length octets and makes sure that so much follows.
func readLength(in []byte) (length int, rest []byte, err error) {
	if len(in) == 0 {
		return 0, nil, badBER("it ends early")
	}
	first, rest := in[0], in[1:]
	switch {
	case first == 0x80:
		return indefinite, rest, nil
	case first < 0x80:
		length = int(first)
	default:
		n := int(first & 0x7f)
		if n > len(rest) {
			return 0, nil, badBER("it ends early")
		}
		for _, b := range rest[:n] {
			if length > MaxFileBytes {
				break
			}
			length = length<<8 | int(b)
		}
		rest = rest[n:]
	}
	if length > len(rest) {
		return 0, nil, badBER("it ends early")
	}
	return length, rest, nil
}

func encode(tag, content []byte) []byte {
	out := make([]byte, 0, len(tag)+5+len(content))
	out = append(out, tag...)
	switch n := len(content); {
	case n < 0x80:
		out = append(out, byte(n))
	case n < 1<<8:
		out = append(out, 0x81, byte(n))
	case n < 1<<16:
		out = append(out, 0x82, byte(n>>8), byte(n))
	default:
		out = append(out, 0x83, byte(n>>16), byte(n>>8), byte(n)) // MaxFileBytes is below 1<<24
	}
	return append(out, content...)
}

func badBER(format string, args ...any) error {
	e := fault.New(fault.Invalid, format, args...)
	e.Message = "the file is no PFX file, or it is damaged: " + e.Message + "; export it again"
	return e
}
