package api

import "time"

// KeyringStatus says how the keys are that protect what a tenant keeps, or the installation.
type KeyringStatus struct {
	Layers []KeyLayer `json:"layers"`
}

// KeyLayer is a layer of keys.
type KeyLayer struct {
	Layer string `json:"layer"`
	// Keys counts all of them, Old those among them that only open what they sealed before.
	Keys int `json:"keys"`
	Old  int `json:"old"`
	// Newest is when the newest was made; missing where there is none.
	Newest *time.Time `json:"newest,omitempty"`
	// Moving counts what is still to be moved from old keys to new ones: keys, or vaults for the layers vault and data. Seen and Moved count the versions
	// that were looked at and moved so far in those vaults.
	Moving int   `json:"moving"`
	Seen   int64 `json:"seen,omitempty"`
	Moved  int64 `json:"moved,omitempty"`
}

// RotateKeys makes new keys of a layer.
type RotateKeys struct {
	// Layer is tenant, vault, data, audit, backup, digest or service; and root, on the machine of the server.
	Layer string `json:"layer"`
	// Vault rotates the keys of one vault alone, for the layers vault and data.
	Vault string `json:"vault,omitempty"`
}

// KeysRotated says how many keys were made.
type KeysRotated struct {
	Made int `json:"made"`
}

// PlaceHold keeps something from being purged.
type PlaceHold struct {
	// Kind is secret, key or certificate. Without a kind and a name the whole vault is held.
	Kind string `json:"kind,omitempty"`
	Name string `json:"name,omitempty"`
	// Reason is why, which whoever is refused a purge gets to read.
	Reason string `json:"reason"`
	// Until is when the hold ends by itself; missing when somebody has to lift it.
	Until *time.Time `json:"until,omitempty"`
}

// Hold keeps something from being purged.
type Hold struct {
	ID     string     `json:"id"`
	Kind   string     `json:"kind,omitempty"`
	Name   string     `json:"name,omitempty"`
	By     string     `json:"by"`
	ByName string     `json:"byName"`
	Reason string     `json:"reason"`
	Since  time.Time  `json:"since"`
	Until  *time.Time `json:"until,omitempty"`
}

// HoldList lists holds.
type HoldList struct {
	Items []Hold `json:"items"`
}

// Recoverable tells until when backups can bring back what is purged.
type Recoverable struct {
	// Backups says whether there are any that have not ended.
	Backups bool `json:"backups"`
	// Until is when the last one ends; missing when none has an end.
	Until *time.Time `json:"until,omitempty"`
}

// Shredded is an object that was purged.
type Shredded struct {
	// Object is the id that it had.
	Object string    `json:"object"`
	Purged time.Time `json:"purged"`
	Recoverable
}

// ShreddedList lists what was purged.
type ShreddedList struct {
	Items []Shredded `json:"items"`
}
