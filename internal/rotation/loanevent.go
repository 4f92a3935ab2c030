package rotation

import (
	"encoding/json"
	"time"

	"github.com/keywright/keywright/internal/store"
)

// LeaseIrrevocable is the event of an account that could not be removed at its target, LeaseOrphan of one that was found there without a lease, and removed. Their
// data is a LoanData.
const (
	LeaseIrrevocable EventType = "Keywright.LeaseIrrevocable"
	LeaseOrphan      EventType = "Keywright.LeaseOrphan"
)

// LoanData is what events of leases tell.
type LoanData struct {
	Lease   store.LoanID `json:"lease"`
	Object  string       `json:"object"`
	Account string       `json:"account"`
	Holder  string       `json:"holder,omitempty"`
	State   LoanState    `json:"state,omitempty"`
	Reason  Reason       `json:"reason,omitempty"`
	Error   string       `json:"error,omitempty"`
}

func emitLoan(tx store.Tx, id string, t EventType, l *Loan, at time.Time) error {
	data := LoanData{Lease: l.ID, Object: l.NameKey, Account: l.Account, Holder: l.Holder, State: l.State, Reason: l.Why}
	if l.LastError != nil {
		data.Error = l.LastError.Message
	}
	doc, err := json.Marshal(data)
	if err == nil {
		tx.Emit(store.Event{ID: id, Type: string(t), Tenant: l.Tenant, Vault: l.Vault, Subject: l.NameKey, At: at, Data: doc})
	}
	return err
}
