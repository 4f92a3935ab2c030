package cert

import (
	"context"
	"crypto/x509"
	"math/rand/v2"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/issuer"
	"github.com/keywright/keywright/internal/vault"
)

// Advice is what an issuer says about the renewal of one version (RFC 9773). It can only bring a renewal forward: the policy's own limit stands.
type Advice struct {
	Version vault.VersionID `json:"version"`
	// RenewAt is the instant within the advised window that was drawn for this certificate; zero until the issuer was asked.
	RenewAt time.Time `json:"renewAt,omitzero"`
	// Start and End are the window.
	Start time.Time `json:"start,omitzero"`
	End   time.Time `json:"end,omitzero"`
	// AskAt is when to ask next.
	AskAt time.Time `json:"askAt"`
}

// adviceEvery is how often an issuer is asked at most. RFC 9773, section 4.3, wants clients to look several times within the window, which takes days or weeks.
const adviceEvery = 24 * time.Hour

// firstAdvice plans the first question about a version. Nobody takes back at once what was issued now.
func firstAdvice(ver vault.VersionID, leaf *x509.Certificate, now time.Time) *Advice {
	return &Advice{Version: ver, AskAt: now.Add(pause(leaf))}
}

// pause is how long to wait between two questions about a certificate: a day, less for those that live for days.
func pause(leaf *x509.Certificate) time.Duration {
	const parts = 20
	return max(min(adviceEvery, leaf.NotAfter.Sub(leaf.NotBefore)/parts), time.Minute)
}

// advised is the advice on a version that its policy renews; nil when there is none.
func (st *state) advised(ver *vault.Version) *Advice {
	if st.Advice == nil || st.Advice.Version != ver.ID || st.Policy.Issuer.Is(UnknownIssuer) {
		return nil
	}
	if _, renews := st.Policy.first(AutoRenew, ver.Attributes.NotBefore, ver.Attributes.Expires); !renews {
		return nil
	}
	return st.Advice
}

// renewAt is the instant at which a policy renews a version, brought forward by the issuer's advice.
func (st *state) renewAt(ver *vault.Version) (at time.Time, renews bool) {
	at, renews = st.Policy.first(AutoRenew, ver.Attributes.NotBefore, ver.Attributes.Expires)
	if a := st.advised(ver); a != nil && !a.RenewAt.IsZero() && a.RenewAt.Before(at) {
		at = a.RenewAt
	}
	return at, renews
}

// ask asks the issuer of a certificate when to renew it, and stores what it says. An issuer that cannot be asked now is asked at the next time; one that gives no
// advice is not asked again.
func (s *Service) ask(ctx context.Context, v *vault.Vault, it Item, st *state) error {
	f, err := Describe(it.Version)
	if err != nil {
		return err
	}
	leaf, err := x509.ParseCertificate(f.Leaf)
	if err != nil {
		return fault.Wrap(err, fault.Internal, "the certificate %q cannot be read", it.Object.Name)
	}
	next := *st
	next.Advice = s.advice(ctx, v, it, leaf, st)
	return s.note(ctx, v, it.Object, &next, next.due(it))
}

// advice is the advice on a version after the issuer was asked.
func (s *Service) advice(ctx context.Context, v *vault.Vault, it Item, leaf *x509.Certificate, st *state) *Advice {
	now := s.Clock.Now()
	by, err := s.issuer(ctx, v, it.Object.Name, st.Policy.Issuer)
	advisor, ok := by.(issuer.Advisor)
	if err == nil && !ok {
		return nil
	}
	var w issuer.Window
	if err == nil {
		w, err = advisor.RenewalWindow(ctx, leaf)
	}
	if fault.Is(err, fault.Unsupported) || fault.Is(err, fault.NotFound) {
		return nil
	}
	a := *st.Advice
	a.AskAt = now.Add(pause(leaf))
	if err != nil {
		s.Logger.InfoContext(ctx, "an issuer does not say when to renew a certificate; it is asked again", "certificate", it.Object.Name, "vault", v.Name,
			"at", a.AskAt, "error", err)
		return &a
	}
	if !w.Start.Equal(a.Start) || !w.End.Equal(a.End) {
		a.Start, a.End, a.RenewAt = w.Start, w.End, within(w)
	}
	return &a
}

// within draws an instant of a window, so that not everybody renews at its start (RFC 9773, section 4.2).
func within(w issuer.Window) time.Time {
	wide := w.End.Sub(w.Start)
	if wide <= 0 {
		return w.Start
	}
	return w.Start.Add(rand.N(wide))
}
