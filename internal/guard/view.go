package guard

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// View is a vault with everything that decides about access to it, as of one committed state. It is immutable; a change
// makes a new one.
type View struct {
	Vault   *vault.Vault
	Access  *authz.Snapshot
	Network *authz.Network
}

// admits applies the vault's network rules to a request.
func (v *View) admits(call *Call) (bool, fault.Reason) {
	if call.Private {
		return true, ""
	}
	return v.Network.Admit(call.Address, false)
}

// maxViews bounds the vaults whose views are kept. Beyond it, one at random makes room for each new one.
const maxViews = 8192

// viewCache keeps views by vault name. Reads take no lock.
type viewCache struct {
	byName sync.Map // lower-case name -> *View
	flight singleflight.Group

	// generation counts invalidations: a view that was read before one is not kept behind it.
	generation atomic.Uint64

	mu sync.Mutex
	// known lists what byName holds, by vault id and tenant, so that a change finds what it makes stale.
	known map[vault.ID]*View
}

func (c *viewCache) get(name string) *View {
	if v, ok := c.byName.Load(name); ok {
		return v.(*View)
	}
	return nil
}

// put keeps the view unless something was dropped since the generation was read.
func (c *viewCache) put(name string, v *View, generation uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.generation.Load() != generation {
		return
	}
	if c.known == nil {
		c.known = make(map[vault.ID]*View)
	}
	if len(c.known) >= maxViews {
		for _, other := range c.known { // any one: map order is random
			c.remove(other)
			break
		}
	}
	c.known[v.Vault.ID] = v
	c.byName.Store(name, v)
}

func (c *viewCache) remove(v *View) {
	delete(c.known, v.Vault.ID)
	c.byName.Delete(vault.NameKey(v.Vault.Name))
}

// drop forgets the views that match.
func (c *viewCache) drop(match func(*View) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.generation.Add(1)
	for _, v := range c.known {
		if match(v) {
			c.remove(v)
		}
	}
}

// View returns the view of a live vault by its name, without regard to case. A vault that does not exist or is deleted
// is a fault.NotFound.
func (g *Guard) View(ctx context.Context, name string) (*View, error) {
	name = vault.NameKey(name)
	if v := g.views.get(name); v != nil {
		return v, nil
	}
	// One load serves all who wait for it, so it must not end with the first one's context; and nobody joins a load that
	// began before a change that was acknowledged since.
	generation := g.views.generation.Load()
	v, err, _ := g.views.flight.Do(name+"/"+strconv.FormatUint(generation, 36), func() (any, error) {
		return g.load(context.WithoutCancel(ctx), name, generation)
	})
	if err != nil {
		return nil, err
	}
	return v.(*View), nil
}

func (g *Guard) load(ctx context.Context, name string, generation uint64) (*View, error) {
	var v *View
	err := g.Store.View(ctx, func(tx store.Tx) error {
		found, err := tx.VaultByName(ctx, name)
		if err != nil {
			return err
		}
		if found.Deleted != nil {
			return fault.New(fault.NotFound, "the vault %q is deleted: recover it first", found.Name)
		}
		v, err = compile(ctx, tx, found)
		return err
	})
	if err != nil {
		return nil, err
	}
	g.views.put(name, v, generation)
	return v, nil
}

// compile gathers what decides about a vault: the grants above, at and below it, and the roles they name.
func compile(ctx context.Context, tx store.Tx, v *vault.Vault) (*View, error) {
	grants, err := tx.GrantsAt(ctx, v.Tenant, above(v)...)
	if err != nil {
		return nil, err
	}
	below, err := tx.GrantsUnder(ctx, v.Tenant, v.Scope())
	if err != nil {
		return nil, err
	}
	roles, err := tx.Roles(ctx, v.Tenant)
	if err != nil {
		return nil, err
	}
	facts := authz.Facts{Tenant: v.Tenant, Vault: v, Grants: append(grants, below...), Roles: roles}
	return &View{Vault: v, Access: authz.Compile(facts), Network: authz.NewNetwork(v.Network)}, nil
}

// above lists the scopes that contain a vault.
func above(v *vault.Vault) []string {
	s := "/subscriptions/" + string(v.Subscription)
	return []string{"/", s, s + "/resourceGroups/" + v.ResourceGroup}
}

// Changed drops what a commit made stale. It belongs to the store's watchers, so that nothing that was withdrawn is
// honoured after its withdrawal was acknowledged.
func (g *Guard) Changed(c *store.Commit) {
	for i := range c.Changes {
		ch := &c.Changes[i]
		switch ch.Kind {
		case store.VaultChanged:
			g.views.drop(func(v *View) bool { return v.Vault.ID == ch.Vault })
		case store.RoleChanged, store.TenantChanged:
			g.views.drop(func(v *View) bool { return v.Vault.Tenant == ch.Tenant })
		case store.GrantChanged:
			g.views.drop(func(v *View) bool { return v.Vault.Tenant == ch.Tenant && touches(ch.Key, v.Vault) })
		}
	}
}

// Flush drops every view: for a node that may have missed commits.
func (g *Guard) Flush() { g.views.drop(func(*View) bool { return true }) }

// touches reports whether a grant at the lower-case scope counts in the vault.
func touches(scope string, v *vault.Vault) bool {
	own := strings.ToLower(v.Scope())
	return contains(scope, own) || contains(own, scope)
}

// contains reports whether the scope outer is inner or an ancestor of it.
func contains(outer, inner string) bool {
	rest, ok := strings.CutPrefix(inner, strings.TrimSuffix(outer, "/"))
	return ok && (rest == "" || rest[0] == '/')
}

// views keeps what a caller may do, by view, so that deciding costs a bit test. A caller works with few vaults.
type views struct {
	mu   sync.Mutex
	list atomic.Pointer[[]effective]
}

type effective struct {
	view   *View
	rights *authz.Effective
}

// maxCallerViews bounds the vaults for which one caller's rights are kept.
const maxCallerViews = 64

// rights returns what the caller may do in the view, valid at now.
func (c *Caller) rights(v *View, now time.Time) *authz.Effective {
	if list := c.views.list.Load(); list != nil {
		for i := range *list {
			if e := &(*list)[i]; e.view == v && e.rights.Holds(now) {
				return e.rights
			}
		}
	}
	r := authz.NewEffective(c.subject(), v.Access, now)
	c.views.mu.Lock()
	defer c.views.mu.Unlock()
	fresh := make([]effective, 0, 4)
	fresh = append(fresh, effective{v, r})
	if list := c.views.list.Load(); list != nil {
		for _, e := range *list {
			if e.view.Vault.ID != v.Vault.ID && len(fresh) < maxCallerViews {
				fresh = append(fresh, e)
			}
		}
	}
	c.views.list.Store(&fresh)
	return r
}

// subject is the caller as the authorisation engine sees it.
func (c *Caller) subject() authz.Caller {
	return authz.Caller{Principal: c.Principal, Groups: c.Groups, AppID: c.AppID, Tenant: c.Tenant, Issuer: c.Issuer}
}
