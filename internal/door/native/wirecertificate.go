package native

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"net/http"

	"github.com/keywright/keywright/client/api"
	"github.com/keywright/keywright/internal/cert"
	"github.com/keywright/keywright/internal/certfile"
	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/object"
	"github.com/keywright/keywright/internal/vault"
)

// certificateAnswer answers with a certificate, or fails with err.
func certificateAnswer(r *door.Request, it *object.Item, p *cert.Policy, err error) error {
	if err != nil {
		return err
	}
	c, err := wireCert(r, it)
	if err != nil {
		return err
	}
	if p != nil {
		c.Policy = wireCertificatePolicy(p)
	}
	return r.JSON(http.StatusOK, c)
}

// wireCert is a certificate as the API shows it. One whose first version is not made yet is disabled.
func wireCert(r *door.Request, it *object.Item) (*api.Certificate, error) {
	o, v := it.Object, it.Version
	c := &api.Certificate{Vault: r.Call.Vault.Vault.Name, Name: o.Name}
	if o.Deleted != nil {
		c.Deleted, c.PurgeAt = &o.Deleted.At, &o.Deleted.PurgeAt
	}
	if v == nil {
		return c, nil
	}
	facts, err := cert.Describe(v)
	if err != nil {
		return c, err
	}
	c.Version, c.ContentType, c.PreserveOrder, c.Tags = string(v.ID), facts.ContentType, facts.PreserveOrder, v.Tags
	c.Enabled, c.NotBefore, c.Expires = v.Attributes.Enabled && facts.Leaf != nil, optional(v.Attributes.NotBefore), optional(v.Attributes.Expires)
	c.Created, c.Updated, c.Previous, c.Current = v.Attributes.Created, v.Attributes.Updated, string(v.Previous), o.Current == v.ID
	return c, describeCertificate(c, facts)
}

// describeCertificate adds what stands in the certificate itself.
func describeCertificate(c *api.Certificate, f *cert.Facts) error {
	if f.Leaf == nil {
		return nil
	}
	chain, err := f.Certificates()
	if err != nil {
		return err
	}
	c.PEM = string(certfile.WriteChainPEM(chain))
	sum := sha256.Sum256(f.Leaf)
	c.Thumbprint, c.SHA256 = hex.EncodeToString(f.Thumbprint()), hex.EncodeToString(sum[:])
	leaf, err := f.Certificate()
	if err != nil {
		return err
	}
	c.Subject, c.Issuer, c.Serial = leaf.Subject.String(), leaf.Issuer.String(), hex.EncodeToString(leaf.SerialNumber.Bytes())
	c.DNS, c.Emails = leaf.DNSNames, leaf.EmailAddresses
	for _, ip := range leaf.IPAddresses {
		c.Addresses = append(c.Addresses, ip.String())
	}
	for _, u := range leaf.URIs {
		c.URIs = append(c.URIs, u.String())
	}
	return nil
}

// operationAnswer answers with an operation, or fails with err.
func operationAnswer(r *door.Request, status int, o *vault.Object, op *cert.Operation, err error) error {
	if err != nil {
		return err
	}
	out := api.CertificateOperation{Name: o.Name, Version: string(op.Version), Issuer: wireIssuerRef(op.Issuer), Status: string(op.Status), Details: op.Details,
		Code: op.Code, Message: op.Message, Cancelled: op.Cancelled, Started: op.Started, Renewal: op.Renewal,
		CSR: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: op.CSR}))}
	if st := op.Stalled; st != nil {
		out.Stalled = &api.CertificateStall{Since: st.Since, Tries: st.Tries, Next: st.Next, Code: st.Code, Message: st.Message}
	}
	return r.JSON(status, out)
}

func wireIssuerRef(i cert.IssuerRef) api.CertificateIssuerRef {
	return api.CertificateIssuerRef{Name: i.Name, Type: i.Type, Transparency: i.Transparency}
}

func wireCertificatePolicy(p *cert.Policy) *api.CertificatePolicy {
	by := wireIssuerRef(p.Issuer)
	out := &api.CertificatePolicy{Issuer: &by, ContentType: p.Secret.ContentType, Enabled: p.Enabled, Created: optional(p.Created), Updated: optional(p.Updated),
		X509: &api.CertificateX509{Subject: p.X509.Subject, DNS: p.X509.DNS, Emails: p.X509.Emails, UPNs: p.X509.UPNs, URIs: p.X509.URIs, Addresses: p.X509.Addresses, Purposes: p.X509.EKUs, KeyUsage: p.X509.KeyUsage,
			Months: p.X509.Months},
		Key: &api.CertificateKey{Type: p.Key.Kty, Bits: p.Key.Bits, Curve: p.Key.Curve, Exportable: p.Key.Exportable, Reuse: p.Key.Reuse}}
	for _, a := range p.Actions {
		out.Actions = append(out.Actions, api.CertificateAction(a))
	}
	return out
}

// certificatePolicy is the policy that a caller gives; nil when none is given.
func certificatePolicy(in *api.CertificatePolicy) *cert.Policy {
	if in == nil {
		return nil
	}
	p := &cert.Policy{}
	p.Apply(certificateChange(in))
	return p
}

// certificateChange is what a caller wants to change of a policy: the sections that are given.
func certificateChange(in *api.CertificatePolicy) *cert.PolicyChange {
	ch := &cert.PolicyChange{Enabled: in.Enabled}
	if k := in.Key; k != nil {
		ch.Key = &cert.KeyProps{Exportable: k.Exportable, Kty: k.Type, Bits: k.Bits, Curve: k.Curve, Reuse: k.Reuse}
	}
	if in.ContentType != "" {
		ch.Secret = &cert.SecretProps{ContentType: in.ContentType}
	}
	if x := in.X509; x != nil {
		ch.X509 = &cert.X509Props{Subject: x.Subject, DNS: x.DNS, Emails: x.Emails, UPNs: x.UPNs, URIs: x.URIs, Addresses: x.Addresses, EKUs: x.Purposes, KeyUsage: x.KeyUsage, Months: x.Months}
	}
	for _, a := range in.Actions {
		ch.Actions = append(ch.Actions, cert.Action(a))
	}
	if i := in.Issuer; i != nil {
		ch.Issuer = &cert.IssuerRef{Name: i.Name, Type: i.Type, Transparency: i.Transparency}
	}
	return ch
}
