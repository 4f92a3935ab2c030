package directory_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"math/big"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/access"
	"github.com/keywright/keywright/internal/audit"
	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/directory"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/identity"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/tenancy/tenancytest"
	"github.com/keywright/keywright/internal/vault"
)

const issuer = "https://issuer.example.org"

// world is an installation with the directory over a real audit log.
type world struct {
	*tenancytest.World
	*directory.Service
	log *tenancytest.Log
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{World: tenancytest.New(t)}
	w.log = w.OpenLog()
	var err error
	w.Service, err = directory.New(directory.Config{Guard: w.log.Guard, Store: w.Store, Identity: w.Identity, Duties: w.Access, Clock: w.Clock})
	w.Must(err)
	return w
}

// some makes a principal of a kind in a tenant.
func (w *world) some(t *tenancytest.Tenant, kind principal.Kind) directory.Ref {
	w.TB.Helper()
	if kind == principal.Service {
		return directory.Ref(t.Person("thing").Principal.ID)
	}
	return directory.Ref(t.Other(kind, "thing-"+vault.NewGUID()).ID)
}

func certificate(t testing.TB) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: now, NotAfter: now.AddDate(1, 0, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// method is one way into the service.
type method struct {
	needs authz.Action
	// kind is that of the principal that it is tried on; empty for methods that take none.
	kind principal.Kind
	do   func(context.Context, *world, *guard.Call, directory.Ref) error
}

var methods = map[string]method{
	"List": {authz.PrincipalRead, "", func(ctx context.Context, w *world, c *guard.Call, _ directory.Ref) error {
		_, err := w.List(ctx, c, directory.Query{})
		return err
	}},
	"Show": {authz.PrincipalRead, principal.User, func(ctx context.Context, w *world, c *guard.Call, r directory.Ref) error {
		_, err := w.Show(ctx, c, r)
		return err
	}},
	"Create": {authz.PrincipalWrite, "", func(ctx context.Context, w *world, c *guard.Call, _ directory.Ref) error {
		_, err := w.Create(ctx, c, identity.Spec{Kind: principal.Service, Name: "new"})
		return err
	}},
	"Update": {authz.PrincipalWrite, principal.Service, func(ctx context.Context, w *world, c *guard.Call, r directory.Ref) error {
		name, off := "renamed", true
		_, err := w.Update(ctx, c, r, directory.Change{Name: &name, Disabled: &off})
		return err
	}},
	"Delete": {authz.PrincipalDelete, principal.User, func(ctx context.Context, w *world, c *guard.Call, r directory.Ref) error { return w.Delete(ctx, c, r) }},
	"RevokeTokens": {authz.PrincipalCredentials, principal.Service, func(ctx context.Context, w *world, c *guard.Call, r directory.Ref) error {
		return w.RevokeTokens(ctx, c, r)
	}},
	"AddSecret": {authz.PrincipalCredentials, principal.Service, func(ctx context.Context, w *world, c *guard.Call, r directory.Ref) error {
		_, _, err := w.AddSecret(ctx, c, r, identity.SecretSpec{Name: "one"})
		return err
	}},
	"AddCertificate": {authz.PrincipalCredentials, principal.Service, func(ctx context.Context, w *world, c *guard.Call, r directory.Ref) error {
		_, err := w.AddCertificate(ctx, c, r, "one", certificate(w.TB))
		return err
	}},
	"AddFederation": {authz.PrincipalCredentials, principal.Service, func(ctx context.Context, w *world, c *guard.Call, r directory.Ref) error {
		_, err := w.AddFederation(ctx, c, r, principal.Federation{Name: "one", Issuer: issuer, Subject: "build", Audience: "api://keywright"})
		return err
	}},
	"AddTOTP": {authz.PrincipalCredentials, principal.User, func(ctx context.Context, w *world, c *guard.Call, r directory.Ref) error {
		_, _, err := w.AddTOTP(ctx, c, r, "phone")
		return err
	}},
	"SetPassword": {authz.PrincipalCredentials, principal.User, func(ctx context.Context, w *world, c *guard.Call, r directory.Ref) error {
		return w.SetPassword(ctx, c, r, "correct-horse-battery")
	}},
	"RemoveCredential": {authz.PrincipalCredentials, principal.Service, func(ctx context.Context, w *world, c *guard.Call, r directory.Ref) error {
		var secret string
		_ = w.Store.View(ctx, func(tx store.Tx) error {
			p, err := tx.Principal(ctx, w.Home.ID, principal.ID(r))
			if err == nil && len(p.Secrets) > 0 {
				secret = p.Secrets[0].ID
			}
			return err
		})
		return w.RemoveCredential(ctx, c, r, "secret/"+secret)
	}},
	"Member": {authz.GroupWrite, principal.GroupKind, func(ctx context.Context, w *world, c *guard.Call, r directory.Ref) error {
		return w.Member(ctx, c, r, w.some(w.Home, principal.Service), true)
	}},
	"Issuers": {authz.TrustedIssuerRead, "", func(ctx context.Context, w *world, c *guard.Call, _ directory.Ref) error {
		_, err := w.Issuers(ctx, c)
		return err
	}},
	"Trust": {authz.TrustedIssuerWrite, "", func(ctx context.Context, w *world, c *guard.Call, _ directory.Ref) error {
		return w.Trust(ctx, c, store.TrustedIssuer{Issuer: issuer + "/other"})
	}},
	"Distrust": {authz.TrustedIssuerDelete, "", func(ctx context.Context, w *world, c *guard.Call, _ directory.Ref) error {
		return w.Distrust(ctx, c, issuer+"/other")
	}},
}

// holding makes a person with a custom role of these actions.
func (w *world) holding(actions ...authz.Action) *tenancytest.Person {
	w.TB.Helper()
	p := w.Home.Person("holder")
	var patterns []string
	for _, a := range actions {
		patterns = append(patterns, a.String())
	}
	role, _, err := w.Access.PutRole(w.Ctx, w.Home.Owner.Call(""), "/", principal.Role{ID: vault.NewGUID(), Name: "role " + vault.NewGUID(), AssignableScopes: []string{"/"},
		Permissions: []principal.Permission{{Actions: patterns}}})
	w.Must(err)
	w.Home.Grant(p, role.ID, "/")
	return p
}

// Each method asks for its own action, and for no other that would do.
func TestEveryMethodIsAuthorised(t *testing.T) {
	w := newWorld(t)
	w.Must(w.Trust(w.Ctx, w.Home.Owner.Call(""), store.TrustedIssuer{Issuer: issuer}))
	w.Must(w.Trust(w.Ctx, w.Home.Owner.Call(""), store.TrustedIssuer{Issuer: issuer + "/other"}))
	service := reflect.TypeFor[*directory.Service]()
	for i := range service.NumMethod() {
		if name := service.Method(i).Name; methods[name].do == nil {
			t.Errorf("the method %s is not tested: add it to the table", name)
		}
	}
	every := []authz.Action{authz.PrincipalRead, authz.PrincipalWrite, authz.PrincipalDelete, authz.PrincipalCredentials, authz.GroupRead, authz.GroupWrite,
		authz.GroupDelete, authz.TrustedIssuerRead, authz.TrustedIssuerWrite, authz.TrustedIssuerDelete}
	for name, m := range methods {
		t.Run(name, func(t *testing.T) {
			var others []authz.Action
			for _, a := range every {
				if a != m.needs {
					others = append(others, a)
				}
			}
			if err := m.do(w.Ctx, w, &guard.Call{Door: "test", Started: w.Clock.Now()}, "x"); !fault.Is(err, fault.Unauthenticated) {
				t.Errorf("without a caller: %v", err)
			}
			var ref directory.Ref
			if m.kind != "" {
				ref = w.some(w.Home, m.kind)
			}
			for who, p := range map[string]*tenancytest.Person{"a stranger": w.Home.Person("stranger"), "a holder of all other actions": w.holding(others...)} {
				call := p.Call(name)
				if err := m.do(w.Ctx, w, call, ref); !fault.Is(err, fault.Forbidden) {
					t.Errorf("%s: %v", who, err)
				}
				w.recorded(t, call, audit.Denied)
				if m.kind == "" {
					continue
				}
				// Who may nothing does not learn which principals there are.
				if err := m.do(w.Ctx, w, p.Call(name), directory.Ref(vault.NewGUID())); who == "a stranger" && !fault.Is(err, fault.Forbidden) {
					t.Errorf("%s, about nobody: %v", who, err)
				}
			}
			call := w.holding(m.needs).Call(name)
			if err := m.do(w.Ctx, w, call, ref); err != nil {
				t.Errorf("a holder of %s: %v", m.needs, err)
			}
			w.recorded(t, call, audit.Allowed)
		})
	}
}

// recorded expects exactly one record of a call, with the outcome and in the caller's tenant.
func (w *world) recorded(t *testing.T, call *guard.Call, want audit.Outcome) {
	t.Helper()
	n := 0
	for _, r := range w.log.All() {
		if r.CorrelationID != call.Correlation {
			continue
		}
		n++
		if r.Outcome != want || r.Tenant != string(call.Caller.Tenant) || r.Caller.PrincipalID != string(call.Caller.Principal) {
			t.Errorf("the record of %s is %+v", call.Operation, r)
		}
	}
	if n != 1 {
		t.Errorf("%s has %d records", call.Operation, n)
	}
}

// Two tenants never see or change each other's principals and issuers: another's is answered like none.
func TestTenantsStayApart(t *testing.T) {
	w := newWorld(t)
	other := w.Tenant("other")
	w.Must(w.Trust(w.Ctx, other.Owner.Call(""), store.TrustedIssuer{Issuer: issuer + "/other"}))
	for name, m := range methods {
		if m.kind == "" {
			continue
		}
		ref := w.some(other, m.kind)
		before := w.show(other, ref)
		if err := m.do(w.Ctx, w, w.Home.Owner.Call(name), ref); !fault.Is(err, fault.NotFound) || fault.As(err).Reason != directory.NotFound {
			t.Errorf("%s of another tenant's principal: %v", name, err)
		}
		if err := m.do(w.Ctx, w, w.Home.Owner.Call(name), directory.Ref(vault.NewGUID())); !fault.Is(err, fault.NotFound) || fault.As(err).Reason != directory.NotFound {
			t.Errorf("%s of nobody: %v", name, err)
		}
		if after := w.show(other, ref); after != before {
			t.Errorf("%s changed another tenant's principal from %s to %s", name, before, after)
		}
	}
	foreign := other.Person("foreign-only")
	user := other.Other(principal.User, "foreign")
	for _, ref := range []string{string(foreign.Principal.ID), foreign.AppID, foreign.Name, user.UPN} {
		if _, err := w.Show(w.Ctx, w.Home.Owner.Call(""), directory.Ref(ref)); !fault.Is(err, fault.NotFound) {
			t.Errorf("%q of another tenant: %v", ref, err)
		}
		if _, err := w.Show(w.Ctx, other.Owner.Call(""), directory.Ref(ref)); err != nil {
			t.Errorf("%q of the own tenant: %v", ref, err)
		}
	}
	// A member is looked up in the own tenant too.
	group := w.some(w.Home, principal.GroupKind)
	w.Reason(w.Member(w.Ctx, w.Home.Owner.Call(""), group, directory.Ref(foreign.Principal.ID), true), directory.NotFound)
	for _, kind := range []principal.Kind{"", principal.GroupKind} {
		found, err := w.List(w.Ctx, w.Home.Owner.Call(""), directory.Query{Kind: kind})
		w.Must(err)
		for _, p := range found.Principals {
			if p.Tenant != w.Home.ID {
				t.Errorf("the list of %q shows another tenant's %s", kind, p.Name)
			}
		}
		if len(found.Principals) == 0 {
			t.Errorf("the list of %q is empty", kind)
		}
	}
	found, err := w.Issuers(w.Ctx, w.Home.Owner.Call(""))
	if err != nil || len(found) > 0 {
		t.Errorf("%d issuers of another tenant are shown: %v", len(found), err)
	}
	w.Reason(w.Distrust(w.Ctx, w.Home.Owner.Call(""), issuer+"/other"), "IssuerNotFound")
	if found, err := w.Issuers(w.Ctx, other.Owner.Call("")); err != nil || len(found) != 1 {
		t.Errorf("the other tenant trusts %d issuers: %v", len(found), err)
	}
	// A caller cannot name the tenant in which it makes a principal.
	made, err := w.Create(w.Ctx, w.Home.Owner.Call(""), identity.Spec{Tenant: other.ID, Kind: principal.Service, Name: "smuggled"})
	if err != nil || made.Tenant != w.Home.ID {
		t.Errorf("made %+v: %v", made, err)
	}
}

// show returns all that is known of a principal to its own tenant, as text.
func (w *world) show(t *tenancytest.Tenant, ref directory.Ref) string {
	w.TB.Helper()
	e, err := w.Show(w.Ctx, t.Owner.Call(""), ref)
	w.Must(err)
	text, err := json.Marshal(e)
	w.Must(err)
	return string(text)
}

// What proves somebody is shown to who made it, and is nowhere afterwards: not in the principal, not in lists, records and events.
func TestSecretsAreShownOnce(t *testing.T) {
	w := newWorld(t)
	owner := w.Home.Owner.Call
	app, user := w.some(w.Home, principal.Service), w.some(w.Home, principal.User)
	value, secret, err := w.AddSecret(w.Ctx, owner(""), app, identity.SecretSpec{Name: "ci"})
	w.Must(err)
	link, _, err := w.AddTOTP(w.Ctx, owner(""), user, "phone")
	w.Must(err)
	parsed, err := url.Parse(link.Reveal())
	w.Must(err)
	const password = "correct-horse-battery"
	w.Must(w.SetPassword(w.Ctx, owner(""), user, password))
	seed := parsed.Query().Get("secret")
	if len(value.Reveal()) < 20 || len(seed) < 16 || secret.Hint == "" {
		t.Fatalf("the secret has %d characters, the seed %d, the hint is %q", len(value.Reveal()), len(seed), secret.Hint)
	}
	texts := map[string]string{"the application": w.show(w.Home, app), "the user": w.show(w.Home, user)}
	list, err := w.List(w.Ctx, owner(""), directory.Query{})
	w.Must(err)
	texts["the list"] = text(t, list)
	texts["the records"] = text(t, w.log.All())
	w.Must(w.Store.View(w.Ctx, func(tx store.Tx) error {
		commits, err := tx.Commits(w.Ctx, 0, 0)
		for _, c := range commits {
			texts["the journal"] += string(c.Audit) + text(t, c.Events)
		}
		return err
	}))
	for where, text := range texts {
		if text == "" {
			t.Errorf("there is nothing in %s", where)
		}
		for what, value := range map[string]string{"the secret": value.Reveal(), "the seed": seed, "the password": password} {
			if strings.Contains(text, value) {
				t.Errorf("%s holds %s", where, what)
			}
		}
	}
	if !strings.Contains(texts["the records"], string(app)) {
		t.Error("the records do not name whose credentials changed")
	}
}

func text(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// A membership is judged like a grant: refused or told of, for everybody whom it reaches.
func TestMembershipsKeepDutiesApart(t *testing.T) {
	w := newWorld(t)
	owner := w.Home.Owner.Call("")
	approvers, team := w.Home.Other(principal.GroupKind, "approvers"), w.Home.Other(principal.GroupKind, "team")
	changer, reader := w.Home.Person("changer"), w.Home.Person("reader")
	w.Home.Grant(changer, authz.SecretsOfficer, "/")
	w.Home.Grant(&tenancytest.Person{Tenant: w.Home, Principal: approvers}, authz.KeywrightApprover, "/")
	w.Home.Join(team, changer.Principal.ID)
	join := func(member principal.ID) error {
		return w.Member(w.Ctx, owner, directory.Ref(approvers.ID), directory.Ref(member), true)
	}
	flags := func() (n int) {
		w.Must(w.Store.View(w.Ctx, func(tx store.Tx) error {
			commits, err := tx.Commits(w.Ctx, 0, 0)
			for _, c := range commits {
				for _, e := range c.Events {
					if e.Type == access.DutiesFlagged {
						n++
					}
				}
			}
			return err
		}))
		return n
	}
	w.Must(join(reader.Principal.ID))
	if n := flags(); n != 0 {
		t.Errorf("a member without other duties was told of %d times", n)
	}
	w.Must(join(changer.Principal.ID))
	if n := flags(); n != 1 {
		t.Errorf("a member with duties to keep apart was told of %d times", n)
	}
	w.Must(join(changer.Principal.ID))
	if n := flags(); n != 1 {
		t.Errorf("a member that was there before was told of again: %d times", n)
	}
	w.Must(w.Member(w.Ctx, owner, directory.Ref(approvers.ID), directory.Ref(changer.Principal.ID), false))
	w.Must(w.Access.SetRules(w.Ctx, owner, []authz.Rule{{A: authz.CanChange, B: authz.CanApprove, Stance: authz.Refuse}}))
	for name, member := range map[string]principal.ID{"the person": changer.Principal.ID, "a group that the person is in": team.ID} {
		err := join(member)
		if e := fault.As(err); e == nil || e.Reason != "ConflictingDuties" || !strings.Contains(e.Message, string(changer.Principal.ID)) {
			t.Errorf("%s: %v", name, err)
		}
		e, err := w.Show(w.Ctx, owner, directory.Ref(approvers.ID))
		if err != nil || len(e.Members) != 1 {
			t.Errorf("%s: the group has %d members: %v", name, len(e.Members), err)
		}
	}
	w.Must(join(w.Home.Person("other").Principal.ID))
}
