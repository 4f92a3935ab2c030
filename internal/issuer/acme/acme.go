package acme

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/mholt/acmez/v3/acme"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/issuer"
)

// The bounds of talking to an authority.
const (
	requestTimeout = 30 * time.Second
	maxAnswer      = 1 << 20
	// finalizeWait is how long a call waits for an authority that issues while it answers; others are asked again.
	finalizeWait = 3 * time.Second
	// pollInterval is how long callers wait between two looks at an order.
	pollInterval = 3 * time.Second
)

// Issuer is one account at one authority.
type Issuer struct {
	config Config
	client *acme.Client

	mu sync.Mutex
	// account is empty until it was found or made.
	account acme.Account
}

var (
	_ issuer.Issuer    = (*Issuer)(nil)
	_ issuer.Canceller = (*Issuer)(nil)
	_ issuer.Revoker   = (*Issuer)(nil)
	_ issuer.Advisor   = (*Issuer)(nil)
)

// New returns an Issuer. It does not speak to the authority yet.
func New(config Config) (*Issuer, error) {
	if err := config.check(); err != nil {
		return nil, fmt.Errorf("acme: %w", err)
	}
	config.Key = joseSigner(config.Key)
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{RootCAs: config.Roots, MinVersion: tls.VersionTLS12}
	return &Issuer{config: config, client: &acme.Client{
		Directory: config.Directory, UserAgent: "keywright", PollTimeout: finalizeWait,
		HTTPClient: &http.Client{Timeout: requestTimeout, Transport: bounded{transport},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}}, nil
}

// Describe says that an order takes its time, and that the authority decides on usages and lifetime.
func (*Issuer) Describe() issuer.Description {
	return issuer.Description{Name: "acme", Waits: true, Renews: true, ChoosesLifetime: true}
}

// bounded keeps an authority from filling our memory.
type bounded struct{ next http.RoundTripper }

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	reply, err := b.next.RoundTrip(r)
	if err == nil {
		reply.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(reply.Body, maxAnswer), reply.Body}
	}
	return reply, err
}

// login finds the account of our key, or makes one.
func (i *Issuer) login(ctx context.Context) (acme.Account, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.account.Location != "" {
		return i.account, nil
	}
	wanted := acme.Account{PrivateKey: i.config.Key, TermsOfServiceAgreed: true, Contact: i.config.Contact}
	found, err := i.client.GetAccount(ctx, acme.Account{PrivateKey: i.config.Key})
	if is(err, acme.ProblemTypeAccountDoesNotExist) {
		if b := i.config.Binding; b != nil {
			if err := wanted.SetExternalAccountBinding(ctx, i.client, acme.EAB{KeyID: b.KeyID, MACKey: b.MACKey.Reveal()}); err != nil {
				return acme.Account{}, i.explain(err, "binding the account")
			}
		}
		found, err = i.client.NewAccount(ctx, wanted)
	}
	if err != nil {
		return acme.Account{}, i.explain(err, "opening the account")
	}
	if found.Status != acme.StatusValid {
		return acme.Account{}, fault.New(fault.Forbidden, "the account at %s is %s: make another key for a new account", i.config.Directory, fault.Clip(found.Status))
	}
	found.PrivateKey = i.config.Key
	i.account = found
	return found, nil
}

// forget drops an account that the authority does not know any more, so that the next call makes a new one.
func (i *Issuer) forget(err error) {
	if is(err, acme.ProblemTypeAccountDoesNotExist) {
		i.mu.Lock()
		i.account = acme.Account{}
		i.mu.Unlock()
	}
}

// Revoke takes a certificate back, in the name of the account that ordered it.
func (i *Issuer) Revoke(ctx context.Context, leaf *x509.Certificate, reason issuer.Reason) error {
	if !reason.Known() {
		return fault.New(fault.Invalid, "certificates are not revoked for the reason %d: use one of RFC 5280's but certificateHold and removeFromCRL", reason)
	}
	account, err := i.login(ctx)
	if err != nil {
		return err
	}
	err = i.client.RevokeCertificate(ctx, account, leaf, nil, int(reason))
	if err == nil || is(err, acme.ProblemTypeAlreadyRevoked) {
		return nil
	}
	return i.explain(err, "revoking the certificate %x", leaf.SerialNumber)
}

// RenewalWindow asks the authority when to renew (RFC 9773); fault.Unsupported if it does not say.
func (i *Issuer) RenewalWindow(ctx context.Context, leaf *x509.Certificate) (issuer.Window, error) {
	info, err := i.client.GetRenewalInfo(ctx, leaf)
	if errors.Is(err, acme.ErrUnsupported) {
		return issuer.Window{}, fault.Wrap(err, fault.Unsupported, "%s does not say when to renew", i.config.Directory)
	}
	if err != nil {
		return issuer.Window{}, i.explain(err, "asking when to renew the certificate %x", leaf.SerialNumber)
	}
	w := issuer.Window{Start: info.SuggestedWindow.Start, End: info.SuggestedWindow.End, Explanation: info.ExplanationURL, AskAgain: i.config.Clock.Now().Add(6 * time.Hour)}
	if info.RetryAfter != nil {
		w.AskAgain = *info.RetryAfter
	}
	return w, nil
}
