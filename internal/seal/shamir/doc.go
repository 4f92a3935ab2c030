// Package shamir is the seal that several people hold together: its key is split into shares (A. Shamir, "How to share a secret", 1979), any k of the n
// open it, and k-1 of them say nothing about it. The key itself is nowhere: it is drawn, wraps, is split, and is in memory only while the server runs.
//
// A process that starts has a seal without its key, which answers fault.Unavailable, until k shares were given to Give. A share that is no share is refused
// at once: its check digits are wrong. One that has the form of a share and is not the right one shows only when k of them do not open what they should,
// and then nobody is told which it was: whoever tries shares must not learn which of them are good.
//
// A share is 47 bytes in Crockford's base 32 (without the letters I, L, O and U), in groups of four characters:
//
//	1, the version | id of the set, 8 bytes | k | x, 1 to 255 | y, 32 bytes | check, 4 bytes
//
// where each byte of y is the value at x of a polynomial of degree k-1 over GF(2^8) with the key's byte at 0, and the check is the beginning of the SHA-256
// of all before it. The id is random and says which shares belong together. A wrap is
//
//	"KWS1" | id of the set, 8 bytes | k | n | nonce, 12 bytes | ciphertext | tag, 16 bytes
//
// with AES-256-GCM under the key; its additional data is the first 14 bytes of the wrap and then the caller's. Shares are changed by making another
// seal, with a key of its own, and wrapping the root key again: the old shares open nothing that is wrapped from then on, but they do open copies of
// the store from before.
//
// Splitting secrets is no function that FIPS 140 approves, and no part of it protects by itself: the wraps are AES-256-GCM.
package shamir
