package api

import "time"

// The kinds of principals.
const (
	User             = "User"
	ServicePrincipal = "ServicePrincipal"
	ManagedIdentity  = "ManagedIdentity"
	Group            = "Group"
)

// Principal is somebody or something that can be granted access.
type Principal struct {
	ID   string `json:"id"`
	Kind string `json:"kind"`
	Name string `json:"name"`
	// AppID is the client id of a service principal or managed identity, UPN the sign-in name of a user, Resource what a managed
	// identity belongs to.
	AppID    string `json:"appId,omitempty"`
	UPN      string `json:"upn,omitempty"`
	Resource string `json:"resource,omitempty"`
	Disabled bool   `json:"disabled"`

	Credentials []Credential `json:"credentials,omitempty"`
	// Groups and Members are set where one principal is shown: those that it is directly in, and those directly in it.
	Groups  []PrincipalRef `json:"groups,omitempty"`
	Members []PrincipalRef `json:"members,omitempty"`
	Created time.Time      `json:"created"`
	Updated time.Time      `json:"updated"`
}

// PrincipalRef names a principal.
type PrincipalRef struct {
	ID   string `json:"id"`
	Kind string `json:"kind"`
	Name string `json:"name"`
}

// Credential is something by which a principal proves itself, without its secret part.
type Credential struct {
	// ID is KIND/GUID, such as secret/0199….
	ID   string `json:"id"`
	Kind string `json:"kind"`
	Name string `json:"name,omitempty"`
	// Hint is the beginning of a secret, Thumbprint the SHA-1 digest of a certificate in hexadecimal digits.
	Hint       string `json:"hint,omitempty"`
	Thumbprint string `json:"thumbprint,omitempty"`
	// Issuer, Subject and Audience are those of a federation.
	Issuer    string     `json:"issuer,omitempty"`
	Subject   string     `json:"subject,omitempty"`
	Audience  string     `json:"audience,omitempty"`
	NotBefore *time.Time `json:"notBefore,omitempty"`
	Expires   *time.Time `json:"expires,omitempty"`
	Created   time.Time  `json:"created"`
	// Secret is what was generated: a client secret, or the otpauth URL of a code generator. It is shown once.
	Secret *Text `json:"secret,omitempty"`
}

// CreatePrincipal is a new principal.
type CreatePrincipal struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
	// UPN is needed for a user, Resource for a managed identity; AppID is drawn when absent.
	UPN      string `json:"upn,omitempty"`
	Resource string `json:"resource,omitempty"`
	AppID    string `json:"appId,omitempty"`
}

// UpdatePrincipal says what to change of a principal. An absent member stays as it is.
type UpdatePrincipal struct {
	Name     *string `json:"name,omitempty"`
	Disabled *bool   `json:"disabled,omitempty"`
}

// AddCredential is a new credential. Kind says which of the other members count: "secret" (Expires, NotBefore),
// "certificate" (Certificate), "federation" (Issuer, Subject, Audience) or "totp".
type AddCredential struct {
	Kind      string     `json:"kind"`
	Name      string     `json:"name,omitempty"`
	NotBefore *time.Time `json:"notBefore,omitempty"`
	Expires   *time.Time `json:"expires,omitempty"`
	// Certificate is PEM or DER.
	Certificate []byte `json:"certificate,omitempty"`
	Issuer      string `json:"issuer,omitempty"`
	Subject     string `json:"subject,omitempty"`
	Audience    string `json:"audience,omitempty"`
}

// SetPassword sets a user's password; an empty one removes it.
type SetPassword struct {
	Password Text `json:"password"`
}

// Member names who joins a group.
type Member struct {
	Principal string `json:"principal"`
}

// PrincipalList is a page of principals.
type PrincipalList struct {
	Items []Principal `json:"items"`
	Next  string      `json:"next,omitempty"`
}

// TrustedIssuer is an outside OpenID Connect issuer whose assertions the tenant believes.
type TrustedIssuer struct {
	Issuer string `json:"issuer"`
	// JWKS is the issuer's key set, for one that cannot be reached; CA the PEM bundle that its TLS certificate is checked by.
	JWKS    string     `json:"jwks,omitempty"`
	CA      string     `json:"ca,omitempty"`
	Created *time.Time `json:"created,omitempty"`
}

// TrustedIssuerList is a list of trusted issuers.
type TrustedIssuerList struct {
	Items []TrustedIssuer `json:"items"`
	Next  string          `json:"next,omitempty"`
}
