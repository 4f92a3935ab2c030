package guard_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/guard/guardtest"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// TestAccessFollowsEveryAcknowledgedChange withdraws and gives access in every way there is, while many ask. Whoever
// begins after a change was acknowledged, and ends before the next one begins, must see exactly that change.
func TestAccessFollowsEveryAcknowledgedChange(t *testing.T) {
	w := guardtest.New(t, guardtest.Options{})
	c := w.Caller()
	subscription := "/subscriptions/" + string(w.Vault.Subscription)
	own := &principal.Role{ID: vault.NewGUID(), Tenant: w.Vault.Tenant, Name: "Own", AssignableScopes: []string{"/"}, Created: noon, Updated: noon}
	allowing := []principal.Permission{{DataActions: []string{authz.SecretGet.String()}}}
	w.Change(func(tx store.Tx) error { return tx.PutRole(w.Ctx, own) })

	// Each toggle gives access and takes it away again.
	grantAt := func(scope, role string) [2]func() {
		var g *principal.Grant
		return [2]func(){
			func() { g = w.Grant(c, role, func(g *principal.Grant) { g.Scope = scope }) },
			func() { w.Change(func(tx store.Tx) error { return tx.DeleteGrant(w.Ctx, g.Tenant, g.ID) }) },
		}
	}
	putRole := func(p []principal.Permission) {
		r := *own
		r.Permissions = p
		w.Change(func(tx store.Tx) error { return tx.PutRole(w.Ctx, &r) })
	}
	toggles := [][2]func(){
		grantAt("/", authz.SecretsUser), grantAt(subscription, authz.SecretsUser), grantAt(subscription+"/resourceGroups/"+w.Vault.ResourceGroup, authz.SecretsUser),
		grantAt(w.Vault.Scope(), authz.SecretsUser), grantAt(w.Vault.Scope()+"/secrets/a", authz.SecretsUser),
		{func() { putRole(allowing) }, func() { putRole(nil) }},
		{func() {
			w.EditVault(func(v *vault.Vault) {
				v.Access, v.Policies = vault.AccessByPolicy, []vault.AccessPolicy{{Tenant: v.Tenant, Principal: string(c.Principal), Secrets: []string{"get"}}}
			})
		}, func() { w.EditVault(func(v *vault.Vault) { v.Access, v.Policies = vault.AccessByRole, nil }) }},
	}
	w.Grant(c, own.ID, nil)

	// state is even while a change is under way; 1 modulo 4 means allowed, 3 refused.
	var state atomic.Int64
	state.Store(3)
	stop := make(chan struct{})
	var readers sync.WaitGroup
	var stable [2]atomic.Int64
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				before := state.Load()
				call := &guard.Call{Caller: c, Started: w.Clock.Now()}
				var err error
				if call.Vault, err = w.Guard.View(w.Ctx, "shop"); err != nil {
					t.Error(err)
					return
				}
				err = w.Guard.Authorize(w.Ctx, call, get("a"))
				if before%2 == 0 || state.Load() != before {
					continue
				}
				allowed := before%4 == 1
				if (err == nil) != allowed {
					t.Errorf("after change %d access is allowed: %v; want %v", before, err == nil, allowed)
					return
				}
				stable[before%4/2].Add(1)
			}
		})
	}
	for range 4 {
		for _, toggle := range toggles {
			for _, change := range toggle {
				state.Add(1)
				change()
				now := state.Add(1)
				seen := &stable[now%4/2]
				for target := seen.Load() + 2; seen.Load() < target && !t.Failed(); {
					// Let the readers look at this state before it is over.
				}
			}
		}
	}
	close(stop)
	readers.Wait()
	if state.Load()%4 != 3 {
		t.Fatal("the toggles are out of step")
	}
}

// gate is a store whose next View, once it has read, waits to be let go.
type gate struct {
	store.Store
	hold    atomic.Bool
	holding chan struct{}
	let     chan struct{}
	views   atomic.Int64
}

func newGate() *gate { return &gate{holding: make(chan struct{}), let: make(chan struct{})} }

func (g *gate) wrap(s store.Store) store.Store { g.Store = s; return g }

func (g *gate) View(ctx context.Context, fn func(store.Tx) error) error {
	g.views.Add(1)
	err := g.Store.View(ctx, fn)
	if g.hold.Swap(false) {
		g.holding <- struct{}{}
		<-g.let
	}
	return err
}

func TestALoadThatBeganBeforeAChangeServesNobodyAfterIt(t *testing.T) {
	g := newGate()
	w := guardtest.New(t, guardtest.Options{Wrap: g.wrap})
	c := w.Caller()
	g.hold.Store(true)
	old := make(chan *guard.View)
	go func() {
		v, err := w.Guard.View(w.Ctx, "shop")
		if err != nil {
			t.Error(err)
		}
		old <- v
	}()
	<-g.holding // it has read the state without the grant
	w.Grant(c, authz.SecretsUser, nil)
	if err := w.Guard.Authorize(w.Ctx, w.Call(c), get("a")); err != nil {
		t.Errorf("the request after the change joined the load before it: %v", err)
	}
	w.EditVault(func(v *vault.Vault) { v.Tags = map[string]string{"drops": "the view"} })
	close(g.let)
	stale := <-old
	if err := w.Guard.Authorize(w.Ctx, w.Call(c), get("a")); err != nil {
		t.Errorf("the load before the change was kept: %v", err)
	}
	if v, err := w.Guard.View(w.Ctx, "shop"); err != nil || v == stale {
		t.Errorf("the stale view is served: %v", err)
	}
}

func TestOneLoadServesAllWhoWait(t *testing.T) {
	g := newGate()
	w := guardtest.New(t, guardtest.Options{Wrap: g.wrap})
	before := g.views.Load()
	g.hold.Store(true)
	// The one who loads gives up; the others must not suffer from that.
	ctx, cancel := context.WithCancel(w.Ctx)
	var group sync.WaitGroup
	ask := func(ctx context.Context) {
		group.Go(func() {
			if _, err := w.Guard.View(ctx, "SHOP"); err != nil {
				t.Error(err)
			}
		})
	}
	ask(ctx)
	<-g.holding
	cancel()
	for range 20 {
		ask(w.Ctx)
	}
	close(g.let)
	group.Wait()
	// Late ones may find the flight over and the view kept; none loads again.
	if n := g.views.Load() - before; n != 1 {
		t.Errorf("the store was read %d times for one view", n)
	}
}

func TestViewsOfVaultsThatAreNoMore(t *testing.T) {
	w := guardtest.New(t, guardtest.Options{})
	missing := func(name string) {
		t.Helper()
		if _, err := w.Guard.View(w.Ctx, name); !fault.Is(err, fault.NotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	missing("nobody")
	w.Call(nil)
	w.EditVault(func(v *vault.Vault) { v.Deleted = &vault.Deletion{At: noon, PurgeAt: noon} })
	missing(w.Vault.Name)
	w.Change(func(tx store.Tx) error { return tx.DeleteVault(w.Ctx, w.Vault.ID) })
	missing(w.Vault.Name)
	again := w.AddVault(w.Vault.Tenant, w.Vault.Subscription, "shop")
	if v, err := w.Guard.View(w.Ctx, "SHOP"); err != nil || v.Vault.ID != again.ID {
		t.Errorf("the name's next vault: %+v, %v", v, err)
	}
}
