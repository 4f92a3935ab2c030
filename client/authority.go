package client

import (
	"context"

	"github.com/keywright/keywright/client/api"
)

func (k *Certificates) authority(name string) string { return k.live(name) + "/authority" }

// Authority shows a certificate that signs others, what of it is trusted, and its last change.
func (k *Certificates) Authority(ctx context.Context, name string) (*api.CertificateAuthority, error) {
	return do[api.CertificateAuthority](ctx, k.c, "GET", k.authority(name), nil, nil)
}

// PublishTrust keeps what those who trust an authority have to trust in a secret, and says how the authority changes. Again, it changes that.
func (k *Certificates) PublishTrust(ctx context.Context, name string, in api.PublishTrust) (*api.CertificateAuthority, error) {
	return do[api.CertificateAuthority](ctx, k.c, "PUT", k.authority(name)+"/trust-bundle", nil, in)
}

// ChangeAuthority starts the change of an authority. Vault.WatchRotation follows it.
func (k *Certificates) ChangeAuthority(ctx context.Context, name string, in api.ChangeAuthority) (*api.Rotation, error) {
	return do[api.Rotation](ctx, k.c, "POST", k.authority(name)+"/change", nil, in)
}

// PlanAuthority rehearses the change of an authority.
func (k *Certificates) PlanAuthority(ctx context.Context, name string) (*api.RotationPlan, error) {
	return do[api.RotationPlan](ctx, k.c, "POST", k.authority(name)+"/plan", nil, nil)
}
