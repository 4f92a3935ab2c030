package identity

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Bounds of Config.TokenLifetime. Less than five minutes and the client libraries, which renew that early, would ask for
// a new token with every request.
const (
	DefaultTokenLifetime = time.Hour
	MinTokenLifetime     = 5 * time.Minute
	MaxTokenLifetime     = 24 * time.Hour
)

// skew is how far apart the clocks of two honest machines may be.
const skew = 5 * time.Minute

// Keys seals what has to be read again and digests what is only compared.
type Keys interface {
	// SealFor encrypts plain for one purpose and id of a tenant; OpenFor opens it for the same three only.
	SealFor(ctx context.Context, t vault.TenantID, purpose, id string, plain []byte) (vault.Envelope, error)
	OpenFor(ctx context.Context, t vault.TenantID, purpose, id string, e vault.Envelope) ([]byte, error)
	// Digest returns a digest keyed by tenant and purpose: the same for the same secret until the key is rotated.
	Digest(ctx context.Context, t vault.TenantID, purpose string, secret []byte) ([]byte, error)
	// Matches reports, in constant time, whether a digest of any age is that of the secret.
	Matches(ctx context.Context, t vault.TenantID, purpose string, secret, digest []byte) (bool, error)
}

// The purposes for which Keys is asked.
const (
	purposeSigningKey = "identity-signing-key"
	purposeTOTP       = "identity-totp"
	purposeSecret     = "identity-client-secret"
	purposeCode       = "identity-code"
)

// Auditor records decisions about credentials.
type Auditor interface {
	// SignIn records one decision. The answer leaves after it returned; an error keeps a token from being issued.
	SignIn(ctx context.Context, e SignInEvent) error
}

// SignInEvent is one decision about a credential. It holds no credential and no token.
type SignInEvent struct {
	At     time.Time
	Tenant vault.TenantID
	// Principal is empty when the credential proved nobody.
	Principal principal.ID
	// Subject is what the caller said it is: a client id or a sign-in name.
	Subject string
	Flow    Flow
	// Credential is the id of the credential that was believed.
	Credential string
	Resource   string
	// Token is the id of the issued token.
	Token       string
	Address     netip.Addr
	Correlation string
	// Reason is empty when a token was issued.
	Reason fault.Reason
}

// Flow names a way to prove oneself.
type Flow string

// The flows.
const (
	FlowSecret      Flow = "client-secret"
	FlowCertificate Flow = "client-certificate"
	FlowFederation  Flow = "federation"
	FlowManaged     Flow = "managed-identity"
	FlowDevice      Flow = "device-code"
	FlowCode        Flow = "authorization-code"
	FlowRefresh     Flow = "refresh-token"
	// FlowPassword and FlowPasskey prove a person; the token comes by one of the flows above.
	FlowPassword Flow = "password-and-code"
	FlowPasskey  Flow = "passkey"
	// FlowEnrolment proves a person by the registration of a passkey that it began.
	FlowEnrolment Flow = "passkey-enrolment"
	// FlowFirst proves somebody who has no credential of its own yet.
	FlowFirst Flow = "enrolment"
)

// Config is what a Service is made of.
type Config struct {
	Store   store.Store
	Keys    Keys
	Auditor Auditor
	// Clock is the system's when nil, Logger the default one.
	Clock  clock.Clock
	Logger *slog.Logger
	// Dial connects to outside issuers and refuses the addresses at which none may be; nil connects to any.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	// Issuer returns the issuer that the tenant's tokens name.
	Issuer func(vault.TenantID) string
	// TokenLifetime is DefaultTokenLifetime when zero.
	TokenLifetime time.Duration
	// KeyLifetime is how long a signing key signs: 30 days when zero.
	KeyLifetime time.Duration
	// CacheSize bounds the remembered tokens; 65,536 when zero.
	CacheSize int
	// IssuerKeysEvery is the least time between two fetches of one outside issuer's keys; 30 s when zero. Assertions that name
	// an unknown key are refused without asking until then: whoever guesses key ids must not make the server ask each time.
	IssuerKeysEvery time.Duration
	// PublicClients names the client ids of programs that people sign in with and that keep no secret; nil means
	// WellKnownClients.
	PublicClients map[string]string
	// AssertionsOnce refuses every second use of a client assertion, also from the same address. Some client libraries
	// cannot live with that.
	AssertionsOnce bool
	// MyTurn says whether this node is the one that makes signing keys in time and removes what has expired; nil says so always. What somebody waits for is
	// made by any node.
	MyTurn func() bool
	// Locked, when not nil, is told that guessing was stopped; kind is client, user,
	// code, grant or address, or the first two with -overall.
	Locked func(kind string)
}

// Service issues tokens and judges them. It is safe for concurrent use.
type Service struct {
	Config
	rings   rings
	cache   *cache
	gate    *gate
	issuers issuers
	polls   *polls
	starts  *starts
	flights singleflight.Group
	// heavy admits as many signatures and password digests at once as there are cores, so that a burst of sign-ins leaves
	// time for reads.
	heavy chan struct{}
}

// New checks c and returns a service. Changed must be told of every commit (see store.Store.Watch) before the first call
// of Authenticate.
func New(c Config) (*Service, error) {
	switch {
	case c.Store == nil, c.Keys == nil, c.Auditor == nil, c.Issuer == nil:
		return nil, errors.New("identity: Store, Keys, Auditor and Issuer are required")
	case c.TokenLifetime != 0 && (c.TokenLifetime < MinTokenLifetime || c.TokenLifetime > MaxTokenLifetime):
		return nil, fmt.Errorf("identity: the token lifetime %s is outside %s to %s", c.TokenLifetime, MinTokenLifetime, MaxTokenLifetime)
	case c.KeyLifetime != 0 && c.KeyLifetime < minKeyLifetime:
		return nil, fmt.Errorf("identity: the signing key lifetime %s is less than %s", c.KeyLifetime, minKeyLifetime)
	case c.IssuerKeysEvery < 0:
		return nil, errors.New("identity: the interval between fetches of an issuer's keys is negative")
	case c.CacheSize < 0:
		return nil, errors.New("identity: the cache size is negative")
	}
	c = c.withDefaults()
	return &Service{
		Config: c,
		cache:  newCache(c.CacheSize),
		gate:   newGate(c.Clock, c.Locked),
		polls:  newPolls(c.Clock),
		starts: newStarts(c.Clock),
		heavy:  make(chan struct{}, runtime.GOMAXPROCS(0)),
	}, nil
}

func (c Config) withDefaults() Config {
	if c.Clock == nil {
		c.Clock = clock.System{}
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Dial == nil {
		c.Dial = (&net.Dialer{}).DialContext
	}
	if c.TokenLifetime == 0 {
		c.TokenLifetime = DefaultTokenLifetime
	}
	if c.KeyLifetime == 0 {
		c.KeyLifetime = defaultKeyLifetime
	}
	if c.CacheSize == 0 {
		c.CacheSize = 1 << 16
	}
	if c.IssuerKeysEvery == 0 {
		c.IssuerKeysEvery = issuerKeysEvery
	}
	if c.PublicClients == nil {
		c.PublicClients = WellKnownClients()
	}
	return c
}

// Run keeps signing keys fresh and sweeps what has expired, until ctx ends. A tenant's first key is made
// by the first Run or the first token, whichever comes first.
func (s *Service) Run(ctx context.Context) {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		if err := s.Tend(ctx); err != nil && ctx.Err() == nil {
			s.Logger.WarnContext(ctx, "tending identity failed; it is tried again in a minute", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Tend does once what Run does each minute.
func (s *Service) Tend(ctx context.Context) error {
	now := s.Clock.Now()
	s.gate.sweep(now)
	s.polls.sweep(now)
	s.starts.sweep(now)
	if s.MyTurn != nil && !s.MyTurn() {
		return nil
	}
	var tenants []*vault.Tenant
	if err := s.Store.View(ctx, func(tx store.Tx) (err error) {
		tenants, err = tx.Tenants(ctx)
		return err
	}); err != nil {
		return fmt.Errorf("listing tenants: %w", err)
	}
	var failed []error
	for _, t := range tenants {
		if !t.Disabled {
			failed = append(failed, s.EnsureKeys(ctx, t.ID))
		}
	}
	failed = append(failed, s.expireSignIns(ctx))
	return errors.Join(failed...)
}

// expireSignIns removes spent state in bounded pieces, so that no single transaction holds the writer for long.
func (s *Service) expireSignIns(ctx context.Context) error {
	const piece = 500
	for range 20 {
		var removed int
		now := s.Clock.Now()
		err := s.Store.Update(ctx, store.NewOp(now), func(tx store.Tx) (err error) {
			removed, err = tx.ExpireSignIns(ctx, now, piece)
			return err
		})
		if err != nil {
			return fmt.Errorf("removing expired sign-ins: %w", err)
		}
		if removed < piece {
			return nil
		}
	}
	return nil
}
