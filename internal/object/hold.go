package object

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Held is the reason of the fault when something cannot be purged, because a hold keeps it.
const Held fault.Reason = "Held"

// Hold is an order of somebody that nothing is purged: of one object, or of a whole vault with all that it keeps.
type Hold struct {
	ID string `json:"-"`
	// Object is empty for a whole vault, and so are its kind and name.
	Object vault.ObjectID `json:"-"`
	Kind   vault.Kind     `json:"kind,omitempty"`
	Name   string         `json:"name,omitempty"`
	// By placed it, and Why.
	By     principal.ID `json:"by"`
	ByName string       `json:"byName"`
	Why    string       `json:"why"`
	Since  time.Time    `json:"since"`
	// Until is when it ends by itself; zero when somebody has to lift it.
	Until time.Time `json:"-"`
}

// Need is the hold as the store keeps it.
func (h *Hold) Need(v vault.ID) (*store.KeyNeed, error) {
	note, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	return &store.KeyNeed{Key: h.Object, In: v, By: vault.ID(h.ID), ByName: h.ByName, Use: store.NeededByHold, Until: h.Until, Note: string(note)}, nil
}

// HoldsIn lists the holds of a vault and its objects that have not ended, in the order of their ids.
func HoldsIn(ctx context.Context, tx store.Tx, v vault.ID, at time.Time) (holds []*Hold, err error) {
	needs, err := tx.KeyNeeds(ctx, v, "")
	if err != nil {
		return nil, err
	}
	for _, n := range needs {
		if n.Use != store.NeededByHold || n.Ended(at) {
			continue
		}
		h := new(Hold)
		if err := json.Unmarshal([]byte(n.Note), h); err != nil {
			return nil, fmt.Errorf("reading the hold %s: %w", n.By, err)
		}
		h.ID, h.Object, h.Until = string(n.By), n.Key, n.Until
		holds = append(holds, h)
	}
	slices.SortFunc(holds, func(a, b *Hold) int { return strings.Compare(a.ID, b.ID) })
	return holds, nil
}

// CheckHeld refuses a purge that a hold forbids, and says whose it is, and why: of one object, or of a whole vault when none is named.
func CheckHeld(ctx context.Context, tx store.Tx, v *vault.Vault, o *vault.Object, at time.Time) error {
	holds, err := HoldsIn(ctx, tx, v.ID, at)
	if err != nil {
		return err
	}
	for _, h := range holds {
		if o != nil && h.Object != "" && h.Object != o.ID {
			continue
		}
		what := fmt.Sprintf("the vault %q", v.Name)
		if o != nil {
			what = fmt.Sprintf("the %s %q", o.Kind, o.Name)
		}
		if o == nil && h.Object != "" {
			what += fmt.Sprintf(", with the %s %q in it,", h.Kind, h.Name)
		}
		until := "until somebody lifts the hold"
		if !h.Until.IsZero() {
			until = "until " + h.Until.UTC().Format(time.RFC3339)
		}
		return fault.New(fault.Forbidden, "%s cannot be purged: %s holds it since %s, %s, because: %s", what, h.ByName, h.Since.UTC().Format(time.DateOnly), until, h.Why).
			Because(Held)
	}
	return nil
}
