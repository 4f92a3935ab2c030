package key_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/cryptokey"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/key"
	"github.com/keywright/keywright/internal/key/keytest"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

func withToken(m *keytest.Token) func(*key.Config) { return func(c *key.Config) { c.Token = m } }

var rsaHSM = key.Spec{Kty: "RSA-HSM"}

func TestHSMKeysAreInTheToken(t *testing.T) {
	m := keytest.NewToken(true)
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
	if m.Count() != 3 {
		t.Errorf("the token has %d keys", m.Count())
	}
	// Others are not, and a rotation stays where the key is.
	if f := facts(t, w.make("plain", rsa2048)); f.Token != "" || f.Hardware {
		t.Errorf("%+v", f)
	}
	item, err := w.svc.Rotate(w.Ctx, w.call(), "rsa-hsm")
	w.do(err)
	if f := facts(t, item); f.Token != "hsm-1" || m.Count() != 4 {
		t.Errorf("after a rotation: %+v, %d keys", f, m.Count())
	}
	// A token that is away says so, and one that is back goes on, with what was parsed before it went.
	m.Away(true)
	if _, _, err := w.svc.Sign(w.Ctx, w.call(), named("rsa-hsm"), cryptokey.PS256, digest[:]); !fault.Is(err, fault.Unavailable) {
		t.Errorf("away: %v", err)
	}
	m.Away(false)
	_, _, err = w.svc.Sign(w.Ctx, w.call(), named("rsa-hsm"), cryptokey.PS256, digest[:])
	w.do(err)
}

// A token that is itself software is not passed off as hardware.
func TestATokenInSoftwareIsNoHardware(t *testing.T) {
	w := newWorld(t, withToken(keytest.NewToken(false)))
	if f := facts(t, w.make("k", rsaHSM)); f.Token != "hsm-1" || f.Hardware {
		t.Errorf("%+v", f)
	}
}

// Who changes the document of a version does not make hardware of it.
func TestTheDocumentCannotClaimHardware(t *testing.T) {
	w := newWorld(t, withToken(keytest.NewToken(false)))
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
	m := keytest.NewToken(true)
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
	if m.Count() != 1 {
		t.Errorf("the token has %d keys", m.Count())
	}
	// What is refused after the key was made leaves nothing behind.
	_, err = w.svc.Create(w.Ctx, w.call(), "bad", rsaHSM, key.Input{Enabled: true, Ops: []string{"dance"}})
	if !fault.Is(err, fault.Invalid) || m.Count() != 1 {
		t.Errorf("%v; the token has %d keys", err, m.Count())
	}
}

func TestAKeyIsBroughtIntoTheToken(t *testing.T) {
	m := keytest.NewToken(true)
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
	m := keytest.NewToken(true)
	w := newWorld(t, withToken(m))
	w.make("k", rsaHSM)
	w.make("k", rsaHSM)
	w.make("other", rsaHSM)
	_, err := w.svc.Delete(w.Ctx, w.call(), "k")
	w.do(err)
	if destroyed, err := w.svc.SweepToken(w.Ctx); destroyed != 0 || err != nil {
		t.Errorf("destroyed %d, %v", destroyed, err)
	}
	m.Away(true)
	w.do(w.svc.Purge(w.Ctx, w.call(), "k")) // the token comes later
	m.Away(false)
	if destroyed, err := w.svc.SweepToken(w.Ctx); destroyed != 2 || err != nil || m.Count() != 1 {
		t.Errorf("destroyed %d, %v; %d left", destroyed, err, m.Count())
	}
	_, err = w.svc.Delete(w.Ctx, w.call(), "other")
	w.do(err)
	w.do(w.svc.Purge(w.Ctx, w.call(), "other"))
	if m.Count() != 0 {
		t.Errorf("%d keys are in the token", m.Count())
	}
}

// A key that was made in the token and never stored, because the server died or the store refused it, is destroyed an hour later.
func TestAKeyThatWasNeverStoredLeavesTheToken(t *testing.T) {
	m := keytest.NewToken(true)
	w := newWorld(t, withToken(m))
	w.make("taken", rsa2048)
	_, err := w.svc.Delete(w.Ctx, w.call(), "taken")
	w.do(err)
	if _, err := w.svc.Create(w.Ctx, w.call(), "taken", rsaHSM, key.Input{Enabled: true}); !fault.Is(err, fault.Conflict) || m.Count() != 1 {
		t.Fatalf("%v, %d keys", err, m.Count())
	}
	w.now.Advance(time.Hour)
	if destroyed, err := w.svc.SweepToken(w.Ctx); destroyed != 0 || err != nil {
		t.Errorf("within the hour: %d, %v", destroyed, err)
	}
	w.now.Advance(time.Minute)
	if destroyed, err := w.svc.SweepToken(w.Ctx); destroyed != 1 || err != nil || m.Count() != 0 {
		t.Errorf("%d, %v", destroyed, err)
	}
}

// A server that is not bound to the token of a key says which one that is.
func TestAKeyNeedsItsToken(t *testing.T) {
	m := keytest.NewToken(true)
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
	m.Clear()
	again := newModuleService(t, w, m)
	if _, _, err := again.Sign(w.Ctx, w.call(), named("k"), cryptokey.PS256, digest[:]); !fault.Is(err, fault.Gone) {
		t.Errorf("a key that somebody removed from the token: %v", err)
	}
}

func newModuleService(t *testing.T, w *world, m *keytest.Token) *key.Service {
	t.Helper()
	svc, err := key.New(key.Config{Guard: w.Guard, Store: w.Store, Keys: w.Keys, Clock: w.Clock, Logger: w.svc.Logger, Token: m})
	w.do(err)
	return svc
}

// A key in a token protects a vault, with the best algorithm that the token can do.
func TestAKeyInATokenProtectsAVault(t *testing.T) {
	m := keytest.NewToken(true)
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
	m.Away(true)
	if _, err := custody.Unwrap(w.Ctx, w.Vault.Tenant, "another", with, wrapped); !fault.Is(err, fault.Unavailable) || fault.As(err).Reason != key.CustomerKeyUnavailable ||
		!strings.Contains(err.Error(), `"root"`) {
		t.Errorf("away: %v", err)
	}
	m.Away(false)
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
