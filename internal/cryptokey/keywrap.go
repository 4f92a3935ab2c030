package cryptokey

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
	"encoding/binary"
)

// The wrapping process works on semiblocks of 64 bits: an integrity register and the key.
const semiblock = 8

var (
	// wrapIV is the default initial value of RFC 3394, section 2.2.3.1.
	wrapIV = [semiblock]byte{0xA6, 0xA6, 0xA6, 0xA6, 0xA6, 0xA6, 0xA6, 0xA6}
	// padMagic begins the alternative initial value of RFC 5649, section 3; the length of the key in bytes follows.
	padMagic = [4]byte{0xA6, 0x59, 0x59, 0xA6}
)

// wrap is RFC 3394, section 2.2.1: key must have 16 bytes or more, in whole semiblocks.
func wrap(block cipher.Block, key []byte) []byte {
	out := make([]byte, semiblock+len(key))
	copy(out, wrapIV[:])
	copy(out[semiblock:], key)
	wrapSemiblocks(block, out)
	return out
}

// unwrap is RFC 3394, section 2.2.2.
func unwrap(block cipher.Block, wrapped []byte) ([]byte, error) {
	out := append([]byte(nil), wrapped...)
	unwrapSemiblocks(block, out)
	if subtle.ConstantTimeCompare(out[:semiblock], wrapIV[:]) != 1 {
		clear(out)
		return nil, ErrDecrypt
	}
	return out[semiblock:], nil
}

// wrapPadded is RFC 5649, section 4.1: key may have any length but zero.
func wrapPadded(block cipher.Block, key []byte) []byte {
	padded := (len(key) + semiblock - 1) / semiblock * semiblock
	out := make([]byte, semiblock+padded)
	copy(out, padMagic[:])
	binary.BigEndian.PutUint32(out[len(padMagic):], uint32(len(key)))
	copy(out[semiblock:], key)
	if padded == semiblock { // a single semiblock is encrypted as one AES block
		block.Encrypt(out, out)
	} else {
		wrapSemiblocks(block, out)
	}
	return out
}

// unwrapPadded is RFC 5649, section 4.2. All three checks (magic, length, zeros) are always made, and end in one error.
func unwrapPadded(block cipher.Block, wrapped []byte) ([]byte, error) {
	out := append([]byte(nil), wrapped...)
	if len(out) == aes.BlockSize {
		block.Decrypt(out, out)
	} else {
		unwrapSemiblocks(block, out)
	}
	good := subtle.ConstantTimeCompare(out[:len(padMagic)], padMagic[:])
	key := out[semiblock:]
	// 32 bits, compared as unsigned numbers of a machine word: ConstantTimeLessOrEq is for those below 2³¹ alone.
	stated := uint64(binary.BigEndian.Uint32(out[len(padMagic):semiblock]))
	// 0 to 7 in a right one. If stated is too long it wraps around, but by less than 2³², so the 32 bits above the lowest three are
	// not all zero.
	spare := uint64(len(key)) - stated
	good &= subtle.ConstantTimeEq(int32(spare>>3), 0)
	for i, b := range key[len(key)-semiblock:] {
		isPad := subtle.ConstantTimeLessOrEq(semiblock-i, int(spare&7))
		good &= subtle.ConstantTimeSelect(isPad, subtle.ConstantTimeByteEq(b, 0), 1)
	}
	if good != 1 {
		clear(out)
		return nil, ErrDecrypt
	}
	return key[:stated], nil
}

// wrapSemiblocks is W of NIST SP 800-38F, section 6.1, in place: six rounds over the key, each step mixing its number into the
// register.
func wrapSemiblocks(block cipher.Block, out []byte) {
	var b [aes.BlockSize]byte
	a := out[:semiblock]
	t := uint64(1)
	for range 6 {
		for i := semiblock; i < len(out); i += semiblock {
			copy(b[:], a)
			copy(b[semiblock:], out[i:i+semiblock])
			block.Encrypt(b[:], b[:])
			binary.BigEndian.PutUint64(a, binary.BigEndian.Uint64(b[:])^t)
			copy(out[i:], b[semiblock:])
			t++
		}
	}
	clear(b[:])
}

// unwrapSemiblocks is W⁻¹.
func unwrapSemiblocks(block cipher.Block, out []byte) {
	var b [aes.BlockSize]byte
	a := out[:semiblock]
	t := uint64(6 * (len(out)/semiblock - 1))
	for range 6 {
		for i := len(out) - semiblock; i >= semiblock; i -= semiblock {
			binary.BigEndian.PutUint64(b[:], binary.BigEndian.Uint64(a)^t)
			copy(b[semiblock:], out[i:i+semiblock])
			block.Decrypt(b[:], b[:])
			copy(a, b[:semiblock])
			copy(out[i:], b[semiblock:])
			t--
		}
	}
	clear(b[:])
}
