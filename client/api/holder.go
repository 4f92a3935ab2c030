package api

import "time"

// The levels of an acknowledgement.
const (
	// Loaded: the consumer will use the version next. Used: it signed in with it, and uses no other any more.
	Loaded = "loaded"
	Used   = "used"
)

// Ack says how far the calling instance has come with a version that was delivered to it.
type Ack struct {
	Level string `json:"level"`
	// PollSeconds, when not 0, is the longest time between two reads of a consumer that is alive: after three missed ones it counts as gone.
	PollSeconds int `json:"pollSeconds,omitempty"`
}

// The states of a holder. Only moved and gone let a version go.
const (
	Live   = "live"
	Moved  = "moved"
	Away   = "gone"
	Silent = "silent"
)

// Holding is what is known of a consumer and a version.
type Holding struct {
	// Principal is an object id; it is empty for a session at the target that belongs to nobody known.
	Principal string `json:"principal,omitempty"`
	// Instance is what the consumer declared, else the resource of its managed identity, else "@" and its address; ">" and a place for a copy that was
	// delivered outside the API.
	Instance string `json:"instance"`
	// Weak is true when several processes may stand behind the instance.
	Weak bool `json:"weak,omitempty"`
	// First and Last are when the version was delivered, Loaded and Used when that was acknowledged, Seen when the target last showed a session.
	First  *time.Time `json:"first,omitempty"`
	Last   *time.Time `json:"last,omitempty"`
	Loaded *time.Time `json:"loaded,omitempty"`
	Used   *time.Time `json:"used,omitempty"`
	Seen   *time.Time `json:"seen,omitempty"`
	// PollSeconds is how often the consumer declared to poll.
	PollSeconds int `json:"pollSeconds,omitempty"`
	// Via are the ways of delivery: doors, or push, export and backup. Address is where the consumer came from last.
	Via     []string `json:"via,omitempty"`
	Address string   `json:"address,omitempty"`
	// Cleared is when somebody vouched that the consumer does not use the version any more, ClearedBy who and ClearedReason why.
	Cleared       *time.Time `json:"cleared,omitempty"`
	ClearedBy     string     `json:"clearedBy,omitempty"`
	ClearedReason string     `json:"clearedReason,omitempty"`
}

// VersionHolder is a consumer of a version, and whether it still has to be waited for.
type VersionHolder struct {
	Holding
	// Name is the principal's display name, while it exists.
	Name string `json:"name,omitempty"`
	// State is live, moved, gone or silent, Reason why.
	State  string `json:"state"`
	Reason string `json:"reason"`
}

// VersionHolderList is who holds a version, those first who break if it dies now.
type VersionHolderList struct {
	Vault   string `json:"vault"`
	Name    string `json:"name"`
	Version string `json:"version"`
	// Current is the version that the holders are expected to move to; it is the version itself while that is current.
	Current string `json:"current,omitempty"`
	// Safe is true when the version can go, Reason says why not, or why.
	Safe   bool   `json:"safe"`
	Reason string `json:"reason"`
	// Waiting and Total count the holders that have to be waited for, and all; Items may be fewer.
	Waiting int             `json:"waiting"`
	Total   int             `json:"total"`
	Items   []VersionHolder `json:"items"`
}

// ClearHolder says that a consumer does not use a version any more.
type ClearHolder struct {
	// Principal and Instance are as the list of holders shows them.
	Principal string `json:"principal,omitempty"`
	Instance  string `json:"instance"`
	Reason    string `json:"reason"`
}

// HeldVersion is a version that was delivered to somebody.
type HeldVersion struct {
	// Vault is the vault's name; it is empty when the vault is purged.
	Vault string `json:"vault,omitempty"`
	Kind  string `json:"kind"`
	Name  string `json:"name"`
	// Version is empty for a sealed backup, which holds all versions that there were.
	Version string `json:"version,omitempty"`
	Holding
}

// HeldPage is a page of what was ever delivered.
type HeldPage struct {
	Items []HeldVersion `json:"items"`
	Next  string        `json:"next,omitempty"`
}
