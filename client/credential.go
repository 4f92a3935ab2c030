package client

import (
	"encoding/json"
	"errors"
	"fmt"
)

// Credential is what a secret holds to sign in with. Its user is empty where the value is only a password. It prints without the password.
type Credential struct{ User, Password string }

// String returns the user and a fixed word.
func (c Credential) String() string { return c.User + " " + Token{}.String() }

// GoString returns the same as String.
func (c Credential) GoString() string { return c.String() }

// ParseCredential reads a secret's value: a JSON object with the members "password" and, unless it is fixed elsewhere, "username" (or "user"), as rotations
// write it; or anything else, which is a password as it stands. User and password are of one version, and must be used together.
func ParseCredential(s *Secret) (Credential, error) {
	value := s.Bytes()
	if len(value) == 0 {
		return Credential{}, fmt.Errorf("version %s of the secret %q has no value to sign in with", s.Version, s.Name)
	}
	var members struct {
		Username, User *string
		Password       *string
	}
	if value[0] != '{' || json.Unmarshal(value, &members) != nil {
		return Credential{Password: string(value)}, nil
	}
	if members.Password == nil {
		return Credential{}, fmt.Errorf("version %s of the secret %q is a JSON object without the member \"password\"", s.Version, s.Name)
	}
	c := Credential{Password: *members.Password}
	switch {
	case members.Username != nil:
		c.User = *members.Username
	case members.User != nil:
		c.User = *members.User
	}
	return c, nil
}

// ErrNoUser says that neither the secret nor the program names the user.
var ErrNoUser = errors.New("the secret holds a password and no user: name the user in the configuration, or store both as {\"username\":…,\"password\":…}")

// Or returns the credential with the user where it has none of its own.
func (c Credential) Or(user string) Credential {
	if c.User == "" {
		c.User = user
	}
	return c
}
