package api

import (
	"encoding/json"
	"time"
)

// Key is one version of a key, without its private half, which nothing shows.
type Key struct {
	Vault   string `json:"vault"`
	Name    string `json:"name"`
	Version string `json:"version,omitempty"`
	// Type is RSA, EC, oct or AKP, or one of the first three with -HSM, which asks for a hardware module: Hardware says whether it is in one.
	Type string `json:"type,omitempty"`
	// Bits is the size of an RSA or oct key, Curve the curve of an EC key or the algorithm of an AKP key.
	Bits  int    `json:"bits,omitempty"`
	Curve string `json:"curve,omitempty"`
	// Token is the label of the PKCS#11 token that holds the private half; absent for a key whose private half is in the store.
	Token string `json:"token,omitempty"`
	// Hardware is true for a key in a token that says that it is a piece of hardware.
	Hardware bool `json:"hardware"`
	// Operations are those that the key may be used for.
	Operations []string `json:"operations,omitempty"`
	// Purpose is what the key declares to be for, if it does.
	Purpose string `json:"purpose,omitempty"`
	// PublicKey is the public half in PEM (RFC 7468, section 13); absent for oct keys.
	PublicKey  string `json:"publicKey,omitempty"`
	Exportable bool   `json:"exportable,omitempty"`

	Tags      map[string]string `json:"tags,omitempty"`
	Enabled   bool              `json:"enabled"`
	NotBefore *time.Time        `json:"notBefore,omitempty"`
	Expires   *time.Time        `json:"expires,omitempty"`
	Created   time.Time         `json:"created,omitzero"`
	Updated   time.Time         `json:"updated,omitzero"`
	// Current is true for the version that is meant where none is named. Previous is the version that this one followed.
	Current  bool   `json:"current,omitempty"`
	Previous string `json:"previous,omitempty"`
	// Managed is true for the key behind a certificate.
	Managed bool `json:"managed,omitempty"`
	// Deleted and PurgeAt are set while the key is soft-deleted.
	Deleted *time.Time `json:"deleted,omitempty"`
	PurgeAt *time.Time `json:"purgeAt,omitempty"`
}

// KeyAttributes are what a new version of a key has beside the key itself.
type KeyAttributes struct {
	// Operations are those that the key may be used for; those that are usual for its type and purpose when absent.
	Operations []string `json:"operations,omitempty"`
	// Purpose is data-at-rest, data-in-transit, connectivity or invocation: the key then does only what belongs to that.
	Purpose string            `json:"purpose,omitempty"`
	Tags    map[string]string `json:"tags,omitempty"`
	// Enabled is true when absent.
	Enabled   *bool      `json:"enabled,omitempty"`
	NotBefore *time.Time `json:"notBefore,omitempty"`
	Expires   *time.Time `json:"expires,omitempty"`
}

// CreateKey says which key to make.
type CreateKey struct {
	KeyAttributes
	// Type is RSA, EC, oct or AKP, with or without -HSM.
	Type string `json:"type"`
	// Bits, Curve and Exponent are the usual ones when absent.
	Bits     int    `json:"bits,omitempty"`
	Curve    string `json:"curve,omitempty"`
	Exponent int    `json:"exponent,omitempty"`
}

// ImportKey is a key that was made elsewhere. Exactly one of PKCS8 and JWK is set.
type ImportKey struct {
	KeyAttributes
	// PKCS8 is the key as an unencrypted PrivateKeyInfo in DER (RFC 5958).
	PKCS8 Binary `json:"pkcs8,omitempty"`
	// JWK is the key as a JSON Web Key (RFC 7517).
	JWK json.RawMessage `json:"jwk,omitempty"`
	// HSM asks for a hardware module.
	HSM bool `json:"hsm,omitempty"`
}

// UpdateKey says what to change of a version. An absent member stays as it is.
type UpdateKey struct {
	Operations []string `json:"operations,omitempty"`
	// Tags replaces all tags; an empty object removes them.
	Tags      map[string]string `json:"tags,omitzero"`
	Enabled   *bool             `json:"enabled,omitempty"`
	NotBefore *time.Time        `json:"notBefore,omitempty"`
	Expires   *time.Time        `json:"expires,omitempty"`
	// ClearNotBefore and ClearExpires remove the instants.
	ClearNotBefore bool `json:"clearNotBefore,omitempty"`
	ClearExpires   bool `json:"clearExpires,omitempty"`
}

// KeyList is a page of keys.
type KeyList struct {
	Items []Key  `json:"items"`
	Next  string `json:"next,omitempty"`
}

// KeyBackup is a sealed copy of a key with all of its versions. Only this installation can read it.
type KeyBackup struct {
	Blob []byte `json:"blob"`
}

// KeyPolicy says when a key is rotated. Periods are written as in ISO 8601: years, months and days, such as P1Y6M or P90D.
type KeyPolicy struct {
	// RotateAfter is how long after it was made a version is followed by a new one, RotateBefore how long before it expires. One of them at most.
	RotateAfter  string `json:"rotateAfter,omitempty"`
	RotateBefore string `json:"rotateBefore,omitempty"`
	// NotifyBefore is how long before it expires the event of its near expiry is sent; P30D when absent.
	NotifyBefore string `json:"notifyBefore,omitempty"`
	// ExpireAfter is how long after its rotation a new version expires; never when absent.
	ExpireAfter string `json:"expireAfter,omitempty"`
	// Created and Updated are absent for a key without a policy of its own.
	Created *time.Time `json:"created,omitempty"`
	Updated *time.Time `json:"updated,omitempty"`
}

// UseKey is what encrypt, decrypt, wrap, unwrap and sign take.
type UseKey struct {
	// Algorithm is named as in RFC 7518, such as RSA-OAEP-256 or ES256.
	Algorithm string `json:"algorithm"`
	// Value is the plaintext, the ciphertext, the key to wrap, the wrapped key, or the digest to sign.
	Value Binary `json:"value"`
	// IV, AAD and Tag go with the algorithms that have them.
	IV  Binary `json:"iv,omitempty"`
	AAD Binary `json:"aad,omitempty"`
	Tag Binary `json:"tag,omitempty"`
}

// KeyResult is what such a use gives.
type KeyResult struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Value   Binary `json:"value"`
	IV      Binary `json:"iv,omitempty"`
	AAD     Binary `json:"aad,omitempty"`
	Tag     Binary `json:"tag,omitempty"`
}

// VerifyKey is a signature to verify.
type VerifyKey struct {
	Algorithm string `json:"algorithm"`
	Digest    Binary `json:"digest"`
	Signature Binary `json:"signature"`
}

// KeyVerdict says whether a signature is valid.
type KeyVerdict struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Valid   bool   `json:"valid"`
}
