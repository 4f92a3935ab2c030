package access_test

import (
	"testing"
	"time"

	"github.com/keywright/keywright/internal/access"
	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/tenancy"
	"github.com/keywright/keywright/internal/tenancy/tenancytest"
	"github.com/keywright/keywright/internal/vault"
)

type world struct {
	*tenancytest.World
	vault  *vault.Vault
	reader *tenancytest.Person
}

func newWorld(t *testing.T) *world {
	w := tenancytest.New(t)
	return &world{w, w.Home.MakeVault("box"), w.Home.Person("reader")}
}

func (w *world) assign(a access.Assignment) (access.Assigned, error) {
	if a.Scope == "" {
		a.Scope = w.vault.Scope()
	}
	if a.Principal == "" {
		a.Principal = w.reader.Principal.ID
	}
	if a.Role == "" {
		a.Role = authz.SecretsUser
	}
	return w.Access.Assign(w.Ctx, w.Home.Owner.Call(""), a)
}

func TestAssignIsIdempotentByID(t *testing.T) {
	w := newWorld(t)
	id := vault.NewGUID()
	first, err := w.assign(access.Assignment{ID: id})
	w.Must(err)
	again, err := w.assign(access.Assignment{ID: id, Description: "why", Role: "/subscriptions/x/providers/Microsoft.Authorization/roleDefinitions/" + authz.SecretsUser})
	w.Must(err)
	if !first.Created || again.Created || again.Grant.Description != "why" || !again.Grant.Created.Equal(first.Grant.Created) {
		t.Errorf("first %+v, again %+v", first, again)
	}
	_, err = w.assign(access.Assignment{ID: id, Role: authz.SecretsOfficer})
	w.Reason(err, access.RoleAssignmentFixed)
	_, err = w.assign(access.Assignment{ID: vault.NewGUID()})
	w.Reason(err, access.RoleAssignmentExists)
	if n := len(w.Audit.Records(authz.RoleAssignmentWrite)); n < 4 {
		t.Errorf("%d records", n)
	}
}

// The record of a grant tells who was granted what, and who tried to; that of its end tells what ended.
func TestRecordsNameTheGrant(t *testing.T) {
	w := newWorld(t)
	done, err := w.assign(access.Assignment{})
	w.Must(err)
	_, err = w.Access.Assign(w.Ctx, w.reader.Call(""), access.Assignment{ID: vault.NewGUID(), Scope: w.vault.Scope(), Role: authz.Owner, Principal: w.reader.Principal.ID})
	w.Reason(err, authz.AuthorizationFailed)
	_, err = w.Access.Unassign(w.Ctx, w.Home.Owner.Call(""), w.vault.Scope(), done.Grant.ID)
	w.Must(err)
	said := func(action authz.Action, role string) (names []string) {
		for _, r := range w.Audit.Records(action) {
			if r.Detail == "role "+role+", principal "+string(w.reader.Principal.ID) {
				names = append(names, r.ObjectName)
			}
		}
		return names
	}
	for _, action := range []authz.Action{authz.RoleAssignmentWrite, authz.RoleAssignmentDelete} {
		if got := said(action, authz.SecretsUser); len(got) != 1 || got[0] != done.Grant.ID {
			t.Errorf("the records of %s name the grants %q", action, got)
		}
	}
	if got := said(authz.RoleAssignmentWrite, authz.Owner); len(got) != 1 {
		t.Errorf("%d records name who tried to become owner", len(got))
	}
}

// The store finds grants by the text of their scope, so the slash that may end a resource id is not part of it.
func TestScopeThatEndsWithASlash(t *testing.T) {
	w := newWorld(t)
	done, err := w.assign(access.Assignment{Scope: w.vault.Scope() + "/"})
	w.Must(err)
	if done.Grant.Scope != w.vault.Scope() {
		t.Errorf("the grant is at %q", done.Grant.Scope)
	}
	a, err := w.Access.Explain(w.Ctx, w.Home.Owner.Call(""), w.reader.Principal.ID,
		access.Question{Action: authz.SecretGet, Scope: w.vault.Scope() + "/secrets/one"})
	w.Must(err)
	if !a.Allowed {
		t.Error("the grant does not count")
	}
	_, err = w.assign(access.Assignment{})
	w.Reason(err, access.RoleAssignmentExists)
}

func TestWhatCannotBeAssigned(t *testing.T) {
	w := newWorld(t)
	for name, tt := range map[string]struct {
		a    access.Assignment
		want fault.Reason
	}{
		"unknown principal":    {access.Assignment{Principal: principal.ID(vault.NewGUID())}, access.PrincipalNotFound},
		"other kind":           {access.Assignment{PrincipalKind: principal.User}, access.PrincipalTypeMismatch},
		"unknown role":         {access.Assignment{Role: vault.NewGUID()}, access.RoleDefinitionMissing},
		"condition":            {access.Assignment{Condition: "@Resource[x] StringEquals 'y'"}, "ConditionNotSupported"},
		"unknown vault":        {access.Assignment{Scope: w.vault.Scope() + "x"}, access.ResourceNotFound},
		"unknown group":        {access.Assignment{Scope: "/subscriptions/" + string(w.Home.Subscription) + "/resourceGroups/none"}, access.GroupNotFound},
		"foreign subscription": {access.Assignment{Scope: "/subscriptions/" + string(w.Tenant("other").Subscription)}, "SubscriptionNotFound"},
		"over":                 {access.Assignment{Expires: w.Clock.Now()}, ""},
	} {
		_, err := w.assign(tt.a)
		if e := fault.As(err); e == nil || e.Reason != tt.want {
			t.Errorf("%s: got %v, want %q", name, err, tt.want)
		}
	}
}

func TestTimeBoundGrants(t *testing.T) {
	w := newWorld(t)
	now := w.Clock.Now()
	_, err := w.assign(access.Assignment{NotBefore: now.Add(time.Hour), Expires: now.Add(2 * time.Hour)})
	w.Must(err)
	_, err = w.assign(access.Assignment{NotBefore: now.Add(90 * time.Minute)})
	w.Reason(err, access.RoleAssignmentExists)
	_, err = w.assign(access.Assignment{NotBefore: now.Add(2 * time.Hour), Expires: now.Add(3 * time.Hour)})
	w.Must(err)
	ask := func() bool {
		a, err := w.Access.Explain(w.Ctx, w.Home.Owner.Call(""), w.reader.Principal.ID, access.Question{Action: authz.SecretGet, Scope: w.vault.Scope() + "/secrets/one"})
		w.Must(err)
		return a.Allowed
	}
	for minute, want := range map[time.Duration]bool{0: false, 60: true, 179: true, 180: false} {
		w.Clock.Advance(minute*time.Minute - w.Clock.Now().Sub(now))
		if got := ask(); got != want {
			t.Errorf("after %d minutes: %v", minute, got)
		}
	}
	w.Clock.Advance(4 * time.Hour)
	_, err = w.assign(access.Assignment{})
	w.Must(err)
}

// A role whose holder may assign certain roles only is held to it, when granting and when withdrawing.
func TestLimitedAssigners(t *testing.T) {
	w := newWorld(t)
	admin := w.Home.Person("admin")
	w.Home.Grant(admin, authz.DataAccessAdministrator, w.vault.Scope())
	try := func(role string) error {
		_, err := w.Access.Assign(w.Ctx, admin.Call(""), access.Assignment{Scope: w.vault.Scope(), Role: role, Principal: admin.Principal.ID})
		return err
	}
	w.Must(try(authz.SecretsUser))
	w.Reason(try(authz.Owner), authz.AuthorizationFailed)
	owner := w.Home.Grant(w.reader, authz.Owner, w.vault.Scope())
	_, err := w.Access.Unassign(w.Ctx, admin.Call(""), w.vault.Scope(), owner.ID)
	w.Reason(err, authz.AuthorizationFailed)
	gone, err := w.Access.Unassign(w.Ctx, w.Home.Owner.Call(""), w.vault.Scope(), owner.ID)
	w.Must(err)
	if gone == nil {
		t.Error("the owner could not withdraw it")
	}
	gone, err = w.Access.Unassign(w.Ctx, w.Home.Owner.Call(""), w.vault.Scope(), owner.ID)
	w.Must(err)
	if gone != nil {
		t.Error("it was there twice")
	}
}

func TestListing(t *testing.T) {
	w := newWorld(t)
	group := w.Home.Other(principal.GroupKind, "team")
	w.Home.Join(group, w.reader.Principal.ID)
	object, err := w.assign(access.Assignment{Scope: w.vault.Scope() + "/secrets/one"})
	w.Must(err)
	viaGroup, err := w.assign(access.Assignment{Principal: group.ID, Scope: "/subscriptions/" + string(w.Home.Subscription), Role: authz.Reader})
	w.Must(err)
	for name, tt := range map[string]struct {
		f    access.Filter
		want []string
	}{
		"all":         {access.Filter{}, []string{"owner", object.Grant.ID, viaGroup.Grant.ID}},
		"at scope":    {access.Filter{AtScope: true}, []string{"owner", viaGroup.Grant.ID}},
		"principal":   {access.Filter{Principal: w.reader.Principal.ID}, []string{object.Grant.ID}},
		"assigned to": {access.Filter{AssignedTo: w.reader.Principal.ID}, []string{object.Grant.ID, viaGroup.Grant.ID}},
		"both":        {access.Filter{AssignedTo: w.reader.Principal.ID, AtScope: true}, []string{viaGroup.Grant.ID}},
	} {
		list, err := w.Access.Assignments(w.Ctx, w.Home.Owner.Call(""), w.vault.Scope(), tt.f)
		w.Must(err)
		got := map[string]bool{}
		for _, g := range list {
			if g.Principal == w.Home.Owner.Principal.ID {
				g.ID = "owner"
			}
			got[g.ID] = true
		}
		for _, id := range tt.want {
			if !got[id] || len(got) != len(tt.want) {
				t.Errorf("%s: got %v, want %v", name, got, tt.want)
			}
		}
	}
}

func TestCustomRoles(t *testing.T) {
	w := newWorld(t)
	sub := "/subscriptions/" + string(w.Home.Subscription)
	role := principal.Role{ID: vault.NewGUID(), Name: "Lister", AssignableScopes: []string{sub}, Permissions: []principal.Permission{
		{DataActions: []string{"Microsoft.KeyVault/vaults/secrets/readMetadata/action"}}}}
	_, created, err := w.Access.PutRole(w.Ctx, w.Home.Owner.Call(""), sub, role)
	w.Must(err)
	if !created {
		t.Error("not created")
	}
	other := role
	other.ID = vault.NewGUID()
	_, _, err = w.Access.PutRole(w.Ctx, w.Home.Owner.Call(""), sub, other)
	w.Reason(err, access.RoleDefinitionNameTaken)
	_, err = w.assign(access.Assignment{Role: role.ID, Scope: "/"})
	w.Reason(err, "RoleDefinitionNotAssignable")
	_, err = w.assign(access.Assignment{Role: role.ID})
	w.Must(err)
	_, err = w.Access.DeleteRole(w.Ctx, w.Home.Owner.Call(""), sub, role.ID)
	w.Reason(err, access.RoleDefinitionInUse)

	// Who may write roles at one vault only cannot change one that counts in the whole subscription.
	local := w.Home.Person("local")
	w.Home.Grant(local, authz.Owner, w.vault.Scope())
	role.Permissions = []principal.Permission{{DataActions: []string{"*"}}}
	role.AssignableScopes = []string{w.vault.Scope()}
	_, _, err = w.Access.PutRole(w.Ctx, local.Call(""), w.vault.Scope(), role)
	w.Reason(err, authz.AuthorizationFailed)
	_, _, err = w.Access.PutRole(w.Ctx, w.Home.Owner.Call(""), "/", principal.Role{ID: authz.Owner, Name: "x", AssignableScopes: []string{"/"}})
	w.Reason(err, "InvalidRoleDefinition")
}

func TestConflictingDuties(t *testing.T) {
	w := newWorld(t)
	owner := w.Home.Owner.Call("")
	_, err := w.assign(access.Assignment{Role: authz.SecretsOfficer})
	w.Must(err)
	group := w.Home.Other(principal.GroupKind, "approvers")
	w.Home.Join(group, w.reader.Principal.ID)
	flagged, err := w.assign(access.Assignment{Role: authz.KeywrightApprover, Principal: group.ID})
	w.Must(err)
	if len(flagged.Flagged) == 0 || flagged.Flagged[0].Principal != w.reader.Principal.ID {
		t.Errorf("flagged %v", flagged.Flagged)
	}
	if n := w.events(access.DutiesFlagged); n != 1 {
		t.Errorf("%d events", n)
	}
	_, err = w.Access.Unassign(w.Ctx, owner, w.vault.Scope(), flagged.Grant.ID)
	w.Must(err)

	w.Must(w.Access.SetRules(w.Ctx, owner, []authz.Rule{{A: authz.CanChange, B: authz.CanApprove, Stance: authz.Refuse}}))
	_, err = w.assign(access.Assignment{Role: authz.KeywrightApprover, Principal: group.ID})
	w.Reason(err, "ConflictingDuties")
	_, err = w.assign(access.Assignment{Role: authz.KeywrightAuditor, Principal: group.ID})
	w.Must(err)

	// An access policy that would do the same is refused too.
	approver := w.Home.Person("approver")
	_, _, err = w.Tenancy.PutVault(w.Ctx, owner, w.Home.Vault("words"), tenancy.VaultSpec{Access: vault.AccessByPolicy})
	w.Must(err)
	_, err = w.assign(access.Assignment{Role: authz.KeywrightApprover, Principal: approver.Principal.ID, Scope: "/"})
	w.Must(err)
	_, err = w.Tenancy.ChangePolicies(w.Ctx, owner, w.Home.Vault("words"), tenancy.AddPolicies,
		[]vault.AccessPolicy{{Tenant: w.Home.ID, Principal: string(approver.Principal.ID), Secrets: []string{"set"}}})
	w.Reason(err, "ConflictingDuties")

	// What came about by a membership is found by the report.
	late := w.Home.Other(principal.GroupKind, "late")
	_, err = w.assign(access.Assignment{Role: authz.KeywrightApprover, Principal: late.ID})
	w.Must(err)
	w.Home.Join(late, w.reader.Principal.ID)
	found, err := w.Access.Conflicts(w.Ctx, owner, w.vault.Scope())
	w.Must(err)
	hit := false
	for _, f := range found {
		hit = hit || f.Principal == w.reader.Principal.ID
	}
	if !hit {
		t.Errorf("the member of the group is not among %v", found)
	}
}

func (w *world) events(typ string) (n int) {
	w.Must(w.Store.View(w.Ctx, func(tx store.Tx) error {
		commits, err := tx.Commits(w.Ctx, 0, 1000)
		for _, c := range commits {
			for _, e := range c.Events {
				if e.Type == typ {
					n++
				}
			}
		}
		return err
	}))
	return n
}

func TestExplainAndWhoCan(t *testing.T) {
	w := newWorld(t)
	auditor := w.Home.Person("auditor")
	w.Home.Grant(auditor, authz.KeywrightAuditor, "/")
	group := w.Home.Other(principal.GroupKind, "team")
	ann := w.Home.Other(principal.User, "ann")
	w.Home.Join(group, ann.ID)
	_, err := w.assign(access.Assignment{Principal: group.ID})
	w.Must(err)
	q := access.Question{Action: authz.SecretGet, Scope: w.vault.Scope() + "/secrets/one"}
	a, err := w.Access.Explain(w.Ctx, auditor.Call(""), ann.ID, q)
	w.Must(err)
	if !a.Allowed || a.Decision.Via != group.ID {
		t.Errorf("answer %+v", a)
	}
	holders, err := w.Access.WhoCan(w.Ctx, auditor.Call(""), q)
	w.Must(err)
	if len(holders) != 2 || holders[1].Who.ID != ann.ID || holders[1].Via != group.ID {
		t.Errorf("holders %+v", holders)
	}
	w.Must(w.Identity.Apply(w.Ctx, nil, w.Identity.PrepareDisabled(w.Home.ID, ann.ID, true)))
	a, err = w.Access.Explain(w.Ctx, auditor.Call(""), ann.ID, q)
	w.Must(err)
	holders, err2 := w.Access.WhoCan(w.Ctx, auditor.Call(""), q)
	w.Must(err2)
	if a.Allowed || len(holders) != 1 {
		t.Errorf("disabled: %v, %d holders", a.Allowed, len(holders))
	}
	_, err = w.Access.Explain(w.Ctx, w.reader.Call(""), ann.ID, q)
	w.Reason(err, authz.AuthorizationFailed)
	_, err = w.Access.Explain(w.Ctx, auditor.Call(""), ann.ID, access.Question{Action: authz.SecretGet, Scope: "/"})
	if !fault.Is(err, fault.Invalid) {
		t.Errorf("a data action at the tenant: %v", err)
	}
}

func TestReview(t *testing.T) {
	w := newWorld(t)
	owner := w.Home.Owner.Call("")
	a, err := w.assign(access.Assignment{})
	w.Must(err)
	b, err := w.assign(access.Assignment{Role: authz.SecretsOfficer})
	w.Must(err)
	w.Must(w.Access.Decide(w.Ctx, owner, w.vault.Scope(), a.Grant.ID, access.Attest, "still needed"))
	w.Must(w.Access.Decide(w.Ctx, owner, w.vault.Scope(), b.Grant.ID, access.Revoke, ""))
	w.Reason(w.Access.Decide(w.Ctx, owner, w.vault.Scope(), b.Grant.ID, access.Revoke, ""), access.RoleAssignmentNotFound)
	list, err := w.Access.Review(w.Ctx, owner, w.vault.Scope())
	w.Must(err)
	for _, e := range list {
		switch {
		case e.Grant.ID == b.Grant.ID:
			t.Error("a revoked grant is listed")
		case e.Grant.ID == a.Grant.ID:
			if e.Decided == nil || e.Decided.By != w.Home.Owner.Principal.ID || e.Duties != authz.CanUse || !e.Counts || e.Who.Name != "reader" {
				t.Errorf("entry %+v", e)
			}
			return
		}
	}
	t.Error("the attested grant is not listed")
}

// A grant that gets the id of one that was reviewed was not.
func TestReviewOfAnotherGrantDoesNotCount(t *testing.T) {
	w := newWorld(t)
	owner := w.Home.Owner.Call("")
	first, err := w.assign(access.Assignment{})
	w.Must(err)
	w.Must(w.Access.Decide(w.Ctx, owner, w.vault.Scope(), first.Grant.ID, access.Attest, "still needed"))
	_, err = w.Access.Unassign(w.Ctx, owner, w.vault.Scope(), first.Grant.ID)
	w.Must(err)
	w.Clock.Advance(time.Minute)
	_, err = w.assign(access.Assignment{ID: first.Grant.ID, Role: authz.SecretsOfficer})
	w.Must(err)
	list, err := w.Access.Review(w.Ctx, w.Home.Owner.Call(""), w.vault.Scope())
	w.Must(err)
	for _, e := range list {
		if e.Grant != nil && e.Grant.ID == first.Grant.ID {
			if e.Decided != nil {
				t.Errorf("the review of another grant is shown: %+v", e.Decided)
			}
			return
		}
	}
	t.Error("the grant is not listed")
}

func TestLook(t *testing.T) {
	w := newWorld(t)
	l := access.Lookup{Kinds: []principal.Kind{principal.Service}, NamePrefix: "OWN"}
	found, err := w.Access.Look(w.Ctx, w.reader.Call(""), l)
	w.Must(err)
	if len(found) != 0 {
		t.Errorf("who may assign nothing sees %v", found)
	}
	found, err = w.Access.Look(w.Ctx, w.reader.Call(""), access.Lookup{Kinds: l.Kinds, AppID: w.reader.AppID})
	w.Must(err)
	if len(found) != 1 {
		t.Error("a caller does not see itself")
	}
	w.Home.Grant(w.reader, authz.DataAccessAdministrator, w.vault.Scope())
	found, err = w.Access.Look(w.Ctx, w.reader.Call(""), l)
	w.Must(err)
	if len(found) != 1 || found[0].ID != w.Home.Owner.Principal.ID {
		t.Errorf("found %v", found)
	}
}
