// Package store is the port to durable storage: one interface per aggregate, composed into a transaction, and the
// promises that every engine keeps. The suite in storetest holds a test for each sentence below.
//
//   - An Update is atomic and serialisable; an engine that must retry runs the closure again, so closures do no I/O, no
//     cryptography and draw nothing at random: ids and instants are fixed before, and what a closure gathers it gathers anew each time. A closure whose
//     statement answers fault.Unavailable returns: the transaction cannot go on.
//   - A transaction reads its own writes. A View sees one committed state throughout.
//   - What Update acknowledged is durable, power loss included, and visible to every View that begins afterwards.
//   - The operation id is committed with the change. After an ambiguous answer (fault.Unavailable) Committed says which
//     of the two happened; an Update whose operation is committed already answers ErrCommitted and changes nothing.
//   - Put of an object compares the revision that was read; a stale one is a fault.Conflict with reason StaleRevision.
//   - Listings are ordered and resume after a key, so they stay right while others write: what was there throughout is
//     listed exactly once.
//   - Instants are kept in UTC microseconds. A zero time is kept as zero.
//   - Records that a transaction returns are the caller's own to keep but not to change: engines may share them.
//   - Each committed Update that wrote anything is one entry of the journal, at a position greater than all before it.
//     The journal carries what changed, the audit record and the events; everything that must follow a change (caches,
//     the audit log, event delivery) reads it from there and so can miss nothing.
//   - Watchers see every commit, in order, before the Update that made it returns. Where several processes share a store, each is also shown what the others
//     committed, in the same order; Fresh says up to when. One that was away for so long that entries were pruned is shown a Flush in their place, and so is one that saw what the store has lost.
package store

import (
	"context"
	"errors"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/vault"
)

// ErrCommitted is what Update answers when its operation id is committed already. Nothing was changed.
var ErrCommitted = errors.New("the operation is committed already")

// StaleRevision is the reason of the conflict when an object was changed since it was read.
const StaleRevision fault.Reason = "StaleRevision"

// Store keeps everything that must survive.
type Store interface {
	// View runs fn on one committed state. fn must not keep the transaction.
	View(ctx context.Context, fn func(Tx) error) error
	// Update runs fn and commits what it wrote, unless it returns an error, which Update then returns. The answer waits
	// for durability and for the watchers. A cancelled ctx before the transaction began is answered at once; later the
	// outcome decides.
	Update(ctx context.Context, op Op, fn func(Tx) error) error
	// Committed reports whether the operation is committed.
	Committed(ctx context.Context, id OpID) (bool, error)
	// Watch calls fn for every later commit, one at a time, in order, before its Update returns. fn must be quick and must not
	// call the store. stop ends it and waits for a call under way.
	Watch(fn func(*Commit)) (stop func())
	// Fresh returns the latest known instant such that every commit that was acknowledged anywhere before it has been shown to the watchers of this Store. It
	// is an instant of this process's monotonic clock, to be compared with time.Now; a store that one process has to itself answers the present. While the
	// database cannot be reached it stands still, and so tells how stale a cache may be.
	Fresh() time.Time
	// Health reports whether the store can take reads and writes now; a fault.Unavailable says what is wrong.
	Health(ctx context.Context) error
	// Close waits for transactions under way and releases the store.
	Close() error
}

// OpID identifies one change for ever: 32 hexadecimal digits, time-ordered.
type OpID string

// Op names a change and fixes its instant.
type Op struct {
	ID OpID
	At time.Time
}

// NewOp returns an operation with a fresh id at now, cut to the store's precision.
func NewOp(now time.Time) Op {
	now = now.UTC().Truncate(time.Microsecond)
	return Op{ID: OpID(vault.NewVersionID(now)), At: now}
}

// Tx is a transaction. Methods that look for one thing, and those that delete or replace one, return a fault.NotFound when it is
// not there. Puts do not change their argument; whoever puts twice in one transaction counts the revision on. A limit of 0 means
// no limit. Writing in a View, and using a transaction after its closure, is a fault.Internal.
type Tx interface {
	Tenants
	Vaults
	Objects
	Principals
	Grants
	Keys
	SignIns
	Rotations
	Loans
	Leases
	Subscriptions
	Deliveries
	Expiries
	Holdings
	Issuances
	Enrolments
	Endpoints
	KeyNeeds
	Backups
	Nodes
	AuditLogs
	Journal
}

// Tenants keeps tenants, their subscriptions and resource groups.
type Tenants interface {
	Tenant(ctx context.Context, id vault.TenantID) (*vault.Tenant, error)
	Tenants(ctx context.Context) ([]*vault.Tenant, error)
	// PutTenant inserts a tenant of revision 0 or replaces the revision that was read.
	PutTenant(ctx context.Context, t *vault.Tenant) error
	Subscription(ctx context.Context, id vault.SubscriptionID) (*vault.Subscription, error)
	Subscriptions(ctx context.Context, tenant vault.TenantID) ([]*vault.Subscription, error)
	PutSubscription(ctx context.Context, s *vault.Subscription) error
	// ResourceGroup compares names without regard to case.
	ResourceGroup(ctx context.Context, s vault.SubscriptionID, name string) (*vault.ResourceGroup, error)
	ResourceGroups(ctx context.Context, s vault.SubscriptionID) ([]*vault.ResourceGroup, error)
	PutResourceGroup(ctx context.Context, g *vault.ResourceGroup) error
	DeleteResourceGroup(ctx context.Context, s vault.SubscriptionID, name string) error
}

// Vaults keeps vaults, soft-deleted ones included. Names are unique over all tenants, without regard to case.
type Vaults interface {
	Vault(ctx context.Context, id vault.ID) (*vault.Vault, error)
	VaultByName(ctx context.Context, name string) (*vault.Vault, error)
	// Vaults lists in the order of names, names after q.After first.
	Vaults(ctx context.Context, q VaultQuery) ([]*vault.Vault, error)
	// PutVault inserts a vault of revision 0 (a taken name is a fault.Conflict) or replaces the revision that was read, and
	// stores it at the next revision.
	PutVault(ctx context.Context, v *vault.Vault) error
	// DeleteVault removes a vault and its enrolments, and leaves a tombstone. The caller has removed its objects.
	DeleteVault(ctx context.Context, id vault.ID) error
}

// VaultQuery selects vaults. Empty fields select all; Limit 0 means no limit.
type VaultQuery struct {
	Tenant        vault.TenantID
	Subscription  vault.SubscriptionID
	ResourceGroup string
	Deleted       bool
	// PurgeBefore selects deleted vaults whose retention is over at that instant.
	PurgeBefore time.Time
	After       string
	Limit       int
}

// Objects keeps objects and their versions.
type Objects interface {
	// Object finds a live or deleted object; names are compared without regard to case.
	Object(ctx context.Context, v vault.ID, k vault.Kind, name string) (*vault.Object, error)
	// ObjectVersion finds an object with one of its versions in one query: with an empty id the current one. The version is nil when the object does
	// not have it.
	ObjectVersion(ctx context.Context, v vault.ID, k vault.Kind, name string, id vault.VersionID) (*ObjectVersion, error)
	// Objects lists in the order of name keys.
	Objects(ctx context.Context, q ObjectQuery) ([]*vault.Object, error)
	// PutObject inserts an object of revision 0 or replaces the revision that was read, and stores it at the next revision. The id
	// of a purged object is a fault.Gone.
	PutObject(ctx context.Context, o *vault.Object) error
	// DeleteObject removes an object, all of its versions, keys of values included, and its rotation policy, and leaves a tombstone.
	DeleteObject(ctx context.Context, o *vault.Object, at time.Time) error
	// Version finds one version of an object.
	Version(ctx context.Context, o vault.ObjectID, id vault.VersionID) (*vault.Version, error)
	// Versions lists in ascending order of version id, ids after the given one first.
	Versions(ctx context.Context, o vault.ObjectID, after vault.VersionID, limit int) ([]*vault.Version, error)
	// AddVersion inserts a version; its id must be new to the object, else fault.Conflict. When the object does not exist by the
	// end of the Update, that is a fault.NotFound.
	AddVersion(ctx context.Context, v *vault.Version) error
	// PutVersion replaces a version's attributes, content type, tags, state, document and envelope; Previous stays as it was added.
	PutVersion(ctx context.Context, v *vault.Version) error
	// CurrentVersions lists like Objects and gives each object with its current version, in one query. Objects without a
	// current version have a nil one.
	CurrentVersions(ctx context.Context, q ObjectQuery) ([]ObjectVersion, error)
	// RetiredAmong returns those of the ids that belong to a version, of whichever object, in the state vault.Retired: in ascending order, each once. It
	// costs next to nothing while few are.
	RetiredAmong(ctx context.Context, ids []vault.VersionID) ([]vault.VersionID, error)
	// CountVersions counts an object's versions, at most limit.
	CountVersions(ctx context.Context, o vault.ObjectID, limit int) (int, error)
	// Tombstones lists purged objects and vaults in the order of their ids.
	Tombstones(ctx context.Context, after vault.ObjectID, limit int) ([]Tombstone, error)
}

// ObjectQuery selects objects of one kind. After is a name key.
type ObjectQuery struct {
	// Vault may be empty only together with PurgeBefore.
	Vault   vault.ID
	Kind    vault.Kind
	Deleted bool
	// PurgeBefore selects deleted objects, of any kind and vault, whose retention is over at that instant; Kind and After are
	// ignored then, and the order is that of the purge dates. Behind, when it is not nil, is the last object of the page before.
	PurgeBefore time.Time
	Behind      *vault.Object
	After       string
	Limit       int
}

// ObjectVersion is an object with one of its versions.
type ObjectVersion struct {
	Object  *vault.Object
	Version *vault.Version
}

// Tombstone says that an object, or a whole vault, was purged: no restore may bring it back.
type Tombstone struct {
	// Object is the id of the object; that of the vault itself when the vault was purged.
	Object vault.ObjectID
	Vault  vault.ID
	At     time.Time
}

// Principals keeps principals and memberships.
type Principals interface {
	Principal(ctx context.Context, t vault.TenantID, id principal.ID) (*principal.Principal, error)
	PrincipalByAppID(ctx context.Context, t vault.TenantID, appID string) (*principal.Principal, error)
	// PrincipalByUPN compares without regard to case.
	PrincipalByUPN(ctx context.Context, t vault.TenantID, upn string) (*principal.Principal, error)
	// PrincipalByResource finds the managed identity of a resource, whose id is compared without regard to case.
	PrincipalByResource(ctx context.Context, t vault.TenantID, resource string) (*principal.Principal, error)
	Principals(ctx context.Context, q PrincipalQuery) ([]*principal.Principal, error)
	// PutPrincipal inserts a principal of revision 0 or replaces the revision that was read. A taken client id, sign-in name or resource is
	// a fault.Conflict.
	PutPrincipal(ctx context.Context, p *principal.Principal) error
	// DeletePrincipal removes a principal and its memberships. Its grants are removed by the caller.
	DeletePrincipal(ctx context.Context, t vault.TenantID, id principal.ID) error
	AddMember(ctx context.Context, t vault.TenantID, group, member principal.ID) error
	RemoveMember(ctx context.Context, t vault.TenantID, group, member principal.ID) error
	Members(ctx context.Context, t vault.TenantID, group principal.ID) ([]principal.ID, error)
	// GroupsOf lists the groups that have the principal as a direct member.
	GroupsOf(ctx context.Context, t vault.TenantID, member principal.ID) ([]principal.ID, error)

	TrustedIssuer(ctx context.Context, t vault.TenantID, issuer string) (*TrustedIssuer, error)
	TrustedIssuers(ctx context.Context, t vault.TenantID) ([]*TrustedIssuer, error)
	PutTrustedIssuer(ctx context.Context, i *TrustedIssuer) error
	DeleteTrustedIssuer(ctx context.Context, t vault.TenantID, issuer string) error
}

// PrincipalQuery selects principals in the order of their ids. Name matches exactly, NamePrefix and Name without regard to case.
type PrincipalQuery struct {
	Tenant     vault.TenantID
	Kind       principal.Kind
	Name       string
	NamePrefix string
	After      principal.ID
	Limit      int
}

// TrustedIssuer is an outside OpenID Connect issuer whose assertions an administrator believes.
type TrustedIssuer struct {
	Tenant vault.TenantID
	Issuer string
	// JWKS, when not empty, is the issuer's key set, given by hand for issuers that cannot be reached.
	JWKS []byte
	// CA, when not empty, is the PEM bundle by which the issuer's TLS certificate is checked.
	CA      []byte
	Created time.Time
}

// Grants keeps role assignments and custom roles. Scopes are compared without regard to case.
type Grants interface {
	Grant(ctx context.Context, t vault.TenantID, id string) (*principal.Grant, error)
	PutGrant(ctx context.Context, g *principal.Grant) error
	DeleteGrant(ctx context.Context, t vault.TenantID, id string) error
	// GrantsAt lists the grants at exactly one of the scopes.
	GrantsAt(ctx context.Context, t vault.TenantID, scopes ...string) ([]*principal.Grant, error)
	// GrantsUnder lists the grants at the scope and below it, in the order of grant ids.
	GrantsUnder(ctx context.Context, t vault.TenantID, scope string) ([]*principal.Grant, error)
	GrantsOf(ctx context.Context, t vault.TenantID, p principal.ID) ([]*principal.Grant, error)
	Role(ctx context.Context, t vault.TenantID, id string) (*principal.Role, error)
	Roles(ctx context.Context, t vault.TenantID) ([]*principal.Role, error)
	PutRole(ctx context.Context, r *principal.Role) error
	DeleteRole(ctx context.Context, t vault.TenantID, id string) error
}

// Keys keeps wrapped keys of the keyring and the token service's signing keys.
type Keys interface {
	WrappedKey(ctx context.Context, id string) (*WrappedKey, error)
	// HasWrappedKey reports whether there is a key.
	HasWrappedKey(ctx context.Context, id string) (bool, error)
	// WrappedKeys lists the keys of one purpose and owner, oldest first.
	WrappedKeys(ctx context.Context, purpose KeyPurpose, owner string) ([]*WrappedKey, error)
	PutWrappedKey(ctx context.Context, k *WrappedKey) error
	DeleteWrappedKey(ctx context.Context, id string) error
	SigningKeys(ctx context.Context, t vault.TenantID) ([]*SigningKey, error)
	PutSigningKey(ctx context.Context, k *SigningKey) error
	DeleteSigningKey(ctx context.Context, t vault.TenantID, id string) error
	// Setting finds one named value of the installation.
	Setting(ctx context.Context, name string) ([]byte, error)
	PutSetting(ctx context.Context, name string, value []byte) error
}

// KeyPurpose says what a wrapped key protects.
type KeyPurpose string

// The purposes of wrapped keys. The owner of a root key is the installation, of a vault key the vault, of the others the tenant.
const (
	RootKey   KeyPurpose = "root"
	TenantKey KeyPurpose = "tenant"
	VaultKey  KeyPurpose = "vault"
	AuditKey  KeyPurpose = "audit"
	BackupKey KeyPurpose = "backup"
	// DigestKey keys the digests of client secrets and other credentials that are only compared.
	DigestKey KeyPurpose = "digest"
	// ServiceKey wraps the data keys of what is the tenant's and in no vault: signing keys, seeds, state of sign-ins.
	ServiceKey KeyPurpose = "service"
)

// WrappedKey is a key of the hierarchy, encrypted by the key above it.
type WrappedKey struct {
	// ID is 32 hexadecimal digits.
	ID      string
	Purpose KeyPurpose
	Owner   string
	// Parent is the id of the wrapping key; for a root key the name of the seal.
	Parent  string
	Wrapped []byte
	// Customer is the customer's key that wraps the key before its parent does; nil when the parent alone does.
	Customer *CustomerWrap `json:",omitempty"`
	// Next is the root key wrapped by another seal too, to which the installation is moving; nil when it is not.
	Next    *SealWrap `json:",omitempty"`
	State   KeyState
	Created time.Time
	Updated time.Time
	// Emptied is when nothing was found any more that the key, decrypt-only by then, protects; zero before.
	Emptied time.Time `json:",omitzero"`
	// Renew says that what a decrypt-only vault key protects gets fresh data keys, where others are only wrapped anew.
	Renew bool `json:",omitempty"`
	// Counted says that all backups that a backup key sealed are among the KeyNeeds.
	Counted bool `json:",omitempty"`
}

// SealWrap is a root key that a second seal wrapped.
type SealWrap struct {
	// Seal is the name of the seal.
	Seal    string
	Wrapped []byte
	Added   time.Time
	// Proved is when a seal that was opened anew gave back the key from what the store holds; zero before.
	Proved time.Time
}

// CustomerWrap says how to unwrap what was wrapped with a key that a customer keeps in a vault.
type CustomerWrap struct {
	// Key names the version that wrapped.
	Key vault.CustomerKey
	// Algorithm is that of the key's operation wrapKey.
	Algorithm string
}

// KeyState says what a key of the hierarchy may still be used for.
type KeyState string

// The states of a wrapped key.
const (
	KeyActive KeyState = "active"
	// KeyDecryptOnly opens what it sealed before and seals nothing new.
	KeyDecryptOnly KeyState = "decrypt-only"
)

// SigningKey signs tokens. Private is sealed.
type SigningKey struct {
	// ID is the JWK thumbprint (RFC 7638), which tokens name as kid.
	ID     string
	Tenant vault.TenantID
	// Public is the PKIX public key.
	Public  []byte
	Private vault.Envelope
	Created time.Time
	// SignAfter is when it may sign first: later than Created, so that verifiers know it by then. SignUntil is when it stops
	// signing, VerifyUntil when it leaves the published set.
	SignAfter, SignUntil, VerifyUntil time.Time
}

// SignIns keeps short-lived state of sign-ins: device codes, challenges, spent assertion ids. Their journal entries name no change.
type SignIns interface {
	// SignIn finds state that has not expired at now.
	SignIn(ctx context.Context, kind, id string, now time.Time) (*SignIn, error)
	PutSignIn(ctx context.Context, s *SignIn) error
	DeleteSignIn(ctx context.Context, kind, id string) error
	// ExpireSignIns removes what has expired at now, at most limit entries, and returns how many it removed.
	ExpireSignIns(ctx context.Context, now time.Time, limit int) (int, error)
}

// SignIn is one short-lived entry. ID is a digest where the original is a credential.
type SignIn struct {
	Kind, ID string
	Tenant   vault.TenantID
	Expires  time.Time
	Data     []byte
}

// Journal is what follows from a change: it is written with the change and read by whoever acts on it.
type Journal interface {
	// Audit attaches the sealed audit record of this operation. Calling it twice is a programming error.
	Audit(record []byte)
	// Emit adds an event to be delivered.
	Emit(e Event)
	// Commits lists journal entries at positions after the given one, in order.
	Commits(ctx context.Context, after Position, limit int) ([]*Commit, error)
	// Audits lists like Commits and leaves out changes and events: a commit can change thousands of objects, which who wants its audit record need not carry.
	Audits(ctx context.Context, after Position, limit int) ([]*Commit, error)
	// Head returns the position of the newest entry, whether it was pruned since or not; 0 before the first.
	Head(ctx context.Context) (Position, error)
	// Cursor returns how far the named reader of the journal has come; 0 before its first SetCursor.
	Cursor(ctx context.Context, reader string) (Position, error)
	// SetCursor never moves a cursor back. It makes no journal entry.
	SetCursor(ctx context.Context, reader string, p Position) error
	// PruneJournal removes entries at or before p that are older than the instant, at most limit, and returns how many it removed. The
	// operation ids of pruned entries are forgotten.
	PruneJournal(ctx context.Context, p Position, olderThan time.Time, limit int) (int, error)
}

// Position is a place in the journal; the first entry is at 1.
type Position int64

// Commit is one entry of the journal.
type Commit struct {
	Position Position
	Op       Op
	Changes  []Change
	Audit    []byte
	Events   []Event
	// Flush is set in a commit that is shown in place of entries that were pruned before this process came to see them, and in place of all that it saw when
	// the store does not have that any more; and in no other. Everything may have changed: who caches drops everything. Position is that of the newest entry in
	// whose place it stands, and may be less than those before; there is no operation, and nothing else is set.
	Flush bool
}

// ChangeKind says what kind of record changed.
type ChangeKind string

// The kinds of changes; engines note them by themselves.
const (
	TenantChanged    ChangeKind = "tenant"
	VaultChanged     ChangeKind = "vault"
	ObjectChanged    ChangeKind = "object"
	PrincipalChanged ChangeKind = "principal"
	MemberChanged    ChangeKind = "member"
	GrantChanged     ChangeKind = "grant"
	RoleChanged      ChangeKind = "role"
	KeyChanged       ChangeKind = "key"
	SigningChanged   ChangeKind = "signing-key"
	IssuerChanged    ChangeKind = "issuer"
	SettingChanged   ChangeKind = "setting"
	PolicyChanged    ChangeKind = "rotation-policy"
	RunChanged       ChangeKind = "run"
	TaskChanged      ChangeKind = "task"
)

// Change names one record that changed, for caches and streams. It holds no value.
type Change struct {
	Kind   ChangeKind     `json:"k"`
	Tenant vault.TenantID `json:"t,omitempty"`
	Vault  vault.ID       `json:"v,omitempty"`
	// Object is set for an ObjectChanged: the kind and the name key. A VaultChanged has the vault's name key.
	Object  vault.Kind `json:"o,omitempty"`
	NameKey string     `json:"n,omitempty"`
	// Key is the id of a principal (the member of a MemberChanged), role, key, issuer, setting, run or task, that of the object of a rotation
	// policy, or the lower-case scope of a grant.
	Key string `json:"i,omitempty"`
}

// Event is something to tell the outside. Data is JSON without values.
type Event struct {
	// ID is 32 hexadecimal digits.
	ID     string         `json:"id"`
	Type   string         `json:"type"`
	Tenant vault.TenantID `json:"tenant"`
	Vault  vault.ID       `json:"vault,omitempty"`
	// Subject is the object's name.
	Subject string    `json:"subject"`
	At      time.Time `json:"at"`
	Data    []byte    `json:"data"`
}
