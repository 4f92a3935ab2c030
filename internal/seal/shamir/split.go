package shamir

import "crypto/rand"

const keyBytes = 32

// Bounds of n and k. A threshold of 1 would be copies of the key, for which a key file is the right seal.
const (
	MinThreshold = 2
	MaxShares    = 255
)

// split makes the values of n shares, at the places 1 to n, of which any k give the key.
func split(key *[keyBytes]byte, n, k int) [][keyBytes]byte {
	values := make([][keyBytes]byte, n)
	coefficients := make([]byte, k)
	defer clear(coefficients)
	for i, b := range key {
		rand.Read(coefficients[1:])
		coefficients[0] = b
		for x := range values {
			values[x][i] = evaluate(coefficients, byte(x+1))
		}
	}
	return values
}

// combine is the key that the values at the places give. It is a wrong one when any of them is wrong, or there are fewer than k.
func combine(places []byte, values [][keyBytes]byte) (key [keyBytes]byte) {
	for i, w := range weights(places) {
		for j, y := range values[i] {
			key[j] ^= multiply(w, y)
		}
	}
	return key
}
