package client

import (
	"context"

	"github.com/keywright/keywright/client/api"
)

// Revoke has a version of a certificate taken back by its issuer. The reason is one of RFC 5280, section 5.3.1, such as keyCompromise; an empty one is
// unspecified. Doing it again does nothing.
func (k *Certificates) Revoke(ctx context.Context, name string, which Selector, reason string) (*Certificate, error) {
	return do[Certificate](ctx, k.c, "POST", k.live(name)+"/revoke", which.query(), api.RevokeCertificate{Reason: reason})
}
