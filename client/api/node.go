package api

import "time"

// Node is one of the nodes that work on the store.
type Node struct {
	ID string `json:"id"`
	// Host is the name of its machine, Version that of the program.
	Host    string `json:"host"`
	Version string `json:"version"`
	// State is "live", "silent" when nothing was heard of it for a while, or "stopped" when it ended in order.
	State string `json:"state"`
	// Seen is when it was last heard of, and QuietSeconds how long that is ago, both by the store's clock.
	Seen         time.Time `json:"seen"`
	QuietSeconds float64   `json:"quietSeconds"`
	Started      time.Time `json:"started"`
	// Stopped is when it ended in order; absent while it has not.
	Stopped *time.Time `json:"stopped,omitempty"`
	// Position is the newest entry of the store's journal that it has seen, and Behind how many it has not.
	Position int64 `json:"position"`
	Behind   int64 `json:"behind"`
	// Answers is true for the node that gives this answer.
	Answers bool `json:"answers"`
}

// NodeList is all nodes.
type NodeList struct {
	Items []Node `json:"items"`
}
