package guard_test

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/guard/guardtest"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/store/sqlite"
	"github.com/keywright/keywright/internal/vault"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func get(name string) *guard.Need {
	return &guard.Need{Action: authz.SecretGet, Kind: vault.Secret, Name: name}
}

func is(t *testing.T, err error, kind fault.Kind, reason fault.Reason) {
	t.Helper()
	if !fault.Is(err, kind) || fault.As(err).Reason != reason {
		t.Errorf("got %v (%v); want %v with reason %q", err, fault.Of(err), kind, reason)
	}
}

// one expects a single record and returns it.
func one(t *testing.T, w *guardtest.World) guardtest.Entry {
	t.Helper()
	list := w.Audit.Take()
	if len(list) != 1 {
		t.Fatalf("%d audit records: %+v; want 1", len(list), list)
	}
	return list[0]
}

func TestEveryReadHasOneRecord(t *testing.T) {
	w := guardtest.New(t, guardtest.Options{})
	reader, stranger := w.Caller(authz.SecretsUser), w.Caller()
	call := w.Call(reader)

	need := get("a")
	if err := w.Guard.Read(w.Ctx, call, need, func() error { need.Version = "v"; return nil }); err != nil {
		t.Fatal(err)
	}
	if e := one(t, w); e.Outcome != "allowed" || e.Action != authz.SecretGet.String() || e.Name != "a" || e.Version != "v" || e.Kind != "secret" ||
		e.Principal != string(reader.Principal) || e.VaultID != string(w.Vault.ID) || e.Correlation != call.Correlation || e.CallerApp != reader.AppID {
		t.Errorf("the record of a read: %+v", e)
	}

	is(t, w.Guard.Read(w.Ctx, call, get("a"), func() error { return fault.New(fault.NotFound, "no").Because("SecretNotFound") }), fault.NotFound, "SecretNotFound")
	if e := one(t, w); e.Outcome != "failed" || e.Reason != "SecretNotFound" {
		t.Errorf("the record of a failure: %+v", e)
	}
	if err := w.Guard.Read(w.Ctx, call, get("a"), func() error { return errors.New("canary") }); err == nil {
		t.Error("a failure was swallowed")
	}
	if e := one(t, w); e.Outcome != "failed" || e.Reason != "internal" {
		t.Errorf("the record of an unknown failure: %+v", e)
	}

	is(t, w.Guard.Read(w.Ctx, w.Call(stranger), get("a"), func() error { t.Error("work was done without permission"); return nil }),
		fault.Forbidden, authz.ForbiddenByRbac)
	if e := one(t, w); e.Outcome != "denied" || e.Reason != "ForbiddenByRbac" || e.Name != "a" || e.Principal != string(stranger.Principal) {
		t.Errorf("the record of a refusal: %+v", e)
	}

	is(t, w.Guard.Authorize(w.Ctx, &guard.Call{Vault: call.Vault, Started: call.Started}, get("a")), fault.Unauthenticated, "")
	if list := w.Audit.Take(); len(list) > 0 {
		t.Errorf("a request without a caller left records: %+v", list)
	}
}

func TestWithoutARecordNothingHappens(t *testing.T) {
	w := guardtest.New(t, guardtest.Options{})
	officer, stranger := w.Caller(authz.SecretsOfficer), w.Caller()
	w.Audit.Break(errors.New("disk full"))
	defer w.Audit.Break(nil)
	is(t, w.Guard.Read(w.Ctx, w.Call(officer), get("a"), func() error { return nil }), fault.Unavailable, "")
	is(t, w.Guard.Read(w.Ctx, w.Call(officer), get("a"), func() error { return fault.New(fault.NotFound, "no") }), fault.Unavailable, "")
	is(t, w.Guard.Read(w.Ctx, w.Call(stranger), get("a"), func() error { return nil }), fault.Unavailable, "")
	err := w.Guard.Commit(w.Ctx, w.Call(officer), guard.Need{Action: authz.SecretSet, Kind: vault.Secret, Name: "a"}, store.NewOp(w.Clock.Now()),
		func(store.Tx) error { t.Error("a change began that cannot be recorded"); return nil })
	is(t, err, fault.Unavailable, "")
	w.EditVault(func(v *vault.Vault) { v.Network.DefaultAllow = false })
	is(t, w.Guard.Admit(w.Ctx, w.Call(officer)), fault.Unavailable, "")
}

func TestCommitKeepsItsRecordWithTheChange(t *testing.T) {
	w := guardtest.New(t, guardtest.Options{})
	call := w.Call(w.Caller(authz.SecretsOfficer))
	need := guard.Need{Action: authz.SecretSet, Kind: vault.Secret, Name: "a", Version: "v"}
	op := store.NewOp(w.Clock.Now())
	if err := w.Guard.Commit(w.Ctx, call, need, op, func(tx store.Tx) error { return tx.PutSetting(w.Ctx, "x", []byte("1")) }); err != nil {
		t.Fatal(err)
	}
	changes := w.Changes()
	if len(changes) != 1 || changes[0].ID != string(op.ID) || changes[0].Outcome != "allowed" || changes[0].Name != "a" || changes[0].Version != "v" {
		t.Fatalf("records of changes: %+v", changes)
	}
	// A change that fails leaves its record in the log and nothing in the store.
	is(t, w.Guard.Commit(w.Ctx, call, need, store.NewOp(w.Clock.Now()), func(tx store.Tx) error {
		if err := tx.PutSetting(w.Ctx, "x", []byte("2")); err != nil {
			return err
		}
		return fault.New(fault.Conflict, "taken")
	}), fault.Conflict, "")
	if e := one(t, w); e.Outcome != "failed" || e.Reason != "conflict" {
		t.Errorf("the record of a failed change: %+v", e)
	}
	if err := w.Guard.Commit(w.Ctx, call, need, store.NewOp(w.Clock.Now()), func(store.Tx) error { return guard.ErrAgain }); !errors.Is(err, guard.ErrAgain) {
		t.Errorf("a change to be planned anew: %v", err)
	}
	if list := w.Audit.Take(); len(list) > 0 || len(w.Changes()) != 1 {
		t.Errorf("a change to be planned anew left records: %+v", list)
	}
	// The same operation twice is done once.
	if err := w.Guard.Commit(w.Ctx, call, need, op, func(store.Tx) error { return nil }); err != nil || len(w.Changes()) != 1 {
		t.Errorf("the operation again: %v, %d records", err, len(w.Changes()))
	}
}

func TestAmbiguousCommitsAreResolved(t *testing.T) {
	var before, after atomic.Bool
	lose := func(on *atomic.Bool) func() error {
		return func() error {
			if on.Swap(false) {
				return errors.New("the connection broke")
			}
			return nil
		}
	}
	w := guardtest.New(t, guardtest.Options{Faults: sqlite.Faults{BeforeCommit: lose(&before), AfterCommit: lose(&after)}})
	call := w.Call(w.Caller(authz.SecretsOfficer))
	need := guard.Need{Action: authz.SecretSet, Kind: vault.Secret, Name: "a"}
	put := func(ctx context.Context, name string) error {
		return w.Guard.Commit(ctx, call, need, store.NewOp(w.Clock.Now()), func(tx store.Tx) error { return tx.PutSetting(w.Ctx, name, nil) })
	}
	there := func(name string) bool {
		return w.Store.View(w.Ctx, func(tx store.Tx) error { _, err := tx.Setting(w.Ctx, name); return err }) == nil
	}
	after.Store(true)
	if err := put(w.Ctx, "stored"); err != nil || !there("stored") {
		t.Errorf("a commit that was stored and reported lost: %v, stored %v", err, there("stored"))
	}
	if list := w.Audit.Take(); len(list) > 0 {
		t.Errorf("it left records besides its own: %+v", list)
	}
	before.Store(true)
	is(t, put(w.Ctx, "lost"), fault.Unavailable, "")
	if there("lost") || one(t, w).Outcome != "failed" {
		t.Error("a commit that was lost is there, or not recorded as failed")
	}
	if n := len(w.Changes()); n != 1 {
		t.Errorf("%d records of changes; want 1", n)
	}
	// The caller may be gone by the time the look-up is needed.
	ctx, cancel := context.WithCancel(w.Ctx)
	after.Store(true)
	err := w.Guard.Commit(ctx, call, need, store.NewOp(w.Clock.Now()), func(tx store.Tx) error { cancel(); return tx.PutSetting(w.Ctx, "gone", nil) })
	if err != nil || !there("gone") {
		t.Errorf("a commit whose caller left: %v, stored %v", err, there("gone"))
	}
}

// mute is a store that cannot say what was committed.
type mute struct{ store.Store }

func (mute) Committed(context.Context, store.OpID) (bool, error) {
	return false, fault.New(fault.Unavailable, "the store does not answer")
}

// TestUnresolvedCommitsAreUnknown loses the answer of commits, stored ones and lost ones, and the look-up's as well.
func TestUnresolvedCommitsAreUnknown(t *testing.T) {
	for stored, fail := range map[bool]func(func() error) sqlite.Faults{
		true:  func(f func() error) sqlite.Faults { return sqlite.Faults{AfterCommit: f} },
		false: func(f func() error) sqlite.Faults { return sqlite.Faults{BeforeCommit: f} },
	} {
		var broken atomic.Bool
		w := guardtest.New(t, guardtest.Options{Wrap: func(s store.Store) store.Store { return mute{s} }, Faults: fail(func() error {
			if broken.Swap(false) {
				return errors.New("the connection broke")
			}
			return nil
		})})
		call := w.Call(w.Caller(authz.SecretsOfficer))
		need := guard.Need{Action: authz.SecretSet, Kind: vault.Secret, Name: "a"}
		broken.Store(true)
		err := w.Guard.Commit(w.Ctx, call, need, store.NewOp(w.Clock.Now()), func(tx store.Tx) error { return tx.PutSetting(w.Ctx, "x", nil) })
		is(t, err, fault.Unavailable, "")
		if told := fault.As(err).Message; !strings.Contains(told, "read the object before") || !strings.HasPrefix(told, "the store cannot serve now") {
			t.Errorf("the caller is told %q", fault.As(err).Message)
		}
		if e := one(t, w); e.Outcome != "unknown" || e.Reason != "unavailable" || e.Name != "a" {
			t.Errorf("stored %t: the record is %+v", stored, e)
		}
		_, err = setting(w, "x")
		if there := err == nil; there != stored || len(w.Changes()) == 1 != stored {
			t.Errorf("stored %t: there is %t, with %d records of its own", stored, there, len(w.Changes()))
		}
	}
}

func setting(w *guardtest.World, name string) (value []byte, err error) {
	err = w.Store.View(w.Ctx, func(tx store.Tx) error {
		value, err = tx.Setting(w.Ctx, name)
		return err
	})
	return value, err
}

func TestNetworkRulesComeBeforeEverythingElse(t *testing.T) {
	w := guardtest.New(t, guardtest.Options{})
	officer := w.Caller(authz.SecretsOfficer)
	if err := w.Guard.Admit(w.Ctx, w.Call(officer)); err != nil {
		t.Fatal(err)
	}
	w.EditVault(func(v *vault.Vault) {
		v.Network.DefaultAllow = false
		v.Network.Addresses = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	})
	is(t, w.Guard.Admit(w.Ctx, w.Call(officer)), fault.Forbidden, "ForbiddenByFirewall")
	if e := one(t, w); e.Outcome != "denied" || e.Reason != "ForbiddenByFirewall" || e.Action != "" {
		t.Errorf("the record: %+v", e)
	}
	inside := w.Call(officer)
	inside.Address = netip.MustParseAddr("10.1.2.3")
	if err := w.Guard.Admit(w.Ctx, inside); err != nil {
		t.Error(err)
	}
	w.EditVault(func(v *vault.Vault) { v.Network.PublicAccess = false })
	inside = w.Call(officer)
	inside.Address = netip.MustParseAddr("10.1.2.3")
	is(t, w.Guard.Admit(w.Ctx, inside), fault.Forbidden, "ForbiddenByConnection")
}

func TestRateLimits(t *testing.T) {
	now := clock.NewManual(noon)
	admit := func(w *guardtest.World, c *guard.Caller) error { return w.Guard.Admit(w.Ctx, w.Call(c)) }
	t.Run("of a principal, over all of its tokens", func(t *testing.T) {
		w := guardtest.New(t, guardtest.Options{Clock: now, Limits: guard.Limits{PerCaller: 4}})
		c, other := w.Caller(), w.Caller()
		again := &guard.Caller{Principal: c.Principal, Tenant: c.Tenant, Expires: c.Expires}
		for i := range 4 {
			if err := admit(w, []*guard.Caller{c, again}[i%2]); err != nil {
				t.Fatalf("request %d: %v", i, err)
			}
		}
		for _, token := range []*guard.Caller{c, again} {
			err := admit(w, token)
			is(t, err, fault.Throttled, "")
			if e := fault.As(err); e != nil && e.RetryAfter < time.Second {
				t.Errorf("the advice is to wait %s", e.RetryAfter)
			}
		}
		if r := w.Audit.Refusals(); len(r) != 2 || r[0].Reason != "Throttled" || r[0].Host != guardtest.VaultName || !r[0].Address.IsValid() {
			t.Errorf("counted refusals: %+v", r)
		}
		if err := admit(w, other); err != nil {
			t.Errorf("another principal: %v", err)
		}
		now.Advance(250 * time.Millisecond)
		if err := admit(w, again); err != nil {
			t.Errorf("after a quarter of a second: %v", err)
		}
		is(t, admit(w, c), fault.Throttled, "")
	})
	t.Run("of a vault", func(t *testing.T) {
		w := guardtest.New(t, guardtest.Options{Clock: now, Limits: guard.Limits{PerVault: 2, Burst: 2}})
		for i := range 4 {
			if err := admit(w, w.Caller()); err != nil {
				t.Fatalf("request %d: %v", i, err)
			}
		}
		is(t, admit(w, w.Caller()), fault.Throttled, "")
	})
	t.Run("slower than one in a second", func(t *testing.T) {
		w := guardtest.New(t, guardtest.Options{Clock: now, Limits: guard.Limits{PerVault: 0.1}})
		if err := admit(w, w.Caller()); err != nil {
			t.Fatal(err)
		}
		err := admit(w, w.Caller())
		is(t, err, fault.Throttled, "")
		if e := fault.As(err); e != nil && e.RetryAfter != 10*time.Second {
			t.Errorf("the advice is to wait %s; want 10 s", e.RetryAfter)
		}
	})
}

func TestGrantsBeginAndEndWithoutACommit(t *testing.T) {
	now := clock.NewManual(noon)
	w := guardtest.New(t, guardtest.Options{Clock: now})
	c := w.Caller()
	w.Grant(c, authz.SecretsUser, func(g *principal.Grant) { g.NotBefore, g.Expires = noon.Add(time.Minute), noon.Add(2*time.Minute) })
	for i, allowed := range []bool{false, true, false} {
		err := w.Guard.Authorize(w.Ctx, w.Call(c), get("a"))
		if (err == nil) != allowed {
			t.Errorf("after %d minutes: %v", i, err)
		}
		now.Advance(time.Minute)
	}
}

func TestCallersAreRevoked(t *testing.T) {
	c := &guard.Caller{Expires: noon}
	if !c.Live(noon.Add(-1)) || c.Live(noon) {
		t.Error("a caller lives until its proof ends, and no longer")
	}
	c.Revoke()
	if c.Live(noon.Add(-1)) {
		t.Error("a revoked caller lives")
	}
}

func TestRightsOnOneObject(t *testing.T) {
	w := guardtest.New(t, guardtest.Options{})
	c := w.Caller()
	w.Grant(c, authz.SecretsOfficer, func(g *principal.Grant) { g.Scope += "/secrets/Mine" })
	call := w.Call(c)
	for name, allowed := range map[string]bool{"Mine": true, "mine": true, "MINE": true, "mine2": false, "other": false, "": false} {
		if err := w.Guard.Authorize(w.Ctx, call, get(name)); (err == nil) != allowed {
			t.Errorf("%q: %v", name, err)
		}
	}
	if err := w.Guard.Authorize(w.Ctx, call, &guard.Need{Action: authz.KeyGet, Kind: vault.Key, Name: "Mine"}); err == nil {
		t.Error("a grant on a secret reaches the key of the same name")
	}
}

func TestControlPlaneStaysInItsTenant(t *testing.T) {
	w := guardtest.New(t, guardtest.Options{})
	c := w.Caller()
	w.Grant(c, authz.Owner, func(g *principal.Grant) { g.Scope = "/" })
	own := "/subscriptions/" + string(w.Vault.Subscription)
	need := func(scope string) *guard.Need { return &guard.Need{Action: authz.VaultRead, Scope: scope} }
	if err := w.Guard.Authorize(w.Ctx, w.Call(c), need(own)); err != nil {
		t.Errorf("the owner's own subscription: %v", err)
	}
	foreign := vault.NewSubscriptionID()
	other := vault.NewTenantID()
	w.Change(func(tx store.Tx) error {
		return errors.Join(tx.PutTenant(w.Ctx, &vault.Tenant{ID: other, Created: noon}),
			tx.PutSubscription(w.Ctx, &vault.Subscription{ID: foreign, Tenant: other, Created: noon}))
	})
	there := w.Guard.Authorize(w.Ctx, w.Call(c), need("/subscriptions/"+string(foreign)))
	missing := vault.NewSubscriptionID()
	nowhere := w.Guard.Authorize(w.Ctx, w.Call(c), need("/subscriptions/"+string(missing)))
	is(t, there, fault.NotFound, guard.UnknownSubscription)
	is(t, nowhere, fault.NotFound, guard.UnknownSubscription)
	if got := strings.ReplaceAll(there.Error(), string(foreign), string(missing)); got != nowhere.Error() {
		t.Errorf("a foreign subscription is told apart from none:\n%v\n%v", there, nowhere)
	}
}

func TestIncompleteGuardsAreRefused(t *testing.T) {
	w := guardtest.New(t, guardtest.Options{})
	good := w.Guard.Config
	for name, spoil := range map[string]func(*guard.Config){"store": func(c *guard.Config) { c.Store = nil }, "audit": func(c *guard.Config) { c.Audit = nil },
		"clock": func(c *guard.Config) { c.Clock = nil }, "logger": func(c *guard.Config) { c.Logger = nil }} {
		c := good
		spoil(&c)
		if _, err := guard.New(c); err == nil {
			t.Errorf("a guard without %s is accepted", name)
		}
	}
}

func TestOnlyWhoProvesNothingIsCountedAsUnauthenticated(t *testing.T) {
	w := guardtest.New(t, guardtest.Options{})
	call := &guard.Call{Door: "azure", Started: w.Clock.Now()}
	down, stranger := fault.New(fault.Unavailable, "the store is away"), fault.New(fault.Unauthenticated, "who are you?").Because("AKV10000")
	is(t, w.Guard.Unauthenticated(call, "demo", down), fault.Unavailable, "")
	if counted := w.Audit.Refusals(); len(counted) != 0 {
		t.Errorf("a store that is away counts as %+v", counted)
	}
	is(t, w.Guard.Unauthenticated(call, "demo", stranger), fault.Unauthenticated, "AKV10000")
	if counted := w.Audit.Refusals(); len(counted) != 1 || counted[0].Reason != "AKV10000" || counted[0].Host != "demo" {
		t.Errorf("counted %+v", counted)
	}
}
