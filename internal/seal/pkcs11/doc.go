// Package pkcs11 is the seal whose key is in a PKCS#11 token: an AES key of 256 bits that was made there and never leaves it. Without the token the
// store is worth nothing; whoever has the token's PIN, and the store, can open everything for as long as the token is in reach.
//
// A wrap is
//
//	"KWH1" | method | length of the key's name, 1 byte | name | body
//
// where the name is the key's CKA_ID, and the additional data of AES-256-GCM is all before the body and then the caller's. The methods are
//
//	1  nonce, 12 bytes | ciphertext | tag, 16 bytes: CKM_AES_GCM in the token
//	2  a key that CKM_AES_KEY_WRAP (RFC 3394) wrapped in the token, 40 bytes | nonce, 12 bytes | ciphertext | tag, 16 bytes: AES-256-GCM here, under
//	   that key, for tokens that lack the first
//
// The seal's key is changed by making another one in the token and wrapping the root key again.
package pkcs11
