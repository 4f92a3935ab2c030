package client

import (
	"context"
	"iter"
	"net/url"

	"github.com/keywright/keywright/client/api"
)

// The bodies of issuers and contacts.
type (
	CertificateIssuer    = api.CertificateIssuer
	SetCertificateIssuer = api.SetCertificateIssuer
	CertificateContact   = api.CertificateContact
)

func (k *Certificates) issuer(name string) string {
	return k.path + "/certificate-issuers/" + url.PathEscape(name)
}

// Issuers lists the issuers that were set up in the vault.
func (k *Certificates) Issuers(ctx context.Context) iter.Seq2[*CertificateIssuer, error] {
	return pages(ctx, k.c, k.path+"/certificate-issuers", nil, func(l *api.CertificateIssuerList) ([]CertificateIssuer, string) { return l.Items, l.Next })
}

// Issuer shows an issuer without its password.
func (k *Certificates) Issuer(ctx context.Context, name string) (*CertificateIssuer, error) {
	return do[CertificateIssuer](ctx, k.c, "GET", k.issuer(name), nil, nil)
}

// SetIssuer sets up an issuer, in the place of one of that name.
func (k *Certificates) SetIssuer(ctx context.Context, name string, in SetCertificateIssuer) (*CertificateIssuer, error) {
	return do[CertificateIssuer](ctx, k.c, "PUT", k.issuer(name), nil, in)
}

// ChangeIssuer changes what is given of an issuer.
func (k *Certificates) ChangeIssuer(ctx context.Context, name string, in SetCertificateIssuer) (*CertificateIssuer, error) {
	return do[CertificateIssuer](ctx, k.c, "PATCH", k.issuer(name), nil, in)
}

// DeleteIssuer removes an issuer for good. Certificates that name it stay, and are not renewed until it is set up again.
func (k *Certificates) DeleteIssuer(ctx context.Context, name string) (*CertificateIssuer, error) {
	return do[CertificateIssuer](ctx, k.c, "DELETE", k.issuer(name), nil, nil)
}

// Contacts returns who is told when a certificate of the vault is to be seen to.
func (k *Certificates) Contacts(ctx context.Context) ([]CertificateContact, error) {
	return k.contacts(ctx, "GET", nil)
}

// SetContacts puts contacts in the place of those of the vault.
func (k *Certificates) SetContacts(ctx context.Context, list []CertificateContact) ([]CertificateContact, error) {
	return k.contacts(ctx, "PUT", api.CertificateContacts{Items: list})
}

// DeleteContacts removes the contacts of the vault, and returns what they were.
func (k *Certificates) DeleteContacts(ctx context.Context) ([]CertificateContact, error) {
	return k.contacts(ctx, "DELETE", nil)
}

func (k *Certificates) contacts(ctx context.Context, method string, in any) ([]CertificateContact, error) {
	var out api.CertificateContacts
	err := k.c.call(ctx, method, k.path+"/certificate-contacts", nil, in, &out)
	return out.Items, err
}
