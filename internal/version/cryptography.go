package version

import "crypto/fips140"

// Cryptography says what this build claims of its cryptography, and what it does not.
type Cryptography struct {
	// FIPS says that the Go Cryptographic Module runs in its FIPS 140-3 mode; Module is the version of the module that was linked, "latest" for that of the toolchain.
	FIPS   bool
	Module string
	// Outside is what the product can be asked to do that lies outside of the module, in that mode too.
	Outside []string
}

// outside is what lies outside of the module. docs/operations/fips.md says of each what it is for and how it is left out, and a test compares it with what is linked.
var outside = []string{
	"Argon2id", "P-256K", "ML-DSA", "SHA-1", "PFX and JKS files", "Shamir's sharing", "logins at targets", "zlint",
}

// Crypto returns it.
func Crypto() Cryptography {
	return Cryptography{FIPS: fips140.Enabled(), Module: fips140.Version(), Outside: outside}
}
