package mysql

import "crypto/sha256"

// sha256Crypt is the digest of SHA-256 crypt by Ulrich Drepper's specification, https://www.akkadia.org/drepper/SHA-crypt.txt: 43
// characters, without the prefix. Salts are taken whole, as MySQL does: the specification's limit of 16 bytes belongs to the crypt format.
func sha256Crypt(password, salt []byte, rounds int) string {
	// Steps 4 to 8.
	h := sha256.New()
	h.Write(password)
	h.Write(salt)
	h.Write(password)
	b := h.Sum(nil)
	// Steps 1 to 3 and 9 to 12.
	h.Reset()
	h.Write(password)
	h.Write(salt)
	h.Write(repeat(b, len(password)))
	for n := len(password); n > 0; n >>= 1 {
		if n&1 != 0 {
			h.Write(b)
		} else {
			h.Write(password)
		}
	}
	a := h.Sum(nil)
	// Steps 13 to 16.
	h.Reset()
	for range len(password) {
		h.Write(password)
	}
	p := repeat(h.Sum(nil), len(password))
	defer clear(p)
	// Steps 17 to 20.
	h.Reset()
	for range 16 + int(a[0]) {
		h.Write(salt)
	}
	s := repeat(h.Sum(nil), len(salt))
	// Step 21.
	for i := range rounds {
		h.Reset()
		if i%2 != 0 {
			h.Write(p)
		} else {
			h.Write(a)
		}
		if i%3 != 0 {
			h.Write(s)
		}
		if i%7 != 0 {
			h.Write(p)
		}
		if i%2 != 0 {
			h.Write(a)
		} else {
			h.Write(p)
		}
		a = h.Sum(a[:0])
	}
	return cryptBase64(a)
}

// repeat fills n bytes with the digest, again and again.
func repeat(digest []byte, n int) []byte {
	out := make([]byte, 0, n+len(digest))
	for len(out) < n {
		out = append(out, digest...)
	}
	return out[:n]
}

const cryptAlphabet = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// cryptBase64 writes the digest in the order of step 22: three bytes, each ten places on, become four characters.
func cryptBase64(d []byte) string {
	out := make([]byte, 0, 43)
	put := func(w uint32, n int) {
		for range n {
			out = append(out, cryptAlphabet[w&0x3f])
			w >>= 6
		}
	}
	for i, at := 0, [3]int{0, 10, 20}; i < 10; i++ {
		put(uint32(d[at[0]])<<16|uint32(d[at[1]])<<8|uint32(d[at[2]]), 4)
		// The three places turn round: 0 10 20, 21 1 11, 12 22 2, 3 13 23 …
		at = [3]int{(at[2] + 1) % 30, (at[0] + 1) % 30, (at[1] + 1) % 30}
	}
	put(uint32(d[31])<<8|uint32(d[30]), 3)
	return string(out)
}
