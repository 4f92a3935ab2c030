package identity_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/identity"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

func unbase64(t testing.TB, s string) []byte {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func openStore(t testing.TB, c clock.Clock, tenant vault.TenantID) (store.Store, identity.Keys) {
	s := &memory{}
	s.state.tenants = map[vault.TenantID]*vault.Tenant{tenant: {ID: tenant, Name: "test"}}
	return s, keys{}
}

type keys struct{}

func (keys) SealFor(_ context.Context, _ vault.TenantID, p, id string, plain []byte) (vault.Envelope, error) {
	return vault.Envelope{Key: p + id, Ciphertext: slices.Clone(plain)}, nil
}

func (keys) OpenFor(_ context.Context, _ vault.TenantID, p, id string, e vault.Envelope) ([]byte, error) {
	if e.Key != p+id {
		return nil, fault.New(fault.Internal, "moved")
	}
	return slices.Clone(e.Ciphertext), nil
}

func (keys) Digest(_ context.Context, t vault.TenantID, p string, s []byte) ([]byte, error) {
	m := hmac.New(sha256.New, []byte(string(t)+p))
	m.Write(s)
	return m.Sum(nil), nil
}

func (k keys) Matches(ctx context.Context, t vault.TenantID, p string, s, d []byte) (bool, error) {
	got, err := k.Digest(ctx, t, p, s)
	return hmac.Equal(got, d), err
}

// memory keeps what identity needs.
type memory struct {
	mu    sync.Mutex
	state state
	watch []func(*store.Commit)
}

type state struct {
	tenants    map[vault.TenantID]*vault.Tenant
	principals map[principal.ID]*principal.Principal
	members    map[[2]principal.ID]bool
	signing    map[string]*store.SigningKey
	signIns    map[[2]string]*store.SignIn
	issuers    map[string]*store.TrustedIssuer
}

type tx struct {
	store.Tx
	state
	changes []store.Change
}

func (m *memory) begin() *tx {
	s := m.state
	return &tx{state: state{clone(s.tenants), clone(s.principals), clone(s.members), clone(s.signing), clone(s.signIns), clone(s.issuers)}}
}

func clone[K comparable, V any](m map[K]V) map[K]V {
	if m == nil {
		return map[K]V{}
	}
	return maps.Clone(m)
}

func (m *memory) View(_ context.Context, fn func(store.Tx) error) error {
	m.mu.Lock()
	t := m.begin()
	m.mu.Unlock()
	return fn(t)
}

func (m *memory) Update(_ context.Context, op store.Op, fn func(store.Tx) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := m.begin()
	if err := fn(t); err != nil {
		return err
	}
	m.state = t.state
	for _, w := range m.watch {
		w(&store.Commit{Op: op, Changes: t.changes})
	}
	return nil
}

func (m *memory) Committed(context.Context, store.OpID) (bool, error) { return false, nil }
func (m *memory) Watch(fn func(*store.Commit)) func() {
	m.watch = append(m.watch, fn)
	return func() {}
}
func (m *memory) Health(context.Context) error { return nil }
func (m *memory) Close() error                 { return nil }

func find[K comparable, V any](m map[K]*V, k K) (*V, error) {
	if v := m[k]; v != nil {
		return v, nil
	}
	return nil, fault.New(fault.NotFound, "not there")
}

func (t *tx) note(k store.ChangeKind, tenant vault.TenantID, key string) error {
	t.changes = append(t.changes, store.Change{Kind: k, Tenant: tenant, Key: key})
	return nil
}

func (t *tx) Tenant(_ context.Context, id vault.TenantID) (*vault.Tenant, error) {
	return find(t.tenants, id)
}
func (t *tx) Tenants(context.Context) ([]*vault.Tenant, error) {
	return slices.Collect(maps.Values(t.tenants)), nil
}
func (t *tx) PutTenant(_ context.Context, v *vault.Tenant) error {
	t.tenants[v.ID] = v
	return t.note(store.TenantChanged, v.ID, string(v.ID))
}
func (t *tx) Principal(_ context.Context, _ vault.TenantID, id principal.ID) (*principal.Principal, error) {
	return find(t.principals, id)
}
func (t *tx) by(f func(*principal.Principal) bool) (*principal.Principal, error) {
	for _, p := range t.principals {
		if f(p) {
			return p, nil
		}
	}
	return nil, fault.New(fault.NotFound, "not there")
}
func (t *tx) PrincipalByAppID(_ context.Context, _ vault.TenantID, id string) (*principal.Principal, error) {
	return t.by(func(p *principal.Principal) bool { return p.AppID == id })
}
func (t *tx) PrincipalByUPN(_ context.Context, _ vault.TenantID, upn string) (*principal.Principal, error) {
	return t.by(func(p *principal.Principal) bool { return strings.EqualFold(p.UPN, upn) })
}
func (t *tx) PutPrincipal(_ context.Context, p *principal.Principal) error {
	c := *p
	c.Revision++
	t.principals[p.ID] = &c
	return t.note(store.PrincipalChanged, p.Tenant, string(p.ID))
}
func (t *tx) DeletePrincipal(_ context.Context, v vault.TenantID, id principal.ID) error {
	delete(t.principals, id)
	maps.DeleteFunc(t.members, func(k [2]principal.ID, _ bool) bool { return k[0] == id || k[1] == id })
	return t.note(store.PrincipalChanged, v, string(id))
}
func (t *tx) AddMember(_ context.Context, v vault.TenantID, g, m principal.ID) error {
	t.members[[2]principal.ID{g, m}] = true
	return t.note(store.MemberChanged, v, string(m))
}
func (t *tx) RemoveMember(_ context.Context, v vault.TenantID, g, m principal.ID) error {
	delete(t.members, [2]principal.ID{g, m})
	return t.note(store.MemberChanged, v, string(m))
}
func (t *tx) GroupsOf(_ context.Context, _ vault.TenantID, m principal.ID) (ids []principal.ID, _ error) {
	for k := range t.members {
		if k[1] == m {
			ids = append(ids, k[0])
		}
	}
	return ids, nil
}
func (t *tx) GrantsOf(context.Context, vault.TenantID, principal.ID) ([]*principal.Grant, error) {
	return nil, nil
}
func (t *tx) TrustedIssuer(_ context.Context, _ vault.TenantID, i string) (*store.TrustedIssuer, error) {
	return find(t.issuers, i)
}
func (t *tx) PutTrustedIssuer(_ context.Context, i *store.TrustedIssuer) error {
	t.issuers[i.Issuer] = i
	return t.note(store.IssuerChanged, i.Tenant, i.Issuer)
}
func (t *tx) DeleteTrustedIssuer(_ context.Context, v vault.TenantID, i string) error {
	delete(t.issuers, i)
	return t.note(store.IssuerChanged, v, i)
}
func (t *tx) SigningKeys(_ context.Context, v vault.TenantID) (list []*store.SigningKey, _ error) {
	for _, k := range t.signing {
		if k.Tenant == v {
			list = append(list, k)
		}
	}
	return list, nil
}
func (t *tx) PutSigningKey(_ context.Context, k *store.SigningKey) error {
	t.signing[k.ID] = k
	return t.note(store.SigningChanged, k.Tenant, k.ID)
}
func (t *tx) DeleteSigningKey(_ context.Context, v vault.TenantID, id string) error {
	delete(t.signing, id)
	return t.note(store.SigningChanged, v, id)
}
func (t *tx) SignIn(_ context.Context, kind, id string, now time.Time) (*store.SignIn, error) {
	s, err := find(t.signIns, [2]string{kind, id})
	if err == nil && !now.Before(s.Expires) {
		return nil, fault.New(fault.NotFound, "expired")
	}
	return s, err
}
func (t *tx) PutSignIn(_ context.Context, s *store.SignIn) error {
	t.signIns[[2]string{s.Kind, s.ID}] = s
	return nil
}
func (t *tx) DeleteSignIn(_ context.Context, kind, id string) error {
	delete(t.signIns, [2]string{kind, id})
	return nil
}
func (t *tx) ExpireSignIns(_ context.Context, now time.Time, limit int) (n int, _ error) {
	for k, s := range t.signIns {
		if !now.Before(s.Expires) && n < limit {
			delete(t.signIns, k)
			n++
		}
	}
	return n, nil
}
