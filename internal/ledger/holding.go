package ledger

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Holding is a row of the ledger.
type Holding struct {
	store.Holding
	More
	// heard is when the consumer last read any version of the object, as far as memory knows.
	heard time.Time
}

// More is what a row tells beyond its columns.
type More struct {
	// Poll is how often the consumer said that it polls, and PollAt when; zero while it did not.
	Poll   time.Duration `json:"poll,omitempty"`
	PollAt time.Time     `json:"pollAt,omitzero"`
	// Via are the ways by which it was delivered: doors, or the kinds of copies.
	Via []string `json:"via,omitempty"`
	// Address is where the consumer came from when it came last, and AddressAt when that was written down: of an address that stays the same it may be
	// older than the last delivery by up to wholeEvery.
	Address   string    `json:"address,omitempty"`
	AddressAt time.Time `json:"addressAt,omitzero"`
	// Cleared is when somebody vouched that the consumer does not use the version any more, By who and Why why.
	Cleared time.Time `json:"cleared,omitzero"`
	By      string    `json:"by,omitempty"`
	Why     string    `json:"why,omitempty"`
	// Refused is when the consumer last asked in vain for a retired version, Alarmed when somebody was last told of its use.
	Refused time.Time `json:"refused,omitzero"`
	Alarmed time.Time `json:"alarmed,omitzero"`
	// Login is when the newest of its sessions that the target showed began.
	Login time.Time `json:"login,omitzero"`
	// Target is what the target shows of the version; in the row without a consumer.
	Target *Target `json:"target,omitempty"`
}

// Consumer returns whose row it is.
func (h *Holding) Consumer() Consumer {
	return Consumer{Principal: h.Principal, Instance: h.Instance, Weak: h.Weak}
}

// Delivered reports whether the version was given to the consumer, or the target showed that it has it. A row without that holds claims alone.
func (h *Holding) Delivered() bool { return !h.First.IsZero() || !h.Seen.IsZero() }

// join adds the facts of another row of the same key. It is commutative, associative and idempotent.
func (h *Holding) join(o *Holding) {
	if h.Tenant == "" {
		h.Tenant = o.Tenant
	}
	h.Weak = h.Weak || o.Weak
	if h.First.IsZero() || !o.First.IsZero() && o.First.Before(h.First) {
		h.First = o.First
	}
	h.Last, h.Loaded, h.Used, h.Seen = later(h.Last, o.Last), later(h.Loaded, o.Loaded), later(h.Used, o.Used), later(h.Seen, o.Seen)
	if c := o.PollAt.Compare(h.PollAt); c > 0 || c == 0 && o.Poll > h.Poll { // of two at one instant the one that is gone later
		h.Poll, h.PollAt = o.Poll, o.PollAt
	}
	for _, v := range o.Via {
		if i, found := slices.BinarySearch(h.Via, v); !found {
			h.Via = slices.Insert(slices.Clone(h.Via), i, v)
		}
	}
	if c := o.AddressAt.Compare(h.AddressAt); c > 0 || c == 0 && o.Address > h.Address {
		h.Address, h.AddressAt = o.Address, o.AddressAt
	}
	if c := o.Cleared.Compare(h.Cleared); c > 0 || c == 0 && cmp.Compare(o.By+o.Why, h.By+h.Why) > 0 {
		h.Cleared, h.By, h.Why = o.Cleared, o.By, o.Why
	}
	h.Refused, h.Alarmed, h.Login = later(h.Refused, o.Refused), later(h.Alarmed, o.Alarmed), later(h.Login, o.Login)
	if o.Target != nil && (h.Target == nil || o.Target.Sampled.After(h.Target.Sampled)) {
		h.Target = o.Target
	}
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// open reads what the store keeps.
func open(row *store.Holding) (*Holding, error) {
	h := &Holding{Holding: *row}
	if len(row.Doc) == 0 {
		return h, nil
	}
	if err := json.Unmarshal(row.Doc, &h.More); err != nil {
		return nil, fmt.Errorf("decoding the holding of %s %q: %w", row.Kind, row.NameKey, err)
	}
	return h, nil
}

// row is what the store keeps.
func (h *Holding) row() (*store.Holding, error) {
	doc, err := json.Marshal(h.More)
	if err != nil {
		return nil, fmt.Errorf("encoding the holding of %s %q: %w", h.Kind, h.NameKey, err)
	}
	r := h.Holding
	r.Doc = doc
	return &r, nil
}

// Object names what is held.
type Object struct {
	Tenant vault.TenantID
	Vault  vault.ID
	Kind   vault.Kind
	Name   string
}

func (o *Object) key(v vault.VersionID, c Consumer) store.HoldingKey {
	return store.HoldingKey{Vault: o.Vault, Kind: o.Kind, NameKey: vault.NameKey(o.Name), Version: v, Principal: c.Principal, Instance: c.Instance}
}

// String names the object for messages and logs.
func (o *Object) String() string { return fmt.Sprintf("%s %q", o.Kind, o.Name) }
