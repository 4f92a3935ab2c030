package storetest

import (
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// mutation is one call of a method that writes, on a store that holds the fixture. The function changes the fixture as it likes:
// each gets its own.
type mutation struct {
	method string
	// as tells two mutations of one method apart.
	as    string
	apply func(e *env, f *fixture, tx store.Tx) error
	// want lists the changes that the journal names; an entry is made also when it is empty, unless silent.
	want   func(f *fixture) []store.Change
	silent bool
}

// mutations has at least one entry for every method that writes.
var mutations = slices.Concat(coreMutations, rotationMutations, subscriptionMutations, holdingMutations, loanMutations, issuanceMutations, enrolmentMutations, endpointMutations, keyNeedMutations, nodeMutations, auditLogMutations, backupMutations)

// readers are the methods of a transaction that write nothing. A method that is neither here nor in mutations fails the suite.
var readers = strings.Fields(`Tenant Tenants Subscription Subscriptions ResourceGroup ResourceGroups Vault VaultByName Vaults
	Object ObjectVersion Objects Version Versions CurrentVersions CountVersions RetiredAmong Tombstones Principal PrincipalByAppID PrincipalByUPN PrincipalByResource
	Principals Members GroupsOf TrustedIssuer TrustedIssuers Grant GrantsAt GrantsUnder GrantsOf Role Roles WrappedKey HasWrappedKey WrappedKeys
	SigningKeys Setting SignIn Commits Audits Head Cursor
	Policy Policies Run OpenRun Runs Task Tasks Loan Loans CountLoans CheckLease
	EventSubscription EventSubscriptionByName EventSubscriptions Delivery Deliveries DueDeliveries NextDelivery CountDeliveries Expiring`)

func changes(list ...store.Change) func(*fixture) []store.Change {
	return func(*fixture) []store.Change { return list }
}

func tenantChange(f *fixture) []store.Change {
	return []store.Change{{Kind: store.TenantChanged, Tenant: f.tenant.ID}}
}

func vaultChange(f *fixture) []store.Change {
	return []store.Change{{Kind: store.VaultChanged, Tenant: f.tenant.ID, Vault: f.vault.ID, NameKey: "shop-vault"}}
}

func objectChange(f *fixture) []store.Change {
	return []store.Change{{Kind: store.ObjectChanged, Vault: f.vault.ID, Object: vault.Secret, NameKey: "db-password"}}
}

func keyed(k store.ChangeKind, key func(f *fixture) string) func(*fixture) []store.Change {
	return func(f *fixture) []store.Change {
		return []store.Change{{Kind: k, Tenant: f.tenant.ID, Key: key(f)}}
	}
}

func userID(f *fixture) string    { return string(f.user.ID) }
func issuerURL(f *fixture) string { return f.issuer.Issuer }
func roleID(f *fixture) string    { return f.role.ID }
func scope(f *fixture) string     { return strings.ToLower(f.grant.Scope) }

// coreMutations are those of the vault: what it keeps, who may do what, and the journal.
var coreMutations = []mutation{
	{method: "PutTenant", want: tenantChange, apply: func(e *env, f *fixture, tx store.Tx) error {
		f.tenant.Name, f.tenant.Revision = "Fabrikam", 1
		return tx.PutTenant(e.ctx, f.tenant)
	}},
	{method: "PutSubscription", want: tenantChange, apply: func(e *env, f *fixture, tx store.Tx) error {
		f.sub.Name = "Test"
		return tx.PutSubscription(e.ctx, f.sub)
	}},
	{method: "PutResourceGroup", want: tenantChange, apply: func(e *env, f *fixture, tx store.Tx) error {
		f.group.Location = "northeurope"
		return tx.PutResourceGroup(e.ctx, f.group)
	}},
	{method: "DeleteResourceGroup", want: tenantChange, apply: func(e *env, f *fixture, tx store.Tx) error {
		return tx.DeleteResourceGroup(e.ctx, f.sub.ID, strings.ToUpper(f.group.Name))
	}},
	{method: "PutVault", want: vaultChange, apply: func(e *env, f *fixture, tx store.Tx) error {
		f.vault.Revision, f.vault.Premium = 1, false
		return tx.PutVault(e.ctx, f.vault)
	}},
	{method: "DeleteVault", want: vaultChange, apply: func(e *env, f *fixture, tx store.Tx) error {
		return tx.DeleteVault(e.ctx, f.vault.ID)
	}},
	{method: "PutObject", want: objectChange, apply: func(e *env, f *fixture, tx store.Tx) error {
		f.object.Revision = 1
		return tx.PutObject(e.ctx, f.object.With(vault.Pending, f.first.ID))
	}},
	{method: "DeleteObject", want: objectChange, apply: func(e *env, f *fixture, tx store.Tx) error {
		return tx.DeleteObject(e.ctx, f.object, noon)
	}},
	{method: "AddVersion", want: objectChange, apply: func(e *env, f *fixture, tx store.Tx) error {
		return tx.AddVersion(e.ctx, newVersion(f.object, noon.Add(time.Minute)))
	}},
	{method: "AddVersion", as: "with PutObject", want: objectChange, apply: func(e *env, f *fixture, tx store.Tx) error {
		v := newVersion(f.object, noon.Add(time.Minute))
		if err := tx.AddVersion(e.ctx, v); err != nil {
			return err
		}
		f.object.Revision = 1
		return tx.PutObject(e.ctx, f.object.Promote(v.ID))
	}},
	{method: "PutVersion", want: objectChange, apply: func(e *env, f *fixture, tx store.Tx) error {
		f.first.Attributes.Enabled = false
		return tx.PutVersion(e.ctx, f.first)
	}},
	{method: "PutPrincipal", want: keyed(store.PrincipalChanged, userID), apply: func(e *env, f *fixture, tx store.Tx) error {
		f.user.Revision, f.user.Disabled = 1, true
		return tx.PutPrincipal(e.ctx, f.user)
	}},
	{method: "DeletePrincipal", want: func(f *fixture) []store.Change {
		return append(keyed(store.PrincipalChanged, userID)(f), keyed(store.MemberChanged, userID)(f)...)
	}, apply: func(e *env, f *fixture, tx store.Tx) error {
		return tx.DeletePrincipal(e.ctx, f.tenant.ID, f.user.ID)
	}},
	{method: "DeletePrincipal", as: "a group", want: func(f *fixture) []store.Change {
		return append(keyed(store.PrincipalChanged, func(f *fixture) string { return string(f.team.ID) })(f),
			keyed(store.MemberChanged, userID)(f)...)
	}, apply: func(e *env, f *fixture, tx store.Tx) error {
		return tx.DeletePrincipal(e.ctx, f.tenant.ID, f.team.ID)
	}},
	{method: "AddMember", want: keyed(store.MemberChanged, func(f *fixture) string { return string(f.service.ID) }),
		apply: func(e *env, f *fixture, tx store.Tx) error {
			return tx.AddMember(e.ctx, f.tenant.ID, f.team.ID, f.service.ID)
		}},
	{method: "RemoveMember", want: keyed(store.MemberChanged, userID), apply: func(e *env, f *fixture, tx store.Tx) error {
		return tx.RemoveMember(e.ctx, f.tenant.ID, f.team.ID, f.user.ID)
	}},
	{method: "PutTrustedIssuer", want: keyed(store.IssuerChanged, issuerURL), apply: func(e *env, f *fixture, tx store.Tx) error {
		f.issuer.CA = nil
		return tx.PutTrustedIssuer(e.ctx, f.issuer)
	}},
	{method: "DeleteTrustedIssuer", want: keyed(store.IssuerChanged, issuerURL), apply: func(e *env, f *fixture, tx store.Tx) error {
		return tx.DeleteTrustedIssuer(e.ctx, f.tenant.ID, f.issuer.Issuer)
	}},
	{method: "PutGrant", want: keyed(store.GrantChanged, scope), apply: func(e *env, f *fixture, tx store.Tx) error {
		f.grant.Role = guid(99)
		return tx.PutGrant(e.ctx, f.grant)
	}},
	{method: "PutGrant", as: "at another scope", want: func(f *fixture) []store.Change {
		return []store.Change{
			{Kind: store.GrantChanged, Tenant: f.tenant.ID, Key: "/subscriptions/sub/resourcegroups/shop"},
			{Kind: store.GrantChanged, Tenant: f.tenant.ID, Key: "/else"},
		}
	}, apply: func(e *env, f *fixture, tx store.Tx) error {
		f.grant.Scope = "/Else"
		return tx.PutGrant(e.ctx, f.grant)
	}},
	{method: "DeleteGrant", want: keyed(store.GrantChanged, scope), apply: func(e *env, f *fixture, tx store.Tx) error {
		return tx.DeleteGrant(e.ctx, f.tenant.ID, f.grant.ID)
	}},
	{method: "PutRole", want: keyed(store.RoleChanged, roleID), apply: func(e *env, f *fixture, tx store.Tx) error {
		f.role.Description = "reads all"
		return tx.PutRole(e.ctx, f.role)
	}},
	{method: "DeleteRole", want: keyed(store.RoleChanged, roleID), apply: func(e *env, f *fixture, tx store.Tx) error {
		return tx.DeleteRole(e.ctx, f.tenant.ID, f.role.ID)
	}},
	{method: "PutWrappedKey", want: wrappedKeyChange, apply: func(e *env, f *fixture, tx store.Tx) error {
		f.key.State = store.KeyDecryptOnly
		return tx.PutWrappedKey(e.ctx, f.key)
	}},
	{method: "DeleteWrappedKey", want: wrappedKeyChange, apply: func(e *env, f *fixture, tx store.Tx) error {
		return tx.DeleteWrappedKey(e.ctx, f.key.ID)
	}},
	{method: "PutSigningKey", want: keyed(store.SigningChanged, func(f *fixture) string { return f.signing.ID }),
		apply: func(e *env, f *fixture, tx store.Tx) error {
			f.signing.SignUntil = noon
			return tx.PutSigningKey(e.ctx, f.signing)
		}},
	{method: "DeleteSigningKey", want: keyed(store.SigningChanged, func(f *fixture) string { return f.signing.ID }),
		apply: func(e *env, f *fixture, tx store.Tx) error {
			return tx.DeleteSigningKey(e.ctx, f.tenant.ID, f.signing.ID)
		}},
	{method: "PutSetting", want: changes(store.Change{Kind: store.SettingChanged, Key: "other"}),
		apply: func(e *env, f *fixture, tx store.Tx) error { return tx.PutSetting(e.ctx, "other", []byte("v")) }},
	{method: "PutSignIn", want: changes(), apply: func(e *env, f *fixture, tx store.Tx) error {
		return tx.PutSignIn(e.ctx, &store.SignIn{Kind: "device", ID: "new", Tenant: f.tenant.ID, Expires: noon})
	}},
	{method: "DeleteSignIn", want: changes(), apply: func(e *env, f *fixture, tx store.Tx) error {
		return tx.DeleteSignIn(e.ctx, "device", "live")
	}},
	{method: "ExpireSignIns", want: changes(), apply: func(e *env, f *fixture, tx store.Tx) error {
		_, err := tx.ExpireSignIns(e.ctx, noon, 10)
		return err
	}},
	{method: "SetCursor", silent: true, apply: func(e *env, f *fixture, tx store.Tx) error { return tx.SetCursor(e.ctx, readerName, 1) }},
	{method: "PruneJournal", silent: true, apply: func(e *env, f *fixture, tx store.Tx) error {
		_, err := tx.PruneJournal(e.ctx, 1, noon.Add(time.Hour), 0)
		return err
	}},
	{method: "Audit", want: changes(), apply: func(e *env, f *fixture, tx store.Tx) error {
		tx.Audit([]byte("record"))
		return nil
	}},
	{method: "Emit", want: changes(), apply: func(e *env, f *fixture, tx store.Tx) error {
		tx.Emit(store.Event{ID: "e", Type: "t", Tenant: f.tenant.ID, Vault: f.vault.ID, Subject: "s", At: noon, Data: []byte(`{}`)})
		return nil
	}},
}

func wrappedKeyChange(f *fixture) []store.Change {
	return []store.Change{{Kind: store.KeyChanged, Key: f.key.ID}}
}

// changeCases has a case for every mutation, and one that finds methods without.
var changeCases = append([]testCase{{name: "Changes/EveryMethodIsCovered", run: everyMethodIsCovered}}, mutationCases()...)

func everyMethodIsCovered(e *env) {
	covered := slices.Concat(readers, holdingReaders, issuanceReaders, enrolmentReaders, endpointReaders, keyNeedReaders, nodeReaders, auditLogReaders, backupReaders)
	for _, m := range mutations {
		covered = append(covered, m.method)
	}
	tx := reflect.TypeFor[store.Tx]()
	if tx.NumMethod() == 0 {
		e.Fatal("a transaction has no methods")
	}
	for i := range tx.NumMethod() {
		if name := tx.Method(i).Name; !slices.Contains(covered, name) {
			e.Errorf("%s is neither a reader nor in the table of mutations", name)
		}
	}
}

func (m mutation) name() string {
	return strings.ReplaceAll(strings.TrimSpace(m.method+" "+m.as), " ", "_")
}

func mutationCases() []testCase {
	var cases []testCase
	for _, m := range mutations {
		cases = append(cases,
			testCase{name: "Changes/" + m.name(), run: m.isNoted},
			testCase{name: "BothFailures/" + m.name(), run: m.failsBothWays, breaks: true, reopens: true, sampled: true})
	}
	return cases
}

// isNoted: engines note changes by themselves, and each Update that wrote anything is one entry of the journal. Before, the
// mutation is refused in a View and taken back by a closure that fails; neither may leave a trace.
func (m mutation) isNoted(e *env) {
	f := newFixture()
	f.seed(e)
	before := f.state(e)
	m.isRefusedInAView(e)
	m.isRolledBack(e, before)
	var seen []*store.Commit
	defer e.s.Watch(func(c *store.Commit) { seen = append(seen, c) })()
	e.update(func(tx store.Tx) error { return m.apply(e, f, tx) })
	if m.silent {
		same(e, "the commits", seen, []*store.Commit(nil))
		return
	}
	if len(seen) != 1 {
		e.Fatalf("watchers saw %d commits, want 1", len(seen))
	}
	same(e, "the changes", seen[0].Changes, m.want(f))
	same(e, "the journal", commits(e, 1, 0), seen)
}

func (m mutation) isRefusedInAView(e *env) {
	e.Helper()
	panics := m.method == "Audit" || m.method == "Emit" // they have no error to return
	defer func() {
		if got := recover(); (got != nil) != panics {
			e.Errorf("a write in a View: recovered %v", got)
		}
	}()
	if err := e.s.View(e.ctx, func(tx store.Tx) error { return m.apply(e, newFixture(), tx) }); err == nil {
		e.Error("a View wrote without an error")
	}
}

func (m mutation) isRolledBack(e *env, before *state) {
	e.Helper()
	op, f, want := e.op(), newFixture(), fault.New(fault.Conflict, "changed my mind")
	err := e.s.Update(e.ctx, op, func(tx store.Tx) error {
		if err := m.apply(e, f, tx); err != nil {
			return err
		}
		return want
	})
	if err != want {
		e.Errorf("Update = %v, want the closure's own error", err)
	}
	m.changedNothing(e, f, before, op)
}

// failsBothWays: a commit that is lost answers Unavailable, and nothing of it is there, also after reopening. A commit that is
// stored but reported lost answers the same; Committed tells, also after reopening, and a second try answers ErrCommitted.
func (m mutation) failsBothWays(e *env) {
	f := newFixture()
	f.seed(e)
	before := f.state(e)
	op := e.op()
	apply := func(tx store.Tx) error { return m.apply(e, newFixture(), tx) }

	e.faults.Set(Lost)
	is(e, "the lost Update", e.s.Update(e.ctx, op, apply), fault.Unavailable)
	e.faults.Set(None)
	m.changedNothing(e, f, before, op)
	if !e.remote {
		e.reopen()
		m.changedNothing(e, f, before, op)
	}

	e.faults.Set(Unanswered)
	is(e, "the unanswered Update", e.s.Update(e.ctx, op, apply), fault.Unavailable)
	e.faults.Set(None)
	after := f.state(e)
	for i := range 2 {
		if i == 1 {
			if e.remote {
				break
			}
			e.reopen()
		}
		if done, err := e.s.Committed(e.ctx, op.ID); done == m.silent || err != nil {
			e.Errorf("Committed = %v, %v; want %v", done, err, !m.silent)
		}
		same(e, "the state", f.state(e), after)
	}
	if m.silent {
		return
	}
	if err := e.s.Update(e.ctx, op, apply); err != store.ErrCommitted {
		e.Errorf("Update again = %v, want ErrCommitted", err)
	}
	same(e, "the state", f.state(e), after)
	if entries := commits(e, 1, 0); len(entries) != 1 || entries[0].Op != op {
		e.Errorf("the journal has %d entries, want the one of the operation", len(entries))
	}
}

func (m mutation) changedNothing(e *env, f *fixture, before *state, op store.Op) {
	e.Helper()
	same(e, "the state", f.state(e), before)
	if got := commits(e, 1, 0); len(got) != 0 {
		e.Errorf("the journal has %d entries of what was not committed", len(got))
	}
	if done, err := e.s.Committed(e.ctx, op.ID); done || err != nil {
		e.Errorf("Committed = %v, %v; want false", done, err)
	}
}
