package rabbitmq

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
)

// algorithm is the name of hashed's form in the management API. It is the broker's own default since 3.6, and each user has its own.
const algorithm = "rabbit_password_hashing_sha256"

// saltBytes is the length that the broker splits off, https://www.rabbitmq.com/docs/passwords#computing-password-hash.
const saltBytes = 4

// hashed returns base64(salt || SHA-256(salt || value)) with a fresh salt.
func hashed(value []byte) string {
	var salt [saltBytes]byte
	_, _ = rand.Read(salt[:]) // never fails
	return withSalt(salt, value)
}

func withSalt(salt [saltBytes]byte, value []byte) string {
	h := sha256.New()
	h.Write(salt[:])
	h.Write(value)
	return base64.StdEncoding.EncodeToString(h.Sum(salt[:]))
}

// matches reports whether the hash, as the management API shows it, is one of the value. Other algorithms match nothing.
func matches(hash, name string, value []byte) bool {
	raw, err := base64.StdEncoding.DecodeString(hash)
	if err != nil || name != algorithm || len(raw) != saltBytes+sha256.Size {
		return false
	}
	return subtle.ConstantTimeCompare([]byte(withSalt([saltBytes]byte(raw), value)), []byte(hash)) == 1
}

// nobodys is a hash of no value that anybody knows: the account refuses every password.
func nobodys() string {
	var raw [saltBytes + sha256.Size]byte
	_, _ = rand.Read(raw[:]) // never fails
	return base64.StdEncoding.EncodeToString(raw[:])
}
