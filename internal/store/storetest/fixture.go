package storetest

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// fixture is one of everything. Revisions are those of records before they are stored.
type fixture struct {
	tenant  *vault.Tenant
	sub     *vault.Subscription
	group   *vault.ResourceGroup
	vault   *vault.Vault
	object  *vault.Object
	first   *vault.Version
	second  *vault.Version
	user    *principal.Principal
	service *principal.Principal
	managed *principal.Principal
	team    *principal.Principal
	issuer  *store.TrustedIssuer
	grant   *principal.Grant
	role    *principal.Role
	key     *store.WrappedKey
	signing *store.SigningKey
	signIn  *store.SignIn
	expired *store.SignIn
	policy  *store.Policy
	run     *store.Run
	task    *store.Task
	lease   *store.Lease
	holding *store.Holding

	loan *store.Loan

	authority *store.Authority
	issuance  *store.Issuance
	enrolment *store.Enrolment
	endpoint  *store.Endpoint

	keyNeed  *store.KeyNeed
	tokenKey *store.TokenKey
	node     *store.Node

	backup          *store.Backup
	auditLog        *store.AuditLog
	auditPart       *store.AuditPart
	auditCheckpoint *store.AuditCheckpoint
	adoption        *store.Adoption

	settings map[string][]byte

	subscription *store.EventSubscription
	delivery     *store.Delivery
}

// guid returns a fixed GUID.
func guid(n byte) string { return vault.FormatGUID([16]byte{15: n}) }

// hex32 returns a fixed id of 32 hexadecimal digits.
func hex32(n int) string { return fmt.Sprintf("%032x", n) }

// newFixture fills every field that an engine could forget. Its ids are the same each time.
func newFixture() *fixture {
	f := &fixture{settings: map[string][]byte{"installation": {1, 0, 2}}}
	tn := vault.TenantID(guid(1))
	f.tenant = &vault.Tenant{ID: tn, Name: "Contoso", Disabled: true, Created: noon}
	f.sub = &vault.Subscription{ID: vault.SubscriptionID(guid(2)), Tenant: tn, Name: "Production", Created: noon}
	f.group = &vault.ResourceGroup{Subscription: f.sub.ID, Name: "Shop-EU", Location: "westeurope",
		Tags: map[string]string{"team": "shop"}, Created: noon}
	f.vault = newVault(f, "Shop-Vault")
	f.vault.ID = vault.ID(hex32(30))
	f.object = &vault.Object{ID: vault.ObjectID(hex32(31)), Vault: f.vault.ID, Kind: vault.Secret, Name: "Db-Password", Created: noon,
		Managed: true, Labels: map[vault.Label]vault.VersionID{}, Rollout: []byte("{}")}
	f.first = newVersion(f.object, noon)
	f.second = newVersion(f.object, noon.Add(time.Second))
	f.first.ID, f.second.ID = vault.VersionID(hex32(32)), vault.VersionID(hex32(33))
	f.second.Previous = f.first.ID
	f.object.Current = f.second.ID
	f.object.Labels[vault.Previous] = f.first.ID
	f.user = &principal.Principal{ID: principal.ID(guid(11)), Tenant: tn, Kind: principal.User, Name: "Ada", UPN: "Ada@contoso.example",
		Password: []byte{9}, Passkeys: []principal.Passkey{{ID: "p", Name: "key", Data: []byte{1}, Created: noon}},
		TOTP: []principal.TOTP{{ID: "t", Name: "phone", Seed: envelope(), LastStep: 7, Created: noon}}, TokensValidAfter: noon,
		Created: noon, Updated: noon}
	f.service = &principal.Principal{ID: principal.ID(guid(12)), Tenant: tn, Kind: principal.Service, Name: "Shop", AppID: guid(13),
		Disabled:     true,
		Secrets:      []principal.Secret{{ID: "s", Name: "old", Hint: "abc", Digest: []byte{3}, NotBefore: noon, Expires: noon, Created: noon}},
		Certificates: []principal.Certificate{{ID: "c", DER: []byte{4}, SHA1: []byte{5}, SHA256: []byte{6}, Expires: noon}},
		Federations:  []principal.Federation{{ID: "f", Name: "k8s", Issuer: "https://i.example", Subject: "s", Audience: "a", Created: noon}},
		Created:      noon}
	f.managed = &principal.Principal{ID: principal.ID(guid(14)), Tenant: tn, Kind: principal.ManagedIdentity, Name: "Shop-vm",
		AppID: guid(15), Resource: "/subscriptions/S/resourceGroups/G/providers/Microsoft.Web/sites/Shop", Created: noon}
	f.team = &principal.Principal{ID: principal.ID(guid(16)), Tenant: tn, Kind: principal.GroupKind, Name: "Team", Created: noon}
	f.issuer = &store.TrustedIssuer{Tenant: tn, Issuer: "https://issuer.example", JWKS: []byte("{}"), CA: []byte("ca"), Created: noon}
	f.grant = &principal.Grant{ID: guid(21), Tenant: tn, Scope: "/subscriptions/Sub/resourceGroups/Shop", Role: guid(22),
		Principal: f.user.ID, PrincipalKind: principal.User, Description: "on call", NotBefore: noon, Expires: noon.Add(time.Hour),
		CreatedBy: f.user.ID, Created: noon, Updated: noon}
	f.role = &principal.Role{ID: guid(23), Tenant: tn, Name: "Reader", Description: "reads", AssignableScopes: []string{"/"},
		Permissions: []principal.Permission{{Actions: []string{"*"}, NotActions: []string{"a"}, DataActions: []string{"b"},
			NotDataActions: []string{"c"}}}, Created: noon, Updated: noon}
	f.key = &store.WrappedKey{ID: hex32(34), Purpose: store.VaultKey, Owner: string(f.vault.ID), Parent: "parent",
		Wrapped: []byte{0, 1, 2}, State: store.KeyActive, Created: noon, Updated: noon}
	f.signing = &store.SigningKey{ID: "thumb", Tenant: tn, Public: []byte{7}, Private: envelope(), Created: noon, SignAfter: noon,
		SignUntil: noon.Add(time.Hour), VerifyUntil: noon.Add(2 * time.Hour)}
	f.signIn = &store.SignIn{Kind: "device", ID: "live", Tenant: tn, Expires: noon.Add(time.Hour), Data: []byte("state")}
	f.subscription = newEventSubscription(f, 61, "Shop-Events")
	f.delivery = newDelivery(f, 1, "db")
	f.expired = &store.SignIn{Kind: "device", ID: "old", Tenant: tn, Expires: noon.Add(-time.Hour), Data: []byte("state")}
	f.policy, f.run, f.task = newPolicy(41), newRun(42, 41, store.RotationRun), newTask(43)
	f.loan = newLoan(45)
	f.lease = &store.Lease{Name: "seeded", Owner: "a", Fence: 1}
	f.holding = newHolding(f)
	f.authority = newAuthority(f)
	f.issuance = newIssuance(f, 1)
	f.keyNeed = newKeyNeed(f, store.NeededByVault, time.Time{})
	f.tokenKey = &store.TokenKey{ID: hex32(91), Token: "hsm", Made: noon}
	f.enrolment = newEnrolment(f, 1)
	f.backup = newBackup(94)
	f.endpoint = newEndpoint(71)
	f.node = newNode(81)
	f.auditLog, f.auditPart, f.auditCheckpoint, f.adoption = newAuditLog(), newAuditPart(0), newAuditCheckpoint(4), newAdoption(1)
	return f
}

func newVault(f *fixture, name string) *vault.Vault {
	return &vault.Vault{ID: vault.NewID(noon), Tenant: f.tenant.ID, Subscription: f.sub.ID, ResourceGroup: f.group.Name, Name: name,
		Location: "westeurope", Premium: true, Tags: map[string]string{"a": "b"}, Access: vault.AccessByPolicy,
		Policies: []vault.AccessPolicy{{Tenant: f.tenant.ID, Principal: guid(11), Application: guid(13), Secrets: []string{"get"},
			Keys: []string{"sign"}, Certificates: []string{"list"}, Storage: []string{"all"}, NotBefore: noon, Expires: noon.Add(time.Hour)}},
		Network: vault.NetworkRules{PublicAccess: true, DefaultAllow: true, BypassTrusted: true,
			Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")},
			Subnets:   []vault.Subnet{{ID: "/subnets/a", IgnoreMissingService: true}}},
		RetentionDays: 7, PurgeProtection: true, EnabledForDeployment: true, EnabledForDiskEncryption: true,
		EnabledForTemplateDeployment: true, Created: noon, Updated: noon.Add(time.Minute)}
}

func envelope() vault.Envelope {
	return vault.Envelope{Key: "k1", WrappedKey: []byte{0, 1, 255}, Ciphertext: []byte("cipher\x00text")}
}

func newVersion(o *vault.Object, at time.Time) *vault.Version {
	return &vault.Version{ID: vault.NewVersionID(at), Object: o.ID, ContentType: "text/plain", Tags: map[string]string{"color": "blue"}, Doc: []byte(`{"n":"1"}`),
		State: vault.Retiring, Value: envelope(),
		Attributes: vault.Attributes{Enabled: true, NotBefore: at, Expires: at.Add(time.Hour), Created: at, Updated: at.Add(time.Minute)}}
}

// newObject returns an object of the fixture's vault that has one version and that version.
func newObject(v vault.ID, k vault.Kind, name string) (*vault.Object, *vault.Version) {
	o := &vault.Object{ID: vault.NewObjectID(noon), Vault: v, Kind: k, Name: name, Created: noon}
	version := newVersion(o, noon)
	o.Current = version.ID
	return o, version
}

// seed stores the fixture.
func (f *fixture) seed(e *env) {
	e.Helper()
	e.update(func(tx store.Tx) error { return f.put(e, tx) })
}

func (f *fixture) put(e *env, tx store.Tx) error {
	ctx := e.ctx
	errs := []error{
		tx.PutTenant(ctx, f.tenant), tx.PutSubscription(ctx, f.sub), tx.PutResourceGroup(ctx, f.group), tx.PutVault(ctx, f.vault),
		tx.PutObject(ctx, f.object), tx.AddVersion(ctx, f.first), tx.AddVersion(ctx, f.second),
		tx.PutPrincipal(ctx, f.user), tx.PutPrincipal(ctx, f.service), tx.PutPrincipal(ctx, f.managed), tx.PutPrincipal(ctx, f.team),
		tx.AddMember(ctx, f.tenant.ID, f.team.ID, f.user.ID), tx.PutTrustedIssuer(ctx, f.issuer),
		tx.PutGrant(ctx, f.grant), tx.PutRole(ctx, f.role), tx.PutWrappedKey(ctx, f.key), tx.PutSigningKey(ctx, f.signing),
		tx.PutSignIn(ctx, f.signIn), tx.PutSignIn(ctx, f.expired), tx.PutHolding(ctx, f.holding),
		tx.PutEventSubscription(ctx, f.subscription), tx.AddDelivery(ctx, f.delivery),
		tx.AddAuthority(ctx, f.authority), tx.AddIssuance(ctx, f.issuance), tx.PutEnrolment(ctx, f.enrolment), tx.PutEndpoint(ctx, f.endpoint),
		tx.PutKeyNeed(ctx, f.keyNeed), tx.AddTokenKey(ctx, f.tokenKey), tx.JoinNode(ctx, f.node),
		tx.PutAuditLog(ctx, f.auditLog), tx.AddAuditPart(ctx, f.auditPart), tx.AddAuditCheckpoint(ctx, f.auditCheckpoint), tx.PutAdoption(ctx, f.adoption),
		tx.PutPolicy(ctx, f.policy), tx.PutRun(ctx, f.run), tx.PutTask(ctx, f.task), tx.PutLoan(ctx, f.loan), tx.PutBackup(ctx, f.backup),
	}
	_, err := tx.AcquireLease(ctx, f.lease.Name, f.lease.Owner, long, 0)
	errs = append(errs, err)
	for name, value := range f.settings {
		errs = append(errs, tx.PutSetting(ctx, name, value))
	}
	return errors.Join(errs...)
}

// state is everything that the store holds about a fixture, the journal apart.
type state struct {
	Tenants       []*vault.Tenant
	Subscriptions []*vault.Subscription
	Groups        []*vault.ResourceGroup
	Vaults        []*vault.Vault
	Objects       []store.ObjectVersion
	Versions      []*vault.Version
	Tombstones    []store.Tombstone
	Principals    []*principal.Principal
	Members       map[principal.ID][]principal.ID
	Issuers       []*store.TrustedIssuer
	Grants        []*principal.Grant
	Roles         []*principal.Role
	Keys          []*store.WrappedKey
	SigningKeys   []*store.SigningKey
	SignIns       []*store.SignIn
	Policies      []*store.Policy
	Runs          []*store.Run
	Tasks         []*store.Task
	Loans         []*store.Loan
	Settings      map[string][]byte
	Cursor        store.Position

	EventSubscriptions []*store.EventSubscription
	Deliveries         []*store.Delivery
	Expiring           []store.ObjectVersion
	Holdings           []*store.Holding
	Projected          int64
	Authorities        []*store.Authority
	Issuances          []*store.Issuance
	KeyNeeds           []*store.KeyNeed
	TokenKeys          []*store.TokenKey
	Nodes              []*store.Node
	AuditLogs          auditLogsState
	Enrolments         []*store.Enrolment
	Endpoints          []*store.Endpoint
	Backups            []*store.Backup
}

// names of what cases write, so that a state can hold them.
var (
	settingNames = []string{"installation", "other"}
	signInIDs    = []string{"live", "old", "new"}
	readerName   = "reader"
)

// state reads everything, in a view of its own.
func (f *fixture) state(e *env) *state {
	e.Helper()
	return read(e, func(tx store.Tx) (*state, error) { return f.stateIn(e, tx) })
}

func (f *fixture) stateIn(e *env, tx store.Tx) (*state, error) {
	ctx, tn, s := e.ctx, f.tenant.ID, &state{Members: map[principal.ID][]principal.ID{}, Settings: map[string][]byte{}}
	var errs []error
	note := func(err error) {
		if !fault.Is(err, fault.NotFound) {
			errs = append(errs, err)
		}
	}
	var err error
	s.Tenants, err = tx.Tenants(ctx)
	note(err)
	s.Subscriptions, err = tx.Subscriptions(ctx, tn)
	note(err)
	s.Groups, err = tx.ResourceGroups(ctx, f.sub.ID)
	note(err)
	for _, deleted := range []bool{false, true} {
		vaults, err := tx.Vaults(ctx, store.VaultQuery{Tenant: tn, Deleted: deleted})
		note(err)
		s.Vaults = append(s.Vaults, vaults...)
		for _, k := range []vault.Kind{vault.Secret, vault.Key, vault.Certificate} {
			objects, err := tx.CurrentVersions(ctx, store.ObjectQuery{Vault: f.vault.ID, Kind: k, Deleted: deleted})
			note(err)
			s.Objects = append(s.Objects, objects...)
		}
	}
	s.Versions, err = tx.Versions(ctx, f.object.ID, "", 0)
	note(err)
	s.Tombstones, err = tx.Tombstones(ctx, "", 0)
	note(err)
	s.Principals, err = tx.Principals(ctx, store.PrincipalQuery{Tenant: tn})
	note(err)
	for _, p := range s.Principals {
		s.Members[p.ID], err = tx.Members(ctx, tn, p.ID)
		note(err)
	}
	s.Issuers, err = tx.TrustedIssuers(ctx, tn)
	note(err)
	s.Grants, err = tx.GrantsUnder(ctx, tn, "/")
	note(err)
	s.Roles, err = tx.Roles(ctx, tn)
	note(err)
	s.Keys, err = tx.WrappedKeys(ctx, f.key.Purpose, f.key.Owner)
	note(err)
	s.SigningKeys, err = tx.SigningKeys(ctx, tn)
	note(err)
	for _, id := range signInIDs {
		in, err := tx.SignIn(ctx, "device", id, noon.Add(-24*time.Hour))
		note(err)
		if in != nil {
			s.SignIns = append(s.SignIns, in)
		}
	}
	s.Policies, err = tx.Policies(ctx, store.PolicyQuery{})
	note(err)
	s.Runs, err = tx.Runs(ctx, store.RunQuery{})
	note(err)
	s.Loans, err = tx.Loans(ctx, store.LoanQuery{})
	note(err)
	s.Tasks, err = tx.Tasks(ctx, store.TaskQuery{})
	note(err)
	for _, name := range settingNames {
		v, err := tx.Setting(ctx, name)
		note(err)
		if v != nil {
			s.Settings[name] = v
		}
	}
	s.Cursor, err = tx.Cursor(ctx, readerName)
	note(err)
	s.EventSubscriptions, err = tx.EventSubscriptions(ctx, "")
	note(err)
	for _, dead := range []bool{false, true} {
		deliveries, err := tx.Deliveries(ctx, store.DeliveryQuery{Subscription: f.subscription.ID, Dead: dead})
		note(err)
		s.Deliveries = append(s.Deliveries, deliveries...)
	}
	s.Expiring, err = tx.Expiring(ctx, store.ExpiryQuery{Kind: vault.Secret, Before: noon.Add(24 * time.Hour)})
	note(err)
	s.Holdings, err = tx.Holdings(ctx, store.HoldingQuery{})
	note(err)
	s.Projected, err = tx.Projected(ctx, nodeName)
	note(err)
	s.Endpoints, err = tx.Endpoints(ctx, store.EndpointQuery{})
	note(err)
	s.Backups, err = tx.Backups(ctx, store.BackupQuery{})
	note(err)
	s.Authorities, s.Issuances, err = f.issuancesIn(e, tx)
	note(err)
	s.Enrolments, err = tx.Enrolments(ctx, store.EnrolmentQuery{Issuer: f.enrolment.Issuer, Kind: f.enrolment.Kind})
	note(err)
	s.KeyNeeds, s.TokenKeys, err = f.keyNeedsIn(e, tx)
	note(err)
	s.Nodes, err = nodesIn(e, tx)
	note(err)
	s.AuditLogs, err = f.auditLogsIn(e, tx)
	note(err)
	return s, errors.Join(errs...)
}

// same reports a difference between two values. Absent and empty collections are the same.
func same(e *env, what string, got, want any) {
	e.Helper()
	if d := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Prefix{})); d != "" {
		e.Errorf("%s differs (-want +got):\n%s", what, d)
	}
}

// is reports an error that is not of the kind.
func is(e *env, what string, err error, kind fault.Kind) {
	e.Helper()
	if !fault.Is(err, kind) {
		e.Errorf("%s: got %v (%v), want %v", what, err, fault.Of(err), kind)
	}
}
