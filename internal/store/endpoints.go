package store

import (
	"context"
	"time"

	"github.com/keywright/keywright/internal/vault"
)

// Endpoints keeps the places where certificates are presented, and what was seen there. What is searched has a field; the rest of a record is a document
// of the endpoint service's own, which holds no value.
type Endpoints interface {
	Endpoint(ctx context.Context, id string) (*Endpoint, error)
	// EndpointByName compares names without regard to case.
	EndpointByName(ctx context.Context, v vault.ID, name string) (*Endpoint, error)
	// Endpoints lists in the order of ids, or of NextAt when q.DueBefore is set.
	Endpoints(ctx context.Context, q EndpointQuery) ([]*Endpoint, error)
	// CountEndpoints counts those of a vault, at most limit.
	CountEndpoints(ctx context.Context, v vault.ID, limit int) (int, error)
	// PutEndpoint inserts an endpoint of revision 0 (a taken name is a fault.Conflict) or replaces the revision that was read.
	PutEndpoint(ctx context.Context, e *Endpoint) error
	DeleteEndpoint(ctx context.Context, id string) error
}

// EndpointChanged is a change of an endpoint; its Key is the id.
const EndpointChanged ChangeKind = "endpoint"

// Endpoint is a place where a certificate is presented.
type Endpoint struct {
	// ID is 32 hexadecimal digits, time-ordered.
	ID     string
	Tenant vault.TenantID
	Vault  vault.ID
	// Name is unique in the vault without regard to case.
	Name string
	// Certificate is the name key of the certificate that is to be presented; empty for one that the vault does not have.
	Certificate string
	// NextAt is when it is looked at next; zero for never.
	NextAt   time.Time
	Revision int64
	Doc      []byte
}

// EndpointQuery selects endpoints. Empty fields select all; Limit 0 means no limit.
type EndpointQuery struct {
	Vault vault.ID
	// Certificate is the name key of one certificate of the vault.
	Certificate string
	// DueBefore selects those whose NextAt is not later.
	DueBefore time.Time
	// After is the last endpoint of the page before; it cannot be used with DueBefore.
	After string
	Limit int
}
