package tdsfake

import (
	"bytes"
	"crypto/rand"
	"crypto/sha512"
	"crypto/subtle"
	"slices"
	"sync"
)

// logins holds who may log in. Passwords are kept as SQL Server keeps them: nothing here has to show them again.
type logins struct {
	mu       sync.Mutex // guards accounts
	accounts map[string]account
}

type account struct {
	hash     []byte
	sid      []byte
	admin    bool
	disabled bool
	locked   bool
	roles    []string
}

// Parts of a hashed password: the version of SQL Server 2012 and later, 4 bytes of salt, then SHA-512 over the UTF-16 password and the salt.
// https://learn.microsoft.com/sql/relational-databases/security/password-hashing describes no bytes; they are those of sys.sql_logins.password_hash.
const (
	hashVersion = "\x02\x00"
	saltLength  = 4
	hashLength  = len(hashVersion) + saltLength + sha512.Size
)

func hashPassword(password string, salt []byte) []byte {
	sum := sha512.Sum512(append(appendUTF16(nil, password), salt...))
	return slices.Concat([]byte(hashVersion), salt, sum[:])
}

func newHash(password string) []byte {
	salt := make([]byte, saltLength)
	_, _ = rand.Read(salt) // never fails on the systems that Go supports
	return hashPassword(password, salt)
}

// validHash reports whether the bytes are a hashed password of the version that this server knows.
func validHash(hash []byte) bool {
	return len(hash) == hashLength && bytes.HasPrefix(hash, []byte(hashVersion))
}

func (a account) matches(password string) bool {
	if len(a.hash) != hashLength {
		return false
	}
	return subtle.ConstantTimeCompare(a.hash, hashPassword(password, a.hash[len(hashVersion):][:saltLength])) == 1
}

func newLogins(from map[string]Login) *logins {
	l := &logins{accounts: make(map[string]account, len(from))}
	for name, login := range from {
		l.add(name, login)
	}
	return l
}

func (l *logins) add(name string, login Login) {
	sid := login.SID
	if sid == nil {
		sid = make([]byte, 16)
		_, _ = rand.Read(sid)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.accounts[name] = account{hash: newHash(login.Password), sid: sid, admin: login.Admin, roles: slices.Clone(login.Roles)}
}

// get returns a copy of an account.
func (l *logins) get(name string) (account, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a, known := l.accounts[name]
	return a, known
}

// edit changes an account; an unknown login stays unknown.
func (l *logins) edit(name string, f func(*account)) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	a, known := l.accounts[name]
	if known {
		f(&a)
		l.accounts[name] = a
	}
	return known
}

// check says why the login is refused, or nil. A lockout is told whatever the password is, a disabled login only to who knows it.
func (l *logins) check(name, password string) *sqlError {
	a, known := l.get(name)
	matches := a.matches(password)
	switch {
	case known && a.locked:
		return errLockedOut(name)
	case !matches || !known:
		return errLoginFailed(name)
	case a.disabled:
		return errDisabled(name)
	}
	return nil
}

// permit checks a change that the session of login by asks for: an administrator may change every login, anyone else
// their own password, and must know the old one.
func (l *logins) permit(by string, change alterLogin) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	target, known := l.accounts[change.login]
	switch {
	case !known,
		change.oldPassword && !target.matches(change.old),
		!l.accounts[by].admin && (by != change.login || !change.oldPassword):
		return errAlterLogin(change.login)
	}
	return nil
}

// apply makes a change that was permitted.
func (l *logins) apply(change alterLogin) {
	l.edit(change.login, func(a *account) {
		switch {
		case change.turn == "ENABLE", change.turn == "DISABLE":
			a.disabled = change.turn == "DISABLE"
		case change.hash != nil:
			a.hash = change.hash
		default:
			a.hash = newHash(change.password)
		}
	})
}
