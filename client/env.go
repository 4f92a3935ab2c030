package client

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// ErrNoCredential says that nothing in the environment proves who calls.
var ErrNoCredential = errors.New("no credential: run `keywright login`, or set KEYWRIGHT_CLIENT_ID and KEYWRIGHT_CLIENT_SECRET")

// NewFromEnv returns a client for the server and the credential that the environment names; see the package comment.
func NewFromEnv() (*Client, error) {
	c, err := ConfigFromEnv(os.Getenv)
	if err != nil {
		return nil, err
	}
	return New(c)
}

// ConfigFromEnv returns what NewFromEnv uses, for programs that change a part of it. getenv is os.Getenv but in tests.
func ConfigFromEnv(getenv func(string) string) (Config, error) {
	e := environment(getenv)
	c := Config{URL: e("KEYWRIGHT_URL"), Instance: e("KEYWRIGHT_INSTANCE"), Region: e("KEYWRIGHT_REGION")}
	if c.URL == "" {
		return c, errors.New("KEYWRIGHT_URL is not set: set it to the server's address, or load a development server's dev.env")
	}
	if file := e("KEYWRIGHT_CA_FILE"); file != "" {
		var err error
		if c.RootCAs, err = ReadCAFile(file); err != nil {
			return c, err
		}
	}
	var err error
	c.Tokens, err = e.tokens(&c)
	return c, err
}

type environment func(string) string

// first returns the first of the variables that is set.
func (e environment) first(names ...string) string {
	for _, n := range names {
		if v := e(n); v != "" {
			return v
		}
	}
	return ""
}

// authority is where the environment says that tokens are had; the server itself when it says nothing.
func (e environment) authority(c *Config) Authority {
	return Authority{URL: e.first("KEYWRIGHT_LOGIN_URL", "AZURE_AUTHORITY_HOST", "KEYWRIGHT_URL"), Tenant: e.first("KEYWRIGHT_TENANT_ID", "AZURE_TENANT_ID"),
		HTTP: newHTTP(c.RootCAs)}
}

// AuthorityFromEnv returns where the environment says that tokens are had, for Login.
func AuthorityFromEnv(getenv func(string) string, c Config) Authority {
	return environment(getenv).authority(&c)
}

func (e environment) tokens(c *Config) (TokenSource, error) {
	if t := e("KEYWRIGHT_TOKEN"); t != "" {
		return StaticToken(t), nil
	}
	id := e.first("KEYWRIGHT_CLIENT_ID", "AZURE_CLIENT_ID")
	if secret := e.first("KEYWRIGHT_CLIENT_SECRET", "AZURE_CLIENT_SECRET"); id != "" && secret != "" {
		return NewClientSecret(e.authority(c), id, secret, c.URL), nil
	}
	if file := e("AZURE_FEDERATED_TOKEN_FILE"); id != "" && file != "" {
		return NewFederated(e.authority(c), id, file, c.URL), nil
	}
	if endpoint, header := e("IDENTITY_ENDPOINT"), e("IDENTITY_HEADER"); endpoint != "" && header != "" {
		return NewManagedIdentity(endpoint, header, c.URL), nil
	}
	dir, err := ConfigDir(e)
	if err != nil {
		return nil, ErrNoCredential
	}
	return Login{Authority: e.authority(c), Resource: c.URL, Dir: dir}.Tokens()
}

// ConfigDir returns the directory in which sign-ins are kept: KEYWRIGHT_CONFIG_DIR, else keywright below the user's own directory
// for configuration.
func ConfigDir(getenv func(string) string) (string, error) {
	if dir := getenv("KEYWRIGHT_CONFIG_DIR"); dir != "" {
		return dir, nil
	}
	base := getenv("XDG_CONFIG_HOME")
	if base == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("finding the directory of sign-ins: %w; set KEYWRIGHT_CONFIG_DIR", err)
		}
		base = filepath.Join(home, ".config")
	}
	return filepath.Join(base, "keywright"), nil
}
