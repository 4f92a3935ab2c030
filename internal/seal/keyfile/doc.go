// Package keyfile is the seal whose key is a file: 32 random bytes that only the server's user can read. It suits one
// machine whose disk is encrypted, or a file that a secret manager mounts; whoever can read the file and the store can
// open everything.
//
// A key file is text of exactly four lines, each ended by a line feed:
//
//	keywright-seal-key 1
//	id <32 lower-case hexadecimal digits>
//	key <64 lower-case hexadecimal digits: 32 bytes>
//	sum <64 lower-case hexadecimal digits: SHA-256 of the three lines above>
//
// The id is random and says which file made a wrap; the sum tells a damaged file from a wrong one. A wrap is
//
//	"KWF1" | id, 16 bytes | nonce, 12 bytes | ciphertext | tag, 16 bytes
//
// with AES-256-GCM under the file's key; its additional data is the first 20 bytes of the wrap and then the caller's.
//
// The key is changed by making a second file, naming it before the first, and wrapping the root key again.
package keyfile
