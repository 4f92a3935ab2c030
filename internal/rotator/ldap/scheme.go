package ldap

import (
	"bytes"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"hash"
	"strings"

	"golang.org/x/crypto/argon2"
)

// schemes make a stored value; the key is the word of the policy.
var schemes = map[string]func(value []byte) string{"ssha": ssha, "argon2": argon}

const (
	saltBytes = 16
	// Argon2id with 19 MiB, twice, one lane: the least that RFC 9106's successors in practice (OWASP) ask for. OpenLDAP reads them out of the value.
	argonKiB, argonTimes, argonLanes, argonKeyBytes = 19 << 10, 2, 1, 32
	// maxArgonKiB and maxArgonTimes bound what a stored value may make this process spend.
	maxArgonKiB, maxArgonTimes = 256 << 10, 20
)

func salt() []byte {
	s := make([]byte, saltBytes)
	_, _ = rand.Read(s) // never fails
	return s
}

// ssha returns {SSHA} and base64(SHA-1(value || salt) || salt), as slapd.conf(5) and RFC 2307 bis have it.
func ssha(value []byte) string {
	s := salt()
	sum := sha1.Sum(append(bytes.Clone(value), s...))
	return "{SSHA}" + base64.StdEncoding.EncodeToString(append(sum[:], s...))
}

// argon returns {ARGON2} and the PHC string of Argon2id, as slapd-pw-argon2(5) has it.
func argon(value []byte) string {
	s := salt()
	sum := argon2.IDKey(value, s, argonTimes, argonKiB, argonLanes, argonKeyBytes)
	return fmt.Sprintf("{ARGON2}$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, argonKiB, argonTimes, argonLanes,
		base64.RawStdEncoding.EncodeToString(s), base64.RawStdEncoding.EncodeToString(sum))
}

// nobodys is a stored value that no password fits.
func nobodys() string {
	raw := make([]byte, sha1.Size+saltBytes)
	_, _ = rand.Read(raw) // never fails
	return "{SSHA}" + base64.StdEncoding.EncodeToString(raw)
}

// fit says whether a password fits a stored value.
type fit uint8

const (
	differs fit = iota
	fits
	unreadable // a scheme that is not known here
)

// digests are the schemes that are a digest of the value and, with an S, of a salt that follows the digest.
var digests = map[string]struct {
	new    func() hash.Hash
	salted bool
}{
	"SSHA": {sha1.New, true}, "SHA": {sha1.New, false},
	"SSHA256": {sha256.New, true}, "SHA256": {sha256.New, false},
	"SSHA512": {sha512.New, true}, "SHA512": {sha512.New, false},
}

// compare says whether the password fits the stored value.
func compare(stored string, value []byte) fit {
	name, rest, ok := strings.Cut(strings.TrimPrefix(stored, "{"), "}")
	if !strings.HasPrefix(stored, "{") || !ok {
		return equal([]byte(stored), value) // kept in clear
	}
	name = strings.ToUpper(name)
	if name == "ARGON2" {
		return compareArgon(rest, value)
	}
	d, known := digests[name]
	if !known {
		return unreadable
	}
	raw, err := base64.StdEncoding.DecodeString(rest)
	h := d.new()
	if err != nil || len(raw) < h.Size() || !d.salted && len(raw) != h.Size() {
		return unreadable
	}
	h.Write(value)
	h.Write(raw[h.Size():])
	return equal(h.Sum(nil), raw[:h.Size()])
}

// compareArgon reads $argon2id$v=19$m=..,t=..,p=..$salt$hash.
func compareArgon(text string, value []byte) fit {
	parts := strings.Split(text, "$")
	if len(parts) != 6 || parts[0] != "" {
		return unreadable
	}
	var version, memory, times uint32
	var lanes uint8
	if n, err := fmt.Sscanf(parts[2]+" "+parts[3], "v=%d m=%d,t=%d,p=%d", &version, &memory, &times, &lanes); n != 4 || err != nil {
		return unreadable
	}
	s, err := base64.RawStdEncoding.DecodeString(parts[4])
	sum, bad := base64.RawStdEncoding.DecodeString(parts[5])
	if err != nil || bad != nil || len(sum) < 4 || len(sum) > 1024 || version != argon2.Version || memory > maxArgonKiB || times == 0 || times > maxArgonTimes || lanes == 0 {
		return unreadable
	}
	switch parts[1] {
	case "argon2id":
		return equal(argon2.IDKey(value, s, times, memory, lanes, uint32(len(sum))), sum)
	case "argon2i":
		return equal(argon2.Key(value, s, times, memory, lanes, uint32(len(sum))), sum)
	}
	return unreadable
}

func equal(a, b []byte) fit {
	if subtle.ConstantTimeCompare(a, b) == 1 {
		return fits
	}
	return differs
}
