package rotation

import (
	"encoding/json"

	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// EventType names an event of a run.
type EventType string

// The events of runs. Their data is an EventData.
const (
	RunMoved EventType = "Keywright.RotationMoved"
	RunAlert EventType = "Keywright.RotationAlert"
)

// EventData is what events of runs tell.
type EventData struct {
	Run      store.RunID       `json:"run"`
	Kind     store.RunKind     `json:"kind"`
	Object   string            `json:"object"`
	From     State             `json:"from,omitempty"`
	State    State             `json:"state"`
	Reason   Reason            `json:"reason,omitempty"`
	Cause    Cause             `json:"cause"`
	Versions []vault.VersionID `json:"versions,omitempty"`
	Waiting  []Holder          `json:"waiting,omitempty"`
}

// tell emits the event of a move.
func (c *commit) tell(tx store.Tx) error {
	if c.next.State == c.d.run.State {
		return nil
	}
	return c.emit(tx, c.event, RunMoved, c.reason)
}

func (c *commit) emit(tx store.Tx, id string, t EventType, why Reason) error {
	data := EventData{Run: c.next.ID, Kind: c.next.Kind, Object: c.next.NameKey, From: c.d.run.State, State: c.next.State, Reason: why, Cause: c.next.Start.Cause,
		Waiting: c.next.Waiting}
	if c.next.Kind == store.RevocationRun {
		data.Versions = c.d.run.Old
	} else if c.next.Pending != "" {
		data.Versions = []vault.VersionID{c.next.Pending}
	}
	doc, err := json.Marshal(data)
	if err != nil {
		return err
	}
	tx.Emit(store.Event{ID: id, Type: string(t), Tenant: c.next.Tenant, Vault: c.next.Vault, Subject: c.next.NameKey, At: c.op.At, Data: doc})
	return nil
}
