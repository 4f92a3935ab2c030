package authz

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/vault"
	"pgregory.net/rapid"
)

func TestDecideIsAzure(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f, now := drawFacts(t), drawNow(t)
		s := Compile(f)
		everyRequest(drawCaller(t), func(r Request, o oracleAction) {
			d := Decide(r, s, now)
			if want := o.allowed(r, f, now); d.Allowed != want {
				t.Fatalf("%s on %s %q: Decide = %v (%s), the oracle says %v", r.Action, r.Kind, r.Name, d.Allowed, d.Reason(), want)
			}
			if d.Allowed != (d.Code == ByGrant || d.Code == ByPolicy) || (d.Code == NoGrant || d.Code == ForeignTenant) != (d.Grant == nil && d.Policy == nil) {
				t.Fatalf("the decision contradicts itself: %+v", d)
			}
			// A vault's switch admits provisioners whatever model it uses.
			switched := d.Grant != nil && isProvisioner[d.Grant.Role]
			if d.Allowed && !switched && (d.Policy != nil) != (f.Vault.Access == vault.AccessByPolicy && o.data) {
				t.Fatalf("allowed by the wrong access model: %s", d.Reason())
			}
		})
	})
}

func TestEffectiveIsDecide(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, c, now, later := Compile(drawFacts(t)), drawCaller(t), drawNow(t), drawNow(t)
		e := NewEffective(c, s, now)
		if !e.Holds(now) {
			t.Fatalf("made at %v, holds from %v until %v", now, e.From, e.Until)
		}
		everyRequest(c, func(r Request, _ oracleAction) {
			r.AssignedRole = ""
			for _, at := range []time.Time{now, later} {
				got, want := e.Allows(r.Action, r.Kind, vault.NameKey(r.Name), at), Decide(r, s, at)
				if e.Holds(at) && got != want.Allowed || !e.Holds(at) && got {
					t.Fatalf("%s on %s %q at %v: Effective made at %v for [%v, %v) says %v, Decide %v (%s)", r.Action, r.Kind, r.Name, at, now, e.From, e.Until,
						got, want.Allowed, want.Reason())
				}
			}
		})
		if e.Allows(Action(len(table)), "", "", now) {
			t.Fatal("an unknown action is allowed")
		}
	})
}

func TestDecisionHoldsInItsWindow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, now, later := Compile(drawFacts(t)), drawNow(t), drawNow(t)
		everyRequest(drawCaller(t), func(r Request, _ oracleAction) {
			d := Decide(r, s, now)
			if !d.Holds(now) {
				t.Fatalf("decided at %v, holds from %v until %v", now, d.From, d.Until)
			}
			if d.Holds(later) && Decide(r, s, later).Allowed != d.Allowed {
				t.Fatalf("%s: the decision of %v does not hold at %v, which is in [%v, %v)", r.Action, now, later, d.From, d.Until)
			}
		})
	})
}

func TestWhoCanAndExplainAgreeWithDecide(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, now := Compile(drawFacts(t)), drawNow(t)
		everyRequest(drawCaller(t), func(r Request, _ oracleAction) {
			d := Decide(r, s, now)
			if holds := listed(WhoCan(r, s, now), r.Caller); r.Caller.Tenant == s.tenant && holds != d.Allowed {
				t.Fatalf("%s: WhoCan lists the caller: %v; Decide: %v", r.Action, holds, d.Allowed)
			}
			x := Explain(r, s, now)
			counts, seen := false, make(map[any]bool)
			for _, step := range x.Steps {
				counts = counts || step.Verdict == Counts
				if step.Verdict == unjudged || step.String() == "" || seen[step] {
					t.Fatalf("a step without a verdict, or twice: %+v", step)
				}
				seen[step] = true
			}
			if x.Decision != d || counts != d.Allowed || len(x.Steps) > 0 && x.Others != s.count()-len(x.Steps) || x.Others < 0 {
				t.Fatalf("explained as %+v with %d steps and %d others, decided as %+v", x.Decision, len(x.Steps), x.Others, d)
			}
		})
	})
}

func listed(holders []Holder, c Caller) bool {
	for _, h := range holders {
		for _, id := range append([]principal.ID{c.Principal}, c.Groups...) {
			if canonical(id) == h.Principal && (h.Application == "" || strings.EqualFold(h.Application, c.AppID)) {
				return true
			}
		}
	}
	return false
}

// story is a vault with one user who may read one secret.
func story() (Facts, Request) {
	v := &vault.Vault{Tenant: tenants[0], Subscription: sub1, ResourceGroup: "dev", Name: "demo", Location: "local", Access: vault.AccessByRole, Network: vault.OpenNetwork()}
	f := Facts{Tenant: tenants[0], Vault: v, Grants: []*principal.Grant{{ID: "g1", Tenant: tenants[0], Scope: vaultID + "/secrets/DB", Role: SecretsUser, Principal: people[0]}}}
	return f, Request{Caller: Caller{Tenant: tenants[0], Principal: people[0]}, Action: SecretGet, Kind: vault.Secret, Name: "db"}
}

func TestDecideSaysWhy(t *testing.T) {
	cases := []struct {
		name   string
		change func(*Facts, *Request)
		want   Code
	}{
		{"as it is", func(*Facts, *Request) {}, ByGrant},
		{"a neighbour's secret", func(_ *Facts, r *Request) { r.Name = "db2" }, NoGrant},
		{"a key of the same name", func(_ *Facts, r *Request) { r.Kind, r.Action = vault.Key, KeyGet }, NoGrant},
		{"managing what one may read", func(_ *Facts, r *Request) { r.Action = SecretSet }, NoGrant},
		{"listing the vault", func(_ *Facts, r *Request) { r.Action, r.Kind, r.Name = SecretList, "", "" }, NoGrant},
		{"not yet", func(f *Facts, _ *Request) { f.Grants[0].NotBefore = epoch.Add(time.Second) }, NotLiveYet},
		{"over", func(f *Facts, _ *Request) { f.Grants[0].Expires = epoch }, NotLiveAnyMore},
		{"the last instant", func(f *Facts, _ *Request) { f.Grants[0].Expires = epoch.Add(1) }, ByGrant},
		{"policies are used", func(f *Facts, _ *Request) { f.Vault.Access = vault.AccessByPolicy }, ModelNotUsed},
		{"an unknown model", func(f *Facts, _ *Request) { f.Vault.Access = "" }, ModelNotUsed},
		{"a policy under roles", func(f *Facts, _ *Request) {
			f.Grants = nil
			f.Vault.Policies = []vault.AccessPolicy{{Tenant: tenants[0], Principal: string(people[0]), Secrets: []string{"get"}}}
		}, ModelNotUsed},
		{"a policy", func(f *Facts, _ *Request) {
			f.Vault.Access = vault.AccessByPolicy
			f.Vault.Policies = []vault.AccessPolicy{{Tenant: tenants[0], Principal: strings.ToUpper(string(people[0])), Secrets: []string{"GET"}}}
		}, ByPolicy},
		{"all is not purge", func(f *Facts, r *Request) {
			r.Action, f.Vault.Access = SecretPurge, vault.AccessByPolicy
			f.Vault.Policies = []vault.AccessPolicy{{Tenant: tenants[0], Principal: string(people[0]), Secrets: []string{"all"}}}
		}, NoGrant},
		{"a policy through another application", func(f *Facts, r *Request) {
			f.Grants, f.Vault.Access, r.Caller.AppID = nil, vault.AccessByPolicy, apps[3]
			f.Vault.Policies = []vault.AccessPolicy{{Tenant: tenants[0], Principal: string(people[0]), Application: apps[1], Secrets: []string{"get"}}}
		}, NoGrant},
		{"a policy through its application", func(f *Facts, r *Request) {
			f.Vault.Access, r.Caller.AppID = vault.AccessByPolicy, apps[2]
			f.Vault.Policies = []vault.AccessPolicy{{Tenant: tenants[0], Principal: string(people[0]), Application: apps[1], Secrets: []string{"get"}}}
		}, ByPolicy},
		{"a policy of another tenant", func(f *Facts, _ *Request) {
			f.Grants, f.Vault.Access = nil, vault.AccessByPolicy
			f.Vault.Policies = []vault.AccessPolicy{{Tenant: tenants[1], Principal: string(people[0]), Secrets: []string{"get"}}}
		}, NoGrant},
		{"a grant of another tenant", func(f *Facts, _ *Request) { f.Grants[0].Tenant = tenants[1] }, NoGrant},
		{"a custom role", func(f *Facts, _ *Request) {
			f.Grants[0].Role = customRole
			f.Roles = []*principal.Role{{ID: customRole, Tenant: tenants[0], Permissions: []principal.Permission{{DataActions: []string{"*"}}}}}
		}, ByGrant},
		{"a custom role of another tenant", func(f *Facts, _ *Request) {
			f.Grants[0].Role = customRole
			f.Roles = []*principal.Role{{ID: customRole, Tenant: tenants[1], Permissions: []principal.Permission{{DataActions: []string{"*"}}}}}
		}, NoGrant},
		{"an unlimited assignment by a limited role", func(f *Facts, r *Request) {
			f.Grants[0].Role, f.Grants[0].Scope, r.Action = DataAccessAdministrator, "/", RoleAssignmentWrite
		}, NotAssignable},
		{"the control plane under policies", func(f *Facts, r *Request) {
			f.Vault.Access, r.Action, f.Grants[0].Role, f.Grants[0].Scope = vault.AccessByPolicy, VaultWrite, Owner, "/"
		}, ByGrant},
		{"another tenant's caller", func(_ *Facts, r *Request) { r.Caller.Tenant = tenants[1] }, ForeignTenant},
		{"another tenant's vault", func(f *Facts, _ *Request) { f.Vault.Tenant = tenants[1] }, ForeignTenant},
		{"no tenant at all", func(f *Facts, r *Request) { f.Tenant, f.Vault.Tenant, r.Caller.Tenant = "", "", "" }, ForeignTenant},
		{"no action", func(f *Facts, r *Request) { r.Action, f.Grants[0].Role, f.Grants[0].Scope = NoAction, Owner, "/" }, NoSuchAction},
		{"an unknown action", func(_ *Facts, r *Request) { r.Action = 250 }, NoSuchAction},
		{"a name without a kind", func(_ *Facts, r *Request) { r.Kind = "" }, NoSuchTarget},
		{"a kind without a name", func(_ *Facts, r *Request) { r.Name = "" }, NoSuchTarget},
		{"an unknown kind", func(_ *Facts, r *Request) { r.Kind = "storage" }, NoSuchTarget},
		{"no vault", func(f *Facts, _ *Request) { f.Vault = nil }, NoSuchTarget},
		{"a role that is gone", func(f *Facts, _ *Request) { f.Grants[0].Role = customRole }, NoGrant},
		{"a scope that is none", func(f *Facts, _ *Request) { f.Grants[0].Scope = "" }, NoGrant},
		{"nobody's grant and nobody", func(f *Facts, r *Request) { f.Grants[0].Principal, r.Caller.Principal = "", "" }, NoGrant},
		{"the firewall", func(f *Facts, r *Request) {
			f.Vault.Network.DefaultAllow, r.Address = false, netip.MustParseAddr("127.0.0.1")
		}, ByFirewall},
		{"no public access", func(f *Facts, r *Request) {
			f.Vault.Network.PublicAccess, r.Address = false, netip.MustParseAddr("127.0.0.1")
		}, ByConnection},
		{"the firewall is for data", func(f *Facts, r *Request) {
			f.Vault.Network.PublicAccess, r.Address, r.Action, f.Grants[0].Role = false, netip.MustParseAddr("127.0.0.1"), VaultRead, Owner
		}, ByGrant},
	}
	for _, c := range cases {
		f, r := story()
		c.change(&f, &r)
		d := Decide(r, Compile(f), epoch)
		if d.Code != c.want || d.Allowed != (c.want == ByGrant || c.want == ByPolicy) || d.Reason() == "refused" {
			t.Errorf("%s: %s (%s), want %s", c.name, d.Code, d.Reason(), c.want)
		}
		if e := NewEffective(r.Caller, Compile(f), epoch); !r.Address.IsValid() && e.Allows(r.Action, r.Kind, vault.NameKey(r.Name), epoch) != d.Allowed {
			t.Errorf("%s: Effective disagrees with Decide", c.name)
		}
	}
}

func TestWindowIsTheNearestOfAllBoundaries(t *testing.T) {
	f, r := story()
	at := func(h int) time.Time { return epoch.Add(time.Duration(h) * time.Hour) }
	f.Grants[0].NotBefore, f.Grants[0].Expires = at(-2), at(3)
	f.Grants = append(f.Grants, &principal.Grant{ID: "g2", Tenant: tenants[0], Scope: vaultID, Role: SecretsUser, Principal: people[0], NotBefore: at(2), Expires: at(5)},
		&principal.Grant{ID: "g3", Tenant: tenants[0], Scope: vaultID, Role: SecretsUser, Principal: people[0], NotBefore: at(-5), Expires: at(-1)})
	want := Window{From: at(-1), Until: at(2)}
	if d := Decide(r, Compile(f), epoch); d.Window != want {
		t.Errorf("Decide: %v", d.Window)
	}
	if e := NewEffective(r.Caller, Compile(f), epoch); e.Window != want {
		t.Errorf("Effective: %v", e.Window)
	}
}

func TestDecideAtScopes(t *testing.T) {
	f := Facts{Tenant: tenants[0], Grants: []*principal.Grant{
		{ID: "g1", Tenant: tenants[0], Scope: "/subscriptions/" + sub1, Role: Owner, Principal: people[0]},
		{ID: "g2", Tenant: tenants[0], Scope: "/", Role: DataAccessAdministrator, Principal: people[1]},
	}}
	s := Compile(f)
	ask := func(who principal.ID, a Action, at Scope, assigned string) Decision {
		return DecideAt(Request{Caller: Caller{Tenant: tenants[0], Principal: who}, Action: a, AssignedRole: assigned}, at, s, epoch)
	}
	sub := mustScope(t, "/subscriptions/"+sub1)
	cases := []struct {
		name string
		got  Decision
		want Code
	}{
		{"the owner creates a group", ask(people[0], ResourceGroupWrite, sub.Group("new"), ""), ByGrant},
		{"not in another subscription", ask(people[0], ResourceGroupWrite, mustScope(t, "/subscriptions/"+sub2).Group("new"), ""), NoGrant},
		{"not at the top", ask(people[0], TenantWrite, TenantScope(), ""), NoGrant},
		{"a data action", ask(people[0], SecretGet, sub, ""), NoSuchTarget},
		{"no scope", ask(people[0], VaultRead, Scope{}, ""), NoSuchTarget},
		{"the owner assigns any role", ask(people[0], RoleAssignmentWrite, sub, Owner), ByGrant},
		{"the limited administrator assigns a data role", ask(people[1], RoleAssignmentWrite, sub, SecretsUser), ByGrant},
		{"but not Owner", ask(people[1], RoleAssignmentWrite, sub, Owner), NotAssignable},
		{"nor an unknown one", ask(people[1], RoleAssignmentDelete, sub, ""), NotAssignable},
	}
	for _, c := range cases {
		if c.got.Code != c.want {
			t.Errorf("%s: %s (%s), want %s", c.name, c.got.Code, c.got.Reason(), c.want)
		}
	}
	r := Request{Caller: Caller{Tenant: tenants[0], Principal: people[1]}, Action: RoleAssignmentWrite, AssignedRole: Owner}
	if x := ExplainAt(r, sub, s, epoch); len(x.Steps) != 1 || x.Others != 1 || x.Steps[0].Verdict != MayNotAssign {
		t.Errorf("explained as\n%s", x)
	}
	if who := WhoCanAt(r, sub, s, epoch); len(who) != 1 || who[0].Principal != people[0] {
		t.Errorf("WhoCanAt = %+v", who)
	}
}

func TestExplainTellsEverything(t *testing.T) {
	f, r := story()
	r.Caller.Groups = groups
	f.Grants[0].Expires = epoch.Add(-time.Hour)
	f.Grants = append(f.Grants,
		&principal.Grant{ID: "g2", Tenant: tenants[0], Scope: vaultID, Role: VaultReader, Principal: groups[0]},
		&principal.Grant{ID: "g3", Tenant: tenants[0], Scope: vaultID, Role: SecretsUser, Principal: people[1]})
	got := Explain(r, Compile(f), epoch).String()
	want := `refused: the grant g1 of "Key Vault Secrets User" at ` + vaultID + `/secrets/DB to ` + string(people[0]) + ` allowed it, but is over
- the grant g1 of "Key Vault Secrets User" to ` + string(people[0]) + ` at ` + vaultID + `/secrets/DB would have allowed it, but is over (it ended at 2026-11-21T23:00:00Z)
- the grant g2 of "Key Vault Reader" to ` + string(groups[0]) + ` at ` + vaultID + ` does not include the action
`
	if got != want {
		t.Errorf("explanation:\n%s\nwant:\n%s", got, want)
	}
	if got := Explain(Request{Caller: Caller{Tenant: tenants[1]}}, Compile(f), epoch); len(got.Steps) != 0 {
		t.Errorf("another tenant's caller is told %v", got.Steps)
	}
}

func TestEffectiveDoesNotAllocate(t *testing.T) {
	f, r := story()
	e := NewEffective(r.Caller, Compile(f), epoch)
	if n := testing.AllocsPerRun(1000, func() {
		if !e.Allows(SecretGet, vault.Secret, "db", epoch) || e.Allows(SecretSet, vault.Secret, "db", epoch) {
			t.Error("wrong answer")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkEffectiveAllows(b *testing.B) {
	f, r := story()
	e := NewEffective(r.Caller, Compile(f), epoch)
	f.Grants[0].Scope = vaultID
	whole := NewEffective(r.Caller, Compile(f), epoch)
	for name, e := range map[string]*Effective{"object": e, "vault": whole} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if !e.Allows(SecretGet, vault.Secret, "db", epoch) {
					b.Fatal("refused")
				}
			}
		})
	}
}

func BenchmarkDecide(b *testing.B) {
	f, r := story()
	s := Compile(f)
	b.ReportAllocs()
	for b.Loop() {
		if !Decide(r, s, epoch).Allowed {
			b.Fatal("refused")
		}
	}
}
