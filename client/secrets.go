package client

import (
	"context"
	"iter"
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
	return &Vault{c: c, name: name, path: "/api/v1/vaults/" + url.PathEscape(name)}
}

// Vault holds secrets.
type Vault struct {
	c          *Client
	name, path string
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

func (v *Vault) secret(name string) string { return v.path + "/secrets/" + url.PathEscape(name) }
func (v *Vault) deleted(name string) string {
	return v.path + "/deleted-secrets/" + url.PathEscape(name)
}

// Get reads the current version of a secret with its value.
func (v *Vault) Get(ctx context.Context, name string) (*Secret, error) {
	return v.GetVersion(ctx, name, Selector{})
}

// GetVersion reads one version of a secret with its value.
func (v *Vault) GetVersion(ctx context.Context, name string, which Selector) (*Secret, error) {
	var s Secret
	if err := v.c.call(ctx, "GET", v.secret(name), which.query(), nil, &s); err != nil {
		return nil, err
	}
	return &s, nil
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
	return v.one(ctx, "PUT", v.secret(name), nil, in)
}

// Update changes what is known about a version, but not its value.
func (v *Vault) Update(ctx context.Context, name string, which Selector, in UpdateSecret) (*Secret, error) {
	return v.one(ctx, "PATCH", v.secret(name), which.query(), in)
}

// Delete soft-deletes a secret with all of its versions.
func (v *Vault) Delete(ctx context.Context, name string) (*Secret, error) {
	return v.one(ctx, "DELETE", v.secret(name), nil, nil)
}

// GetDeleted shows a deleted secret, without its value.
func (v *Vault) GetDeleted(ctx context.Context, name string) (*Secret, error) {
	return v.one(ctx, "GET", v.deleted(name), nil, nil)
}

// Recover brings a deleted secret back.
func (v *Vault) Recover(ctx context.Context, name string) (*Secret, error) {
	return v.one(ctx, "POST", v.deleted(name)+"/recover", nil, nil)
}

// Purge destroys a deleted secret for good.
func (v *Vault) Purge(ctx context.Context, name string) error {
	return v.c.call(ctx, "DELETE", v.deleted(name), nil, nil, nil)
}

// Backup returns a sealed copy of a secret with all of its versions. Only this installation can read it.
func (v *Vault) Backup(ctx context.Context, name string) ([]byte, error) {
	var b api.SecretBackup
	err := v.c.call(ctx, "POST", v.secret(name)+"/backup", nil, nil, &b)
	return b.Blob, err
}

// Restore brings a secret back from its backup.
func (v *Vault) Restore(ctx context.Context, blob []byte) (*Secret, error) {
	return v.one(ctx, "POST", v.path+"/restore-secret", nil, api.SecretBackup{Blob: blob})
}

// List lists the secrets with their current versions, without values, in the order of their names.
func (v *Vault) List(ctx context.Context) iter.Seq2[*Secret, error] {
	return pages(ctx, v.c, v.path+"/secrets", nil, secretPage)
}

// Versions lists the versions of a secret, oldest first.
func (v *Vault) Versions(ctx context.Context, name string) iter.Seq2[*Secret, error] {
	return pages(ctx, v.c, v.secret(name)+"/versions", nil, secretPage)
}

// ListDeleted lists the deleted secrets.
func (v *Vault) ListDeleted(ctx context.Context) iter.Seq2[*Secret, error] {
	return pages(ctx, v.c, v.path+"/deleted-secrets", nil, secretPage)
}

func secretPage(l *api.SecretList) ([]Secret, string) { return l.Items, l.Next }

func (v *Vault) one(ctx context.Context, method, path string, query url.Values, in any) (*Secret, error) {
	var s Secret
	if err := v.c.call(ctx, method, path, query, in, &s); err != nil {
		return nil, err
	}
	return &s, nil
}

// Status says who calls and how the server is.
func (c *Client) Status(ctx context.Context) (*Status, error) {
	var s Status
	if err := c.call(ctx, "GET", "/api/v1/status", nil, nil, &s); err != nil {
		return nil, err
	}
	return &s, nil
}

// hasLabel reports whether the label pointed to this version when it was read.
func hasLabel(s *Secret, label string) bool { return slices.Contains(s.Labels, label) }
