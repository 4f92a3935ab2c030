package azure

import (
	"encoding/base64"
	"time"

	"github.com/keywright/keywright/internal/cert"
	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/object"
	"github.com/keywright/keywright/internal/vault"
)

// certificates is a collection of a vault, as paths name it.
const certificates = "certificates"

// certificateID is the id of a certificate without a version.
func certificateID(r *door.Request, name string) string {
	return r.Base + "/" + certificates + "/" + name
}

// attributesBody are the attributes of a version.
type attributesBody struct {
	Enabled  *bool  `json:"enabled,omitempty"`
	NBF      *int64 `json:"nbf,omitempty"`
	EXP      *int64 `json:"exp,omitempty"`
	Created  *int64 `json:"created,omitempty"`
	Updated  *int64 `json:"updated,omitempty"`
	Recovery string `json:"recoveryLevel,omitempty"`
	Days     int    `json:"recoverableDays,omitempty"`
}

func instant(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	s := t.Unix()
	return &s
}

func attributesOf(v *vault.Vault, a *vault.Attributes) *attributesBody {
	return &attributesBody{Enabled: &a.Enabled, NBF: instant(a.NotBefore), EXP: instant(a.Expires), Created: instant(a.Created), Updated: instant(a.Updated),
		Recovery: door.RecoveryLevel(v), Days: v.RetentionDays}
}

// certificatePolicyBody is a policy on the wire. Absent members stay absent: clients compare what they get with what they gave.
type certificatePolicyBody struct {
	ID         string          `json:"id,omitempty"`
	Key        *keyPropsBody   `json:"key_props,omitempty"`
	Secret     *secretBody     `json:"secret_props,omitempty"`
	X509       *x509Body       `json:"x509_props,omitempty"`
	Actions    []actionBody    `json:"lifetime_actions,omitempty"`
	Issuer     *issuerRefBody  `json:"issuer,omitempty"`
	Attributes *attributesBody `json:"attributes,omitempty"`
}

type keyPropsBody struct {
	Exportable *bool  `json:"exportable,omitempty"`
	Kty        string `json:"kty,omitempty"`
	Bits       int    `json:"key_size,omitempty"`
	Reuse      *bool  `json:"reuse_key,omitempty"`
	Curve      string `json:"crv,omitempty"`
}

type secretBody struct {
	ContentType string `json:"contentType,omitempty"`
}

type x509Body struct {
	Subject  string    `json:"subject,omitempty"`
	SANs     *sansBody `json:"sans,omitempty"`
	EKUs     []string  `json:"ekus,omitempty"`
	KeyUsage []string  `json:"key_usage,omitempty"`
	Months   int       `json:"validity_months,omitempty"`
}

type sansBody struct {
	Emails []string `json:"emails,omitempty"`
	DNS    []string `json:"dns_names,omitempty"`
	UPNs   []string `json:"upns,omitempty"`
	// The last two are of version 2025-07-01.
	URIs      []string `json:"uris,omitempty"`
	Addresses []string `json:"ipAddresses,omitempty"`
}

type actionBody struct {
	Trigger struct {
		Percentage int `json:"lifetime_percentage,omitempty"`
		DaysBefore int `json:"days_before_expiry,omitempty"`
	} `json:"trigger"`
	Action struct {
		Type string `json:"action_type,omitempty"`
	} `json:"action"`
}

type issuerRefBody struct {
	Name         string `json:"name,omitempty"`
	Type         string `json:"cty,omitempty"`
	Transparency *bool  `json:"cert_transparency,omitempty"`
}

// policy is the policy that a caller gave; nil for none.
func (b *certificatePolicyBody) policy() *cert.Policy {
	ch := b.change()
	if ch == nil {
		return nil
	}
	p := &cert.Policy{}
	p.Apply(ch)
	return p
}

// change is what a caller wants to change of a policy: the sections that are given.
func (b *certificatePolicyBody) change() *cert.PolicyChange {
	if b == nil {
		return nil
	}
	ch := &cert.PolicyChange{}
	if k := b.Key; k != nil {
		ch.Key = &cert.KeyProps{Exportable: k.Exportable, Kty: k.Kty, Bits: k.Bits, Curve: k.Curve, Reuse: k.Reuse}
	}
	if b.Secret != nil {
		ch.Secret = &cert.SecretProps{ContentType: b.Secret.ContentType}
	}
	if x := b.X509; x != nil {
		ch.X509 = &cert.X509Props{Subject: x.Subject, EKUs: x.EKUs, KeyUsage: x.KeyUsage, Months: x.Months}
		if x.SANs != nil {
			ch.X509.DNS, ch.X509.Emails, ch.X509.UPNs, ch.X509.URIs, ch.X509.Addresses = x.SANs.DNS, x.SANs.Emails, x.SANs.UPNs, x.SANs.URIs, x.SANs.Addresses
		}
	}
	for _, a := range b.Actions {
		ch.Actions = append(ch.Actions, cert.Action{Percentage: a.Trigger.Percentage, DaysBefore: a.Trigger.DaysBefore, Do: a.Action.Type})
	}
	if i := b.Issuer; i != nil {
		ch.Issuer = &cert.IssuerRef{Name: i.Name, Type: i.Type, Transparency: i.Transparency}
	}
	if b.Attributes != nil {
		ch.Enabled = b.Attributes.Enabled
	}
	return ch
}

// policyOf is a policy as callers see it.
func policyOf(r *door.Request, name string, p *cert.Policy) *certificatePolicyBody {
	if p == nil {
		return nil
	}
	b := &certificatePolicyBody{
		ID:     certificateID(r, name) + "/policy",
		Key:    &keyPropsBody{Exportable: p.Key.Exportable, Kty: p.Key.Kty, Bits: p.Key.Bits, Reuse: p.Key.Reuse, Curve: p.Key.Curve},
		Secret: &secretBody{p.Secret.ContentType},
		X509:   &x509Body{Subject: p.X509.Subject, EKUs: p.X509.EKUs, KeyUsage: p.X509.KeyUsage, Months: p.X509.Months},
		Issuer: issuerRefOf(p.Issuer),
		Attributes: &attributesBody{Enabled: p.Enabled, Created: instant(p.Created),
			Updated: instant(p.Updated)},
	}
	if x := &p.X509; len(x.DNS)+len(x.Emails)+len(x.UPNs)+len(x.URIs)+len(x.Addresses) > 0 {
		b.X509.SANs = &sansBody{Emails: x.Emails, DNS: x.DNS, UPNs: x.UPNs, URIs: x.URIs, Addresses: x.Addresses}
	}
	for _, a := range p.Actions {
		var action actionBody
		action.Trigger.Percentage, action.Trigger.DaysBefore, action.Action.Type = a.Percentage, a.DaysBefore, a.Do
		b.Actions = append(b.Actions, action)
	}
	return b
}

func issuerRefOf(i cert.IssuerRef) *issuerRefBody {
	return &issuerRefBody{Name: i.Name, Type: i.Type, Transparency: i.Transparency}
}

// operationBody is the making of a certificate on the wire.
type operationBody struct {
	ID        string         `json:"id"`
	Issuer    *issuerRefBody `json:"issuer"`
	CSR       []byte         `json:"csr"`
	Cancelled bool           `json:"cancellation_requested"`
	Status    string         `json:"status"`
	Details   string         `json:"status_details,omitempty"`
	Error     *operationFail `json:"error,omitempty"`
	Target    string         `json:"target,omitempty"`
	RequestID string         `json:"request_id"`
	Preserve  bool           `json:"preserveCertOrder"`
}

type operationFail struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

func operationOf(r *door.Request, o *vault.Object, op *cert.Operation) *operationBody {
	b := &operationBody{ID: certificateID(r, o.Name) + "/pending", Issuer: issuerRefOf(op.Issuer), CSR: op.CSR, Cancelled: op.Cancelled, Status: string(op.Status),
		Details: op.Details, RequestID: string(op.Version), Preserve: op.PreserveOrder}
	switch op.Status {
	case cert.Completed:
		b.Target = certificateID(r, o.Name)
	case cert.Failed:
		b.Error = &operationFail{op.Code, op.Message}
	}
	return b
}

// certificateBody is a certificate on the wire.
type certificateBody struct {
	RecoveryID  string                 `json:"recoveryId,omitempty"`
	DeletedDate *int64                 `json:"deletedDate,omitempty"`
	PurgeDate   *int64                 `json:"scheduledPurgeDate,omitempty"`
	ID          string                 `json:"id"`
	Kid         string                 `json:"kid,omitempty"`
	Sid         string                 `json:"sid,omitempty"`
	X5T         string                 `json:"x5t,omitempty"`
	Cer         []byte                 `json:"cer,omitempty"`
	ContentType string                 `json:"contentType,omitempty"`
	Attributes  *attributesBody        `json:"attributes,omitempty"`
	Tags        map[string]string      `json:"tags,omitempty"`
	Policy      *certificatePolicyBody `json:"policy,omitempty"`
	Pending     *pendingBody           `json:"pending,omitempty"`
	Preserve    bool                   `json:"preserveCertOrder"`
}

type pendingBody struct {
	ID string `json:"id"`
}

// certificateAnswer answers with a certificate, or fails with err.
func (h *handler) certificateAnswer(r *door.Request, status int, it object.Item, p *cert.Policy, err error) error {
	if err != nil {
		return err
	}
	b, err := certificateOf(r, &it, p)
	if err != nil {
		return err
	}
	return r.JSON(status, b)
}

func (h *handler) deletedCertificateAnswer(r *door.Request, it object.Item, p *cert.Policy, err error) error {
	if err != nil {
		return err
	}
	b, err := certificateOf(r, &it, p)
	if err != nil {
		return err
	}
	b.RecoveryID = r.Base + "/deleted" + certificates + "/" + it.Object.Name
	b.DeletedDate, b.PurgeDate = instant(it.Object.Deleted.At), instant(it.Object.Deleted.PurgeAt)
	return r.JSON(200, b)
}

// certificateOf is a certificate as callers see it. One whose first version is not made yet has no more than its policy, and is disabled.
func certificateOf(r *door.Request, it *object.Item, p *cert.Policy) (*certificateBody, error) {
	b := &certificateBody{ID: certificateID(r, it.Object.Name), Policy: policyOf(r, it.Object.Name, p), Pending: &pendingBody{certificateID(r, it.Object.Name) + "/pending"}}
	if it.Version == nil {
		return b, nil
	}
	f, err := cert.Describe(it.Version)
	if err != nil {
		return nil, err
	}
	version := "/" + it.Object.Name + "/" + string(it.Version.ID)
	a := it.Version.Attributes
	b.ID, b.Tags, b.ContentType, b.Preserve = r.Base+"/"+certificates+version, it.Version.Tags, f.ContentType, f.PreserveOrder
	if f.Leaf == nil {
		a.Enabled = false
	} else {
		b.Kid, b.Sid, b.Cer = r.Base+"/"+keys+version, r.Base+"/"+secrets+version, f.Leaf
		b.X5T = base64.RawURLEncoding.EncodeToString(f.Thumbprint())
	}
	b.Attributes = attributesOf(r.Call.Vault.Vault, &a)
	return b, nil
}

// certificateItem appends a live certificate of a listing: its id has no version.
func (e *encoder) certificateItem(it *object.Item) {
	e.certificateEntry(&object.Item{Object: it.Object}, it, false)
}

func (e *encoder) deletedCertificateItem(it *object.Item) {
	e.certificateEntry(&object.Item{Object: it.Object}, it, true)
}

func (e *encoder) certificateVersionItem(it *object.Item) { e.certificateEntry(it, it, false) }

func (e *encoder) certificateEntry(named, it *object.Item, deleted bool) {
	e.byte('{')
	if deleted {
		e.deletion(certificates, it)
	}
	e.id("id", certificates, named)
	if it.Version != nil {
		// A document that cannot be read must not keep the others from being listed; whoever gets that certificate is told.
		if f, err := cert.Describe(it.Version); err == nil && f.Leaf != nil {
			e.octets("x5t", f.Thumbprint())
		}
		e.attributes(&it.Version.Attributes)
		if len(it.Version.Tags) > 0 {
			e.tags(it.Version.Tags)
		}
	}
	e.byte('}')
}
