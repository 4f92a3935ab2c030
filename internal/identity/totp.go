package identity

import (
	"context"
	"fmt"
	"time"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/hotp"
	"github.com/pquerna/otp/totp"

	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/vault"
)

// Parameters of RFC 6238 that every authenticator application knows.
const (
	totpPeriod = 30 // seconds
	totpSkew   = 1  // steps before and after the present one
	totpSeed   = 20 // bytes, RFC 4226, section 4, R6
)

// defaultGenerator is the name of a code generator that nobody named.
const defaultGenerator = "authenticator"

// PrepareTOTP draws a generator of codes for a user and returns its otpauth URL, which is shown once, as a QR code.
func (s *Service) PrepareTOTP(ctx context.Context, t vault.TenantID, user *principal.Principal, name string) (redact.String, *principal.TOTP, Change, error) {
	if name == "" {
		name = defaultGenerator
	}
	if err := checkName("name of the generator", name); err != nil {
		return "", nil, nil, err
	}
	key, err := totp.Generate(totp.GenerateOpts{Issuer: "Keywright", AccountName: user.UPN, Period: totpPeriod, SecretSize: totpSeed})
	if err != nil {
		return "", nil, nil, fmt.Errorf("drawing a code generator: %w", err)
	}
	g := principal.TOTP{ID: vault.NewGUID(), Name: name, Created: clock.Micro(s.Clock.Now())}
	if g.Seed, err = s.Keys.SealFor(ctx, t, purposeTOTP, g.ID, []byte(key.Secret())); err != nil {
		return "", nil, nil, fmt.Errorf("sealing a code generator: %w", err)
	}
	return redact.String(key.URL()), &g, s.alter(t, user.ID, func(p *principal.Principal) error {
		if p.Kind != principal.User {
			return invalid(WrongRequest, "The principal %s is not a user; only those have code generators.", user.ID)
		}
		p.TOTP = append(p.TOTP, g)
		return checkCount(p)
	}), nil
}

// totpMatch finds the generator and the time step that a code belongs to. A step that was used before, and any older one, is
// passed over: a code is good once.
func (s *Service) totpMatch(ctx context.Context, p *principal.Principal, code redact.String, now time.Time) (id string, step int64, err error) {
	present := now.Unix() / totpPeriod
	for _, g := range p.TOTP {
		seed, err := s.Keys.OpenFor(ctx, p.Tenant, purposeTOTP, g.ID, g.Seed)
		if err != nil {
			return "", 0, fmt.Errorf("opening code generator %s: %w", g.ID, err)
		}
		for step := present - totpSkew; step <= present+totpSkew; step++ {
			ok, err := hotp.ValidateCustom(code.Reveal(), uint64(step), string(seed), hotp.ValidateOpts{Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1})
			if err == nil && ok && step > g.LastStep {
				clear(seed)
				return g.ID, step, nil
			}
		}
		clear(seed)
	}
	return "", 0, nil
}
