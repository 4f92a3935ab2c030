package client

import (
	"context"
	"iter"
	"net/url"

	"github.com/keywright/keywright/client/api"
)

// The bodies of access rules and of what clients ordered under them.
type (
	AccessRule    = api.AccessRule
	SetAccessRule = api.SetAccessRule
	Enrolment     = api.Enrolment
)

func (k *Certificates) rule(issuer, name string) string {
	return k.issuer(issuer) + "/access-rules/" + url.PathEscape(name)
}

// AccessRules lists who may enrol with an issuer by ACME.
func (k *Certificates) AccessRules(ctx context.Context, issuer string) iter.Seq2[*AccessRule, error] {
	return pages(ctx, k.c, k.issuer(issuer)+"/access-rules", nil, func(l *api.AccessRuleList) ([]AccessRule, string) { return l.Items, l.Next })
}

// AccessRule shows an access rule without its MAC key.
func (k *Certificates) AccessRule(ctx context.Context, issuer, name string) (*AccessRule, error) {
	return do[AccessRule](ctx, k.c, "GET", k.rule(issuer, name), nil, nil)
}

// SetAccessRule makes an access rule, whose MAC key is in this answer alone, or says anew what one permits.
func (k *Certificates) SetAccessRule(ctx context.Context, issuer, name string, in SetAccessRule) (*AccessRule, error) {
	return do[AccessRule](ctx, k.c, "PUT", k.rule(issuer, name), nil, in)
}

// DeleteAccessRule withdraws an access rule for good.
func (k *Certificates) DeleteAccessRule(ctx context.Context, issuer, name string) (*AccessRule, error) {
	return do[AccessRule](ctx, k.c, "DELETE", k.rule(issuer, name), nil, nil)
}

// Enrolments lists what an issuer's ACME clients ordered, oldest first.
func (k *Certificates) Enrolments(ctx context.Context, issuer string) iter.Seq2[*Enrolment, error] {
	return pages(ctx, k.c, k.issuer(issuer)+"/orders", nil, func(l *api.EnrolmentList) ([]Enrolment, string) { return l.Items, l.Next })
}

// RevokeEnrolment takes back a certificate of an ACME client, by its serial number in hexadecimal digits. Doing it again does nothing.
func (k *Certificates) RevokeEnrolment(ctx context.Context, issuer, serial, reason string) error {
	return k.c.call(ctx, "POST", k.issuer(issuer)+"/revoke", nil, api.RevokeEnrolment{Serial: serial, Reason: reason}, nil)
}
