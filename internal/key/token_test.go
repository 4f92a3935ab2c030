package key_test

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/cryptokey"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/key"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// module is a token in memory. The real one is tested beside its package, and through the API by the server.
type module struct {
	hardware bool
	mu       sync.Mutex
	away     bool
	keys     map[string]moduleKey
}

type moduleKey struct {
	*cryptokey.Key
	imported bool
}

// jailed is a key whose private half does not come out: it is not an exporter, as those of tokens are not.
type jailed struct {
	k      *cryptokey.Key
	module *module
}

func (j jailed) Spec() cryptokey.Spec     { return j.k.Spec() }
func (j jailed) Public() crypto.PublicKey { return j.k.CryptoKey() }
func (j jailed) Sign(alg cryptokey.Algorithm, value []byte) ([]byte, error) {
	if err := j.module.there(); err != nil {
		return nil, err
	}
	return j.k.Sign(alg, value)
}

func (j jailed) Conceal(alg cryptokey.Algorithm, in cryptokey.Input) (cryptokey.Output, error) {
	if j.k.Spec().Check(alg, cryptokey.Encrypt) != nil {
		return j.k.WrapKey(alg, in)
	}
	return j.k.Encrypt(alg, in)
}

func (j jailed) Reveal(alg cryptokey.Algorithm, in cryptokey.Input) ([]byte, error) {
	if err := j.module.there(); err != nil {
		return nil, err
	}
	if alg == cryptokey.RSAOAEP256 {
		return nil, fault.New(fault.Unsupported, "this token pads with SHA-1 alone")
	}
	if j.k.Spec().Check(alg, cryptokey.Decrypt) != nil {
		return j.k.UnwrapKey(alg, in)
	}
	return j.k.Decrypt(alg, in)
}

func newModule(hardware bool) *module {
	return &module{hardware: hardware, keys: map[string]moduleKey{}}
}

func (m *module) there() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.away {
		return fault.New(fault.Unavailable, "the token is away")
	}
	return nil
}

func (m *module) Name() string   { return "hsm-1" }
func (m *module) Hardware() bool { return m.hardware }

func (m *module) put(k *cryptokey.Key, id []byte, imported bool) (*cryptokey.Key, error) {
	if err := m.there(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	inside, err := cryptokey.FromBackend(jailed{k, m})
	m.keys[string(id)] = moduleKey{inside, imported}
	return inside, err
}

func (m *module) Generate(spec cryptokey.Spec, id []byte) (*cryptokey.Key, error) {
	k, err := cryptokey.Generate(spec)
	if err != nil {
		return nil, err
	}
	return m.put(k, id, false)
}

func (m *module) Import(k *cryptokey.Key, id []byte) (*cryptokey.Key, error) {
	return m.put(k, id, true)
}

func (m *module) find(id []byte, imported bool) (*cryptokey.Key, error) {
	if err := m.there(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if k, ok := m.keys[string(id)]; ok && k.imported == imported {
		return k.Key, nil
	}
	return nil, fault.New(fault.NotFound, "the token has no key with this id")
}

func (m *module) Find(id []byte) (*cryptokey.Key, error)         { return m.find(id, false) }
func (m *module) FindImported(id []byte) (*cryptokey.Key, error) { return m.find(id, true) }

func (m *module) Destroy(id []byte) error {
	if err := m.there(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.keys[string(id)]; !ok {
		return fault.New(fault.NotFound, "the token has no key with this id")
	}
	delete(m.keys, string(id))
	return nil
}

func (m *module) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.keys)
}

func withToken(m *module) func(*key.Config) { return func(c *key.Config) { c.Token = m } }

var rsaHSM = key.Spec{Kty: "RSA-HSM"}

func TestHSMKeysAreInTheToken(t *testing.T) {
	m := newModule(true)
	w := newWorld(t, withToken(m))
	digest := sha256.Sum256([]byte("message"))
	for kty, alg := range map[string]cryptokey.Algorithm{"RSA-HSM": cryptokey.PS256, "EC-HSM": cryptokey.ES256} {
		name := strings.ToLower(kty)
		item := w.make(name, key.Spec{Kty: kty})
		if f := facts(t, item); f.Token != "hsm-1" || !f.Hardware || f.Kty() != kty || f.Exportable {
			t.Errorf("%s: %+v", kty, f)
		}
		_, signature, err := w.svc.Sign(w.Ctx, w.call(), named(name), alg, digest[:])
		w.do(err)
		if _, valid, err := w.svc.Verify(w.Ctx, w.call(), named(name), alg, digest[:], signature); !valid || err != nil {
			t.Errorf("%s: %v, %v", kty, valid, err)
		}
	}
	w.make("secret", key.Spec{Kty: "oct-HSM", Bits: 256})
	_, out, err := w.svc.Encrypt(w.Ctx, w.call(), named("secret"), cryptokey.A256GCM, cryptokey.Input{Value: []byte("value")})
	w.do(err)
	if _, plain, err := w.svc.Decrypt(w.Ctx, w.call(), named("secret"), cryptokey.A256GCM, cryptokey.Input{Value: out.Value, IV: out.IV, Tag: out.Tag}); err != nil || string(plain) != "value" {
		t.Errorf("%q, %v", plain, err)
	}
	if m.count() != 3 {
		t.Errorf("the token has %d keys", m.count())
	}
	// Others are not, and a rotation stays where the key is.
	if f := facts(t, w.make("plain", rsa2048)); f.Token != "" || f.Hardware {
		t.Errorf("%+v", f)
	}
	item, err := w.svc.Rotate(w.Ctx, w.call(), "rsa-hsm")
	w.do(err)
	if f := facts(t, item); f.Token != "hsm-1" || m.count() != 4 {
		t.Errorf("after a rotation: %+v, %d keys", f, m.count())
	}
	// A token that is away says so, and one that is back goes on, with what was parsed before it went.
	m.away = true
	if _, _, err := w.svc.Sign(w.Ctx, w.call(), named("rsa-hsm"), cryptokey.PS256, digest[:]); !fault.Is(err, fault.Unavailable) {
		t.Errorf("away: %v", err)
	}
	m.away = false
	_, _, err = w.svc.Sign(w.Ctx, w.call(), named("rsa-hsm"), cryptokey.PS256, digest[:])
	w.do(err)
}

// A token that is itself software is not passed off as hardware.
func TestATokenInSoftwareIsNoHardware(t *testing.T) {
	w := newWorld(t, withToken(newModule(false)))
	if f := facts(t, w.make("k", rsaHSM)); f.Token != "hsm-1" || f.Hardware {
		t.Errorf("%+v", f)
	}
}

// Who changes the document of a version does not make hardware of it.
func TestTheDocumentCannotClaimHardware(t *testing.T) {
	w := newWorld(t, withToken(newModule(false)))
	for name, sp := range map[string]key.Spec{"in-token": rsaHSM, "in-store": rsa2048} {
		item := w.make(name, sp)
		ver := *item.Version
		ver.Doc = bytes.Replace(ver.Doc, []byte(`{`), []byte(`{"hardware":true,`), 1)
		w.Change(func(tx store.Tx) error { return tx.PutVersion(w.Ctx, &ver) })
		digest := sha256.Sum256(nil)
		if _, _, err := w.svc.Sign(w.Ctx, w.call(), named(name), cryptokey.PS256, digest[:]); !fault.Is(err, fault.Internal) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWhatATokenDoesNotLetOut(t *testing.T) {
	m := newModule(true)
	w := newWorld(t, withToken(m))
	w.make("k", rsa2048)
	w.make("k", rsaHSM)
	_, err := w.svc.Backup(w.Ctx, w.call(), "k")
	w.fails(err, fault.Unsupported, "KeyInToken")
	if !strings.Contains(err.Error(), `"hsm-1"`) {
		t.Errorf("it does not say where the key is: %v", err)
	}
	_, err = w.svc.Create(w.Ctx, w.call(), "free", rsaHSM, key.Input{Enabled: true, Exportable: true, Release: releasePolicy()})
	if !fault.Is(err, fault.Unsupported) || !strings.Contains(err.Error(), "exportable") {
		t.Errorf("an exportable key: %v", err)
	}
	if m.count() != 1 {
		t.Errorf("the token has %d keys", m.count())
	}
	// What is refused after the key was made leaves nothing behind.
	_, err = w.svc.Create(w.Ctx, w.call(), "bad", rsaHSM, key.Input{Enabled: true, Ops: []string{"dance"}})
	if !fault.Is(err, fault.Invalid) || m.count() != 1 {
		t.Errorf("%v; the token has %d keys", err, m.count())
	}
}

func TestAKeyIsBroughtIntoTheToken(t *testing.T) {
	m := newModule(true)
	w := newWorld(t, withToken(m))
	own, err := cryptokey.Generate(cryptokey.Spec{Type: cryptokey.EC})
	w.do(err)
	der, err := own.PKCS8()
	w.do(err)
	item, err := w.svc.ImportPKCS8(w.Ctx, w.call(), "brought", der, true, key.Input{Enabled: true})
	w.do(err)
	if f := facts(t, item); f.Token != "hsm-1" || !bytes.Equal(f.Public.X, own.PublicJWK().X) {
		t.Errorf("%+v", f)
	}
	// By the exchange of Key Vault, with an exchange key in the token.
	w.make("exchange", rsaHSM, func(in *key.Input) { in.Ops = []string{"import"} })
	kek, err := w.svc.Get(w.Ctx, w.call(), named("exchange"))
	w.do(err)
	jwk := facts(t, kek).Public
	public, err := jwk.PublicKey()
	w.do(err)
	wrapped, err := own.Release(public, cryptokey.CKMRSAAESKeyWrap)
	w.do(err)
	blob := transferBlob(t, "https://shop.vault.test/keys/exchange/"+string(kek.Version.ID), wrapped)
	item, err = w.svc.Import(w.Ctx, w.call(), "exchanged", &cryptokey.JWK{Kty: "EC-HSM", KeyHSM: blob}, false, key.Input{Enabled: true})
	w.do(err)
	if f := facts(t, item); f.Token != "hsm-1" || !bytes.Equal(f.Public.X, own.PublicJWK().X) {
		t.Errorf("%+v", f)
	}
	digest := sha256.Sum256(nil)
	_, signature, err := w.svc.Sign(w.Ctx, w.call(), named("exchanged"), cryptokey.ES256, digest[:])
	w.do(err)
	if ok, err := own.Verify(cryptokey.ES256, digest[:], signature); !ok || err != nil {
		t.Errorf("%v, %v", ok, err)
	}
	// ML-DSA stays in the store: there is no such -HSM type.
	if f := facts(t, w.make("pq", key.Spec{Kty: "AKP", Curve: "ML-DSA-44"})); f.Token != "" {
		t.Errorf("%+v", f)
	}
}

func TestAPurgedKeyLeavesTheToken(t *testing.T) {
	m := newModule(true)
	w := newWorld(t, withToken(m))
	w.make("k", rsaHSM)
	w.make("k", rsaHSM)
	w.make("other", rsaHSM)
	_, err := w.svc.Delete(w.Ctx, w.call(), "k")
	w.do(err)
	if destroyed, err := w.svc.SweepToken(w.Ctx); destroyed != 0 || err != nil {
		t.Errorf("destroyed %d, %v", destroyed, err)
	}
	m.away = true
	w.do(w.svc.Purge(w.Ctx, w.call(), "k")) // the token comes later
	m.away = false
	if destroyed, err := w.svc.SweepToken(w.Ctx); destroyed != 2 || err != nil || m.count() != 1 {
		t.Errorf("destroyed %d, %v; %d left", destroyed, err, m.count())
	}
	_, err = w.svc.Delete(w.Ctx, w.call(), "other")
	w.do(err)
	w.do(w.svc.Purge(w.Ctx, w.call(), "other"))
	if m.count() != 0 {
		t.Errorf("%d keys are in the token", m.count())
	}
}

// A key that was made in the token and never stored, because the server died or the store refused it, is destroyed an hour later.
func TestAKeyThatWasNeverStoredLeavesTheToken(t *testing.T) {
	m := newModule(true)
	w := newWorld(t, withToken(m))
	w.make("taken", rsa2048)
	_, err := w.svc.Delete(w.Ctx, w.call(), "taken")
	w.do(err)
	if _, err := w.svc.Create(w.Ctx, w.call(), "taken", rsaHSM, key.Input{Enabled: true}); !fault.Is(err, fault.Conflict) || m.count() != 1 {
		t.Fatalf("%v, %d keys", err, m.count())
	}
	w.now.Advance(time.Hour)
	if destroyed, err := w.svc.SweepToken(w.Ctx); destroyed != 0 || err != nil {
		t.Errorf("within the hour: %d, %v", destroyed, err)
	}
	w.now.Advance(time.Minute)
	if destroyed, err := w.svc.SweepToken(w.Ctx); destroyed != 1 || err != nil || m.count() != 0 {
		t.Errorf("%d, %v", destroyed, err)
	}
}

// A server that is not bound to the token of a key says which one that is.
func TestAKeyNeedsItsToken(t *testing.T) {
	m := newModule(true)
	w := newWorld(t, withToken(m))
	w.make("k", rsaHSM)
	var unbound *key.Service
	unbound, err := key.New(key.Config{Guard: w.Guard, Store: w.Store, Keys: w.Keys, Clock: w.Clock, Logger: w.svc.Logger})
	w.do(err)
	digest := sha256.Sum256(nil)
	if _, _, err := unbound.Sign(w.Ctx, w.call(), named("k"), cryptokey.PS256, digest[:]); !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), `"hsm-1"`) {
		t.Errorf("%v", err)
	}
	if _, err := unbound.Get(w.Ctx, w.call(), named("k")); err != nil {
		t.Errorf("its public half: %v", err)
	}
	for id := range m.keys {
		w.do(m.Destroy([]byte(id)))
	}
	again := newModuleService(t, w, m)
	if _, _, err := again.Sign(w.Ctx, w.call(), named("k"), cryptokey.PS256, digest[:]); !fault.Is(err, fault.Gone) {
		t.Errorf("a key that somebody removed from the token: %v", err)
	}
}

func newModuleService(t *testing.T, w *world, m *module) *key.Service {
	t.Helper()
	svc, err := key.New(key.Config{Guard: w.Guard, Store: w.Store, Keys: w.Keys, Clock: w.Clock, Logger: w.svc.Logger, Token: m})
	w.do(err)
	return svc
}

// A key in a token protects a vault, with the best algorithm that the token can do.
func TestAKeyInATokenProtectsAVault(t *testing.T) {
	m := newModule(true)
	custody := new(key.Custody)
	if _, err := custody.Newest(t.Context(), "", "", vault.CustomerKey{}); !fault.Is(err, fault.Unavailable) {
		t.Errorf("before there is a service: %v", err)
	}
	w := newWorld(t, func(c *key.Config) { c.Token, c.Custody = m, custody })
	item := w.make("root", rsaHSM)
	ref := vault.CustomerKey{Vault: w.Vault.ID, Key: item.Object.ID, Name: "root"}
	secret := bytes.Repeat([]byte{7}, 32)
	wrapped, with, err := custody.Wrap(w.Ctx, w.Vault.Tenant, "another", ref, secret)
	w.do(err)
	if with.Algorithm != string(cryptokey.RSAOAEP) || with.Key.Version != item.Version.ID {
		t.Errorf("%+v", with)
	}
	if got, err := custody.Unwrap(w.Ctx, w.Vault.Tenant, "another", with, wrapped); err != nil || !bytes.Equal(got, secret) {
		t.Errorf("%v", err)
	}
	m.away = true
	if _, err := custody.Unwrap(w.Ctx, w.Vault.Tenant, "another", with, wrapped); !fault.Is(err, fault.Unavailable) || fault.As(err).Reason != key.CustomerKeyUnavailable ||
		!strings.Contains(err.Error(), `"root"`) {
		t.Errorf("away: %v", err)
	}
	m.away = false
	if _, err := custody.Unwrap(w.Ctx, vault.NewTenantID(), "another", with, wrapped); !fault.Is(err, fault.Forbidden) {
		t.Errorf("another tenant's: %v", err)
	}
	records := w.Audit.Take()
	if last := records[len(records)-1]; last.Action != authz.KeyUnwrap.String() && last.Action != authz.KeyWrap.String() {
		t.Errorf("%+v", records)
	}
}

func transferBlob(t *testing.T, kid string, wrapped []byte) []byte {
	t.Helper()
	blob, err := json.Marshal(cryptokey.NewTransferBlob(kid, cryptokey.CKMRSAAESKeyWrap, wrapped))
	if err != nil {
		t.Fatal(err)
	}
	return blob
}

// FuzzHeld: what says where a key is in a token is written as it was read, or is refused.
func FuzzHeld(f *testing.F) {
	f.Add([]byte("\x02\x030123456789abcdefhsm-1"))
	f.Add([]byte("\x02\x040123456789abcdefhsm-1"))
	f.Add([]byte("\x02\x000123456789abcdef"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, value []byte) {
		again, err := key.RoundTripHeld(value)
		if err == nil && !bytes.Equal(again, value) {
			t.Errorf("%x was read as %x", value, again)
		}
		if err != nil && !fault.Is(err, fault.Internal) {
			t.Errorf("%x: %v", value, err)
		}
	})
}
