package client

import (
	"context"
	"iter"
	"net/url"

	"github.com/keywright/keywright/client/api"
)

// The bodies of keys.
type (
	Key       = api.Key
	CreateKey = api.CreateKey
	ImportKey = api.ImportKey
	UpdateKey = api.UpdateKey
	KeyPolicy = api.KeyPolicy
	UseKey    = api.UseKey
	KeyResult = api.KeyResult
)

// Keys returns the keys of the vault. It makes no call by itself.
func (v *Vault) Keys() *Keys { return &Keys{c: v.c, path: v.path} }

// Keys are the keys of a vault. Their private halves never leave it: what is done with a key is done there.
type Keys struct {
	c    *Client
	path string
}

func (k *Keys) key(name string) string     { return k.path + "/keys/" + url.PathEscape(name) }
func (k *Keys) deleted(name string) string { return k.path + "/deleted-keys/" + url.PathEscape(name) }

func (k *Keys) one(ctx context.Context, method, path string, query url.Values, in any) (*Key, error) {
	var out Key
	if err := k.c.call(ctx, method, path, query, in, &out); err != nil {
		return nil, err
	}
	return &out, nil
}

// Create makes a key, or a new version of one.
func (k *Keys) Create(ctx context.Context, name string, in CreateKey) (*Key, error) {
	return k.one(ctx, "POST", k.key(name), nil, in)
}

// Import stores a key that was made elsewhere.
func (k *Keys) Import(ctx context.Context, name string, in ImportKey) (*Key, error) {
	return k.one(ctx, "PUT", k.key(name), nil, in)
}

// Get shows one version of a key.
func (k *Keys) Get(ctx context.Context, name string, which Selector) (*Key, error) {
	return k.one(ctx, "GET", k.key(name), which.query(), nil)
}

// Update changes what is known about a version.
func (k *Keys) Update(ctx context.Context, name string, which Selector, in UpdateKey) (*Key, error) {
	return k.one(ctx, "PATCH", k.key(name), which.query(), in)
}

// Delete soft-deletes a key with all of its versions.
func (k *Keys) Delete(ctx context.Context, name string) (*Key, error) {
	return k.one(ctx, "DELETE", k.key(name), nil, nil)
}

// Recover brings a deleted key back.
func (k *Keys) Recover(ctx context.Context, name string) (*Key, error) {
	return k.one(ctx, "POST", k.deleted(name)+"/recover", nil, nil)
}

// Purge destroys a deleted key for good.
func (k *Keys) Purge(ctx context.Context, name string) error {
	return k.c.call(ctx, "DELETE", k.deleted(name), nil, nil, nil)
}

// Rotate makes a new version of a key, of the same kind.
func (k *Keys) Rotate(ctx context.Context, name string) (*Key, error) {
	return k.one(ctx, "POST", k.key(name)+"/rotate", nil, nil)
}

// Backup returns a sealed copy of a key with all of its versions. Only this installation can read it.
func (k *Keys) Backup(ctx context.Context, name string) ([]byte, error) {
	var b api.KeyBackup
	err := k.c.call(ctx, "POST", k.key(name)+"/backup", nil, nil, &b)
	return b.Blob, err
}

// Restore brings a key back from its backup.
func (k *Keys) Restore(ctx context.Context, blob []byte) (*Key, error) {
	return k.one(ctx, "POST", k.path+"/restore-key", nil, api.KeyBackup{Blob: blob})
}

// List lists the keys with their current versions, in the order of their names.
func (k *Keys) List(ctx context.Context) iter.Seq2[*Key, error] {
	return pages(ctx, k.c, k.path+"/keys", nil, keyPage)
}

// Versions lists the versions of a key, oldest first.
func (k *Keys) Versions(ctx context.Context, name string) iter.Seq2[*Key, error] {
	return pages(ctx, k.c, k.key(name)+"/versions", nil, keyPage)
}

// ListDeleted lists the deleted keys.
func (k *Keys) ListDeleted(ctx context.Context) iter.Seq2[*Key, error] {
	return pages(ctx, k.c, k.path+"/deleted-keys", nil, keyPage)
}

func keyPage(l *api.KeyList) ([]Key, string) { return l.Items, l.Next }

// Policy shows when a key is rotated.
func (k *Keys) Policy(ctx context.Context, name string) (*KeyPolicy, error) {
	var p KeyPolicy
	err := k.c.call(ctx, "GET", k.key(name)+"/rotation-policy", nil, nil, &p)
	return &p, err
}

// SetPolicy says when a key is rotated.
func (k *Keys) SetPolicy(ctx context.Context, name string, in KeyPolicy) (*KeyPolicy, error) {
	var p KeyPolicy
	err := k.c.call(ctx, "PUT", k.key(name)+"/rotation-policy", nil, in, &p)
	return &p, err
}

// Sign signs a digest. The signature of an EC key is r and s side by side (RFC 7518, section 3.4).
func (k *Keys) Sign(ctx context.Context, name string, which Selector, in UseKey) (*KeyResult, error) {
	return k.use(ctx, "sign", name, which, in)
}

// Encrypt encrypts a value.
func (k *Keys) Encrypt(ctx context.Context, name string, which Selector, in UseKey) (*KeyResult, error) {
	return k.use(ctx, "encrypt", name, which, in)
}

// Decrypt decrypts a value.
func (k *Keys) Decrypt(ctx context.Context, name string, which Selector, in UseKey) (*KeyResult, error) {
	return k.use(ctx, "decrypt", name, which, in)
}

// Wrap encrypts a key.
func (k *Keys) Wrap(ctx context.Context, name string, which Selector, in UseKey) (*KeyResult, error) {
	return k.use(ctx, "wrap", name, which, in)
}

// Unwrap decrypts a wrapped key.
func (k *Keys) Unwrap(ctx context.Context, name string, which Selector, in UseKey) (*KeyResult, error) {
	return k.use(ctx, "unwrap", name, which, in)
}

func (k *Keys) use(ctx context.Context, verb, name string, which Selector, in UseKey) (*KeyResult, error) {
	var out KeyResult
	if err := k.c.call(ctx, "POST", k.key(name)+"/"+verb, which.query(), in, &out); err != nil {
		return nil, err
	}
	return &out, nil
}

// Verify reports whether a signature is one of the digest.
func (k *Keys) Verify(ctx context.Context, name string, which Selector, in api.VerifyKey) (bool, error) {
	var out api.KeyVerdict
	err := k.c.call(ctx, "POST", k.key(name)+"/verify", which.query(), in, &out)
	return out.Valid, err
}
