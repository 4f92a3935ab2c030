package api

import "time"

// PublishTrust keeps what those who trust a certificate authority have to trust in a secret, its trust bundle, and says how the authority changes. All durations are as
// in rotation policies.
type PublishTrust struct {
	// Bundle names the secret; the authority's name and -trust when absent.
	Bundle string `json:"bundle,omitempty"`
	// Grace is how long everybody is waited for at least, CacheTTL how long consumers keep what they read, and MaxConnectionLife how long they keep a connection: what they have
	// from before is gone then.
	Grace             string `json:"grace,omitempty"`
	CacheTTL          string `json:"cacheTTL,omitempty"`
	MaxConnectionLife string `json:"maxConnectionLife,omitempty"`
	// Deadline is how long each wait of a change should take at most, Overdue what happens then: hold or force.
	Deadline string         `json:"deadline,omitempty"`
	Overdue  *OverduePolicy `json:"overdue,omitempty"`
	// Schedule and BeforeExpiry are when the authority changes by itself; absent for never.
	Schedule     string `json:"schedule,omitempty"`
	BeforeExpiry string `json:"beforeExpiry,omitempty"`
	// Approval holds each change until somebody agrees. Unread lets the authority change although nobody is known to read the bundle.
	Approval bool `json:"approval,omitempty"`
	Unread   bool `json:"unread,omitempty"`
}

// CertificateAuthority is a certificate that signs others, with those below it.
type CertificateAuthority struct {
	Vault string `json:"vault"`
	Name  string `json:"name"`
	// Line is the authority and those below it in the vault, each after the one that signs it.
	Line []AuthorityVersions `json:"line"`
	// Bundle is the trust bundle; absent when there is none.
	Bundle *TrustBundle `json:"bundle,omitempty"`
	// Change is the last change; absent when there was none.
	Change *Rotation `json:"change,omitempty"`
}

// AuthorityVersions are the versions of an authority that count.
type AuthorityVersions struct {
	// Vault is where it is, when that is another vault than the one of the change.
	Vault   string `json:"vault,omitempty"`
	Name    string `json:"name"`
	Subject string `json:"subject"`
	// Signs is the version that signs, Trusted are those in trust bundles.
	Signs   string   `json:"signs"`
	Trusted []string `json:"trusted"`
	// Issuers are the issuers of the vault that sign with it. Above is the authority that signs it, Bundle the secret with its trust bundle, Run the change that is under way; absent
	// for none.
	Issuers []string `json:"issuers,omitempty"`
	Above   string   `json:"above,omitempty"`
	Bundle  string   `json:"bundle,omitempty"`
	Run     string   `json:"run,omitempty"`
}

// TrustBundle is the secret with what has to be trusted, and how its authority changes.
type TrustBundle struct {
	Name      string         `json:"name"`
	Policy    RotationPolicy `json:"policy"`
	DueAt     *time.Time     `json:"dueAt,omitempty"`
	Succeeded *time.Time     `json:"succeeded,omitempty"`
}

// ChangeAuthority starts the change of an authority: on-demand, emergency or leak. In the last two nobody is waited for.
type ChangeAuthority struct {
	Cause   string     `json:"cause"`
	Note    string     `json:"note,omitempty"`
	Exposed *time.Time `json:"exposed,omitempty"`
}

// AuthorityProgress is how far the change of an authority has come.
type AuthorityProgress struct {
	// Authorities change one after the other, and Changing is the one whose turn it is.
	Authorities []AuthorityHeir `json:"authorities"`
	Changing    string          `json:"changing,omitempty"`
	// Bundles are the trust bundles as they were published last.
	Bundles []PublishedBundle `json:"bundles,omitempty"`
	// Certificates are those below, of which old versions were signed by what goes.
	Certificates []ReissuedCertificate `json:"certificates,omitempty"`
	// Held is true while a deadline holds the change. Dropped is true once the old authority has left the bundles: from there on it goes only forward.
	Held    bool `json:"held,omitempty"`
	Dropped bool `json:"dropped,omitempty"`
	// Returning is true while the change is undone.
	Returning bool `json:"returning,omitempty"`
}

// AuthorityHeir is an authority with the version from before and its successor, which signs when Signs is true.
type AuthorityHeir struct {
	// Vault is where it is, when that is another vault than the one of the change.
	Vault   string `json:"vault,omitempty"`
	Name    string `json:"name"`
	Subject string `json:"subject,omitempty"`
	Old     string `json:"old"`
	New     string `json:"new,omitempty"`
	Signs   bool   `json:"signs,omitempty"`
}

// PublishedBundle is a version of a trust bundle.
type PublishedBundle struct {
	// Vault is where it is, when that is another vault than the one of the change.
	Vault   string    `json:"vault,omitempty"`
	Name    string    `json:"name"`
	Version string    `json:"version"`
	At      time.Time `json:"at"`
}

// ReissuedCertificate is a certificate that an authority signed, and the version that came in the place of the old ones.
type ReissuedCertificate struct {
	// Vault is where it is, when that is another vault than the one of the change.
	Vault   string   `json:"vault,omitempty"`
	Name    string   `json:"name"`
	Old     []string `json:"old"`
	New     string   `json:"new,omitempty"`
	Problem string   `json:"problem,omitempty"`
}
