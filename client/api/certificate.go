package api

import (
	"strings"
	"time"
)

// Certificate is one version of a certificate, without its private key: that is in the secret of the same name, for whoever may read it.
type Certificate struct {
	Vault   string `json:"vault"`
	Name    string `json:"name"`
	Version string `json:"version,omitempty"`
	// Subject and Issuer are X.500 names (RFC 4514), Serial is hexadecimal. They and what follows up to PEM are absent while the first version is being made.
	Subject string `json:"subject,omitempty"`
	// DNS, Emails, Addresses and URIs are the alternative names.
	DNS       []string `json:"dns,omitempty"`
	Emails    []string `json:"emails,omitempty"`
	Addresses []string `json:"addresses,omitempty"`
	URIs      []string `json:"uris,omitempty"`
	Issuer    string   `json:"issuer,omitempty"`
	Serial    string   `json:"serial,omitempty"`
	// Thumbprint is the SHA-1 of the certificate, by which Windows and Key Vault name it, SHA256 the other one; both hexadecimal.
	Thumbprint string `json:"thumbprint,omitempty"`
	SHA256     string `json:"sha256,omitempty"`
	// PEM has the certificate and what is delivered with it, in that order.
	PEM string `json:"pem,omitempty"`
	// ContentType is the form of the certificate's secret: application/x-pkcs12 or application/x-pem-file.
	ContentType   string `json:"contentType,omitempty"`
	PreserveOrder bool   `json:"preserveOrder,omitempty"`

	Tags    map[string]string `json:"tags,omitempty"`
	Enabled bool              `json:"enabled"`
	// NotBefore and Expires are those that stand in the certificate.
	NotBefore *time.Time `json:"notBefore,omitempty"`
	Expires   *time.Time `json:"expires,omitempty"`
	Created   time.Time  `json:"created,omitzero"`
	Updated   time.Time  `json:"updated,omitzero"`
	// Current is true for the version that is meant where none is named. Previous is the version that this one followed.
	Current  bool   `json:"current,omitempty"`
	Previous string `json:"previous,omitempty"`
	// Deleted and PurgeAt are set while the certificate is soft-deleted.
	Deleted *time.Time `json:"deleted,omitempty"`
	PurgeAt *time.Time `json:"purgeAt,omitempty"`
	// Policy is absent in lists.
	Policy *CertificatePolicy `json:"policy,omitempty"`
}

// CertificateList is a page of certificates.
type CertificateList struct {
	Items []Certificate `json:"items"`
	Next  string        `json:"next,omitempty"`
}

// CertificatePolicy says how a certificate is made, and when it is made anew. In a change, a section that is absent stays as it is, and one that is there replaces
// the whole section.
type CertificatePolicy struct {
	// Issuer is who issues.
	Issuer *CertificateIssuerRef `json:"issuer,omitempty"`
	// X509 is what the certificate says.
	X509 *CertificateX509 `json:"x509,omitempty"`
	Key  *CertificateKey  `json:"key,omitempty"`
	// ContentType is the form of the certificate's secret: application/x-pkcs12 (the usual one) or application/x-pem-file.
	ContentType string `json:"contentType,omitempty"`
	// Actions are what happens in the life of a certificate; AutoRenew at 80 per cent when absent.
	Actions []CertificateAction `json:"actions,omitempty"`
	// Enabled is what new versions are; true when absent.
	Enabled *bool      `json:"enabled,omitempty"`
	Created *time.Time `json:"created,omitempty"`
	Updated *time.Time `json:"updated,omitempty"`
}

// CertificateIssuerRef names who issues.
type CertificateIssuerRef struct {
	// Name is Self, Unknown (a person takes the request to an authority) or an issuer that was set up in the vault.
	Name string `json:"name"`
	// Type is the issuer's own word for a kind of certificate.
	Type         string `json:"type,omitempty"`
	Transparency *bool  `json:"transparency,omitempty"`
}

// CertificateX509 is what a certificate says.
type CertificateX509 struct {
	// Subject is an X.500 name (RFC 4514), such as "CN=shop.example, O=Shop".
	Subject string   `json:"subject,omitempty"`
	DNS     []string `json:"dns,omitempty"`
	Emails  []string `json:"emails,omitempty"`
	UPNs    []string `json:"upns,omitempty"`
	// URIs are absolute, Addresses those of IP.
	URIs      []string `json:"uris,omitempty"`
	Addresses []string `json:"addresses,omitempty"`
	// Purposes are object identifiers (extended key usages); those of TLS servers and clients when absent.
	Purposes []string `json:"purposes,omitempty"`
	// KeyUsage has words of RFC 5280, such as digitalSignature; that and keyEncipherment when absent.
	KeyUsage []string `json:"keyUsage,omitempty"`
	// Months is the validity; 12 when absent.
	Months int `json:"months,omitempty"`
}

// CertificateKey is the key of a certificate.
type CertificateKey struct {
	// Type is RSA (the usual one) or EC, either with -HSM. Bits and Curve are 2048 and P-256 when absent.
	Type  string `json:"type,omitempty"`
	Bits  int    `json:"bits,omitempty"`
	Curve string `json:"curve,omitempty"`
	// Exportable puts the private key into the certificate's secret; true when absent.
	Exportable *bool `json:"exportable,omitempty"`
	// Reuse keeps the key when the certificate is made anew; false when absent.
	Reuse *bool `json:"reuse,omitempty"`
}

// CertificateAction happens once in the life of a version. One of Percentage and DaysBefore is set.
type CertificateAction struct {
	// Percentage is how much of its life is over then, DaysBefore how many days of it are left.
	Percentage int `json:"percentage,omitempty"`
	DaysBefore int `json:"daysBefore,omitempty"`
	// Do is AutoRenew or EmailContacts.
	Do string `json:"do"`
}

// CreateCertificate begins the making of a version.
type CreateCertificate struct {
	// Policy takes the place of the certificate's policy; absent, the one that it has counts.
	Policy *CertificatePolicy `json:"policy,omitempty"`
	Tags   map[string]string  `json:"tags,omitempty"`
	// Enabled is what the policy says when absent.
	Enabled *bool `json:"enabled,omitempty"`
	// PreserveOrder delivers the chain as the issuer gave it, and not with the certificate itself first.
	PreserveOrder bool `json:"preserveOrder,omitempty"`
}

// ImportCertificate is a certificate with its key that was made elsewhere.
type ImportCertificate struct {
	// File is PFX (PKCS #12) or PEM with an unencrypted key. Password opens a PFX file.
	File     Binary `json:"file"`
	Password Text   `json:"password,omitempty"`
	// Policy says how the certificate is made anew; what it leaves out is taken from the file.
	Policy        *CertificatePolicy `json:"policy,omitempty"`
	Tags          map[string]string  `json:"tags,omitempty"`
	Enabled       *bool              `json:"enabled,omitempty"`
	PreserveOrder bool               `json:"preserveOrder,omitempty"`
}

// UpdateCertificate says what to change of a version. An absent member stays as it is.
type UpdateCertificate struct {
	// Tags replaces all tags; an empty object removes them.
	Tags    map[string]string `json:"tags,omitzero"`
	Enabled *bool             `json:"enabled,omitempty"`
}

// CertificateOperation is the making of one version.
type CertificateOperation struct {
	Name string `json:"name"`
	// Version is the version that it makes.
	Version string               `json:"version"`
	Issuer  CertificateIssuerRef `json:"issuer"`
	// Status is inProgress, completed, cancelled or failed; Details says more of it.
	Status  string `json:"status"`
	Details string `json:"details,omitempty"`
	// Code and Message say why it failed.
	Code    string `json:"code,omitempty"`
	Message string `json:"message,omitempty"`
	// CSR is the certificate request in PEM (PKCS #10).
	CSR       string    `json:"csr"`
	Cancelled bool      `json:"cancelled,omitempty"`
	Started   time.Time `json:"started"`
	// Renewal is true where the policy asked for the version, and nobody else.
	Renewal bool `json:"renewal,omitempty"`
	// Stalled is the renewal that is due now and cannot begin.
	Stalled *CertificateStall `json:"stalled,omitempty"`
}

// CertificateStall is a renewal that is due and cannot begin.
type CertificateStall struct {
	// Since is when it was tried first, Tries how often, Next when again.
	Since time.Time `json:"since"`
	Tries int       `json:"tries"`
	Next  time.Time `json:"next"`
	// Code and Message say why it could not begin.
	Code    string `json:"code"`
	Message string `json:"message"`
}

// ByHand reports whether the operation waits for a person to bring what an authority gave.
func (o *CertificateOperation) ByHand() bool {
	return o.Status == CertificateInProgress && strings.EqualFold(o.Issuer.Name, "Unknown")
}

// The statuses of a CertificateOperation.
const (
	CertificateInProgress = "inProgress"
	CertificateCompleted  = "completed"
	CertificateCancelled  = "cancelled"
	CertificateFailed     = "failed"
)

// MergeCertificate is what an authority gave for a request.
type MergeCertificate struct {
	// PEM has the certificates, in any order.
	PEM  string            `json:"pem"`
	Tags map[string]string `json:"tags,omitempty"`
	// Enabled is what it was to be when the operation began, when absent.
	Enabled *bool `json:"enabled,omitempty"`
}

// CertificateBackup is a sealed copy of a certificate with all of its versions, keys and secrets. Only this installation can read it.
type CertificateBackup struct {
	Blob []byte `json:"blob"`
}

// CertificateIssuer is an issuer that was set up in a vault, without its password.
type CertificateIssuer struct {
	Name string `json:"name"`
	// Provider is the kind of authority.
	Provider string `json:"provider"`
	// Account is the account at the authority, Organization the organisation's id there.
	Account      string             `json:"account,omitempty"`
	Organization string             `json:"organization,omitempty"`
	Admins       []CertificateAdmin `json:"admins,omitempty"`
	// Options are what the provider wants to know beyond that.
	Options map[string]string `json:"options,omitempty"`
	Enabled bool              `json:"enabled"`
	Created time.Time         `json:"created"`
	Updated time.Time         `json:"updated"`
}

// CertificateAdmin is an administrator of the organisation at the authority.
type CertificateAdmin struct {
	FirstName string `json:"firstName,omitempty"`
	LastName  string `json:"lastName,omitempty"`
	Email     string `json:"email,omitempty"`
	Phone     string `json:"phone,omitempty"`
}

// CertificateIssuerList is a page of issuers.
type CertificateIssuerList struct {
	Items []CertificateIssuer `json:"items"`
	Next  string              `json:"next,omitempty"`
}

// SetCertificateIssuer sets up an issuer, in the place of one of that name, or changes one: then an absent member stays as it is.
type SetCertificateIssuer struct {
	Provider *string `json:"provider,omitempty"`
	Account  *string `json:"account,omitempty"`
	// Password proves the account. Nothing shows it again.
	Password     *Text              `json:"password,omitempty"`
	Organization *string            `json:"organization,omitempty"`
	Admins       []CertificateAdmin `json:"admins,omitzero"`
	Options      map[string]string  `json:"options,omitzero"`
	Enabled      *bool              `json:"enabled,omitempty"`
}

// CertificateContact is told when a certificate of the vault is to be seen to.
type CertificateContact struct {
	Email string `json:"email"`
	Name  string `json:"name,omitempty"`
	Phone string `json:"phone,omitempty"`
}

// CertificateContacts are the contacts of a vault.
type CertificateContacts struct {
	Items []CertificateContact `json:"items"`
}
