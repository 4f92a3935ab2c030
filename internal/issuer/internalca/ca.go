package internalca

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/issuer"
	"github.com/keywright/keywright/internal/issuer/template"
)

// Defaults of Config.
const (
	DefaultBackdate     = 5 * time.Minute
	DefaultCRLLifetime  = 7 * day
	DefaultOCSPLifetime = 12 * time.Hour
)

// minRemaining is how long an authority must still live to issue at all: a certificate that ends at once helps nobody, and hides that the authority is due.
const minRemaining = time.Hour

// Config is one authority.
type Config struct {
	// Certificate is the authority's own. Required.
	Certificate *x509.Certificate
	// Parents lead up from it, to the root if it is known; empty for a root.
	Parents []*x509.Certificate
	// Key is the authority's key. Required.
	Key crypto.Signer
	// Profiles by name, and the one for requests that name none. Both required.
	Profiles map[string]Profile
	Default  string
	// Records is required.
	Records Records
	// Clock is required.
	Clock clock.Clock
	// CRLURLs, OCSPURLs and IssuerURLs are written into certificates: where the revocation list, the responder and the authority's certificate are. They are http:
	// whoever fetches them verifies a signature, and cannot verify a TLS certificate before.
	CRLURLs, OCSPURLs, IssuerURLs []string
	// Backdate is how much earlier than now certificates begin, for peers whose clocks are late.
	Backdate time.Duration
	// CRLLifetime and OCSPLifetime are how long an answer counts.
	CRLLifetime, OCSPLifetime time.Duration
}

// CA is an authority. It is safe for concurrent use.
type CA struct {
	config    Config
	rehearsal *rehearsal
	// chain is what goes out behind a leaf: the authority and its parents, less a self-signed root, unless that is the authority itself.
	chain []*x509.Certificate
}

var (
	_ issuer.Issuer  = (*CA)(nil)
	_ issuer.Revoker = (*CA)(nil)
	_ issuer.Advisor = (*CA)(nil)
)

// New checks everything that a certificate of the authority would depend on.
func New(config Config) (*CA, error) {
	if config.Backdate == 0 {
		config.Backdate = DefaultBackdate
	}
	if config.CRLLifetime == 0 {
		config.CRLLifetime = DefaultCRLLifetime
	}
	if config.OCSPLifetime == 0 {
		config.OCSPLifetime = DefaultOCSPLifetime
	}
	if err := config.check(); err != nil {
		return nil, fmt.Errorf("internalca: %w", err)
	}
	ca := &CA{config: config}
	above := append([]*x509.Certificate{config.Certificate}, config.Parents...)
	for i, c := range above {
		if i == 0 || !selfIssued(c) {
			ca.chain = append(ca.chain, c)
		}
	}
	var err error
	if ca.rehearsal, err = newRehearsal(above); err != nil {
		return nil, fmt.Errorf("internalca: %w", err)
	}
	return ca, nil
}

func (c *Config) check() error {
	if c.Certificate == nil || c.Key == nil || c.Records == nil || c.Clock == nil {
		return errors.New("a certificate, its key, records and a clock are required")
	}
	var problems []error
	if public, ok := c.Key.Public().(interface{ Equal(crypto.PublicKey) bool }); !ok || !public.Equal(c.Certificate.PublicKey) {
		problems = append(problems, errors.New("the key is not that of the authority's certificate"))
	}
	if !c.Certificate.IsCA || c.Certificate.KeyUsage&x509.KeyUsageCertSign == 0 {
		problems = append(problems, errors.New("the certificate is not one of an authority"))
	}
	if len(c.CRLURLs) > 0 && c.Certificate.KeyUsage&x509.KeyUsageCRLSign == 0 {
		problems = append(problems, errors.New("certificates would name a revocation list, and the authority may not sign one (cRLSign)"))
	}
	if len(c.Certificate.SubjectKeyId) == 0 {
		problems = append(problems, errors.New("the certificate has no subject key id, which the certificates below it have to name"))
	}
	child := c.Certificate
	for _, parent := range c.Parents {
		if err := child.CheckSignatureFrom(parent); err != nil {
			problems = append(problems, fmt.Errorf("%q has not signed %q: %w", parent.Subject, child.Subject, err))
		}
		child = parent
	}
	for _, name := range slices.Sorted(maps.Keys(c.Profiles)) {
		problems = append(problems, c.Profiles[name].check(name))
	}
	if _, ok := c.Profiles[c.Default]; !ok {
		problems = append(problems, fmt.Errorf("there is no profile %q to be the default", c.Default))
	}
	for _, text := range slices.Concat(c.CRLURLs, c.OCSPURLs, c.IssuerURLs) {
		if u, err := url.Parse(text); err != nil || u.Scheme != "http" || u.Host == "" {
			problems = append(problems, fmt.Errorf("%q is no http address", text))
		}
	}
	if c.Backdate < 0 || c.CRLLifetime < 0 || c.OCSPLifetime < 0 {
		problems = append(problems, errors.New("a duration is negative"))
	}
	return errors.Join(problems...)
}

// Describe says that it issues at once.
func (*CA) Describe() issuer.Description {
	return issuer.Description{Name: "internal", Repeats: true}
}

// Certificate is the authority's own.
func (ca *CA) Certificate() *x509.Certificate { return ca.config.Certificate }

// Profile returns the kind of certificate of that name.
func (ca *CA) Profile(name string) (Profile, bool) {
	p, ok := ca.config.Profiles[name]
	return p, ok
}

// Chain is what goes out behind a leaf.
func (ca *CA) Chain() []*x509.Certificate { return slices.Clone(ca.chain) }

// Records are where the authority keeps what it has issued.
func (ca *CA) Records() Records { return ca.config.Records }

// With returns the same authority with other records, such as ones that write more than the record in the same transaction.
func (ca *CA) With(r Records) *CA {
	other := *ca
	other.config.Records = r
	return &other
}

// Begin issues a certificate, or returns the one that the same request got before.
func (ca *CA) Begin(ctx context.Context, r issuer.Request) (issuer.Result, error) {
	if err := ctx.Err(); err != nil {
		return issuer.Result{}, fault.Wrap(err, fault.Unavailable, "the request was given up before its certificate was signed")
	}
	if err := issuer.Check(r); err != nil {
		return issuer.Result{}, err
	}
	switch record, err := ca.config.Records.ByRequest(ctx, r.ID); {
	case err == nil:
		return ca.result(r, record.DER)
	case !fault.Is(err, fault.NotFound):
		return issuer.Result{}, fmt.Errorf("looking for an earlier answer to request %s: %w", r.ID, err)
	}
	name, t, err := ca.plan(r)
	if err != nil {
		return issuer.Result{}, err
	}
	if err := ca.rehearsal.try(t, r); err != nil {
		return issuer.Result{}, err
	}
	der, err := x509.CreateCertificate(rand.Reader, t, ca.config.Certificate, r.CSR.PublicKey, ca.config.Key)
	if err != nil {
		return issuer.Result{}, fmt.Errorf("signing the certificate of request %s: %w", r.ID, err)
	}
	record := Record{Serial: SerialText(t.SerialNumber), RequestID: r.ID, Profile: name, DER: der, NotAfter: t.NotAfter}
	if err := ca.config.Records.Add(ctx, record); err != nil {
		if !fault.Is(err, fault.Conflict) {
			return issuer.Result{}, fmt.Errorf("keeping the certificate of request %s: %w", r.ID, err)
		}
		// Somebody else issued for the same request meanwhile: theirs counts, and ours is forgotten here.
		if record, err = ca.config.Records.ByRequest(ctx, r.ID); err != nil {
			return issuer.Result{}, fmt.Errorf("keeping the certificate of request %s: %w", r.ID, err)
		}
	}
	return ca.result(r, record.DER)
}

// Poll knows no token: nothing is ever pending.
func (*CA) Poll(_ context.Context, r issuer.Request, _ []byte) (issuer.Result, error) {
	return issuer.Result{}, fault.New(fault.NotFound, "request %s is not pending: the internal authority issues at once", r.ID)
}

func (ca *CA) result(r issuer.Request, der []byte) (issuer.Result, error) {
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return issuer.Result{}, fmt.Errorf("reading the certificate of request %s: %w", r.ID, err)
	}
	chain := append([]*x509.Certificate{leaf}, ca.chain...)
	return issuer.Result{Chain: chain}, issuer.CheckChain(r, chain)
}

// plan makes the template under the request's profile.
func (ca *CA) plan(r issuer.Request) (name string, t *x509.Certificate, err error) {
	if name = r.Profile; name == "" {
		name = ca.config.Default
	}
	p, ok := ca.config.Profiles[name]
	if !ok {
		return "", nil, fault.New(fault.Invalid, "the authority %q has no profile %q: use one of %s", ca.config.Certificate.Subject, fault.Clip(name),
			strings.Join(slices.Sorted(maps.Keys(ca.config.Profiles)), ", "))
	}
	now, own := ca.config.Clock.Now(), ca.config.Certificate
	if remaining := own.NotAfter.Sub(now); remaining < minRemaining {
		return "", nil, fault.New(fault.Conflict, "the authority %q ends at %s, too soon to issue: change over to its successor first",
			own.Subject, own.NotAfter.UTC().Format(time.RFC3339))
	}
	if p.CA {
		if err := ca.checkDepth(r); err != nil {
			return "", nil, err
		}
	}
	rules := template.Rules{KeyUsage: p.KeyUsage, ExtKeyUsage: p.ExtKeyUsage, Names: p.Names, CA: p.CA, MaxPathLen: p.MaxPathLen,
		NotBefore: later(now.Add(-ca.config.Backdate), own.NotBefore), NotAfter: earlier(now.Add(p.MaxLifetime), own.NotAfter)}
	if t, err = template.From(r, rules); err != nil {
		return "", nil, err
	}
	t.CRLDistributionPoints, t.OCSPServer, t.IssuingCertificateURL = ca.config.CRLURLs, ca.config.OCSPURLs, ca.config.IssuerURLs
	p.Constraints.apply(t)
	if p.NoCheck {
		t.ExtraExtensions = append(t.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 5}, Value: asn1.NullBytes})
	}
	return name, t, nil
}

// checkDepth refuses an authority below one whose path length has no room for it. Nobody verifies that at an authority's certificate itself, only
// at those below.
func (ca *CA) checkDepth(r issuer.Request) error {
	for depth, c := range append([]*x509.Certificate{ca.config.Certificate}, ca.config.Parents...) {
		if bounded := c.MaxPathLen > 0 || c.MaxPathLenZero; bounded && c.MaxPathLen < depth+1 {
			return fault.New(fault.Invalid, "the path length of %q is %d, so there is room for no authority below %q: have request %s signed higher up",
				c.Subject, c.MaxPathLen, ca.config.Certificate.Subject, r.ID)
		}
	}
	return nil
}

func selfIssued(c *x509.Certificate) bool { return bytes.Equal(c.RawSubject, c.RawIssuer) }

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
