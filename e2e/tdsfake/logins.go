package tdsfake

import (
	"crypto/sha256"
	"crypto/subtle"
	"sync"
)

// logins holds who may log in. Passwords are kept as digests: nothing here has to show them again.
type logins struct {
	mu       sync.Mutex // guards accounts
	accounts map[string]account
}

type account struct {
	digest [sha256.Size]byte
	admin  bool
}

func (a account) matches(password string) bool {
	given := sha256.Sum256([]byte(password))
	return subtle.ConstantTimeCompare(a.digest[:], given[:]) == 1
}

func newLogins(from map[string]Login) *logins {
	l := &logins{accounts: make(map[string]account, len(from))}
	for name, login := range from {
		l.accounts[name] = account{digest: sha256.Sum256([]byte(login.Password)), admin: login.Admin}
	}
	return l
}

// check reports whether the password is that of the login.
func (l *logins) check(name, password string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	a, known := l.accounts[name]
	return a.matches(password) && known
}

// permit checks a change that the session of login by asks for: an administrator may change every login, anyone else
// their own, and must know the old password.
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

// set changes a password; an unknown login stays unknown.
func (l *logins) set(name, password string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	a, known := l.accounts[name]
	if known {
		a.digest = sha256.Sum256([]byte(password))
		l.accounts[name] = a
	}
	return known
}
