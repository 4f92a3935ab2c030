package client

import (
	"context"
	"net/url"
	"slices"
	"unicode/utf8"

	"github.com/keywright/keywright/client/api"
)

// The bodies of the API, under the names by which programs use them most.
type (
	Secret       = api.Secret
	SetSecret    = api.SetSecret
	UpdateSecret = api.UpdateSecret
	Status       = api.Status
)

// Vault is a vault of the server, by its name. It makes no call by itself.
func (c *Client) Vault(name string) *Vault {
	return &Vault{Objects: Objects[Secret]{c: c, path: vaultsPath + url.PathEscape(name), kind: "secret"}, name: name}
}

// Vault holds secrets, which are its Objects. Keys and Certificates give what else it holds.
type Vault struct {
	Objects[Secret]
	name string
}

// Name returns the vault's name.
func (v *Vault) Name() string { return v.name }

// Selector says which version of a secret is meant: by its id, or by a label such as "previous". The zero value is the current
// version.
type Selector struct{ Version, Label string }

func (s Selector) query() url.Values {
	q := url.Values{}
	if s.Version != "" {
		q.Set("version", s.Version)
	}
	if s.Label != "" {
		q.Set("label", s.Label)
	}
	return q
}

// Get reads the current version of a secret with its value.
func (v *Vault) Get(ctx context.Context, name string) (*Secret, error) {
	return v.GetVersion(ctx, name, Selector{})
}

// GetVersion reads one version of a secret with its value.
func (v *Vault) GetVersion(ctx context.Context, name string, which Selector) (*Secret, error) {
	return do[Secret](ctx, v.c, "GET", v.live(name), which.query(), nil)
}

// Set stores a value as the newest version of a secret. The answer has no value.
func (v *Vault) Set(ctx context.Context, name string, value []byte) (*Secret, error) {
	return v.SetVersion(ctx, name, NewSecret(value))
}

// NewSecret returns a new version with the value, for SetVersion.
func NewSecret(value []byte) SetSecret {
	if utf8.Valid(value) {
		text := api.Text(value)
		return SetSecret{Value: &text}
	}
	binary := api.Binary(value)
	return SetSecret{ValueBase64: &binary}
}

// SetVersion stores a new version of a secret. The answer has no value.
func (v *Vault) SetVersion(ctx context.Context, name string, in SetSecret) (*Secret, error) {
	return do[Secret](ctx, v.c, "PUT", v.live(name), nil, in)
}

// Update changes what is known about a version, but not its value.
func (v *Vault) Update(ctx context.Context, name string, which Selector, in UpdateSecret) (*Secret, error) {
	return do[Secret](ctx, v.c, "PATCH", v.live(name), which.query(), in)
}

// Status says who calls and how the server is.
func (c *Client) Status(ctx context.Context) (*Status, error) {
	return do[Status](ctx, c, "GET", "/api/v1/status", nil, nil)
}

// hasLabel reports whether the label pointed to this version when it was read.
func hasLabel(s *Secret, label string) bool { return slices.Contains(s.Labels, label) }
