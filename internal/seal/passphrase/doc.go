// Package passphrase is the seal for people who keep its key in their heads or in another safe: a key is derived from a
// passphrase with Argon2id (RFC 9106) for every wrap, with a salt of its own.
//
// A wrap is
//
//	"KWP1" | passes, 4 bytes | memory in KiB, 4 bytes | lanes, 1 byte | salt, 16 bytes
//	       | nonce, 12 bytes | ciphertext | tag, 16 bytes
//
// with integers in big-endian order and AES-256-GCM under the derived key; its additional data is the first 29 bytes of
// the wrap and then the caller's. The parameters travel with the wrap, so raising them later opens what was wrapped
// before. They are bounded on the way in, so that a forged wrap can neither weaken the derivation nor exhaust the machine.
//
// The passphrase comes from a file, a reader or a callback; never from an argument or the environment, which other
// processes can see. Argon2id is not a FIPS-approved function: an installation that must use only those takes another seal.
package passphrase
