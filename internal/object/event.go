package object

import (
	"encoding/json"
	"time"

	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Event is what happened to an object, in the words of Key Vault's Event Grid schema.
type Event string

// The events.
const (
	NewVersion Event = "NewVersionCreated"
	NearExpiry Event = "NearExpiry"
	Expired    Event = "Expired"
)

// EventType is the full name of an event of the kind.
func (k *Kind) EventType(e Event) string { return "Microsoft.KeyVault." + k.Word + string(e) }

// eventData is the data member of Key Vault events; its names are those of the wire.
type eventData struct {
	VaultName  string `json:"VaultName"`
	ObjectType string `json:"ObjectType"`
	ObjectName string `json:"ObjectName"`
	Version    string `json:"Version"`
	NBF        *int64 `json:"NBF"`
	EXP        *int64 `json:"EXP"`
}

// EmitNew tells of a new version.
func (s *Objects) EmitNew(tx store.Tx, v *vault.Vault, it Item) error {
	// The version's id names the event too: the same change never makes two.
	return s.Emit(tx, string(it.Version.ID), it.Version.Attributes.Created, NewVersion, v, it)
}

// Emit tells of an event under an id of its own, 32 hexadecimal digits.
func (s *Objects) Emit(tx store.Tx, id string, at time.Time, e Event, v *vault.Vault, it Item) error {
	ver := it.Version
	data, err := json.Marshal(eventData{VaultName: v.Name, ObjectType: s.Kind.Word, ObjectName: it.Object.Name, Version: string(ver.ID),
		NBF: seconds(ver.Attributes.NotBefore), EXP: seconds(ver.Attributes.Expires)})
	if err != nil {
		return err
	}
	tx.Emit(store.Event{ID: id, Type: s.Kind.EventType(e), Tenant: v.Tenant, Vault: v.ID, Subject: it.Object.Name, At: at, Data: data})
	return nil
}

func seconds(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	s := t.Unix()
	return &s
}
