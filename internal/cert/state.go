package cert

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Status is how far an operation has come, in the words of the protocol.
type Status string

// The statuses. Only an operation in progress can end in another one.
const (
	InProgress Status = "inProgress"
	Completed  Status = "completed"
	Cancelled  Status = "cancelled"
	Failed     Status = "failed"
)

// Operation is the making of one version, which waits for its issuer. There is at most one of a certificate; the last one stays to be looked at until
// it is deleted or another begins.
type Operation struct {
	// Version is the version that it makes, and the id of the request.
	Version vault.VersionID `json:"version"`
	// CSR is the certificate request in DER (PKCS#10).
	CSR []byte `json:"csr"`
	// Policy is what the version is made by, until it is made: what became of the certificate's own policy meanwhile counts for the next version.
	Policy    *Policy   `json:"policy,omitempty"`
	Issuer    IssuerRef `json:"issuer"`
	Status    Status    `json:"status"`
	Details   string    `json:"details"`
	Cancelled bool      `json:"cancelled,omitempty"`
	// Code and Message say why it failed.
	Code    string `json:"code,omitempty"`
	Message string `json:"message,omitempty"`
	// PreserveOrder, Enabled and Tags are what the version is to have.
	PreserveOrder bool              `json:"preserveOrder,omitempty"`
	Enabled       bool              `json:"enabled"`
	Tags          map[string]string `json:"tags,omitempty"`
	Started       time.Time         `json:"started"`
	// Renewal says that nobody asked: the policy did.
	Renewal bool `json:"renewal,omitempty"`
	// Token is what the issuer wants to be asked with; nil until it has begun. Tries counts what failed in a row.
	Token []byte `json:"token,omitempty"`
	Tries int    `json:"tries,omitempty"`
	// Warned says that somebody was told of a renewal which goes on failing.
	Warned bool `json:"warned,omitempty"`
	// SecretObject is the id of the object that the secret belongs, or will belong, to.
	SecretObject vault.ObjectID `json:"secretObject"`
	// Stalled is the renewal after it that cannot begin. It is not stored with an operation.
	Stalled *Stall `json:"-"`
}

// state is what belongs to a certificate beside its versions.
type state struct {
	Policy    *Policy    `json:"policy,omitempty"`
	Operation *Operation `json:"operation,omitempty"`
	// Told is the version of which the contacts were told.
	Told vault.VersionID `json:"told,omitempty"`
	// Advice is what the issuer of the current version says of its renewal; nil when it says nothing.
	Advice *Advice `json:"advice,omitempty"`
	// Stalled is a renewal that cannot begin; nil while none is due, or one has begun.
	Stalled *Stall `json:"stalled,omitempty"`
	// Lineage is what an authority has that others trust by a bundle; nil for all other certificates.
	Lineage *lineage `json:"lineage,omitempty"`
	// advises says that the issuer which completes the operation gives advice. It is not stored.
	advises bool
	// row is what the state was read from; nil for a new one.
	row *store.Policy
}

// stateOf reads the state of a certificate, an empty one when it has none yet.
func stateOf(ctx context.Context, tx store.Tx, o vault.ObjectID) (*state, error) {
	row, err := tx.Policy(ctx, o)
	if fault.Is(err, fault.NotFound) {
		return &state{}, nil
	}
	if err != nil {
		return nil, err
	}
	return readState(row)
}

func readState(row *store.Policy) (*state, error) {
	st := &state{row: row}
	if err := json.Unmarshal(row.Doc, st); err != nil {
		return nil, fmt.Errorf("decoding the policy of the certificate %s: %w", row.Object, err)
	}
	return st, nil
}

// running reports whether an operation is in progress.
func (st *state) running() bool { return st.Operation != nil && st.Operation.Status == InProgress }

// making is the policy by which the operation makes its version.
func (st *state) making() *Policy {
	if st.Operation.Policy != nil {
		return st.Operation.Policy
	}
	return st.Policy // of an operation that was begun before they kept their own
}

// revision counts the changes of the state; 0 before the first.
func (st *state) revision() int64 {
	if st.row == nil {
		return 0
	}
	return st.row.Revision
}

// stamped dates a policy that takes the place of another.
func (p *Policy) stamped(before *Policy, at time.Time) *Policy {
	c := *p
	c.Created, c.Updated = at, at
	if before != nil {
		c.Created = before.Created
	}
	return &c
}

// put stores the state over what was read, to be looked at again at an instant; zero is never.
func (st *state) put(ctx context.Context, tx store.Tx, v *vault.Vault, o *vault.Object, due time.Time) error {
	doc, err := json.Marshal(st)
	if err != nil {
		return err
	}
	row := store.Policy{Object: o.ID, Tenant: v.Tenant, Vault: v.ID, Kind: vault.Certificate, NameKey: vault.NameKey(o.Name), DueAt: due, Doc: doc}
	if st.row != nil {
		row.Revision = st.row.Revision
	}
	return tx.PutPolicy(ctx, &row)
}
