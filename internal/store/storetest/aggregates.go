package storetest

import (
	"strings"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

var tenantCases = []testCase{
	{name: "Tenants/RoundTrip", run: tenantsRoundTrip},
	{name: "Tenants/NotFound", run: tenantsNotFound},
	{name: "Tenants/CompareAndSwap", run: func(e *env) {
		f := newFixture()
		swaps(e, f, func(tx store.Tx, revision int64) error {
			c := *f.tenant
			c.Revision = revision
			return tx.PutTenant(e.ctx, &c)
		}, func(s *state) int64 { return s.Tenants[0].Revision })
	}},
}

// swaps: a Put compares the revision that was read; a stale one is a conflict with the reason StaleRevision.
func swaps(e *env, f *fixture, put func(store.Tx, int64) error, revision func(*state) int64) {
	e.Helper()
	f.seed(e)
	stale := func(r int64) {
		e.Helper()
		err := e.try(func(tx store.Tx) error { return put(tx, r) })
		is(e, "a stale Put", err, fault.Conflict)
		if x := fault.As(err); x != nil && x.Reason != store.StaleRevision {
			e.Errorf("the reason is %q, want StaleRevision", x.Reason)
		}
	}
	stale(0)
	stale(2)
	e.update(func(tx store.Tx) error { return put(tx, 1) })
	if got := revision(f.state(e)); got != 2 {
		e.Errorf("the revision is %d, want 2", got)
	}
	stale(1)
	e.update(func(tx store.Tx) error {
		if err := put(tx, 2); err != nil {
			return err
		}
		return put(tx, 3)
	})
	if got := revision(f.state(e)); got != 4 {
		e.Errorf("the revision is %d, want 4", got)
	}
}

func tenantsRoundTrip(e *env) {
	f := newFixture()
	f.seed(e)
	f.tenant.Revision = 1
	e.view(func(tx store.Tx) error {
		tn, err := tx.Tenant(e.ctx, f.tenant.ID)
		same(e, "the tenant", tn, f.tenant)
		sub, err2 := tx.Subscription(e.ctx, f.sub.ID)
		same(e, "the subscription", sub, f.sub)
		g, err3 := tx.ResourceGroup(e.ctx, f.sub.ID, strings.ToUpper(f.group.Name))
		same(e, "the resource group", g, f.group)
		return firstOf(err, err2, err3)
	})
	s := f.state(e)
	same(e, "the tenants", s.Tenants, []*vault.Tenant{f.tenant})
	same(e, "the subscriptions", s.Subscriptions, []*vault.Subscription{f.sub})
	same(e, "the groups", s.Groups, []*vault.ResourceGroup{f.group})
	// A name in other letters is the same group.
	f.group.Name = strings.ToUpper(f.group.Name)
	e.update(func(tx store.Tx) error { return tx.PutResourceGroup(e.ctx, f.group) })
	same(e, "the groups", f.state(e).Groups, []*vault.ResourceGroup{f.group})
	other := read(e, func(tx store.Tx) ([]*vault.Subscription, error) { return tx.Subscriptions(e.ctx, "other") })
	same(e, "another tenant's subscriptions", other, []*vault.Subscription(nil))
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func tenantsNotFound(e *env) {
	missing(e, map[string]func(tx store.Tx) error{
		"Tenant":        func(tx store.Tx) error { _, err := tx.Tenant(e.ctx, "x"); return err },
		"Subscription":  func(tx store.Tx) error { _, err := tx.Subscription(e.ctx, "x"); return err },
		"ResourceGroup": func(tx store.Tx) error { _, err := tx.ResourceGroup(e.ctx, "x", "y"); return err },
	}, map[string]func(tx store.Tx) error{
		"DeleteResourceGroup": func(tx store.Tx) error { return tx.DeleteResourceGroup(e.ctx, "x", "y") },
	})
}

// missing: methods that look for one thing, and those that delete one, answer NotFound when it is not there.
func missing(e *env, reads, deletes map[string]func(store.Tx) error) {
	e.Helper()
	for name, fn := range reads {
		is(e, name+" in a View", e.s.View(e.ctx, fn), fault.NotFound)
		is(e, name+" in an Update", e.try(fn), fault.NotFound)
	}
	for name, fn := range deletes {
		is(e, name, e.try(fn), fault.NotFound)
	}
}

var principalCases = []testCase{
	{name: "Principals/RoundTrip", run: principalsRoundTrip},
	{name: "Principals/NotFound", run: principalsNotFound},
	{name: "Principals/CompareAndSwap", run: func(e *env) {
		f := newFixture()
		swaps(e, f, func(tx store.Tx, revision int64) error {
			c := *f.user
			c.Revision = revision
			return tx.PutPrincipal(e.ctx, &c)
		}, func(s *state) int64 { return s.Principals[0].Revision })
	}},
	{name: "Principals/UniqueInTheirTenant", run: principalsUnique},
	{name: "Principals/Query", run: principalsQuery},
	{name: "Principals/Members", run: members},
	{name: "Principals/Issuers", run: issuers},
}

func principalsRoundTrip(e *env) {
	f := newFixture()
	f.seed(e)
	for _, p := range []*principal.Principal{f.user, f.service, f.managed, f.team} {
		p.Revision = 1
		same(e, p.Name, read(e, func(tx store.Tx) (*principal.Principal, error) { return tx.Principal(e.ctx, p.Tenant, p.ID) }), p)
	}
	e.view(func(tx store.Tx) error {
		byUPN, err := tx.PrincipalByUPN(e.ctx, f.tenant.ID, strings.ToUpper(f.user.UPN))
		same(e, "by sign-in name", byUPN, f.user)
		byApp, err2 := tx.PrincipalByAppID(e.ctx, f.tenant.ID, f.service.AppID)
		same(e, "by client id", byApp, f.service)
		byResource, err3 := tx.PrincipalByResource(e.ctx, f.tenant.ID, strings.ToUpper(f.managed.Resource))
		same(e, "by resource", byResource, f.managed)
		return firstOf(err, err2, err3)
	})
}

func principalsNotFound(e *env) {
	newFixture().seed(e)
	tn := vault.TenantID(guid(200))
	missing(e, map[string]func(tx store.Tx) error{
		"Principal":           func(tx store.Tx) error { _, err := tx.Principal(e.ctx, tn, principal.ID(guid(11))); return err },
		"PrincipalByAppID":    func(tx store.Tx) error { _, err := tx.PrincipalByAppID(e.ctx, tn, guid(13)); return err },
		"PrincipalByUPN":      func(tx store.Tx) error { _, err := tx.PrincipalByUPN(e.ctx, tn, "ada@contoso.example"); return err },
		"PrincipalByResource": func(tx store.Tx) error { _, err := tx.PrincipalByResource(e.ctx, tn, ""); return err },
		"empty client id":     func(tx store.Tx) error { _, err := tx.PrincipalByAppID(e.ctx, vault.TenantID(guid(1)), ""); return err },
		"empty sign-in name":  func(tx store.Tx) error { _, err := tx.PrincipalByUPN(e.ctx, vault.TenantID(guid(1)), ""); return err },
		"TrustedIssuer":       func(tx store.Tx) error { _, err := tx.TrustedIssuer(e.ctx, tn, "https://issuer.example"); return err },
	}, map[string]func(tx store.Tx) error{
		"DeletePrincipal":     func(tx store.Tx) error { return tx.DeletePrincipal(e.ctx, tn, principal.ID(guid(11))) },
		"RemoveMember":        func(tx store.Tx) error { return tx.RemoveMember(e.ctx, tn, "g", "m") },
		"DeleteTrustedIssuer": func(tx store.Tx) error { return tx.DeleteTrustedIssuer(e.ctx, tn, "x") },
	})
}

func principalsUnique(e *env) {
	f := newFixture()
	f.seed(e)
	put := func(p principal.Principal) error {
		return e.try(func(tx store.Tx) error { return tx.PutPrincipal(e.ctx, &p) })
	}
	p := principal.Principal{ID: principal.ID(guid(50)), Tenant: f.tenant.ID, Kind: principal.Service, Name: "Shop"}
	for what, taken := range map[string]principal.Principal{
		"client id":    {AppID: f.service.AppID},
		"sign-in name": {UPN: strings.ToUpper(f.user.UPN)},
		"resource":     {Resource: strings.ToUpper(f.managed.Resource)},
	} {
		taken.ID, taken.Tenant, taken.Kind = p.ID, p.Tenant, p.Kind
		err := put(taken)
		is(e, "a taken "+what, err, fault.Conflict)
		if fault.As(err).Reason == store.StaleRevision {
			e.Errorf("a taken %s is reported as a stale revision", what)
		}
		// A replacement may not take it either.
		moved := *f.team
		moved.Revision, moved.AppID, moved.UPN, moved.Resource = 1, taken.AppID, taken.UPN, taken.Resource
		is(e, "moving to a taken "+what, put(moved), fault.Conflict)
		taken.Tenant = vault.TenantID(guid(201))
		if err := put(taken); err != nil {
			e.Errorf("the same %s in another tenant: %v", what, err)
		}
		e.update(func(tx store.Tx) error { return tx.DeletePrincipal(e.ctx, taken.Tenant, taken.ID) })
	}
	// Names may repeat, and so may absent keys.
	if err := put(p); err != nil {
		e.Errorf("a principal with a taken display name: %v", err)
	}
}

func principalsQuery(e *env) {
	f := newFixture()
	f.seed(e)
	for _, c := range []struct {
		name string
		q    store.PrincipalQuery
		want []*principal.Principal
	}{
		{"all", store.PrincipalQuery{}, []*principal.Principal{f.user, f.service, f.managed, f.team}},
		{"kind", store.PrincipalQuery{Kind: principal.Service}, []*principal.Principal{f.service}},
		{"name", store.PrincipalQuery{Name: "sHOP"}, []*principal.Principal{f.service}},
		{"prefix", store.PrincipalQuery{NamePrefix: "sHO"}, []*principal.Principal{f.service, f.managed}},
		{"prefix and kind", store.PrincipalQuery{NamePrefix: "s", Kind: principal.ManagedIdentity}, []*principal.Principal{f.managed}},
		{"no pattern", store.PrincipalQuery{NamePrefix: "%"}, nil},
		{"limit", store.PrincipalQuery{Limit: 2}, []*principal.Principal{f.user, f.service}},
		{"after", store.PrincipalQuery{After: f.service.ID}, []*principal.Principal{f.managed, f.team}},
		{"another tenant", store.PrincipalQuery{Tenant: "other"}, nil},
	} {
		if c.q.Tenant == "" {
			c.q.Tenant = f.tenant.ID
		}
		got := read(e, func(tx store.Tx) ([]*principal.Principal, error) { return tx.Principals(e.ctx, c.q) })
		var ids, want []principal.ID
		for _, p := range got {
			ids = append(ids, p.ID)
		}
		for _, p := range c.want {
			want = append(want, p.ID)
		}
		same(e, c.name, ids, want)
	}
}

func members(e *env) {
	f := newFixture()
	f.seed(e)
	tn := f.tenant.ID
	lists := func(what string, list func(tx store.Tx) ([]principal.ID, error), want ...principal.ID) {
		e.Helper()
		same(e, what, read(e, list), want)
	}
	of := func(group principal.ID) func(store.Tx) ([]principal.ID, error) {
		return func(tx store.Tx) ([]principal.ID, error) { return tx.Members(e.ctx, tn, group) }
	}
	groups := func(member principal.ID) func(store.Tx) ([]principal.ID, error) {
		return func(tx store.Tx) ([]principal.ID, error) { return tx.GroupsOf(e.ctx, tn, member) }
	}
	add := func(member principal.ID) {
		e.update(func(tx store.Tx) error { return tx.AddMember(e.ctx, tn, f.team.ID, member) })
	}
	add(f.service.ID)
	add(f.service.ID) // again changes nothing
	lists("the members", of(f.team.ID), f.user.ID, f.service.ID)
	lists("the groups of the user", groups(f.user.ID), f.team.ID)
	lists("another tenant's members", func(tx store.Tx) ([]principal.ID, error) { return tx.Members(e.ctx, "other", f.team.ID) })
	e.update(func(tx store.Tx) error { return tx.DeletePrincipal(e.ctx, tn, f.user.ID) })
	lists("the members without the deleted one", of(f.team.ID), f.service.ID)
	lists("the groups of the deleted one", groups(f.user.ID))
	e.update(func(tx store.Tx) error { return tx.DeletePrincipal(e.ctx, tn, f.team.ID) })
	lists("the groups of a member of a deleted group", groups(f.service.ID))
}

func issuers(e *env) {
	f := newFixture()
	f.seed(e)
	got := read(e, func(tx store.Tx) (*store.TrustedIssuer, error) {
		return tx.TrustedIssuer(e.ctx, f.tenant.ID, f.issuer.Issuer)
	})
	same(e, "the issuer", got, f.issuer)
	second := *f.issuer
	second.Issuer, second.CA = "https://another.example", nil
	e.update(func(tx store.Tx) error { return tx.PutTrustedIssuer(e.ctx, &second) })
	same(e, "the issuers", f.state(e).Issuers, []*store.TrustedIssuer{&second, f.issuer})
}

var grantCases = []testCase{
	{name: "Grants/RoundTrip", run: grantsRoundTrip},
	{name: "Grants/NotFound", run: grantsNotFound},
	{name: "Grants/Scopes", run: scopes},
}

func grantsRoundTrip(e *env) {
	f := newFixture()
	f.seed(e)
	same(e, "the grant", read(e, func(tx store.Tx) (*principal.Grant, error) { return tx.Grant(e.ctx, f.tenant.ID, f.grant.ID) }), f.grant)
	same(e, "the role", read(e, func(tx store.Tx) (*principal.Role, error) { return tx.Role(e.ctx, f.tenant.ID, f.role.ID) }), f.role)
	same(e, "the roles", f.state(e).Roles, []*principal.Role{f.role})
	of := read(e, func(tx store.Tx) ([]*principal.Grant, error) { return tx.GrantsOf(e.ctx, f.tenant.ID, f.user.ID) })
	same(e, "the user's grants", of, []*principal.Grant{f.grant})
	f.grant.Principal = f.service.ID
	e.update(func(tx store.Tx) error { return tx.PutGrant(e.ctx, f.grant) })
	of = read(e, func(tx store.Tx) ([]*principal.Grant, error) { return tx.GrantsOf(e.ctx, f.tenant.ID, f.user.ID) })
	same(e, "the user's grants after", of, []*principal.Grant(nil))
}

func grantsNotFound(e *env) {
	newFixture().seed(e)
	missing(e, map[string]func(tx store.Tx) error{
		"Grant": func(tx store.Tx) error { _, err := tx.Grant(e.ctx, "other", guid(21)); return err },
		"Role":  func(tx store.Tx) error { _, err := tx.Role(e.ctx, "other", guid(23)); return err },
	}, map[string]func(tx store.Tx) error{
		"DeleteGrant": func(tx store.Tx) error { return tx.DeleteGrant(e.ctx, "other", guid(21)) },
		"DeleteRole":  func(tx store.Tx) error { return tx.DeleteRole(e.ctx, "other", guid(23)) },
	})
}

func scopes(e *env) {
	const tn = vault.TenantID("tenant")
	put := func(t vault.TenantID, id, scope string) {
		e.update(func(tx store.Tx) error { return tx.PutGrant(e.ctx, &principal.Grant{ID: id, Tenant: t, Scope: scope}) })
	}
	put(tn, "f", "/")
	put(tn, "e", "/Subscriptions/S")
	put(tn, "d", "/subscriptions/s/resourceGroups/G")
	put(tn, "c", "/subscriptions/s/resourceGroups/G-2")
	put(tn, "b", "/subscriptions/s/resourceGroups/G/providers/V_1")
	put(tn, "a", "/subscriptions/s2")
	put("other", "x", "/subscriptions/s")
	ids := func(list []*principal.Grant, err error) (got string, _ error) {
		for _, g := range list {
			got += g.ID
		}
		return got, err
	}
	for scope, want := range map[string]string{
		"/": "abcdef", "/SUBSCRIPTIONS/s": "bcde", "/subscriptions/S/resourcegroups/g": "bd", "/subscriptions/s2": "a",
		"/subscriptions/s/resourceGroups/G/providers/V%1": "", "/sub": "",
	} {
		got := read(e, func(tx store.Tx) (string, error) { return ids(tx.GrantsUnder(e.ctx, tn, scope)) })
		if got != want {
			e.Errorf("GrantsUnder(%s) = %q, want %q", scope, got, want)
		}
	}
	at := read(e, func(tx store.Tx) ([]*principal.Grant, error) {
		return tx.GrantsAt(e.ctx, tn, "/", "/subscriptions/S", "/SUBSCRIPTIONS/s", "/subscriptions/s/resourcegroups/g", "/none")
	})
	seen := make(map[string]int)
	for _, g := range at {
		seen[g.ID]++
	}
	same(e, "GrantsAt", seen, map[string]int{"d": 1, "e": 1, "f": 1})
	none := read(e, func(tx store.Tx) ([]*principal.Grant, error) { return tx.GrantsAt(e.ctx, tn) })
	same(e, "GrantsAt no scope", none, []*principal.Grant(nil))
}

var keyCases = []testCase{
	{name: "Keys/RoundTrip", run: keysRoundTrip},
	{name: "Keys/NotFound", run: keysNotFound},
	{name: "Keys/OldestFirst", run: keysOldestFirst},
}

func keysRoundTrip(e *env) {
	f := newFixture()
	f.seed(e)
	for id, want := range map[string]bool{f.key.ID: true, "x": false} {
		same(e, "whether there is the key "+id, read(e, func(tx store.Tx) (bool, error) { return tx.HasWrappedKey(e.ctx, id) }), want)
	}
	same(e, "the key", read(e, func(tx store.Tx) (*store.WrappedKey, error) { return tx.WrappedKey(e.ctx, f.key.ID) }), f.key)
	same(e, "the signing keys", f.state(e).SigningKeys, []*store.SigningKey{f.signing})
	for _, value := range [][]byte{{0, 255}, {}} {
		e.update(func(tx store.Tx) error { return tx.PutSetting(e.ctx, "other", value) })
		same(e, "the setting", read(e, func(tx store.Tx) ([]byte, error) { return tx.Setting(e.ctx, "other") }), value)
	}
}

func keysNotFound(e *env) {
	newFixture().seed(e)
	missing(e, map[string]func(tx store.Tx) error{
		"WrappedKey": func(tx store.Tx) error { _, err := tx.WrappedKey(e.ctx, "x"); return err },
		"Setting":    func(tx store.Tx) error { _, err := tx.Setting(e.ctx, "INSTALLATION"); return err },
	}, map[string]func(tx store.Tx) error{
		"DeleteWrappedKey": func(tx store.Tx) error { return tx.DeleteWrappedKey(e.ctx, "x") },
		"DeleteSigningKey": func(tx store.Tx) error { return tx.DeleteSigningKey(e.ctx, "other", "thumb") },
	})
}

func keysOldestFirst(e *env) {
	e.update(func(tx store.Tx) error {
		for i, id := range []string{"b", "c", "a"} {
			at := noon.Add(-time.Duration(i) * time.Microsecond)
			if err := tx.PutWrappedKey(e.ctx, &store.WrappedKey{ID: id, Purpose: store.TenantKey, Owner: "o", Created: at}); err != nil {
				return err
			}
			if err := tx.PutSigningKey(e.ctx, &store.SigningKey{ID: id, Tenant: "o", Created: at}); err != nil {
				return err
			}
		}
		return tx.PutWrappedKey(e.ctx, &store.WrappedKey{ID: "z", Purpose: store.AuditKey, Owner: "o"})
	})
	var order string
	for _, k := range read(e, func(tx store.Tx) ([]*store.WrappedKey, error) { return tx.WrappedKeys(e.ctx, store.TenantKey, "o") }) {
		order += k.ID
	}
	for _, k := range read(e, func(tx store.Tx) ([]*store.SigningKey, error) { return tx.SigningKeys(e.ctx, "o") }) {
		order += k.ID
	}
	if order != "acbacb" {
		e.Errorf("the order is %q, want the oldest first", order)
	}
}

var signInCases = []testCase{
	{name: "SignIns/RoundTrip", run: signInsRoundTrip},
	{name: "SignIns/Expire", run: signInsExpire},
	{name: "SignIns/NotFound", run: func(e *env) {
		missing(e, map[string]func(tx store.Tx) error{
			"SignIn": func(tx store.Tx) error { _, err := tx.SignIn(e.ctx, "device", "x", noon); return err },
		}, map[string]func(tx store.Tx) error{
			"DeleteSignIn": func(tx store.Tx) error { return tx.DeleteSignIn(e.ctx, "device", "x") },
		})
	}},
}

func signInsRoundTrip(e *env) {
	f := newFixture()
	f.seed(e)
	get := func(kind, id string, now time.Time) func(store.Tx) (*store.SignIn, error) {
		return func(tx store.Tx) (*store.SignIn, error) { return tx.SignIn(e.ctx, kind, id, now) }
	}
	same(e, "the state", read(e, get("device", "live", noon)), f.signIn)
	f.signIn.Data = []byte("approved")
	e.update(func(tx store.Tx) error { return tx.PutSignIn(e.ctx, f.signIn) })
	same(e, "the replaced state", read(e, get("device", "live", noon)), f.signIn)
	is(e, "another kind", readErr(e, get("challenge", "live", noon)), fault.NotFound)
	is(e, "at its end", readErr(e, get("device", "live", f.signIn.Expires)), fault.NotFound)
	read(e, get("device", "live", f.signIn.Expires.Add(-time.Microsecond)))
}

func signInsExpire(e *env) {
	e.update(func(tx store.Tx) error {
		for i, id := range []string{"a", "b", "c", "d"} {
			s := &store.SignIn{Kind: "jti", ID: id, Expires: noon.Add(time.Duration(i) * time.Microsecond)}
			if err := tx.PutSignIn(e.ctx, s); err != nil {
				return err
			}
		}
		return nil
	})
	for _, c := range []struct {
		now         time.Time
		limit, want int
	}{{noon.Add(2 * time.Microsecond), 2, 2}, {noon.Add(2 * time.Microsecond), 0, 1}, {noon.Add(2 * time.Microsecond), 5, 0}} {
		e.update(func(tx store.Tx) error {
			n, err := tx.ExpireSignIns(e.ctx, c.now, c.limit)
			if n != c.want {
				e.Errorf("ExpireSignIns removed %d, want %d", n, c.want)
			}
			return err
		})
	}
	read(e, func(tx store.Tx) (*store.SignIn, error) { return tx.SignIn(e.ctx, "jti", "d", noon) })
}
