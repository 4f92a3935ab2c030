package shamir

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/hex"
	"strings"

	"github.com/keywright/keywright/internal/fault"
)

const (
	shareVersion = 1
	setBytes     = 8
	checkBytes   = 4
	bodyBytes    = 1 + setBytes + 1 + 1 + keyBytes
	shareBytes   = bodyBytes + checkBytes
	groupChars   = 4
)

// MaxShareText bounds what is read as a share: the characters, the signs between the groups, and white space around them.
const MaxShareText = 256

// digits are Crockford's: letters that look like digits, and U, are left out.
var digits = base32.NewEncoding("0123456789ABCDEFGHJKMNPQRSTVWXYZ").WithPadding(base32.NoPadding)

// set identifies shares that belong together.
type set [setBytes]byte

func (s set) String() string { return hex.EncodeToString(s[:]) }

// Share is what one person holds. It prints as its place in its set, never as its value.
type Share struct {
	set       set
	threshold byte
	x         byte
	y         [keyBytes]byte
}

// Set names the shares that belong together, 16 hexadecimal digits.
func (s *Share) Set() string { return s.set.String() }

// Number is the share's own in its set, from 1.
func (s *Share) Number() int { return int(s.x) }

// Threshold is how many shares of the set open it.
func (s *Share) Threshold() int { return int(s.threshold) }

// String hides the value.
func (s *Share) String() string { return "share of set " + s.set.String() }

// GoString hides it from %#v.
func (s *Share) GoString() string { return s.String() }

// Zero forgets the value.
func (s *Share) Zero() { clear(s.y[:]) }

// Reveal is the share as people write it down: groups of four characters. The caller zeroes it.
func (s *Share) Reveal() []byte {
	body := make([]byte, 0, shareBytes)
	body = append(body, shareVersion)
	body = append(body, s.set[:]...)
	body = append(body, s.threshold, s.x)
	body = append(body, s.y[:]...)
	sum := sha256.Sum256(body)
	body = append(body, sum[:checkBytes]...)
	plain := digits.AppendEncode(nil, body)
	defer clear(plain)
	clear(body)
	out := make([]byte, 0, len(plain)+len(plain)/groupChars)
	for i, c := range plain {
		if i > 0 && i%groupChars == 0 {
			out = append(out, '-')
		}
		out = append(out, c)
	}
	return out
}

var errShare = fault.New(fault.Invalid, "this is no share, or it was mistyped: its check digits do not fit; read it again, character by character").Because("ShareNotValid")

// ParseShare reads a share. Groups, blanks, line breaks and the case of letters do not matter, nor whether somebody wrote O for 0, or I or L for 1.
func ParseShare(text []byte) (*Share, error) {
	if len(text) > MaxShareText {
		return nil, errShare
	}
	plain := bytes.Map(plainDigit, text)
	defer clear(plain)
	if len(plain) != digits.EncodedLen(shareBytes) {
		return nil, errShare
	}
	body := make([]byte, shareBytes)
	defer clear(body)
	if _, err := digits.Decode(body, plain); err != nil {
		return nil, errShare
	}
	sum := sha256.Sum256(body[:bodyBytes])
	s := &Share{set: set(body[1:]), threshold: body[1+setBytes], x: body[2+setBytes], y: [keyBytes]byte(body[3+setBytes:])}
	again := s.Reveal()
	defer clear(again)
	grouped := bytes.Map(plainDigit, again)
	defer clear(grouped)
	// The last character holds fewer bits than it could; the comparison leaves one text for each share.
	if subtle.ConstantTimeCompare(sum[:checkBytes], body[bodyBytes:]) != 1 || body[0] != shareVersion || s.x == 0 || s.threshold < MinThreshold ||
		subtle.ConstantTimeCompare(grouped, plain) != 1 {
		s.Zero()
		return nil, errShare
	}
	return s, nil
}

// plainDigit maps what people write to what was printed.
func plainDigit(r rune) rune {
	switch {
	case r == '-' || r == ' ' || r == '\n' || r == '\r' || r == '\t':
		return -1
	case strings.ContainsRune("oO", r):
		return '0'
	case strings.ContainsRune("iIlL", r):
		return '1'
	case r >= 'a' && r <= 'z':
		return r - 'a' + 'A'
	}
	return r
}
