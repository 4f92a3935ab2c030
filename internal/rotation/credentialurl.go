package rotation

import (
	"net/url"

	"github.com/keywright/keywright/internal/redact"
)

// Connection URLs, such as postgresql://user:password@host:port/database: the user information (RFC 3986, section 3.2.1) is the credential. Nothing that
// goes wrong here quotes the value.

func parseURL(value []byte) (login, error) {
	_, l, err := readURL(value)
	return l, err
}

func readURL(value []byte) (*url.URL, login, error) {
	u, err := url.Parse(string(value))
	if err != nil || u.Scheme == "" || u.Host == "" {
		return nil, login{}, errNoCredential("it is not a URL with a host")
	}
	password, ok := u.User.Password()
	if !ok || password == "" || u.User.Username() == "" {
		return nil, login{}, errNoCredential("its URL has no user with a password")
	}
	return u, login{account: u.User.Username(), value: redact.Bytes(password)}, nil
}

// composeURL changes the user information and leaves everything else as it is in like.
func composeURL(like []byte, account string, value redact.Bytes) ([]byte, error) {
	u, old, err := readURL(like)
	if err != nil {
		return nil, err
	}
	old.value.Zero()
	u.User = url.UserPassword(account, string(value.Reveal()))
	return []byte(u.String()), nil
}
