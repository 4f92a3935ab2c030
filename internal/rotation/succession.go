package rotation

import (
	"slices"
	"time"

	"github.com/keywright/keywright/internal/vault"
)

// Succession is what the change of an authority has come to. The authority and those below it change one after the other, each after the one that signs it; only when
// all of them have successors that everybody trusts are certificates made anew.
type Succession struct {
	// Line are the authorities, parents first, and At is the one that changes now.
	Line []Heir `json:"line"`
	At   int    `json:"at,omitempty"`
	// Bundles are the trust bundles as they were published last.
	Bundles []Bundle `json:"bundles,omitempty"`
	// Children are the certificates that stand, or stood, under what goes.
	Children []Child `json:"children,omitempty"`
	// Held is true after people heard that a deadline holds the change.
	Held bool `json:"held,omitempty"`
	// Cut is true once what goes has left the trust bundles: from there on the run goes only forward.
	Cut bool `json:"cut,omitempty"`
}

// Elsewhere says in which vault something is that is not in the vault of its run; it is zero for what is.
type Elsewhere struct {
	Vault vault.ID `json:"vault,omitempty"`
	// In is the vault's name.
	In string `json:"in,omitempty"`
}

// Heir is one authority of a change: Old signed at its beginning, New is its successor, and Issues says that it is New that signs.
type Heir struct {
	Elsewhere
	Name    string          `json:"name"`
	Subject string          `json:"subject,omitempty"`
	Object  vault.ObjectID  `json:"object"`
	Old     vault.VersionID `json:"old"`
	New     vault.VersionID `json:"new,omitempty"`
	Issues  bool            `json:"issues,omitempty"`
}

// Bundle is a trust bundle: the secret, its version that was published at an instant, and the one before.
type Bundle struct {
	Elsewhere
	Name    string          `json:"name"`
	Object  vault.ObjectID  `json:"object"`
	Version vault.VersionID `json:"version"`
	Base    vault.VersionID `json:"base,omitempty"`
	At      time.Time       `json:"at"`
}

// Child is a certificate below the authorities: its versions that go, and the one that came in their place at an instant; empty while there is none.
type Child struct {
	Elsewhere
	Name    string            `json:"name"`
	Old     []vault.VersionID `json:"old"`
	New     vault.VersionID   `json:"new,omitempty"`
	At      time.Time         `json:"at,omitzero"`
	Problem string            `json:"problem,omitempty"`
}

// Survey is what is found before a change.
type Survey struct {
	// Current is the version of the trust bundle, Line the authorities with the versions that sign.
	Current vault.VersionID
	Line    []Heir
	// Refusal says why the change cannot begin now; nil when it can.
	Refusal *Refusal
}

// Made is how far the making of an authority's next version is.
type Made struct {
	Version vault.VersionID
	Detail  string
}

// text names it for people.
func (c *Child) text() string {
	if c.In != "" {
		return c.In + "/" + c.Name
	}
	return c.Name
}

func (s *Succession) clone() *Succession {
	if s == nil {
		return nil
	}
	c := *s
	c.Line, c.Bundles, c.Children = slices.Clone(s.Line), slices.Clone(s.Bundles), slices.Clone(s.Children)
	return &c
}

// keep is the version of each authority that is to stay, by its object: the successor, or the one before when the change goes back.
func (r *Run) keep() map[vault.ObjectID]vault.VersionID {
	kept := make(map[vault.ObjectID]vault.VersionID)
	for _, h := range r.Succession.Line {
		kept[h.Object] = h.Old
		if r.Undo == "" && h.New != "" {
			kept[h.Object] = h.New
		}
	}
	return kept
}

// waits reports whether the run waits for consumers.
func (r *Run) waits() bool {
	return r.State == Trusting || r.State == Reissuing || r.State == Deploying
}
