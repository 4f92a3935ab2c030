package client

import (
	"context"
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
func (v *Vault) Certificates() *Certificates {
	return &Certificates{Objects[Certificate]{c: v.c, path: v.path, kind: "certificate"}}
}

// Certificates are the certificates of a vault. The private key of one is in the secret of the same name, in the form that the policy says.
type Certificates struct{ Objects[Certificate] }

// Create begins the making of a version. Wait waits for its end.
func (k *Certificates) Create(ctx context.Context, name string, in CreateCertificate) (*CertificateOperation, error) {
	return do[CertificateOperation](ctx, k.c, "POST", k.live(name), nil, in)
}

// Import stores a certificate with its key that was made elsewhere.
func (k *Certificates) Import(ctx context.Context, name string, in ImportCertificate) (*Certificate, error) {
	return do[Certificate](ctx, k.c, "PUT", k.live(name), nil, in)
}

// Get shows one version of a certificate.
func (k *Certificates) Get(ctx context.Context, name string, which Selector) (*Certificate, error) {
	return do[Certificate](ctx, k.c, "GET", k.live(name), which.query(), nil)
}

// Update changes what is known about a version, and about the key and the secret behind it.
func (k *Certificates) Update(ctx context.Context, name string, which Selector, in UpdateCertificate) (*Certificate, error) {
	return do[Certificate](ctx, k.c, "PATCH", k.live(name), which.query(), in)
}

// Policy shows how a certificate is made, and when it is made anew.
func (k *Certificates) Policy(ctx context.Context, name string) (*CertificatePolicy, error) {
	return do[CertificatePolicy](ctx, k.c, "GET", k.live(name)+"/policy", nil, nil)
}

// ChangePolicy replaces the sections of the policy that are given.
func (k *Certificates) ChangePolicy(ctx context.Context, name string, in CertificatePolicy) (*CertificatePolicy, error) {
	return do[CertificatePolicy](ctx, k.c, "PATCH", k.live(name)+"/policy", nil, in)
}

// Operation shows how far the making of a certificate has come: of the version that is being made, or was made last.
func (k *Certificates) Operation(ctx context.Context, name string) (*CertificateOperation, error) {
	return do[CertificateOperation](ctx, k.c, "GET", k.live(name)+"/operation", nil, nil)
}

// Cancel gives up an operation in progress. Its key stays for a Merge.
func (k *Certificates) Cancel(ctx context.Context, name string) (*CertificateOperation, error) {
	return do[CertificateOperation](ctx, k.c, "POST", k.live(name)+"/operation/cancel", nil, nil)
}

// DeleteOperation removes the operation of a certificate, one in progress with its key.
func (k *Certificates) DeleteOperation(ctx context.Context, name string) (*CertificateOperation, error) {
	return do[CertificateOperation](ctx, k.c, "DELETE", k.live(name)+"/operation", nil, nil)
}

// Merge completes an operation with what an authority gave for its request.
func (k *Certificates) Merge(ctx context.Context, name string, in MergeCertificate) (*Certificate, error) {
	return do[Certificate](ctx, k.c, "POST", k.live(name)+"/operation/merge", nil, in)
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
