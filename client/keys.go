package client

import (
	"context"

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
func (v *Vault) Keys() *Keys { return &Keys{Objects[Key]{c: v.c, path: v.path, kind: "key"}} }

// Keys are the keys of a vault. Their private halves never leave it: what is done with a key is done there.
type Keys struct{ Objects[Key] }

// Create makes a key, or a new version of one.
func (k *Keys) Create(ctx context.Context, name string, in CreateKey) (*Key, error) {
	return do[Key](ctx, k.c, "POST", k.live(name), nil, in)
}

// Import stores a key that was made elsewhere.
func (k *Keys) Import(ctx context.Context, name string, in ImportKey) (*Key, error) {
	return do[Key](ctx, k.c, "PUT", k.live(name), nil, in)
}

// Get shows one version of a key.
func (k *Keys) Get(ctx context.Context, name string, which Selector) (*Key, error) {
	return do[Key](ctx, k.c, "GET", k.live(name), which.query(), nil)
}

// Update changes what is known about a version.
func (k *Keys) Update(ctx context.Context, name string, which Selector, in UpdateKey) (*Key, error) {
	return do[Key](ctx, k.c, "PATCH", k.live(name), which.query(), in)
}

// Rotate makes a new version of a key, of the same kind.
func (k *Keys) Rotate(ctx context.Context, name string) (*Key, error) {
	return do[Key](ctx, k.c, "POST", k.live(name)+"/rotate", nil, nil)
}

// Policy shows when a key is rotated.
func (k *Keys) Policy(ctx context.Context, name string) (*KeyPolicy, error) {
	return do[KeyPolicy](ctx, k.c, "GET", k.live(name)+"/rotation-policy", nil, nil)
}

// SetPolicy says when a key is rotated.
func (k *Keys) SetPolicy(ctx context.Context, name string, in KeyPolicy) (*KeyPolicy, error) {
	return do[KeyPolicy](ctx, k.c, "PUT", k.live(name)+"/rotation-policy", nil, in)
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
	return do[KeyResult](ctx, k.c, "POST", k.live(name)+"/"+verb, which.query(), in)
}

// Verify reports whether a signature is one of the digest.
func (k *Keys) Verify(ctx context.Context, name string, which Selector, in api.VerifyKey) (bool, error) {
	var out api.KeyVerdict
	err := k.c.call(ctx, "POST", k.live(name)+"/verify", which.query(), in, &out)
	return out.Valid, err
}
