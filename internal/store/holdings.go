package store

import (
	"context"
	"time"

	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/vault"
)

// Holdings keeps the ledger: who holds which version. Journal entries of its changes name no change.
type Holdings interface {
	// Holding finds one row of the ledger.
	Holding(ctx context.Context, k HoldingKey) (*Holding, error)
	// AddHolding inserts a row, and reports whether it did: a row of the same key stays as it is.
	AddHolding(ctx context.Context, h *Holding) (added bool, err error)
	// PutHolding inserts or replaces a row.
	PutHolding(ctx context.Context, h *Holding) error
	// TouchHolding moves Last of a row forward, never back, and changes nothing else. It finds rows alone that were delivered by then, whose First is not
	// behind last: any other would lack more than Last.
	TouchHolding(ctx context.Context, k HoldingKey, last time.Time) (found bool, err error)
	// Holdings lists in the order of keys: vault, kind, name, version, principal, instance. What a principal holds in any vault it lists as it was
	// delivered, by First and then by keys.
	Holdings(ctx context.Context, q HoldingQuery) ([]*Holding, error)
	// DeleteHoldings removes the rows of an object, or of one of its versions, at most limit, and returns how many it removed.
	DeleteHoldings(ctx context.Context, v vault.ID, k vault.Kind, nameKey string, version vault.VersionID, limit int) (int, error)
	// Projected returns up to where a node's audit log has been taken in: the index behind the last record, 0 before the first.
	Projected(ctx context.Context, node string) (int64, error)
	// SetProjected never moves back. It makes no journal entry.
	SetProjected(ctx context.Context, node string, index int64) error
}

// HoldingKey names a row of the ledger.
type HoldingKey struct {
	Vault   vault.ID
	Kind    vault.Kind
	NameKey string
	Version vault.VersionID
	// Principal and Instance are the consumer. An instance that nobody declared is an address, and Weak in the row.
	Principal principal.ID
	Instance  string
}

// Holding says that a consumer was given a version, and what is known of its use.
type Holding struct {
	HoldingKey
	Tenant vault.TenantID
	// Weak is true when several processes may hide behind the instance.
	Weak bool
	// First and Last are when it was delivered.
	First, Last time.Time
	// Loaded, Used and Seen are when the consumer said that it loaded and used the version, and when the target last showed the use; zero
	// for never.
	Loaded, Used, Seen time.Time
	// Doc holds what else is known: poll interval, how it was delivered, who cleared it and why.
	Doc []byte
}

// HoldingQuery selects rows. Empty fields select all; Limit 0 means no limit.
type HoldingQuery struct {
	Tenant    vault.TenantID
	Vault     vault.ID
	Kind      vault.Kind
	NameKey   string
	Version   vault.VersionID
	Principal principal.ID
	After     *HoldingPlace
	Limit     int
}

// ByFirst reports whether the listing is in the order of first deliveries.
func (q *HoldingQuery) ByFirst() bool { return q.Principal != "" && q.Vault == "" }

// HoldingPlace is the place of a row in any listing.
type HoldingPlace struct {
	HoldingKey
	First time.Time
}

// Place returns the place of the row.
func (h *Holding) Place() *HoldingPlace { return &HoldingPlace{h.HoldingKey, h.First} }
