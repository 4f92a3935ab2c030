// Package external is the issuer that is a person: the certificate request goes out to an authority that we do not speak with, and somebody brings back what it
// gave. The only proof asked for is the one that counts: the certificate is for the key that waits for it.
package external

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"time"

	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/issuer"
)

// maxMerged is how many certificates may be brought: chains have five at most.
const maxMerged = 20

// Config of an Issuer.
type Config struct {
	// Clock is required: an expired certificate is not taken.
	Clock clock.Clock
}

// Issuer is the issuer "Unknown" of Key Vault.
type Issuer struct{ clock clock.Clock }

var (
	_ issuer.Issuer    = (*Issuer)(nil)
	_ issuer.Merger    = (*Issuer)(nil)
	_ issuer.Canceller = (*Issuer)(nil)
)

// New returns an Issuer.
func New(config Config) (*Issuer, error) {
	if config.Clock == nil {
		return nil, errors.New("external: a clock is required")
	}
	return &Issuer{config.Clock}, nil
}

// Describe says that it waits for a person.
func (*Issuer) Describe() issuer.Description {
	return issuer.Description{Name: "external", Waits: true, Merges: true, ChoosesLifetime: true}
}

// Begin leaves every request pending. Its token is a digest of the certificate request, so that one order cannot be asked after with another's.
func (*Issuer) Begin(ctx context.Context, r issuer.Request) (issuer.Result, error) {
	if err := ctx.Err(); err != nil {
		return issuer.Result{}, fault.Wrap(err, fault.Unavailable, "the request was given up before it began")
	}
	if err := issuer.Check(r); err != nil {
		return issuer.Result{}, err
	}
	return waiting(r), nil
}

// Poll says that the request still waits.
func (*Issuer) Poll(_ context.Context, r issuer.Request, token []byte) (issuer.Result, error) {
	if err := issuer.Check(r); err != nil {
		return issuer.Result{}, err
	}
	if subtle.ConstantTimeCompare(token, waiting(r).Pending.Token) != 1 {
		return issuer.Result{}, fault.New(fault.NotFound, "request %s is not pending under this token: begin again", r.ID)
	}
	return waiting(r), nil
}

func waiting(r issuer.Request) issuer.Result {
	sum := sha256.Sum256(r.CSR.Raw)
	return issuer.Result{Pending: &issuer.Pending{Token: []byte(hex.EncodeToString(sum[:])),
		Detail: "The certificate request waits to be signed by an authority outside: have it signed, then merge the certificate with its chain."}}
}

// Cancel has nothing to give up: whoever holds the request may still have it signed.
func (*Issuer) Cancel(context.Context, issuer.Request, []byte) error { return nil }

// Merge takes what the authority gave. Exactly one certificate must be for the request's key; of the others, those that lead up from it make its chain, and
// any that does not is refused, because it was probably meant for another request.
func (i *Issuer) Merge(_ context.Context, r issuer.Request, certificates []*x509.Certificate) (issuer.Result, error) {
	if err := issuer.Check(r); err != nil {
		return issuer.Result{}, err
	}
	if len(certificates) == 0 || len(certificates) > maxMerged {
		return issuer.Result{}, fault.New(fault.Invalid, "%d certificates were brought for request %s: bring 1 to %d, the signed one and its chain", len(certificates), r.ID, maxMerged)
	}
	chain, err := arrange(r, certificates)
	if err != nil {
		return issuer.Result{}, err
	}
	if err := issuer.CheckChain(r, chain); err != nil {
		return issuer.Result{}, err
	}
	if now := i.clock.Now(); !now.Before(chain[0].NotAfter) {
		return issuer.Result{}, fault.New(fault.Invalid, "the certificate for request %s expired at %s: have the request signed again",
			r.ID, chain[0].NotAfter.UTC().Format(time.RFC3339))
	}
	return issuer.Result{Chain: chain}, nil
}

// arrange puts the leaf first and each issuer behind what it signed, and refuses what has no place.
func arrange(r issuer.Request, certificates []*x509.Certificate) ([]*x509.Certificate, error) {
	var chain, rest []*x509.Certificate
	for _, c := range certificates {
		switch {
		case len(chain) > 0 && chain[0].Equal(c):
		case issuer.CheckChain(r, []*x509.Certificate{c}) != nil:
			rest = append(rest, c)
		case len(chain) > 0:
			return nil, fault.New(fault.Invalid, "two different certificates were brought for the key of request %s: bring the one that is to be used", r.ID)
		default:
			chain = append(chain, c)
		}
	}
	if len(chain) == 0 {
		return nil, fault.New(fault.Invalid, "none of the %d certificates has the public key of request %s: bring the certificate that was issued for this request",
			len(certificates), r.ID).Because(issuer.ReasonMismatch)
	}
	for {
		parent := -1
		for n, c := range rest {
			if last := chain[len(chain)-1]; !last.Equal(c) && last.CheckSignatureFrom(c) == nil {
				parent = n
			}
		}
		if parent < 0 {
			break
		}
		chain = append(chain, rest[parent])
		rest = append(rest[:parent:parent], rest[parent+1:]...)
	}
	for _, c := range rest {
		if last := chain[len(chain)-1]; !contains(chain, c) && !last.Equal(c) {
			return nil, fault.New(fault.Invalid, "the certificate of %q is not part of the chain for request %s: bring the chain of this certificate alone",
				fault.Clip(c.Subject.String()), r.ID)
		}
	}
	return chain, nil
}

func contains(chain []*x509.Certificate, c *x509.Certificate) bool {
	for _, other := range chain {
		if other.Equal(c) {
			return true
		}
	}
	return false
}
