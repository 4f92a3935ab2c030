package identity

import (
	"cmp"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

const (
	defaultKeyLifetime = 30 * 24 * time.Hour
	minKeyLifetime     = time.Hour
	// maxPublishLead is how long a key is in the published set before it signs: longer than anybody caches a key set.
	maxPublishLead = 24 * time.Hour
	signingKeyBits = 2048
)

// ring is one tenant's signing keys, as the store had them. It is not changed after it was loaded, but for signer.
type ring struct {
	keys   []*store.SigningKey
	public map[string]*rsa.PublicKey
	// read is when the store was asked.
	read time.Time

	mu sync.Mutex
	// signer is the opened private key of signerID.
	signer   *rsa.PrivateKey
	signerID string
}

// rings remembers the rings of tenants; forget and get keep to the order that cache describes.
type rings struct {
	mu  sync.RWMutex
	gen uint64
	m   map[vault.TenantID]*ring
}

func (r *rings) forget(t vault.TenantID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gen++
	delete(r.m, t)
}

func (r *rings) flush() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gen++
	clear(r.m)
}

func (r *rings) get(t vault.TenantID) (*ring, uint64) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.m[t], r.gen
}

func (r *rings) put(t vault.TenantID, v *ring, gen uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gen != gen {
		return
	}
	if r.m == nil {
		r.m = map[vault.TenantID]*ring{}
	}
	r.m[t] = v
}

// ring returns the tenant's signing keys. A tenant without any has an empty ring, which is not remembered: its id may be
// an invention of the caller.
func (s *Service) ring(ctx context.Context, t vault.TenantID) (*ring, error) {
	r, gen := s.rings.get(t)
	if r != nil {
		return r, nil
	}
	r = &ring{public: map[string]*rsa.PublicKey{}, read: s.Clock.Now()}
	if err := s.Store.View(ctx, func(tx store.Tx) (err error) {
		r.keys, err = tx.SigningKeys(ctx, t)
		return err
	}); err != nil {
		return nil, fmt.Errorf("reading the signing keys of tenant %s: %w", t, err)
	}
	for _, k := range r.keys {
		pub, err := x509.ParsePKIXPublicKey(k.Public)
		if err != nil {
			return nil, fmt.Errorf("parsing signing key %s: %w", k.ID, err)
		}
		p, ok := pub.(*rsa.PublicKey)
		if !ok {
			return nil, fmt.Errorf("signing key %s is not an RSA key", k.ID)
		}
		r.public[k.ID] = p
	}
	if len(r.keys) > 0 {
		s.rings.put(t, r, gen)
	}
	return r, nil
}

// Known reports whether the tenant has signed tokens here since the start or its last change, and so exists.
func (s *Service) Known(t vault.TenantID) bool {
	r, _ := s.rings.get(t)
	return r != nil
}

// ringEvery is how often the store is asked at most for a key that a token names and that is not known: whoever invents tokens must not make it
// answer for each.
const ringEvery = 100 * time.Millisecond

// ringWith returns the tenant's signing keys, asked for anew when the one of that id is not among them: another node may have made it a moment ago.
func (s *Service) ringWith(ctx context.Context, t vault.TenantID, id string) (*ring, error) {
	r, err := s.ring(ctx, t)
	if err != nil || r.public[id] != nil || len(r.keys) == 0 || s.Clock.Now().Sub(r.read) < ringEvery {
		return r, err
	}
	s.rings.forget(t)
	return s.ring(ctx, t)
}

// verifier returns the key that id names, if tokens signed by it still count at now.
func (r *ring) verifier(id string, now time.Time) *rsa.PublicKey {
	for _, k := range r.keys {
		if k.ID == id && now.Before(k.VerifyUntil) {
			return r.public[id]
		}
	}
	return nil
}

// signing returns the newest key that may sign at now, or nil.
func signing(keys []*store.SigningKey, now time.Time) *store.SigningKey {
	var best *store.SigningKey
	for _, k := range keys {
		if !now.Before(k.SignAfter) && now.Before(k.SignUntil) && (best == nil || k.SignAfter.After(best.SignAfter)) {
			best = k
		}
	}
	return best
}

// signer returns the private key to sign with now, and its id.
func (s *Service) signer(ctx context.Context, t vault.TenantID) (*rsa.PrivateKey, string, error) {
	for try := 0; ; try++ {
		r, err := s.ring(ctx, t)
		if err != nil {
			return nil, "", err
		}
		k := signing(r.keys, s.Clock.Now())
		if k != nil {
			key, err := s.open(ctx, r, k)
			return key, k.ID, err
		}
		if try > 0 {
			return nil, "", fault.New(fault.Unavailable, "tenant %s has no key to sign tokens with; try again", t)
		}
		if err := s.EnsureKeys(ctx, t); err != nil {
			return nil, "", err
		}
	}
}

func (s *Service) open(ctx context.Context, r *ring, k *store.SigningKey) (*rsa.PrivateKey, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.signerID == k.ID {
		return r.signer, nil
	}
	der, err := s.Keys.OpenFor(ctx, k.Tenant, purposeSigningKey, k.ID, k.Private)
	if err != nil {
		return nil, fmt.Errorf("opening signing key %s: %w", k.ID, err)
	}
	defer clear(der)
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("parsing signing key %s: %w", k.ID, err)
	}
	key, ok := parsed.(*rsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("signing key %s is not an RSA key", k.ID)
	}
	r.signer, r.signerID = key, k.ID
	return key, nil
}

// EnsureKeys makes the tenant's next signing key when it is due. Calls for one tenant at the same time share the work.
func (s *Service) EnsureKeys(ctx context.Context, t vault.TenantID) error {
	_, err, _ := s.flights.Do("keys "+string(t), func() (any, error) {
		// Whoever came first may give up; those who joined it still want the key.
		return nil, s.ensureKeys(context.WithoutCancel(ctx), t, false)
	})
	return err
}

// ReplaceSigningKeys makes a new signing key and forgets all others at once: every token of the tenant is refused from
// then on. It is for a signing key that may be known to somebody.
func (s *Service) ReplaceSigningKeys(ctx context.Context, t vault.TenantID) error {
	return s.ensureKeys(ctx, t, true)
}

func (s *Service) ensureKeys(ctx context.Context, t vault.TenantID, replace bool) error {
	now := clock.Micro(s.Clock.Now())
	var have []*store.SigningKey
	if err := s.Store.View(ctx, func(tx store.Tx) (err error) {
		if _, err = tx.Tenant(ctx, t); err != nil {
			return err
		}
		have, err = tx.SigningKeys(ctx, t)
		return err
	}); err != nil {
		return fmt.Errorf("reading the signing keys of tenant %s: %w", t, err)
	}
	from, due := s.nextKey(have, now)
	if replace {
		from, due = now, true
	}
	if !due {
		return nil
	}
	k, err := s.newSigningKey(ctx, t, now, from)
	if err != nil {
		return err
	}
	err = s.Store.Update(ctx, store.NewOp(now), func(tx store.Tx) error {
		have, err := tx.SigningKeys(ctx, t)
		if err != nil {
			return err
		}
		if _, due := s.nextKey(have, now); !due && !replace {
			return nil // another node was faster
		}
		for _, old := range have {
			if replace || !now.Before(old.VerifyUntil) {
				if err := tx.DeleteSigningKey(ctx, t, old.ID); err != nil {
					return err
				}
			}
		}
		return tx.PutSigningKey(ctx, k)
	})
	if err != nil {
		return fmt.Errorf("storing a signing key of tenant %s: %w", t, err)
	}
	return nil
}

// nextKey says whether a key has to be made at now, and from when that key may sign: at once if no other can, else when it
// has been published for the lead.
func (s *Service) nextKey(have []*store.SigningKey, now time.Time) (from time.Time, due bool) {
	if signing(have, now) == nil {
		return now, true
	}
	lead := min(maxPublishLead, s.KeyLifetime/4)
	last := slices.MaxFunc(have, func(a, b *store.SigningKey) int { return a.SignUntil.Compare(b.SignUntil) })
	return now.Add(lead), last.SignUntil.Sub(now) <= 2*lead
}

func (s *Service) newSigningKey(ctx context.Context, t vault.TenantID, now, from time.Time) (*store.SigningKey, error) {
	key, err := rsa.GenerateKey(rand.Reader, signingKeyBits)
	if err != nil {
		return nil, fmt.Errorf("generating a signing key: %w", err)
	}
	thumb, err := (&jose.JSONWebKey{Key: key.Public()}).Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("naming a signing key: %w", err)
	}
	pub, errPub := x509.MarshalPKIXPublicKey(key.Public())
	der, errDER := x509.MarshalPKCS8PrivateKey(key)
	if err := errors.Join(errPub, errDER); err != nil {
		return nil, fmt.Errorf("encoding a signing key: %w", err)
	}
	defer clear(der)
	id := base64.RawURLEncoding.EncodeToString(thumb)
	sealed, err := s.Keys.SealFor(ctx, t, purposeSigningKey, id, der)
	if err != nil {
		return nil, fmt.Errorf("sealing a signing key: %w", err)
	}
	until := from.Add(s.KeyLifetime)
	return &store.SigningKey{ID: id, Tenant: t, Public: pub, Private: sealed, Created: now, SignAfter: from, SignUntil: until,
		VerifyUntil: until.Add(MaxTokenLifetime + skew)}, nil
}

// KeySet returns the tenant's published key set (RFC 7517), those that do not sign yet included.
func (s *Service) KeySet(ctx context.Context, t vault.TenantID) (*jose.JSONWebKeySet, error) {
	if err := s.EnsureKeys(ctx, t); err != nil {
		return nil, err
	}
	r, err := s.ring(ctx, t)
	if err != nil {
		return nil, err
	}
	now := s.Clock.Now()
	set := &jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for _, k := range r.keys {
		if pub := r.verifier(k.ID, now); pub != nil {
			set.Keys = append(set.Keys, jose.JSONWebKey{Key: pub, KeyID: k.ID, Use: "sig", Algorithm: string(jose.RS256)})
		}
	}
	slices.SortFunc(set.Keys, func(a, b jose.JSONWebKey) int { return cmp.Compare(a.KeyID, b.KeyID) })
	return set, nil
}
