// Package certfile reads and writes the files that carry a certificate with its key: PFX (PKCS#12), PEM, DER, PKCS#7, JKS and PKCS#10
// requests.
//
// What is read comes from strangers, so everything is bounded: the size of a file, how deep it nests, how many certificates it
// holds, and how much work a PFX file may demand for its password (Limits). Nothing is executed twice, nothing recurses without a
// bound, and every error says what is wrong with which part and what to do about it, without a byte of a key or password.
//
// # PFX
//
// Files in the wild are BER as often as DER: Windows, macOS and NSS write indefinite lengths and strings in pieces, also in the parts that are
// encrypted. Kept libraries read DER alone, and leave the number of iterations of the password's derivation to whoever made the file.
// The reader here therefore takes the container apart by itself: BER becomes DER first (ber.go), the MAC is checked over the bytes as they
// stand in the file, then each safe is opened and becomes DER too.
//
//	PFX ─ AuthenticatedSafe ┬ data          ─ SafeContents ┬ keyBag, pkcs8ShroudedKeyBag   at most one key
//	      (MAC over its     ├ encryptedData ─ SafeContents ├ certBag                       any number
//	       octets)          └ …                            └ safeContentsBag               nested
//
// RFC 7292 defines the container, RFC 8018 PBES2, RFC 9579 PBMAC1, RFC 2268 the RC2 of files that older systems wrote. Writing is go-pkcs12's.
package certfile
