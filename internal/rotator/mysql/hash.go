package mysql

import (
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"strconv"
	"strings"

	"filippo.io/edwards25519"

	"github.com/keywright/keywright/internal/redact"
)

// The authentication plugins whose hashes are made here.
const (
	native      = "mysql_native_password"
	ed25519     = "ed25519"
	cachingSHA2 = "caching_sha2_password"
)

// hasher makes and checks what a server stores for one plugin.
type hasher struct {
	hash func(redact.Bytes) string
	// matches reports whether the stored text is that of the value.
	matches func(stored string, value redact.Bytes) bool
}

var hashers = map[string]*hasher{
	native:      {hash: nativeHash, matches: same(nativeHash)},
	ed25519:     {hash: ed25519Hash, matches: same(ed25519Hash)},
	cachingSHA2: {hash: cachingSHA2Hash, matches: cachingSHA2Matches},
}

// method is one way into a row: a plugin and what the server stores for it.
type method struct{ plugin, stored string }

// accepts reports whether the value opens the method. One of a plugin that asks for no password, or an unknown one, accepts nothing.
func (m method) accepts(value redact.Bytes) bool {
	h := hashers[m.plugin]
	return h != nil && m.stored != "" && len(value) > 0 && h.matches(m.stored, value)
}

func hashed(plugin string, value redact.Bytes) method {
	return method{plugin: plugin, stored: hashers[plugin].hash(value)}
}

// closed is a method that no value opens, for nobody learns the one that it was made of.
func closed(plugin string) method { return hashed(plugin, redact.Bytes(rand.Text()+rand.Text())) }

// same compares unsalted hashes.
func same(hash func(redact.Bytes) string) func(string, redact.Bytes) bool {
	return func(stored string, value redact.Bytes) bool {
		return subtle.ConstantTimeCompare([]byte(stored), []byte(hash(value))) == 1
	}
}

// nativeHash is * and the hexadecimal SHA1(SHA1(password)): PASSWORD() in https://mariadb.com/kb/en/password/.
func nativeHash(value redact.Bytes) string {
	stage := sha1.Sum(value.Reveal())
	hash := sha1.Sum(stage[:])
	return "*" + strings.ToUpper(hex.EncodeToString(hash[:]))
}

// ed25519Hash is the public key, in base64 without padding, of the Ed25519 key whose secret scalar comes from SHA-512 of the whole password
// instead of a seed of 32 bytes: https://mariadb.com/kb/en/authentication-plugin-ed25519/.
func ed25519Hash(value redact.Bytes) string {
	digest := sha512.Sum512(value.Reveal())
	defer clear(digest[:])
	scalar, err := edwards25519.NewScalar().SetBytesWithClamping(digest[:32])
	if err != nil {
		panic(err) // it has 32 bytes
	}
	return base64.RawStdEncoding.EncodeToString(new(edwards25519.Point).ScalarBaseMult(scalar).Bytes())
}

// What caching_sha2_password stores is $A$, the thousands of rounds in three hexadecimal digits, $, a salt of 20 bytes and a SHA-256 crypt
// digest in 43 characters: sql/auth/sha2_password_common.cc of MySQL, and
// https://dev.mysql.com/doc/refman/8.4/en/caching-sha2-pluggable-authentication.html.
const (
	cachingPrefix = "$A$"
	cachingSalt   = 20
	cachingRounds = 5000
	// maxRounds bounds the work that a stored text can ask for; the server's own limit is 4,095,000.
	maxRounds = 4_095_000
)

func cachingSHA2Hash(value redact.Bytes) string {
	// rand.Text has 26 characters of 5 bits; the salt goes into a quoted text, so it is letters and digits.
	salt := rand.Text()[:cachingSalt]
	return cachingPrefix + "005$" + salt + sha256Crypt(value.Reveal(), []byte(salt), cachingRounds)
}

func cachingSHA2Matches(stored string, value redact.Bytes) bool {
	rounds, salt, digest, ok := parseCachingSHA2(stored)
	return ok && subtle.ConstantTimeCompare([]byte(digest), []byte(sha256Crypt(value.Reveal(), []byte(salt), rounds))) == 1
}

func parseCachingSHA2(stored string) (rounds int, salt, digest string, ok bool) {
	rest, ok := strings.CutPrefix(stored, cachingPrefix)
	if !ok || len(rest) != 3+1+cachingSalt+43 || rest[3] != '$' {
		return 0, "", "", false
	}
	thousands, err := strconv.ParseUint(rest[:3], 16, 16)
	if err != nil || thousands == 0 || thousands*1000 > maxRounds {
		return 0, "", "", false
	}
	return int(thousands) * 1000, rest[4 : 4+cachingSalt], rest[4+cachingSalt:], true
}
