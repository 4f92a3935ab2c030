package client

import (
	"context"
	"iter"
	"net/url"

	"github.com/keywright/keywright/client/api"
)

// The bodies of endpoints.
type (
	CertificateEndpoint    = api.CertificateEndpoint
	SetCertificateEndpoint = api.SetCertificateEndpoint
)

func (k *Certificates) endpoint(name string) string {
	return k.path + "/certificate-endpoints/" + url.PathEscape(name)
}

// Endpoints lists the places where certificates of the vault are presented: all, or those of one certificate.
func (k *Certificates) Endpoints(ctx context.Context, certificate string) iter.Seq2[*CertificateEndpoint, error] {
	q := url.Values{}
	if certificate != "" {
		q.Set("certificate", certificate)
	}
	return pages(ctx, k.c, k.path+"/certificate-endpoints", q, func(l *api.CertificateEndpointList) ([]CertificateEndpoint, string) { return l.Items, l.Next })
}

// Endpoint shows an endpoint and what was seen there.
func (k *Certificates) Endpoint(ctx context.Context, name string) (*CertificateEndpoint, error) {
	return do[CertificateEndpoint](ctx, k.c, "GET", k.endpoint(name), nil, nil)
}

// SetEndpoint registers an endpoint, or changes the one of that name. It is looked at soon; CheckEndpoint looks at once.
func (k *Certificates) SetEndpoint(ctx context.Context, name string, in SetCertificateEndpoint) (*CertificateEndpoint, error) {
	return do[CertificateEndpoint](ctx, k.c, "PUT", k.endpoint(name), nil, in)
}

// CheckEndpoint looks at an endpoint now.
func (k *Certificates) CheckEndpoint(ctx context.Context, name string) (*CertificateEndpoint, error) {
	return do[CertificateEndpoint](ctx, k.c, "POST", k.endpoint(name)+"/check", nil, nil)
}

// AcknowledgeEndpoint says that somebody has taken the alarms of an endpoint on.
func (k *Certificates) AcknowledgeEndpoint(ctx context.Context, name string) (*CertificateEndpoint, error) {
	return do[CertificateEndpoint](ctx, k.c, "POST", k.endpoint(name)+"/acknowledge", nil, nil)
}

// RemoveEndpoint ends the watching of an endpoint.
func (k *Certificates) RemoveEndpoint(ctx context.Context, name string) error {
	return k.c.call(ctx, "DELETE", k.endpoint(name), nil, nil, nil)
}
