package client

import (
	"context"
	"iter"
	"net/url"
	"time"

	"github.com/keywright/keywright/client/api"
)

// The bodies of certificates.
type (
	Certificate          = api.Certificate
	CertificatePolicy    = api.CertificatePolicy
	CertificateOperation = api.CertificateOperation
	CreateCertificate    = api.CreateCertificate
	ImportCertificate    = api.ImportCertificate
	UpdateCertificate    = api.UpdateCertificate
	MergeCertificate     = api.MergeCertificate
)

// Certificates returns the certificates of the vault. It makes no call by itself.
func (v *Vault) Certificates() *Certificates { return &Certificates{c: v.c, path: v.path} }

// Certificates are the certificates of a vault. The private key of one is in the secret of the same name, in the form that the policy says.
type Certificates struct {
	c    *Client
	path string
}

func (k *Certificates) live(name string) string {
	return k.path + "/certificates/" + url.PathEscape(name)
}

func (k *Certificates) deleted(name string) string {
	return k.path + "/deleted-certificates/" + url.PathEscape(name)
}

func one[T any](ctx context.Context, c *Client, method, path string, query url.Values, in any) (*T, error) {
	out := new(T)
	if err := c.call(ctx, method, path, query, in, out); err != nil {
		return nil, err
	}
	return out, nil
}

// Create begins the making of a version. Wait waits for its end.
func (k *Certificates) Create(ctx context.Context, name string, in CreateCertificate) (*CertificateOperation, error) {
	return one[CertificateOperation](ctx, k.c, "POST", k.live(name), nil, in)
}

// Import stores a certificate with its key that was made elsewhere.
func (k *Certificates) Import(ctx context.Context, name string, in ImportCertificate) (*Certificate, error) {
	return one[Certificate](ctx, k.c, "PUT", k.live(name), nil, in)
}

// Get shows one version of a certificate.
func (k *Certificates) Get(ctx context.Context, name string, which Selector) (*Certificate, error) {
	return one[Certificate](ctx, k.c, "GET", k.live(name), which.query(), nil)
}

// Update changes what is known about a version, and about the key and the secret behind it.
func (k *Certificates) Update(ctx context.Context, name string, which Selector, in UpdateCertificate) (*Certificate, error) {
	return one[Certificate](ctx, k.c, "PATCH", k.live(name), which.query(), in)
}

// Delete soft-deletes a certificate with all of its versions, and the key and the secret behind it.
func (k *Certificates) Delete(ctx context.Context, name string) (*Certificate, error) {
	return one[Certificate](ctx, k.c, "DELETE", k.live(name), nil, nil)
}

// Recover brings a deleted certificate back.
func (k *Certificates) Recover(ctx context.Context, name string) (*Certificate, error) {
	return one[Certificate](ctx, k.c, "POST", k.deleted(name)+"/recover", nil, nil)
}

// Purge destroys a deleted certificate for good.
func (k *Certificates) Purge(ctx context.Context, name string) error {
	return k.c.call(ctx, "DELETE", k.deleted(name), nil, nil, nil)
}

// Backup returns a sealed copy of a certificate with all of its versions, keys and secrets. Only this installation can read it.
func (k *Certificates) Backup(ctx context.Context, name string) ([]byte, error) {
	var b api.CertificateBackup
	err := k.c.call(ctx, "POST", k.live(name)+"/backup", nil, nil, &b)
	return b.Blob, err
}

// Restore brings a certificate back from its backup.
func (k *Certificates) Restore(ctx context.Context, blob []byte) (*Certificate, error) {
	return one[Certificate](ctx, k.c, "POST", k.path+"/restore-certificate", nil, api.CertificateBackup{Blob: blob})
}

// List lists the certificates with their current versions, in the order of their names.
func (k *Certificates) List(ctx context.Context) iter.Seq2[*Certificate, error] {
	return pages(ctx, k.c, k.path+"/certificates", nil, certificatePage)
}

// Versions lists the versions of a certificate, oldest first.
func (k *Certificates) Versions(ctx context.Context, name string) iter.Seq2[*Certificate, error] {
	return pages(ctx, k.c, k.live(name)+"/versions", nil, certificatePage)
}

// ListDeleted lists the deleted certificates.
func (k *Certificates) ListDeleted(ctx context.Context) iter.Seq2[*Certificate, error] {
	return pages(ctx, k.c, k.path+"/deleted-certificates", nil, certificatePage)
}

func certificatePage(l *api.CertificateList) ([]Certificate, string) { return l.Items, l.Next }

// Policy shows how a certificate is made, and when it is made anew.
func (k *Certificates) Policy(ctx context.Context, name string) (*CertificatePolicy, error) {
	return one[CertificatePolicy](ctx, k.c, "GET", k.live(name)+"/policy", nil, nil)
}

// ChangePolicy replaces the sections of the policy that are given.
func (k *Certificates) ChangePolicy(ctx context.Context, name string, in CertificatePolicy) (*CertificatePolicy, error) {
	return one[CertificatePolicy](ctx, k.c, "PATCH", k.live(name)+"/policy", nil, in)
}

// Operation shows how far the making of a certificate has come: of the version that is being made, or was made last.
func (k *Certificates) Operation(ctx context.Context, name string) (*CertificateOperation, error) {
	return one[CertificateOperation](ctx, k.c, "GET", k.live(name)+"/operation", nil, nil)
}

// Cancel gives up an operation in progress. Its key stays for a Merge.
func (k *Certificates) Cancel(ctx context.Context, name string) (*CertificateOperation, error) {
	return one[CertificateOperation](ctx, k.c, "POST", k.live(name)+"/operation/cancel", nil, nil)
}

// DeleteOperation removes the operation of a certificate, one in progress with its key.
func (k *Certificates) DeleteOperation(ctx context.Context, name string) (*CertificateOperation, error) {
	return one[CertificateOperation](ctx, k.c, "DELETE", k.live(name)+"/operation", nil, nil)
}

// Merge completes an operation with what an authority gave for its request.
func (k *Certificates) Merge(ctx context.Context, name string, in MergeCertificate) (*Certificate, error) {
	return one[Certificate](ctx, k.c, "POST", k.live(name)+"/operation/merge", nil, in)
}

// The pauses between looks at an operation: short at first, because many issuers answer at once.
const firstLook, lastLook = 100 * time.Millisecond, 5 * time.Second

// Wait waits until the operation on a certificate has ended, or waits for a person. Progress, unless it is nil, is told when what the operation says of itself
// changes.
func (k *Certificates) Wait(ctx context.Context, name string, progress func(*CertificateOperation)) (*CertificateOperation, error) {
	said := ""
	for pause := firstLook; ; pause = min(2*pause, lastLook) {
		op, err := k.Operation(ctx, name)
		if err != nil {
			return nil, err
		}
		if progress != nil && op.Details != said {
			said = op.Details
			progress(op)
		}
		if op.Status != api.CertificateInProgress || op.ByHand() {
			return op, nil
		}
		select {
		case <-ctx.Done():
			return op, ctx.Err()
		case <-time.After(pause):
		}
	}
}
