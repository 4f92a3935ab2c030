package shamir

// An element of GF(2^8) is a polynomial over GF(2) modulo x^8 + x^4 + x^3 + x + 1, the field of AES (FIPS 197, section 4). Adding is XOR. Neither
// multiplying nor inverting looks anything up in a table or branches on an operand: both are secret, or stand beside secrets.

// multiply is the product of two elements, by adding shifted copies of a.
func multiply(a, b byte) (product byte) {
	for i := range 8 {
		product ^= a & -(b >> i & 1)
		a = a<<1 ^ 0x1b&-(a>>7)
	}
	return product
}

// invert is a^254, which is 1/a, and 0 for 0.
func invert(a byte) byte {
	// 254 is 2+4+8+16+32+64+128.
	result := byte(1)
	for range 7 {
		a = multiply(a, a)
		result = multiply(result, a)
	}
	return result
}

// evaluate is the value at x of the polynomial whose coefficients are given from the constant one on (Horner's rule).
func evaluate(coefficients []byte, x byte) (value byte) {
	for i := len(coefficients) - 1; i >= 0; i-- {
		value = multiply(value, x) ^ coefficients[i]
	}
	return value
}

// weights are what the values at the given places count in the value at 0 of the polynomial through them (Lagrange). The places are different and not 0.
func weights(places []byte) []byte {
	w := make([]byte, len(places))
	for i, at := range places {
		w[i] = 1
		for j, other := range places {
			if j != i {
				w[i] = multiply(w[i], multiply(other, invert(other^at)))
			}
		}
	}
	return w
}
