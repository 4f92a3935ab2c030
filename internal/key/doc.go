// Package key is the service for keys: make them, import them, compute with them, change them on time.
//
// The private half of a key never leaves the service, but for Release, which gives it to who proves by an attestation what it is, as the key's own
// policy says. Everything else works where the key is: sign, verify, encrypt, decrypt, wrap and unwrap go through package cryptokey, which knows the
// algorithms; here is who may, when, and what is recorded of it. What keys share with the other kinds of objects is the promise of package object.
//
// At rest a version has two parts. Its document, in clear, is what callers may see: the public half, the operations, the release policy. Its
// value, sealed through the keyring, is the private half with the mark whether it may ever leave. The mark is sealed so that nobody makes a key
// exportable by changing the store. In memory a key is parsed once and kept beside its sealed record, until the record leaves memory: because the key was
// changed, disabled, deleted or purged, because the keyring was locked, or because others needed the room.
//
// A key of an -HSM type is in a Token instead, if there is one: its value says where.
//
// Custody is the other side: it lends keys to the keyring, as customers' keys that protect vaults. What protects something is not purged, see Needed.
package key
