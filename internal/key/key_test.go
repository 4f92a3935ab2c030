package key_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/cryptokey"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/guard/guardtest"
	"github.com/keywright/keywright/internal/key"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

const day = 24 * time.Hour

// world is an installation with the key service and a caller who may do everything with keys.
type world struct {
	*guardtest.World
	svc   *key.Service
	admin *guard.Caller
	now   *clock.Manual
}

func newWorld(t testing.TB, edit func(*key.Config)) *world {
	t.Helper()
	w := &world{now: clock.NewManual(noon)}
	w.World = guardtest.New(t, guardtest.Options{Clock: w.now})
	c := key.Config{Guard: w.Guard, Store: w.Store, Keys: w.Keys, Clock: w.Clock, Logger: slog.New(slog.DiscardHandler)}
	if edit != nil {
		edit(&c)
	}
	var err error
	w.svc, err = key.New(c)
	w.do(err)
	w.Watch(w.svc.Changed)
	w.admin = w.Caller(authz.VaultAdministrator)
	return w
}

func (w *world) do(err error) {
	w.T.Helper()
	if err != nil {
		w.T.Fatal(err)
	}
}

func (w *world) call() *guard.Call { w.T.Helper(); return w.Call(w.admin) }

func (w *world) fails(err error, kind fault.Kind, reason fault.Reason) {
	w.T.Helper()
	if !fault.Is(err, kind) || fault.As(err).Reason != reason {
		w.T.Errorf("got %v (%v); want %v with reason %q", err, fault.Of(err), kind, reason)
	}
}

func (w *world) make(name string, sp key.Spec, edit ...func(*key.Input)) key.Item {
	w.T.Helper()
	in := key.Input{Enabled: true}
	for _, e := range edit {
		e(&in)
	}
	item, err := w.svc.Create(w.Ctx, w.call(), name, sp, in)
	w.do(err)
	return item
}

func facts(t testing.TB, it key.Item) *key.Facts {
	t.Helper()
	f, err := key.Describe(it.Version)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func named(name string) key.Selector { return key.Selector{Name: name} }

var (
	ec  = key.Spec{Kty: "EC"}
	oct = key.Spec{Kty: "oct", Bits: 256}
	// small keys of RSA are those of 2048 bits: there are none below.
	rsa2048 = key.Spec{Kty: "RSA"}
)

func TestLifeOfAKey(t *testing.T) {
	w := newWorld(t, nil)
	first := w.make("Signer", ec)
	w.now.Advance(time.Second)
	second := w.make("SIGNER", ec)
	if first.Object.ID != second.Object.ID || second.Object.Current != second.Version.ID || second.Version.Previous != first.Version.ID || second.Object.Name != "Signer" {
		t.Errorf("first %+v, second %+v", first.Object, second.Object)
	}
	digest := sha256.Sum256([]byte("message"))
	for _, item := range []key.Item{first, second} {
		_, signature, err := w.svc.Sign(w.Ctx, w.call(), key.Selector{Name: "signer", Version: item.Version.ID}, cryptokey.ES256, digest[:])
		w.do(err)
		jwk := facts(t, item).Public
		public, err := jwk.PublicKey()
		w.do(err)
		half := len(signature) / 2
		if !ecdsa.Verify(public.CryptoKey().(*ecdsa.PublicKey), digest[:], new(big.Int).SetBytes(signature[:half]), new(big.Int).SetBytes(signature[half:])) {
			t.Error("the signature is not of this version's key")
		}
	}
	list, err := w.svc.List(w.Ctx, w.call(), key.Page{Limit: 10})
	w.do(err)
	versions, err := w.svc.Versions(w.Ctx, w.call(), "signer", key.Page{Limit: 10})
	w.do(err)
	if len(list.Items) != 1 || len(versions.Items) != 2 {
		t.Errorf("%d keys with %d versions", len(list.Items), len(versions.Items))
	}
	deleted, err := w.svc.Delete(w.Ctx, w.call(), "signer")
	w.do(err)
	again, err := w.svc.GetDeleted(w.Ctx, w.call(), "signer")
	w.do(err)
	if diff := cmp.Diff(deleted, again, cmpopts.IgnoreFields(vault.Object{}, "Revision")); diff != "" {
		t.Error(diff)
	}
	_, _, err = w.svc.Sign(w.Ctx, w.call(), named("signer"), cryptokey.ES256, digest[:])
	w.fails(err, fault.NotFound, "KeyNotFound")
	_, err = w.svc.Create(w.Ctx, w.call(), "signer", ec, key.Input{Enabled: true})
	w.fails(err, fault.Conflict, "ObjectIsDeletedButRecoverable")
	_, err = w.svc.Recover(w.Ctx, w.call(), "signer")
	w.do(err)
	got, err := w.svc.Get(w.Ctx, w.call(), named("signer"))
	w.do(err)
	if diff := cmp.Diff(second, got, cmpopts.IgnoreFields(vault.Object{}, "Revision")); diff != "" {
		t.Error(diff)
	}
	_, err = w.svc.Delete(w.Ctx, w.call(), "signer")
	w.do(err)
	w.do(w.svc.Purge(w.Ctx, w.call(), "signer"))
	_, err = w.svc.Get(w.Ctx, w.call(), named("signer"))
	w.fails(err, fault.NotFound, "KeyNotFound")
}

// TestEveryUseIsAudited tries each operation once and looks for its record: with the action, the version, and for a use its algorithm.
func TestEveryUseIsAudited(t *testing.T) {
	w := newWorld(t, nil)
	item := w.make("rsa", rsa2048)
	digest := sha256.Sum256(nil)
	var sealed []byte
	for _, step := range []struct {
		name   string
		action authz.Action
		alg    cryptokey.Algorithm
		do     func() error
	}{
		{"sign", authz.KeySign, cryptokey.PS256, func() error {
			_, _, err := w.svc.Sign(w.Ctx, w.call(), named("rsa"), cryptokey.PS256, digest[:])
			return err
		}},
		{"verify", authz.KeyVerifyPublic, cryptokey.PS256, func() error {
			_, _, err := w.svc.Verify(w.Ctx, w.call(), named("rsa"), cryptokey.PS256, digest[:], digest[:])
			return err
		}},
		{"encrypt", authz.KeyEncryptPublic, cryptokey.RSAOAEP, func() error {
			_, out, err := w.svc.Encrypt(w.Ctx, w.call(), named("rsa"), cryptokey.RSAOAEP, cryptokey.Input{Value: []byte("x")})
			sealed = out.Value
			return err
		}},
		{"decrypt", authz.KeyDecrypt, cryptokey.RSAOAEP, func() error {
			_, _, err := w.svc.Decrypt(w.Ctx, w.call(), named("rsa"), cryptokey.RSAOAEP, cryptokey.Input{Value: sealed})
			return err
		}},
		{"wrap", authz.KeyWrapPublic, cryptokey.RSAOAEP256, func() error {
			_, out, err := w.svc.WrapKey(w.Ctx, w.call(), named("rsa"), cryptokey.RSAOAEP256, cryptokey.Input{Value: []byte("x")})
			sealed = out.Value
			return err
		}},
		{"unwrap", authz.KeyUnwrap, cryptokey.RSAOAEP256, func() error {
			_, _, err := w.svc.UnwrapKey(w.Ctx, w.call(), named("rsa"), cryptokey.RSAOAEP256, cryptokey.Input{Value: sealed})
			return err
		}},
		{"get", authz.KeyGet, "", func() error { _, err := w.svc.Get(w.Ctx, w.call(), named("rsa")); return err }},
		{"random", authz.KeyRandom, "", func() error { _, err := w.svc.Random(w.Ctx, w.call(), 8); return err }},
	} {
		w.Audit.Take()
		if err := step.do(); err != nil {
			t.Errorf("%s: %v", step.name, err)
		}
		records := w.Audit.Take()
		if len(records) != 1 || records[0].Action != step.action.String() || records[0].Detail != string(step.alg) {
			t.Errorf("%s: %+v", step.name, records)
			continue
		}
		if step.name != "random" && (records[0].Name != "rsa" || records[0].Version != string(item.Version.ID)) {
			t.Errorf("%s: %+v", step.name, records[0])
		}
	}
}

// TestPublicOperationsTakeOnlySight: whoever may read an asymmetric key has its public half anyway; with a symmetric one it takes the action.
func TestPublicOperationsTakeOnlySight(t *testing.T) {
	w := newWorld(t, nil)
	w.make("rsa", rsa2048)
	w.make("oct", oct, func(in *key.Input) { in.Ops = []string{"encrypt", "decrypt", "sign", "verify", "wrapKey", "unwrapKey"} })
	reader, stranger := w.Caller(authz.VaultReader), w.Caller()
	user := w.Caller(authz.CryptoUser)
	digest := sha256.Sum256(nil)
	uses := map[string]func(*guard.Caller, string) error{
		"encrypt": func(c *guard.Caller, name string) error {
			alg := map[string]cryptokey.Algorithm{"rsa": cryptokey.RSAOAEP, "oct": cryptokey.A256GCM}[name]
			_, _, err := w.svc.Encrypt(w.Ctx, w.Call(c), named(name), alg, cryptokey.Input{Value: []byte("x")})
			return err
		},
		"wrap": func(c *guard.Caller, name string) error {
			alg := map[string]cryptokey.Algorithm{"rsa": cryptokey.RSAOAEP, "oct": cryptokey.A256KW}[name]
			_, _, err := w.svc.WrapKey(w.Ctx, w.Call(c), named(name), alg, cryptokey.Input{Value: make([]byte, 16)})
			return err
		},
		"verify": func(c *guard.Caller, name string) error {
			alg := map[string]cryptokey.Algorithm{"rsa": cryptokey.RS256, "oct": cryptokey.HS256}[name]
			_, _, err := w.svc.Verify(w.Ctx, w.Call(c), named(name), alg, digest[:], digest[:])
			return err
		},
		"sign": func(c *guard.Caller, name string) error {
			alg := map[string]cryptokey.Algorithm{"rsa": cryptokey.RS256, "oct": cryptokey.HS256}[name]
			_, _, err := w.svc.Sign(w.Ctx, w.Call(c), named(name), alg, digest[:])
			return err
		},
	}
	for what, use := range uses {
		for _, name := range []string{"rsa", "oct"} {
			if err := use(user, name); err != nil {
				t.Errorf("%s with %s by a crypto user: %v", what, name, err)
			}
			w.fails(use(stranger, name), fault.Forbidden, "ForbiddenByRbac")
			w.fails(use(stranger, "absent"), fault.Forbidden, "ForbiddenByRbac")
			w.Audit.Take()
			err := use(reader, name)
			if name == "rsa" && what != "sign" {
				if err != nil {
					t.Errorf("%s with %s by a reader: %v", what, name, err)
				}
				continue
			}
			w.fails(err, fault.Forbidden, "ForbiddenByRbac")
			if n := len(w.Audit.Take()); n != 1 {
				t.Errorf("%s with %s: %d records of one refusal", what, name, n)
			}
		}
	}
}

func TestAnEditedStoreMakesNothingExportable(t *testing.T) {
	w := newWorld(t, nil)
	item := w.make("fixed", key.Spec{Kty: "EC-HSM"})
	other := w.make("other", key.Spec{Kty: "EC-HSM"})
	digest := sha256.Sum256(nil)
	for what, edit := range map[string]func(string) string{
		"exportable":       func(doc string) string { return strings.Replace(doc, `"ops"`, `"exportable":true,"ops"`, 1) },
		"another's public": func(string) string { return string(other.Version.Doc) },
	} {
		ver := *item.Version
		ver.Doc = []byte(edit(string(item.Version.Doc)))
		if bytes.Equal(ver.Doc, item.Version.Doc) {
			t.Fatalf("%s: nothing was edited in %s", what, ver.Doc)
		}
		w.Change(func(tx store.Tx) error { return tx.PutVersion(w.Ctx, &ver) })
		_, _, err := w.svc.Sign(w.Ctx, w.call(), named("fixed"), cryptokey.ES256, digest[:])
		w.fails(err, fault.Internal, "")
	}
}

func TestPurposes(t *testing.T) {
	w := newWorld(t, nil)
	tagged := func(purpose string) func(*key.Input) {
		return func(in *key.Input) { in.Tags = map[string]string{key.PurposeTag: purpose} }
	}
	for purpose, want := range map[string]string{
		key.DataAtRest: "encrypt decrypt wrapKey unwrapKey", key.DataInTransit: "encrypt decrypt sign verify wrapKey unwrapKey",
		key.Connectivity: "sign verify", key.Invocation: "sign verify",
	} {
		item := w.make(purpose, rsa2048, tagged(purpose))
		if got := strings.Join(facts(t, item).Ops.Words(), " "); got != want {
			t.Errorf("a key for %s does %s; want %s", purpose, got, want)
		}
	}
	_, err := w.svc.Create(w.Ctx, w.call(), "wrong", ec, key.Input{Tags: map[string]string{key.PurposeTag: "fun"}})
	w.fails(err, fault.Invalid, "")
	_, err = w.svc.Create(w.Ctx, w.call(), "wrong", ec, key.Input{Ops: []string{"sign"}, Tags: map[string]string{key.PurposeTag: key.DataAtRest}})
	w.fails(err, fault.Invalid, "")
	_, err = w.svc.Update(w.Ctx, w.call(), named(key.Connectivity), key.Change{Ops: []string{"decrypt"}})
	w.fails(err, fault.Invalid, "")
	_, err = w.svc.Update(w.Ctx, w.call(), named(key.Connectivity), key.Change{Ops: []string{"decrypt"}, Tags: map[string]string{key.PurposeTag: key.DataAtRest}})
	w.do(err)
}

func TestBackupsHoldThePolicyAndNoKeyInClear(t *testing.T) {
	w := newWorld(t, nil)
	own, err := rsa.GenerateKey(rand.Reader, 2048)
	w.do(err)
	jwk := jwkOf(own)
	_, err = w.svc.Import(w.Ctx, w.call(), "kept", &jwk, false, key.Input{Enabled: true})
	w.do(err)
	if jwk.HasPrivate() && slices.ContainsFunc(jwk.D.Bytes, func(b byte) bool { return b != 0 }) {
		t.Error("the imported JWK was not zeroed")
	}
	before := key.Policy{Expiry: period(t, "P1Y"), Rotate: &key.Trigger{BeforeExpiry: period(t, "P30D")}}
	_, before, err = w.svc.SetPolicy(w.Ctx, w.call(), "kept", before)
	w.do(err)
	blob, err := w.svc.Backup(w.Ctx, w.call(), "kept")
	w.do(err)
	der, err := x509.MarshalPKCS8PrivateKey(own)
	w.do(err)
	for _, secret := range [][]byte{own.D.Bytes(), own.Primes[0].Bytes(), der[:32]} {
		if bytes.Contains(blob, secret) {
			t.Error("the backup holds the key in clear")
		}
	}
	_, err = w.svc.Delete(w.Ctx, w.call(), "kept")
	w.do(err)
	w.do(w.svc.Purge(w.Ctx, w.call(), "kept"))
	_, err = w.svc.Restore(w.Ctx, w.call(), blob)
	w.do(err)
	sealed, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, &own.PublicKey, []byte("x"), nil)
	w.do(err)
	if _, plain, err := w.svc.Decrypt(w.Ctx, w.call(), named("kept"), cryptokey.RSAOAEP256, cryptokey.Input{Value: sealed}); err != nil || string(plain) != "x" {
		t.Errorf("the restored key decrypts %q, %v", plain, err)
	}
	_, after, err := w.svc.Policy(w.Ctx, w.call(), "kept")
	w.do(err)
	if diff := cmp.Diff(before, after, cmp.AllowUnexported(key.Period{})); diff != "" {
		t.Error(diff)
	}
	if due := w.due("kept"); due.IsZero() {
		t.Error("the restored policy does not act")
	}
}

// TestBringYourOwnKey wraps a key for an exchange key of the vault, as its owner would elsewhere, and imports it.
func TestBringYourOwnKey(t *testing.T) {
	w := newWorld(t, nil)
	exchange := w.make("exchange", key.Spec{Kty: "RSA-HSM"}, func(in *key.Input) { in.Ops = []string{"import"} })
	w.make("other", key.Spec{Kty: "RSA-HSM"})
	own, err := cryptokey.Generate(cryptokey.Spec{Type: cryptokey.EC, Curve: cryptokey.P384})
	w.do(err)
	jwk := facts(t, exchange).Public
	target, err := jwk.PublicKey()
	w.do(err)
	wrapped, err := own.Release(target, cryptokey.CKMRSAAESKeyWrap)
	w.do(err)
	bring := func(kid string) (key.Item, error) {
		blob, err := json.Marshal(cryptokey.NewTransferBlob(kid, cryptokey.CKMRSAAESKeyWrap, wrapped))
		w.do(err)
		return w.svc.Import(w.Ctx, w.call(), "brought", &cryptokey.JWK{Kty: "EC-HSM", KeyHSM: blob, KeyOps: []string{"sign"}}, false, key.Input{Enabled: true})
	}
	kid := "https://shop.example/keys/exchange/" + string(exchange.Version.ID)
	w.Audit.Take()
	item, err := bring(kid)
	w.do(err)
	f := facts(t, item)
	if !bytes.Equal(f.Public.X, own.PublicJWK().X) || f.Kty() != "EC-HSM" || strings.Join(f.Ops.Words(), " ") != "sign" {
		t.Errorf("brought %+v", f)
	}
	if list := w.Audit.Take(); len(list) != 1 || list[0].Name != "exchange" || list[0].Version != string(exchange.Version.ID) {
		t.Errorf("the use of the exchange key is recorded as %+v", list)
	}
	_, err = bring("https://shop.example/keys/other/" + string(w.current("other")))
	w.fails(err, fault.Forbidden, "KeyOperationForbidden")
	for _, wrong := range []string{"", "exchange", "https://shop.example/keys/exchange", "https://shop.example/secrets/exchange/" + string(exchange.Version.ID)} {
		_, err := bring(wrong)
		w.fails(err, fault.Invalid, "")
	}
	wrapped[len(wrapped)-1] ^= 1
	_, err = bring(kid)
	w.fails(err, fault.Invalid, "")
}

func (w *world) current(name string) vault.VersionID {
	w.T.Helper()
	item, err := w.svc.Get(w.Ctx, w.call(), named(name))
	w.do(err)
	return item.Version.ID
}

func jwkOf(k *rsa.PrivateKey) cryptokey.JWK {
	j := cryptokey.JWK{Kty: "RSA", N: k.N.Bytes(), E: big.NewInt(int64(k.E)).Bytes()}
	for into, from := range map[*cryptokey.Secret]*big.Int{&j.D: k.D, &j.P: k.Primes[0], &j.Q: k.Primes[1], &j.DP: k.Precomputed.Dp, &j.DQ: k.Precomputed.Dq, &j.QI: k.Precomputed.Qinv} {
		into.Bytes = from.Bytes()
	}
	return j
}

func period(t testing.TB, s string) key.Period {
	t.Helper()
	p, err := key.ParsePeriod(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// due is when the key's policy is due.
func (w *world) due(name string) (at time.Time) {
	w.T.Helper()
	w.do(w.Store.View(w.Ctx, func(tx store.Tx) error {
		o, err := tx.Object(w.Ctx, w.Vault.ID, vault.Key, name)
		if err != nil {
			return err
		}
		p, err := tx.Policy(w.Ctx, o.ID)
		if err == nil {
			at = p.DueAt
		}
		return err
	}))
	return at
}

func TestRotationKeepsWhatAKeyIs(t *testing.T) {
	w := newWorld(t, nil)
	policy := releasePolicy()
	first := w.make("kept", key.Spec{Kty: "RSA-HSM", Exponent: 17}, func(in *key.Input) {
		in.Ops, in.Tags, in.Exportable, in.Release = []string{"decrypt", "export"}, map[string]string{"a": "b"}, true, policy
	})
	second, err := w.svc.Rotate(w.Ctx, w.call(), "KEPT")
	w.do(err)
	a, b := facts(t, first), facts(t, second)
	if bytes.Equal(a.Public.N, b.Public.N) {
		t.Error("the key is the same")
	}
	b.Public.N = a.Public.N
	if diff := cmp.Diff(a, b, cmpopts.IgnoreUnexported(cryptokey.Secret{})); diff != "" {
		t.Error(diff)
	}
	if second.Version.Tags["a"] != "b" || second.Version.Previous != first.Version.ID || !second.Version.Attributes.Expires.IsZero() {
		t.Errorf("rotated to %+v", second.Version)
	}
	_, err = w.svc.Rotate(w.Ctx, w.call(), "absent")
	w.fails(err, fault.NotFound, "KeyNotFound")
}

// TestDueRotationsThatCannotBe are put off, and made when they can be.
func TestDueRotationsThatCannotBe(t *testing.T) {
	w := newWorld(t, nil)
	item := w.make("off", ec)
	_, _, err := w.svc.SetPolicy(w.Ctx, w.call(), "off", key.Policy{Rotate: &key.Trigger{AfterCreate: period(t, "P7D")}})
	w.do(err)
	enabled := func(on bool) {
		_, err := w.svc.Update(w.Ctx, w.call(), key.Selector{Name: "off", Version: item.Version.ID}, key.Change{Enabled: &on})
		w.do(err)
	}
	rotates := func(want int) {
		t.Helper()
		if n, err := w.svc.RotateDue(w.Ctx); err != nil || n != want {
			t.Errorf("%d rotations, %v; want %d", n, err, want)
		}
	}
	w.now.Advance(7*day - time.Second)
	rotates(0)
	enabled(false)
	w.now.Advance(time.Second)
	rotates(0)
	_, err = w.svc.Delete(w.Ctx, w.call(), "off")
	w.do(err)
	if due := w.due("off"); !due.IsZero() {
		t.Errorf("a deleted key is due at %s", due)
	}
	w.now.Advance(2 * time.Hour)
	rotates(0)
	_, err = w.svc.Recover(w.Ctx, w.call(), "off")
	w.do(err)
	enabled(true)
	rotates(1)
	rotates(0)
	changes := w.Changes()
	if last := changes[len(changes)-1]; last.Action != authz.KeyRotate.String() || last.Reason != "RotationPolicy" || last.Principal != "" {
		t.Errorf("the rotation's record is %+v", last)
	}
}

func TestPolicies(t *testing.T) {
	after := func(s string) *key.Trigger { return &key.Trigger{AfterCreate: period(t, s)} }
	before := func(s string) *key.Trigger { return &key.Trigger{BeforeExpiry: period(t, s)} }
	for name, tt := range map[string]struct {
		p  key.Policy
		ok bool
	}{
		"empty":                    {key.Policy{}, true},
		"after a week":             {key.Policy{Rotate: after("P7D")}, true},
		"after six days":           {key.Policy{Rotate: after("P6D")}, false},
		"a month before":           {key.Policy{Rotate: before("P1M"), Expiry: period(t, "P1Y")}, true},
		"before no expiry":         {key.Policy{Rotate: before("P1M")}, false},
		"six days before":          {key.Policy{Rotate: before("P6D"), Expiry: period(t, "P1Y")}, false},
		"too long before":          {key.Policy{Rotate: before("P25D"), Expiry: period(t, "P28D")}, false},
		"after the expiry":         {key.Policy{Rotate: after("P2Y"), Expiry: period(t, "P1Y")}, false},
		"a short life":             {key.Policy{Expiry: period(t, "P27D")}, false},
		"both triggers":            {key.Policy{Rotate: &key.Trigger{AfterCreate: period(t, "P7D"), BeforeExpiry: period(t, "P7D")}, Expiry: period(t, "P1Y")}, false},
		"no trigger":               {key.Policy{Rotate: &key.Trigger{}}, false},
		"notify":                   {key.Policy{Notify: before("P30D")}, true},
		"notify after":             {key.Policy{Notify: after("P30D")}, false},
		"notify before it is made": {key.Policy{Notify: before("P1Y"), Expiry: period(t, "P28D")}, false},
	} {
		if err := tt.p.Check(); (err == nil) != tt.ok || err != nil && !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestParsedKeysLeaveMemory: uses of a key that stays in memory do not read or parse it again, and a key that is locked away is gone.
func TestParsedKeysLeaveMemory(t *testing.T) {
	w := newWorld(t, nil)
	w.make("hot", rsa2048)
	digest := sha256.Sum256(nil)
	sign := func() error {
		_, _, err := w.svc.Sign(w.Ctx, w.call(), named("hot"), cryptokey.RS256, digest[:])
		return err
	}
	w.do(sign())
	before := w.svc.CacheStats()
	w.do(sign())
	if after := w.svc.CacheStats(); after.Misses != before.Misses || after.Hits != before.Hits+1 || after.Bytes < 8<<10 {
		t.Errorf("%+v, then %+v", before, after)
	}
	w.Keys.Lock()
	w.fails(sign(), fault.Unavailable, "KeyringLocked")
	w.do(w.Keys.Unlock(w.Ctx))
	w.do(sign())
	off := false
	_, err := w.svc.Update(w.Ctx, w.call(), named("hot"), key.Change{Enabled: &off})
	w.do(err)
	w.fails(sign(), fault.Forbidden, "KeyDisabled")
}

func releasePolicy() *key.ReleasePolicy {
	return &key.ReleasePolicy{ContentType: key.ReleasePolicyType,
		Data: []byte(`{"version":"1.0.0","anyOf":[{"authority":"https://attest.example","allOf":[{"claim":"sdk-test","equals":true},{"claim":"x-ms-runtime.level","equals":2}]}]}`)}
}

// authority is who judges attestations in tests: it believes the claims of what begins with "good".
type authority struct{ claims map[string]any }

func (a *authority) BelieveStatement(_ context.Context, _ vault.TenantID, issuer, text string) (map[string]any, error) {
	if !strings.HasSuffix(text, ".good") {
		return nil, fault.New(fault.Unauthenticated, "the signature is wrong")
	}
	return a.claims, nil
}

func (a *authority) SignStatement(_ context.Context, _ vault.TenantID, payload []byte) (string, error) {
	return string(payload), nil
}

func attestation(issuer, signature string) string {
	return "e30." + base64.RawURLEncoding.EncodeToString([]byte(`{"iss":"`+issuer+`"}`)) + "." + signature
}

func TestRelease(t *testing.T) {
	target, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	jwk := map[string]any{"kid": "env", "kty": "RSA", "key_ops": []any{"encrypt"}, "n": base64.RawURLEncoding.EncodeToString(target.N.Bytes()), "e": "AQAB"}
	good := func() map[string]any {
		return map[string]any{"sdk-test": true, "x-ms-runtime": map[string]any{"level": 2.0, "keys": []any{jwk}}}
	}
	judge := &authority{claims: good()}
	w := newWorld(t, func(c *key.Config) { c.Attestations = judge })
	item := w.make("free", key.Spec{Kty: "EC-HSM"}, func(in *key.Input) { in.Exportable, in.Release = true, releasePolicy() })
	w.make("fixed", key.Spec{Kty: "EC-HSM"})
	release := func(name, token string) (string, error) {
		_, jws, err := w.svc.Release(w.Ctx, w.call(), named(name), key.ReleaseRequest{Target: token, Nonce: "n", Kid: func(it key.Item) string { return "kid" }})
		return jws, err
	}
	jws, err := release("free", attestation("https://attest.example", "good"))
	w.do(err)
	var answer struct {
		Request  struct{ Nonce, Enc string }
		Response struct {
			Key struct {
				Key struct {
					KeyHSM cryptokey.Bytes `json:"key_hsm"`
				}
			}
		}
	}
	w.do(json.Unmarshal([]byte(jws), &answer))
	blob, err := cryptokey.ParseTransferBlob(answer.Response.Key.Key.KeyHSM)
	w.do(err)
	der, err := x509.MarshalPKCS8PrivateKey(target)
	w.do(err)
	holder, err := cryptokey.ParsePKCS8(der)
	w.do(err)
	got, err := holder.Receive(cryptokey.EC, blob.Header.Enc, blob.Ciphertext)
	w.do(err)
	if diff := cmp.Diff(facts(t, item).Public, got.PublicJWK(), cmpopts.IgnoreUnexported(cryptokey.Secret{})); diff != "" || answer.Request.Nonce != "n" || blob.Header.Kid != "env" {
		t.Errorf("released %+v: %s", answer, diff)
	}

	_, err = release("fixed", attestation("https://attest.example", "good"))
	w.fails(err, fault.Forbidden, "KeyOperationForbidden")
	for name, token := range map[string]string{"wrong signature": attestation("https://attest.example", "bad"), "other authority": attestation("https://evil.example", "good"),
		"no token": "nonsense", "a longer name": attestation("https://attest.example.evil", "good")} {
		if _, err := release("free", token); !fault.Is(err, fault.Forbidden) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, edit := range map[string]func(map[string]any){
		"claim is missing": func(c map[string]any) { delete(c, "sdk-test") }, "claim is false": func(c map[string]any) { c["sdk-test"] = false },
		"claim is text":   func(c map[string]any) { c["sdk-test"] = "true" },
		"claim is a list": func(c map[string]any) { c["sdk-test"] = []any{true} },
		"inner claim":     func(c map[string]any) { c["x-ms-runtime"].(map[string]any)["level"] = 1.0 },
	} {
		judge.claims = good()
		edit(judge.claims)
		if _, err := release("free", attestation("https://attest.example", "good")); !fault.Is(err, fault.Forbidden) {
			t.Errorf("%s: %v", name, err)
		}
	}
	judge.claims = good()
	judge.claims["x-ms-runtime"].(map[string]any)["keys"] = []any{}
	if _, err := release("free", attestation("https://attest.example", "good")); !fault.Is(err, fault.Invalid) {
		t.Errorf("without a key: %v", err)
	}
}

func TestReleasePoliciesStay(t *testing.T) {
	w := newWorld(t, nil)
	policy := releasePolicy()
	policy.Immutable = true
	w.make("immutable", key.Spec{Kty: "EC-HSM"}, func(in *key.Input) { in.Exportable, in.Release = true, policy })
	other := releasePolicy()
	_, err := w.svc.Update(w.Ctx, w.call(), named("immutable"), key.Change{Release: other})
	w.fails(err, fault.Invalid, "")
	no := false
	_, err = w.svc.Update(w.Ctx, w.call(), named("immutable"), key.Change{Exportable: &no})
	w.fails(err, fault.Invalid, "")
	for name, data := range map[string]string{
		"empty": ``, "no JSON": `x`, "no version": `{"anyOf":[{"authority":"https://a","allOf":[{"claim":"c","equals":1}]}]}`,
		"no authority":    `{"version":"1.0.0","anyOf":[{"allOf":[{"claim":"c","equals":1}]}]}`,
		"plain http":      `{"version":"1.0.0","anyOf":[{"authority":"http://a","allOf":[{"claim":"c","equals":1}]}]}`,
		"no condition":    `{"version":"1.0.0","anyOf":[{"authority":"https://a","allOf":[]}]}`,
		"no terms":        `{"version":"1.0.0","anyOf":[]}`,
		"unknown word":    `{"version":"1.0.0","anyOf":[{"authority":"https://a","allOf":[{"claim":"c","notEquals":1}]}]}`,
		"a claim of none": `{"version":"1.0.0","anyOf":[{"authority":"https://a","claim":"c","equals":1}]}`,
		"nested":          `{"version":"1.0.0","anyOf":[{"authority":"https://a","anyOf":[{"authority":"https://b","allOf":[{"claim":"c","equals":1}]}]}]}`,
		"equals a list":   `{"version":"1.0.0","anyOf":[{"authority":"https://a","allOf":[{"claim":"c","equals":[1]}]}]}`,
	} {
		_, err := w.svc.Create(w.Ctx, w.call(), "wrong", key.Spec{Kty: "EC-HSM"}, key.Input{Exportable: true, Release: &key.ReleasePolicy{Data: []byte(data)}})
		if !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestEveryCurveAndSizeIsMade(t *testing.T) {
	w := newWorld(t, nil)
	for _, sp := range []key.Spec{{Kty: "EC", Curve: "P-384"}, {Kty: "EC-HSM", Curve: "P-521"}, {Kty: "EC", Curve: "P-256K"}, {Kty: "oct", Bits: 128}, {Kty: "oct-HSM", Bits: 192},
		{Kty: "AKP", Curve: "ML-DSA-65"}, {Kty: "AKP", Curve: "ML-KEM-768"}} {
		name := strings.ToLower(sp.Kty + "-" + sp.Curve)
		item := w.make(name, sp)
		if got := facts(t, item).Kty(); got != sp.Kty {
			t.Errorf("%+v is a %s", sp, got)
		}
	}
	_, signature, err := w.svc.Sign(w.Ctx, w.call(), named("akp-ml-dsa-65"), cryptokey.MLDSA65, []byte("message"))
	w.do(err)
	if _, valid, err := w.svc.Verify(w.Ctx, w.call(), named("akp-ml-dsa-65"), cryptokey.MLDSA65, []byte("message"), signature); err != nil || !valid {
		t.Errorf("verified %v, %v", valid, err)
	}
}

func FuzzPeriod(f *testing.F) {
	for _, s := range []string{"P90D", "P1Y2M3D", "P1Y", "PT5H", "P1W", "P", "P-1D", "P0D", "P+1D", "P99999Y", "P1D1Y"} {
		f.Add(s)
	}
	at := time.Date(2026, 1, 31, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, s string) {
		p, err := key.ParsePeriod(s)
		if err != nil {
			if !p.IsZero() || !fault.Is(err, fault.Invalid) {
				t.Errorf("%q: %v, %v", s, p, err)
			}
			return
		}
		again, err := key.ParsePeriod(p.String())
		if err != nil || again != p || p.String() != s || !p.After(at).After(at) || !p.Before(at).Before(at) {
			t.Errorf("%q is %v, then %v, %v", s, p, again, err)
		}
	})
}

func FuzzReleasePolicy(f *testing.F) {
	f.Add(releasePolicy().Data)
	f.Add([]byte(`{"version":"1.0.0","allOf":[{"authority":"https://a","anyOf":[{"allOf":[{"claim":"a.b","equals":"x"}]}]}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if ok, err := key.CheckReleasePolicy(data); ok != (err == nil) || err != nil && !fault.Is(err, fault.Invalid) {
			t.Errorf("%q: %v, %v", data, ok, err)
		}
	})
}
