// Package pkcs11 keeps keys in a PKCS#11 token (an HSM, a smart card, SoftHSM) and computes with them there: a cryptokey.Backend
// whose private half never leaves the token.
//
// It needs cgo and the build tag pkcs11; without it Open answers fault.Unsupported, and the binary links no C code.
//
// Keys are made in the token, sensitive and not extractable, and the token is asked afterwards whether they are: a key of which it
// does not say so is not used, because its owner is told that it cannot leave. One that was imported has been elsewhere before, which its owner
// has to remember: Find does not find it, FindImported does. A key is found again by the id that its owner gave it (CKA_ID), which is what the owner
// stores instead of the private half.
//
// Whether a token is a piece of hardware, it says itself, by the flag CKF_HW_SLOT of its slot. SoftHSM is none, and says so.
//
// What a token can do differs: one that lacks a mechanism answers fault.Unsupported, one that is away fault.Unavailable. Encrypting and
// verifying with public keys is done outside the token.
//
// Source: PKCS #11 Cryptographic Token Interface, versions 2.40 and 3.1 (OASIS).
package pkcs11

import "github.com/keywright/keywright/internal/redact"

// Config says which token to use.
type Config struct {
	// Module is the path of the vendor's library.
	Module string
	// Token is the label of the token. Slots may change their numbers; labels stay.
	Token string
	// PIN is the user's.
	PIN redact.String
	// Sessions is how many operations may be in the token at once; zero means 8. Others wait.
	Sessions int
}

// Info is what a token says of itself, for showing who protects a key.
type Info struct {
	Label, Manufacturer, Model, Serial, Firmware string
	// Hardware is true when the token's slot is a hardware slot (CKF_HW_SLOT).
	Hardware bool
}
