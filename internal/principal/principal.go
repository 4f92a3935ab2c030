package principal

import (
	"time"

	"github.com/keywright/keywright/internal/vault"
)

// ID is a principal's object id: a GUID in canonical form.
type ID string

// Kind is the kind of a principal.
type Kind string

// The kinds of principals.
const (
	User            Kind = "User"
	Service         Kind = "ServicePrincipal"
	ManagedIdentity Kind = "ManagedIdentity"
	GroupKind       Kind = "Group"
)

// Principal is somebody or something that can be granted access.
type Principal struct {
	ID     ID
	Tenant vault.TenantID
	Kind   Kind
	// AppID is the client id of a service principal or managed identity: a GUID, unique in its tenant.
	AppID string
	// Name is the display name; unique among the tenant's service principals and groups only by habit.
	Name string
	// UPN is a user's sign-in name, unique in its tenant without regard to case.
	UPN string
	// Resource is the resource id of what a managed identity belongs to.
	Resource string
	Disabled bool

	Secrets      []Secret
	Certificates []Certificate
	Federations  []Federation
	// User credentials.
	Passkeys []Passkey
	TOTP     []TOTP
	// Password is a user's password digest, empty for none. A password alone never signs anybody in.
	Password []byte

	// TokensValidAfter revokes every token that was issued before it.
	TokensValidAfter time.Time
	Created, Updated time.Time
	Revision         int64
}

// Secret is a client secret. Several may be valid at once, so that one can be replaced without a gap.
type Secret struct {
	ID   string
	Name string
	// Hint is the first three characters, so that people can tell two secrets apart.
	Hint string
	// Digest is the keyed digest of the secret.
	Digest           []byte
	NotBefore        time.Time
	Expires, Created time.Time
}

// Certificate is the public half of a key with which a service principal signs assertions.
type Certificate struct {
	ID   string
	Name string
	// DER is the X.509 certificate.
	DER              []byte
	SHA1, SHA256     []byte
	NotBefore        time.Time
	Expires, Created time.Time
}

// Federation believes assertions of an outside issuer about one subject.
type Federation struct {
	ID, Name, Issuer, Subject, Audience string
	Created                             time.Time
}

// Passkey is a WebAuthn credential of a user; Data is the library's own record of it, without private parts.
type Passkey struct {
	ID, Name string
	Data     []byte
	Created  time.Time
}

// TOTP is a time-based one-time password generator of a user (RFC 6238). Its seed is sealed.
type TOTP struct {
	ID, Name string
	Seed     vault.Envelope
	// LastStep is the newest time step that was accepted: a code is good for one sign-in.
	LastStep int64
	Created  time.Time
}

// Role is a role definition: a named set of permissions.
type Role struct {
	// ID is a GUID in canonical form.
	ID string
	// Tenant is empty for a built-in role.
	Tenant           vault.TenantID
	Name             string
	Description      string
	BuiltIn          bool
	AssignableScopes []string
	Permissions      []Permission
	Created, Updated time.Time
}

// Permission is a set of action patterns, as in an Azure role definition: what it allows less what it takes away.
// Patterns are compared without regard to case; * stands for any run of characters.
type Permission struct {
	Actions, NotActions, DataActions, NotDataActions []string
}

// Grant is a role assignment: a role for a principal at a scope, for a time.
type Grant struct {
	// ID is a GUID in canonical form, chosen by the caller.
	ID     string
	Tenant vault.TenantID
	// Scope is a resource id from "/" (the tenant) down to one object, as it was given.
	Scope         string
	Role          string
	Principal     ID
	PrincipalKind Kind
	Description   string
	// NotBefore and Expires bound the grant in time; zero means unbounded.
	NotBefore, Expires time.Time
	CreatedBy          ID
	Created, Updated   time.Time
}

// Live reports whether the grant counts at now.
func (g *Grant) Live(now time.Time) bool {
	return !now.Before(g.NotBefore) && (g.Expires.IsZero() || now.Before(g.Expires))
}
