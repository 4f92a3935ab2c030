package identity_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/identity"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

func TestSecretToCaller(t *testing.T) {
	w := newWorld(t)
	app, secret := w.app()
	inner, outer := w.make(identity.Spec{Kind: principal.GroupKind, Name: "inner"}), w.make(identity.Spec{Kind: principal.GroupKind, Name: "outer"})
	w.apply(w.svc.PrepareMember(w.tenant, inner.ID, app.ID, true), w.svc.PrepareMember(w.tenant, outer.ID, inner.ID, true),
		w.svc.PrepareMember(w.tenant, inner.ID, outer.ID, true)) // a circle
	token := w.signIn(app, secret)
	if token.Lifetime() != time.Hour {
		t.Errorf("the token lives for %s", token.Lifetime())
	}
	if n := len(token.Access); n > 1500 {
		t.Errorf("the token has %d bytes", n)
	}
	c, err := w.svc.Authenticate(w.ctx, token.Access.Reveal(), w.vaults)
	w.must(err)
	if c.Principal != app.ID || c.Tenant != w.tenant || c.AppID != app.AppID || c.Kind != principal.Service || len(c.Groups) != 2 ||
		!strings.HasPrefix(c.Credential, "secret/") || !c.Expires.Equal(token.Expires) {
		t.Errorf("got the caller %+v", c)
	}
	claims := payload(t, token.Access.Reveal())
	for name, want := range map[string]any{"aud": resource, "tid": string(w.tenant), "oid": string(app.ID), "appid": app.AppID, "idtyp": "app",
		"ver": "1.0", "iss": "https://sts.test/" + string(w.tenant) + "/", "jti": token.ID} {
		if claims[name] != want {
			t.Errorf("claim %s is %v, want %v", name, claims[name], want)
		}
	}
	if e := w.audit.last(); e.Principal != app.ID || e.Token != token.ID || e.Reason != "" || e.Flow != identity.FlowSecret {
		t.Errorf("recorded %+v", e)
	}
}

func TestTokensThatDoNotCount(t *testing.T) {
	w := newWorld(t)
	app, secret := w.app()
	good := w.signIn(app, secret).Access.Reveal()
	other := newWorld(t)
	stranger := other.signIn(other.app()).Access.Reveal()
	parts := strings.Split(good, ".")
	for name, c := range map[string]struct {
		token string
		want  fault.Reason
	}{
		"none":              {"", identity.NoToken},
		"text":              {"no token", identity.MalformedToken},
		"long":              {strings.Repeat("a", 20000), identity.MalformedToken},
		"unsigned":          {"eyJhbGciOiJub25lIn0." + parts[1] + ".", identity.MalformedToken},
		"changed signature": {parts[0] + "." + parts[1] + "." + strings.Repeat("A", len(parts[2])), identity.BadSignature},
		"changed body":      {parts[0] + "." + strings.Split(w.signIn(app, secret).Access.Reveal(), ".")[1] + "." + parts[2], identity.BadSignature},
		"another tenant":    {stranger, identity.UnknownKey},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := w.svc.Authenticate(w.ctx, c.token, w.vaults)
			reason(t, err, c.want)
			if !fault.Is(err, fault.Unauthenticated) {
				t.Errorf("kind %s", fault.Of(err))
			}
		})
	}
}

func TestAudience(t *testing.T) {
	w := newWorld(t)
	app, secret := w.app()
	for audience, ok := range map[string]bool{
		"https://vault.test:8443": true, "https://vault.test:8443/": true, "https://vault.test": true, "https://vault.test/": true,
		"https://vault.azure.net": true, "https://vault.azure.net/": true, "cfa8b339-82a2-471a-a3c9-0fc0be7a4093": true,
		"https://Vault.Test:8443": true, "https://arm.test:8443": false, "https://vault.test:9": false, "https://evil.vault.test:8443": false,
	} {
		token, err := w.svc.ClientCredentials(w.ctx, identity.ClientRequest{Tenant: w.tenant, ClientID: app.AppID, Secret: secret, Resource: audience})
		w.must(err)
		for range 2 { // looked up, then remembered
			_, err = w.svc.Authenticate(w.ctx, token.Access.Reveal(), w.vaults)
			if ok != (err == nil) {
				t.Errorf("audience %q: %v", audience, err)
			} else if !ok {
				reason(t, err, identity.WrongAudience)
			}
		}
		// A remembered token is not good at another door either.
		if _, err = w.svc.Authenticate(w.ctx, token.Access.Reveal(), identity.NewAudiences("https://else.test")); err == nil {
			t.Errorf("audience %q is taken for another", audience)
		}
	}
}

func TestExpiry(t *testing.T) {
	w := newWorld(t)
	app, secret := w.app()
	token := w.signIn(app, secret)
	for _, step := range []struct {
		after time.Duration
		want  fault.Reason
	}{{0, ""}, {time.Hour - time.Second, ""}, {time.Second, identity.StaleToken}} {
		w.clock.Advance(step.after)
		_, err := w.svc.Authenticate(w.ctx, token.Access.Reveal(), w.vaults)
		reason(t, err, step.want)
	}
}

func TestRevocationIsImmediate(t *testing.T) {
	for name, revoke := range map[string]func(w *world, app *principal.Principal, credential string){
		"disabled": func(w *world, p *principal.Principal, _ string) { w.apply(w.svc.PrepareDisabled(w.tenant, p.ID, true)) },
		"deleted":  func(w *world, p *principal.Principal, _ string) { w.apply(w.svc.PrepareDelete(w.tenant, p.ID)) },
		"tokens revoked": func(w *world, p *principal.Principal, _ string) {
			w.apply(w.svc.PrepareRevokeTokens(w.tenant, p.ID))
		},
		"secret removed": func(w *world, p *principal.Principal, c string) {
			w.apply(w.svc.PrepareRemoveCredential(w.tenant, p.ID, c))
		},
		"tenant disabled": func(w *world, _ *principal.Principal, _ string) {
			w.must(w.store.Update(w.ctx, store.NewOp(w.clock.Now()), func(tx store.Tx) error {
				t, err := tx.Tenant(w.ctx, w.tenant)
				if err != nil {
					return err
				}
				c := *t
				c.Disabled = true
				return tx.PutTenant(w.ctx, &c)
			}))
		},
		"signing key replaced": func(w *world, _ *principal.Principal, _ string) {
			w.must(w.svc.ReplaceSigningKeys(w.ctx, w.tenant))
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			app, secret := w.app()
			token := w.signIn(app, secret).Access.Reveal()
			caller, err := w.svc.Authenticate(w.ctx, token, w.vaults)
			w.must(err)
			w.clock.Advance(1500 * time.Millisecond)
			revoke(w, app, caller.Credential)
			if caller.Live(w.clock.Now()) {
				t.Error("the remembered caller is still live")
			}
			_, err = w.svc.Authenticate(w.ctx, token, w.vaults)
			if !fault.Is(err, fault.Unauthenticated) {
				t.Errorf("after the revocation: %v", err)
			}
		})
	}
}

func TestTokenAfterRevocationCounts(t *testing.T) {
	w := newWorld(t)
	app, secret := w.app()
	w.clock.Advance(300 * time.Millisecond)
	w.apply(w.svc.PrepareRevokeTokens(w.tenant, app.ID))
	w.clock.Advance(time.Millisecond)
	_, err := w.svc.Authenticate(w.ctx, w.signIn(app, secret).Access.Reveal(), w.vaults)
	w.must(err)
}

func TestGroupChangeReachesCallers(t *testing.T) {
	w := newWorld(t)
	app, secret := w.app()
	g1, g2 := w.make(identity.Spec{Kind: principal.GroupKind, Name: "g1"}), w.make(identity.Spec{Kind: principal.GroupKind, Name: "g2"})
	token := w.signIn(app, secret).Access.Reveal()
	groups := func() int {
		t.Helper()
		c, err := w.svc.Authenticate(w.ctx, token, w.vaults)
		w.must(err)
		return len(c.Groups)
	}
	for _, step := range []struct {
		change identity.Change
		want   int
	}{
		{w.svc.PrepareMember(w.tenant, g1.ID, app.ID, true), 1},
		{w.svc.PrepareMember(w.tenant, g2.ID, g1.ID, true), 2},
		{w.svc.PrepareDisabled(w.tenant, g2.ID, true), 1},
		{w.svc.PrepareDisabled(w.tenant, g2.ID, false), 2},
		{w.svc.PrepareDisabled(w.tenant, g1.ID, true), 0},
		{w.svc.PrepareDisabled(w.tenant, g1.ID, false), 2},
		{w.svc.PrepareDelete(w.tenant, g1.ID), 0},
	} {
		w.apply(step.change)
		if got := groups(); got != step.want {
			t.Fatalf("%d groups, want %d", got, step.want)
		}
	}
}

// TestRevocationRaces revokes while others fill the cache: whoever asks after the revocation returned is refused.
func TestRevocationRaces(t *testing.T) {
	w := newWorld(t)
	app, secret := w.app()
	for range 20 {
		w.clock.Advance(2 * time.Second)
		token := w.signIn(app, secret).Access.Reveal()
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range 50 {
					w.svc.Authenticate(w.ctx, token, w.vaults)
				}
			})
		}
		w.clock.Advance(2 * time.Second)
		w.apply(w.svc.PrepareRevokeTokens(w.tenant, app.ID))
		for range 3 {
			if _, err := w.svc.Authenticate(w.ctx, token, w.vaults); !fault.Is(err, fault.Unauthenticated) {
				t.Fatalf("after the revocation: %v", err)
			}
		}
		wg.Wait()
		if _, err := w.svc.Authenticate(w.ctx, token, w.vaults); !fault.Is(err, fault.Unauthenticated) {
			t.Fatalf("a stale answer was remembered: %v", err)
		}
	}
}

// slowStore lets something happen between a read and its reader.
type slowStore struct {
	store.Store
	meanwhile func()
}

func (s *slowStore) View(ctx context.Context, fn func(store.Tx) error) error {
	err := s.Store.View(ctx, fn)
	if f := s.meanwhile; f != nil {
		s.meanwhile = nil
		f()
	}
	return err
}

// TestStaleAnswerIsNotRemembered revokes after the store was read and before the answer is remembered.
func TestStaleAnswerIsNotRemembered(t *testing.T) {
	slow := &slowStore{}
	w := newWorld(t, func(c *identity.Config) { slow.Store, c.Store = c.Store, slow })
	app, secret := w.app()
	token := w.signIn(app, secret).Access.Reveal()
	w.clock.Advance(2 * time.Second)
	revoke := w.svc.PrepareRevokeTokens(w.tenant, app.ID)
	slow.meanwhile = func() { w.apply(revoke) }
	_, err := w.svc.Authenticate(w.ctx, token, w.vaults)
	w.must(err) // it was asked before the revocation
	if slow.meanwhile != nil {
		t.Fatal("nothing happened meanwhile")
	}
	_, err = w.svc.Authenticate(w.ctx, token, w.vaults)
	reason(t, err, identity.StaleToken)
}

// TestEveryCallerIsWithinReach keeps the callers that Authenticate returns, as a stream does, and disables their principal:
// none may count afterwards, whatever happened while it was looked up.
func TestEveryCallerIsWithinReach(t *testing.T) {
	for name, meanwhile := range map[string]func(w *world, token string) []*guard.Caller{
		"nothing": func(*world, string) []*guard.Caller { return nil },
		"the same token was looked up": func(w *world, token string) []*guard.Caller {
			c, err := w.svc.Authenticate(w.ctx, token, w.vaults)
			w.must(err)
			return []*guard.Caller{c}
		},
		"somebody else changed": func(w *world, _ string) []*guard.Caller {
			w.make(identity.Spec{Kind: principal.GroupKind, Name: "else"})
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			slow := &slowStore{}
			w := newWorld(t, func(c *identity.Config) { slow.Store, c.Store = c.Store, slow })
			app, secret := w.app()
			token := w.signIn(app, secret).Access.Reveal()
			var callers []*guard.Caller
			slow.meanwhile = func() { callers = meanwhile(w, token) }
			c, err := w.svc.Authenticate(w.ctx, token, w.vaults)
			w.must(err)
			w.apply(w.svc.PrepareDisabled(w.tenant, app.ID, true))
			for _, c := range append(callers, c) {
				if c.Live(w.clock.Now()) {
					t.Error("a caller of a disabled principal counts")
				}
			}
		})
	}
}

func TestEvictedCallersAreWithinReach(t *testing.T) {
	w := newWorld(t, func(c *identity.Config) { c.CacheSize = 16 })
	app, secret := w.app()
	var callers []*guard.Caller
	for range 40 {
		c, err := w.svc.Authenticate(w.ctx, w.signIn(app, secret).Access.Reveal(), w.vaults)
		w.must(err)
		callers = append(callers, c)
	}
	w.apply(w.svc.PrepareDisabled(w.tenant, app.ID, true))
	for i, c := range callers {
		if c.Live(w.clock.Now()) {
			t.Errorf("caller %d of a disabled principal counts", i)
		}
	}
}

func TestCacheIsBounded(t *testing.T) {
	w := newWorld(t, func(c *identity.Config) { c.CacheSize = 16 })
	app, secret := w.app()
	var tokens []string
	for range 40 {
		token := w.signIn(app, secret).Access.Reveal()
		_, err := w.svc.Authenticate(w.ctx, token, w.vaults)
		w.must(err)
		tokens = append(tokens, token)
	}
	if n := w.svc.Remembered(); n > 16 {
		t.Errorf("%d tokens are remembered", n)
	}
	for _, token := range tokens {
		_, err := w.svc.Authenticate(w.ctx, token, w.vaults)
		w.must(err)
	}
}

func TestAuthenticateAllocates(t *testing.T) {
	w := newWorld(t)
	token := w.signIn(w.app()).Access.Reveal()
	_, err := w.svc.Authenticate(w.ctx, token, w.vaults)
	w.must(err)
	if n := testing.AllocsPerRun(1000, func() { w.svc.Authenticate(w.ctx, token, w.vaults) }); n != 0 {
		t.Errorf("a remembered token costs %v allocations", n)
	}
}

func BenchmarkAuthenticate(b *testing.B) {
	w := newWorld(b)
	token := w.signIn(w.app()).Access.Reveal()
	b.Logf("the token has %d bytes", len(token))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := w.svc.Authenticate(w.ctx, token, w.vaults); err != nil {
			b.Fatal(err)
		}
	}
}

func TestSigningKeysRotate(t *testing.T) {
	w := newWorld(t)
	app, secret := w.app()
	kid := func() string {
		t.Helper()
		token := w.signIn(app, secret)
		_, err := w.svc.Authenticate(w.ctx, token.Access.Reveal(), w.vaults)
		w.must(err)
		head := strings.Split(token.Access.Reveal(), ".")[0]
		set, err := w.svc.KeySet(w.ctx, w.tenant)
		w.must(err)
		for _, k := range set.Keys {
			if strings.Contains(string(unbase64(t, head)), k.KeyID) {
				return k.KeyID
			}
		}
		t.Fatal("the token's key is not published")
		return ""
	}
	published := map[string]time.Time{}
	used := map[string]bool{}
	for range 70 {
		w.must(w.svc.Tend(w.ctx))
		set, err := w.svc.KeySet(w.ctx, w.tenant)
		w.must(err)
		for _, k := range set.Keys {
			if published[k.KeyID].IsZero() {
				published[k.KeyID] = w.clock.Now()
			}
		}
		id := kid()
		if !used[id] && len(used) > 0 && w.clock.Now().Sub(published[id]) < 24*time.Hour {
			t.Errorf("key %s signs %s after it was published", id, w.clock.Now().Sub(published[id]))
		}
		used[id] = true
		w.clock.Advance(12 * time.Hour)
	}
	if len(used) < 2 {
		t.Errorf("%d keys were used in 35 days", len(used))
	}
	set, err := w.svc.KeySet(w.ctx, vault.TenantID(w.tenant))
	w.must(err)
	if len(set.Keys) > 3 {
		t.Errorf("%d keys are published", len(set.Keys))
	}
}

func FuzzAuthenticate(f *testing.F) {
	w := newWorld(f)
	good := w.signIn(w.app()).Access.Reveal()
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Fuzz(func(t *testing.T, token string) {
		c, err := w.svc.Authenticate(w.ctx, token, w.vaults)
		if token == good {
			return
		}
		// RFC 4648, section 3.5: the last character of a signature may have bits that count for nothing.
		if err == nil && token[:len(token)-1] != good[:len(good)-1] {
			t.Errorf("the forged token %q is %s", token, c.Principal)
		}
		if err != nil && (c != nil || !fault.Is(err, fault.Unauthenticated)) {
			t.Errorf("got %v, %v", c, err)
		}
	})
}
