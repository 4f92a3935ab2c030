package client

import (
	"context"
	"iter"
	"net/url"

	"github.com/keywright/keywright/client/api"
)

// Objects are the secrets, the keys or the certificates of a vault, and what can be done with each of the three alike. A Vault has its secrets; Keys and
// Certificates are those of Vault.Keys and Vault.Certificates.
type Objects[T any] struct {
	c *Client
	// path is the vault's; kind is the word for one object in paths.
	path, kind string
}

// live is the path of an object, and deleted that of one that is soft-deleted.
func (o *Objects[T]) live(name string) string {
	return o.path + "/" + o.kind + "s/" + url.PathEscape(name)
}

func (o *Objects[T]) deleted(name string) string {
	return o.path + "/deleted-" + o.kind + "s/" + url.PathEscape(name)
}

// List lists the objects with their current versions, in the order of their names. Secrets come without their values.
func (o *Objects[T]) List(ctx context.Context) iter.Seq2[*T, error] {
	return o.list(ctx, o.path+"/"+o.kind+"s")
}

// Versions lists the versions of an object, oldest first. Secrets come without their values.
func (o *Objects[T]) Versions(ctx context.Context, name string) iter.Seq2[*T, error] {
	return o.list(ctx, o.live(name)+"/versions")
}

// ListDeleted lists the soft-deleted objects.
func (o *Objects[T]) ListDeleted(ctx context.Context) iter.Seq2[*T, error] {
	return o.list(ctx, o.path+"/deleted-"+o.kind+"s")
}

// page is a page of a listing, whose shape is that of api.SecretList and its like.
type page[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next"`
}

func (o *Objects[T]) list(ctx context.Context, path string) iter.Seq2[*T, error] {
	return pages(ctx, o.c, path, nil, func(p *page[T]) ([]T, string) { return p.Items, p.Next })
}

// Delete soft-deletes an object with all of its versions; a certificate with the key and the secret behind it.
func (o *Objects[T]) Delete(ctx context.Context, name string) (*T, error) {
	return do[T](ctx, o.c, "DELETE", o.live(name), nil, nil)
}

// GetDeleted shows a soft-deleted object; a secret without its value.
func (o *Objects[T]) GetDeleted(ctx context.Context, name string) (*T, error) {
	return do[T](ctx, o.c, "GET", o.deleted(name), nil, nil)
}

// Recover brings a soft-deleted object back.
func (o *Objects[T]) Recover(ctx context.Context, name string) (*T, error) {
	return do[T](ctx, o.c, "POST", o.deleted(name)+"/recover", nil, nil)
}

// Backups tells until when backups can bring a soft-deleted object back, were it purged.
func (o *Objects[T]) Backups(ctx context.Context, name string) (*api.Recoverable, error) {
	return do[api.Recoverable](ctx, o.c, "GET", o.deleted(name)+"/backups", nil, nil)
}

// Purge destroys a soft-deleted object for good.
func (o *Objects[T]) Purge(ctx context.Context, name string) error {
	return o.c.call(ctx, "DELETE", o.deleted(name), nil, nil, nil)
}

// backup is a sealed copy, whose shape is that of api.SecretBackup and its like.
type backup struct {
	Blob []byte `json:"blob"`
}

// Backup returns a sealed copy of an object with all of its versions. Only this installation can read it.
func (o *Objects[T]) Backup(ctx context.Context, name string) ([]byte, error) {
	var b backup
	err := o.c.call(ctx, "POST", o.live(name)+"/backup", nil, nil, &b)
	return b.Blob, err
}

// Restore brings an object back from its backup. The answer has no value.
func (o *Objects[T]) Restore(ctx context.Context, blob []byte) (*T, error) {
	return do[T](ctx, o.c, "POST", o.path+"/restore-"+o.kind, nil, backup{blob})
}
