package store

import (
	"context"
	"time"

	"github.com/keywright/keywright/internal/vault"
)

// Issuances keeps what the certificate authorities of vaults have signed. Journal entries of its changes name no change.
type Issuances interface {
	// Authority finds an authority by its id.
	Authority(ctx context.Context, id string) (*Authority, error)
	// AddAuthority makes an authority known. One that is known already stays as it is.
	AddAuthority(ctx context.Context, a *Authority) error
	// Authorities lists authorities behind an id, in the order of their ids; n of 0 means no limit.
	Authorities(ctx context.Context, after string, n int) ([]*Authority, error)
	// DropAuthority forgets an authority, and the number of its last revocation list with it. Its certificates are dropped before.
	DropAuthority(ctx context.Context, id string) error
	// NextCRLNumber counts an authority's revocation lists, beginning with 1.
	NextCRLNumber(ctx context.Context, authority string) (int64, error)
	// AddIssuance inserts a certificate. One with its serial number or its request that is there already is a fault.Conflict.
	AddIssuance(ctx context.Context, i *Issuance) error
	// Issuance finds a certificate by its serial number, IssuanceByRequest by what it was issued for.
	Issuance(ctx context.Context, authority, serial string) (*Issuance, error)
	IssuanceByRequest(ctx context.Context, authority, request string) (*Issuance, error)
	// RevokeIssuance marks a certificate. One that is marked already keeps its first mark.
	RevokeIssuance(ctx context.Context, authority, serial string, at time.Time, reason int) error
	// RevokedIssuances lists the marked certificates that end after an instant, in the order of their ends and then of their serial numbers.
	RevokedIssuances(ctx context.Context, q RevokedQuery) ([]*Issuance, error)
	// LiveIssuances lists the certificates that are not marked and end after an instant, in the order of their serial numbers.
	LiveIssuances(ctx context.Context, q LiveQuery) ([]*Issuance, error)
	// DropIssuances forgets at most n certificates of an authority that ended before an instant, those first that ended first, and returns how many those were.
	DropIssuances(ctx context.Context, authority string, endedBefore time.Time, n int) (int, error)
}

// Authority is one version of a certificate that signs others.
type Authority struct {
	// ID is that version's.
	ID      string
	Tenant  vault.TenantID
	Vault   vault.ID
	NameKey string
	Version vault.VersionID
	// CRLNumber is the number of its last revocation list; NextCRLNumber counts it.
	CRLNumber int64
}

// Issuance is a certificate that an authority signed.
type Issuance struct {
	Authority string
	// Serial is the serial number in lower-case hexadecimal digits without leading zeros.
	Serial string
	// Request is what it was issued for, unique at the authority.
	Request  string
	Profile  string
	DER      []byte
	NotAfter time.Time
	// Revoked is when it was taken back, zero for never; Reason why, by RFC 5280, section 5.3.1.
	Revoked time.Time
	Reason  int
}

// LiveQuery selects an authority's certificates that count. The listing goes on behind a serial number; Limit 0 means no limit.
type LiveQuery struct {
	Authority string
	EndAfter  time.Time
	After     string
	Limit     int
}

// RevokedQuery selects an authority's revoked certificates. The listing goes on behind one that it gave; Limit 0 means no limit.
type RevokedQuery struct {
	Authority string
	EndAfter  time.Time
	After     *Issuance
	Limit     int
}
