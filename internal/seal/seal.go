// Package seal is the port to what protects the root key: a key file, a passphrase, shares, a token or a cloud's key
// service. Whoever holds the store but not the seal can open nothing.
//
// A seal is used when the keyring opens and when the root key changes; never on the way of a request. It may be slow and
// it may be away for a while.
package seal

import "context"

// Seal encrypts a few short keys, each a few dozen bytes. The suite in sealtest holds a test for each sentence below.
//
//   - What Wrap returned, Unwrap opens, in this process and in any later one with the same configuration.
//   - Wrap is randomised: the same input never gives the same output twice.
//   - Unwrap answers only for the additional data that Wrap was given. Anything else (other data, a changed, cut or
//     foreign wrap, another key or passphrase) is a fault.Invalid, and the result is nil.
//   - A seal that cannot do its work now (a file that is not readable, a service that is away) answers
//     fault.Unavailable; a later call may succeed.
//   - A wrap says by itself which key and which parameters made it, so that a seal can change them and still open what
//     it wrapped before. Parameters read from a wrap are bounded before they are obeyed.
//   - Neither errors nor logs hold key bytes. The arguments are neither kept nor changed; the caller zeroes what it gets.
//   - All methods may be called at the same time. A ctx that is over is answered with its error before any work.
type Seal interface {
	// Name is what the configuration calls this seal. It is stored with the root key.
	Name() string
	// Wrap encrypts plaintext, bound to aad.
	Wrap(ctx context.Context, plaintext, aad []byte) ([]byte, error)
	// Unwrap decrypts what Wrap returned for the same aad.
	Unwrap(ctx context.Context, wrapped, aad []byte) ([]byte, error)
}

// MaxWrapBytes bounds what Unwrap looks at: wraps are short, and anything longer is not one.
const MaxWrapBytes = 64 << 10
