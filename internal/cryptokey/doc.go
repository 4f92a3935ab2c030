// Package cryptokey is the engine behind keys: it makes them, reads them, and computes with them. Values go in, a value or a
// reason comes out; it does no I/O, keeps nothing and knows neither callers nor versions.
//
// # Keys
//
// A Spec says what a key is: RSA of 2048, 3072 or 4096 bits, EC on P-256, P-384, P-521 or P-256K (secp256k1), or oct (AES and
// HMAC) of 128, 192 or 256 bits. As an extension of the Key Vault protocol there are ML-DSA (FIPS 204) and ML-KEM (FIPS 203)
// keys, of the JWK type AKP. Whether a key is called "-HSM" is an attribute that its owner keeps, see ParseType: the
// mathematics is the same.
//
// A Key is made by Generate, by ParseJWK or ParsePKCS8 (imports, which are checked in full), or by ParsePrivate from what
// AppendPrivate wrote (ours, which is checked cheaply). It is immutable and everything that can be computed beforehand is: parse
// it once, keep it, use it from any number of goroutines. Public is the half that everyone may see.
//
// What needs the private half goes through Backend, so that a PKCS#11 token or another vault can hold it; FromBackend makes a
// Key of such a one. The engine still checks algorithm and lengths before it asks the backend, and computes with public keys
// by itself.
//
// # Algorithms
//
// The names are those of Key Vault, which are mostly those of RFC 7518. An Algorithm belongs to one type of key, sometimes to one
// size or curve, and to some operations; a call that does not fit is a fault.Invalid whose message names the ones that do.
// Nothing is chosen or downgraded silently.
//
// # Errors, and what they do not say
//
// Wrong input is fault.Invalid. Whatever goes wrong inside a decryption (a padding, a tag, an integrity check, a value that is
// too large for the modulus) is one and the same error, ErrDecrypt, and comparisons take the same time wherever they fail, so
// that the answer does not serve as an oracle beyond the one bit that the protocol itself gives away. No error holds input or key bytes.
//
// # Randomness and memory
//
// Random numbers come from crypto/rand alone. Buffers with private bytes that pass through this package are overwritten when it
// is done with them; the numbers inside a live Key are not, because Go offers no way to find every copy of a big.Int.
package cryptokey
