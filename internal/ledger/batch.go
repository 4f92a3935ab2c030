package ledger

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// batch is the transaction of a commit.
type batch struct {
	ctx context.Context
	tx  store.Tx
	at  time.Time
	// retired are the retired versions among those whose use the batch is about.
	retired map[vault.VersionID]bool
}

// look finds out which versions are retired, at once for all rows that tell of a use.
func (b *batch) look(rows []*change) error {
	var ids []vault.VersionID
	for _, c := range rows {
		if c.uses() && (len(ids) == 0 || ids[len(ids)-1] != c.facts.Version) { // neighbours often are of one
			ids = append(ids, c.facts.Version)
		}
	}
	return b.lookAt(ids...)
}

func (b *batch) lookAt(ids ...vault.VersionID) error {
	if len(ids) == 0 {
		return nil
	}
	list, err := b.tx.RetiredAmong(b.ctx, ids)
	if err == nil && len(list) > 0 {
		b.retired = make(map[vault.VersionID]bool, len(list))
	}
	for _, id := range list {
		b.retired[id] = true
	}
	return err
}

// uses reports whether the change tells that somebody used a version, or wanted to.
func (c *change) uses() bool {
	return c.facts.Version != "" && (c.refused || !c.facts.Last.IsZero())
}

// put joins the facts with what the store has.
func (b *batch) put(c *change) error {
	if c.touch && !b.retired[c.facts.Version] {
		// A row that somebody removed meanwhile is made anew below.
		if found, err := b.tx.TouchHolding(b.ctx, c.facts.HoldingKey, c.facts.Last); found || err != nil {
			return err
		}
	}
	if added, err := b.add(c); added || err != nil {
		return err
	}
	h := c.facts
	old, err := b.tx.Holding(b.ctx, h.HoldingKey)
	switch {
	case err == nil:
		was, err := open(old)
		if err != nil {
			return err
		}
		was.join(&h)
		h = *was
	case !fault.Is(err, fault.NotFound):
		return err
	}
	if c.uses() {
		v, o, err := b.revoked(&h)
		if err != nil {
			return err
		}
		if v == nil && c.refused {
			return nil // an ordinary refusal is no affair of the ledger's
		}
		if v != nil {
			if err := b.alarm(&h, o, c.facts.Refused, later(c.facts.Last, c.facts.Refused)); err != nil {
				return err
			}
		}
	}
	row, err := h.row()
	if err != nil {
		return err
	}
	return b.tx.PutHolding(b.ctx, row)
}

// add inserts the row of a delivery when the store has none of its key, which spares it looking first. What may be one of a retired version is left to
// put.
func (b *batch) add(c *change) (added bool, err error) {
	if c.known || c.refused || !c.uses() || b.retired[c.facts.Version] {
		return false, nil
	}
	row, err := c.facts.row()
	if err != nil {
		return false, err
	}
	return b.tx.AddHolding(b.ctx, row)
}

// revoked returns the version and its object when the version was revoked at its target, nil otherwise.
func (b *batch) revoked(h *Holding) (*vault.Version, *vault.Object, error) {
	if !b.retired[h.Version] {
		return nil, nil, nil
	}
	found, err := b.tx.ObjectVersion(b.ctx, h.Vault, h.Kind, h.NameKey, h.Version)
	switch {
	case fault.Is(err, fault.NotFound):
		return nil, nil, nil // purged since
	case err != nil:
		return nil, nil, err
	case found.Version == nil || found.Version.State != vault.Retired:
		return nil, nil, nil
	}
	return found.Version, found.Object, nil
}

// RetiredUsed is the type of the event that tells that somebody used a credential after it was revoked: a laggard, or a thief.
const RetiredUsed = "Keywright.Rotation.RetiredCredentialUsed"

// alarmEvery is how often the use of one retired version by one consumer is told.
const alarmEvery = time.Hour

// RetiredUse is what the event tells.
type RetiredUse struct {
	ObjectType string `json:"objectType"`
	ObjectName string `json:"objectName"`
	Version    string `json:"version"`
	Principal  string `json:"principal,omitempty"`
	Instance   string `json:"instance,omitempty"`
	Address    string `json:"address,omitempty"`
	// How is read, refused or session.
	How string    `json:"how"`
	At  time.Time `json:"at"`
}

// alarm emits the event, unless it did lately.
func (b *batch) alarm(h *Holding, o *vault.Object, refused, at time.Time) error {
	if !h.Alarmed.IsZero() && at.Sub(h.Alarmed) < alarmEvery {
		return nil
	}
	how := "read"
	switch {
	case !h.Seen.IsZero() && h.Seen.Equal(at):
		how = "session"
	case refused.Equal(at):
		how = "refused"
	}
	h.Alarmed = at
	data, err := json.Marshal(RetiredUse{ObjectType: string(o.Kind), ObjectName: o.Name, Version: string(h.Version), Principal: string(h.Principal),
		Instance: h.Instance, Address: h.Address, How: how, At: clock.Micro(at)})
	if err != nil {
		return err
	}
	// The same use gives the same id, so that whoever hears of it twice can tell.
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %d", keyTexts(h.HoldingKey), at.UnixMicro()))
	b.tx.Emit(store.Event{ID: hex.EncodeToString(sum[:16]), Type: RetiredUsed, Tenant: h.Tenant, Vault: h.Vault, Subject: o.Name, At: b.at, Data: data})
	return nil
}

func keyTexts(k store.HoldingKey) []string {
	return []string{string(k.Vault), string(k.Kind), k.NameKey, string(k.Version), string(k.Principal), k.Instance}
}
