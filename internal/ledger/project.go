package ledger

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/keywright/keywright/internal/audit"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// groupKey names a consumer and an object.
type groupKey struct {
	vault     vault.ID
	kind      vault.Kind
	name      string
	principal principal.ID
	instance  string
}

// group is what is remembered of a consumer and an object.
type group struct {
	// changes counts what the consumer did besides reading a version again.
	changes int
	held    []held
}

// held is a version that was delivered to the consumer.
type held struct {
	version vault.VersionID
	// last is exact; stored is what the store has of it, as of the group's changes.
	last, stored time.Time
	changes      int
	queued       *change
}

// change is a row with facts that the store does not have.
type change struct {
	facts   Holding
	refused bool
	// of is the group that remembers the row; nil when none does.
	of *group
}

// errFull ends a look at the log when enough rows are queued.
var errFull = errors.New("enough rows are queued")

// read takes in the durable records that were not read yet, until enough rows are queued.
func (l *Ledger) read(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	err := l.tail.Read(ctx, recordsAtOnce, func(r *audit.Record) error {
		if len(l.pending) >= rowsQueued {
			return errFull
		}
		return l.take(ctx, r)
	})
	if errors.Is(err, errFull) {
		return nil
	}
	return err
}

// take takes in one record. The caller holds mu.
func (l *Ledger) take(ctx context.Context, r *audit.Record) error {
	if r.VaultID == "" || r.Shredded || r.Caller.PrincipalID == "" {
		return nil
	}
	if r.Action != getSecret && r.Action != backupSecret && r.Operation != ClearOperation {
		return nil
	}
	instance, weak, err := l.identify(ctx, r)
	if err != nil {
		return err
	}
	key := groupKey{vault.ID(r.VaultID), vault.Kind(r.ObjectKind), vault.NameKey(r.ObjectName), principal.ID(r.Caller.PrincipalID), instance}
	if r.Action == getSecret && r.Outcome == audit.Allowed && r.Operation != AckOperation && r.Operation != DeliverOperation {
		if g := l.groups[key]; g != nil && g.again(vault.VersionID(r.Version), r.Time) {
			return nil
		}
	}
	s, ok := read(r, instance, weak)
	if !ok {
		return nil
	}
	key.principal, key.instance = s.facts.Principal, s.facts.Instance // those of a clearance are not the caller's
	l.queue(key, &s)
	return nil
}

// again notes that a version was delivered once more. It reports false when the store has to hear of it.
func (g *group) again(v vault.VersionID, at time.Time) bool {
	for i := range g.held {
		h := &g.held[i]
		if h.version != v {
			continue
		}
		if at.After(h.last) {
			h.last = at
		}
		if h.queued != nil {
			h.queued.facts.Last = later(h.queued.facts.Last, at)
			h.changes = g.changes
			return true
		}
		return h.changes == g.changes && at.Sub(h.stored) < Coarse
	}
	return false
}

// queue adds facts to what the next transaction stores.
func (l *Ledger) queue(key groupKey, s *said) {
	f := &s.facts
	c := l.queued[f.HoldingKey]
	if c == nil {
		c = &change{facts: *f, refused: s.refused}
		l.queued[f.HoldingKey] = c
		l.pending = append(l.pending, c)
		if len(l.pending) == 1 {
			l.since = l.Clock.Now()
		}
	} else {
		c.facts.join(f)
		c.refused = c.refused && s.refused
	}
	g := l.groups[key]
	if f.Last.IsZero() || s.refused { // no delivery
		if g != nil {
			g.changes++
		}
		return
	}
	if g == nil {
		g = &group{}
		l.groups[key] = g
		l.known++
	}
	c.of = g
	for i := range g.held {
		if h := &g.held[i]; h.version == f.Version {
			h.queued, h.changes = c, g.changes
			return
		}
	}
	g.changes++
	if len(g.held) == maxHeld {
		g.evict()
	} else {
		l.known++
	}
	g.held = append(g.held, held{version: f.Version, last: f.Last, changes: g.changes, queued: c})
}

// maxHeld bounds the versions of an object that are remembered of one consumer: few are in use at a time.
const maxHeld = 8

// evict forgets the version that was delivered longest ago. What the store lacks of it is older than what it will have of the others, and the
// next delivery of it is written at once.
func (g *group) evict() {
	oldest := 0
	for i := range g.held {
		if g.held[i].last.Before(g.held[oldest].last) {
			oldest = i
		}
	}
	if c := g.held[oldest].queued; c != nil {
		c.of = nil
	}
	g.held = append(g.held[:oldest], g.held[oldest+1:]...)
}

// maxSmall bounds the addresses and resources that are remembered. Beyond it all are forgotten, and looked up anew.
const maxSmall = 1 << 14

// identify finds the instance of a record's caller.
func (l *Ledger) identify(ctx context.Context, r *audit.Record) (instance string, weak bool, err error) {
	resource := ""
	if r.Caller.Kind == string(principal.ManagedIdentity) {
		if resource, err = l.resource(ctx, vault.TenantID(r.Caller.Tenant), principal.ID(r.Caller.PrincipalID)); err != nil {
			return "", false, err
		}
	}
	if r.Instance == "" && resource == "" {
		if known, ok := l.addresses[r.ClientAddress]; ok {
			return known, true, nil
		}
		if len(l.addresses) >= maxSmall {
			clear(l.addresses)
		}
		known := atAddress(r.ClientAddress)
		l.addresses[r.ClientAddress] = known
		return known, true, nil
	}
	instance, weak = Instance(r.Instance, resource, r.ClientAddress)
	return instance, weak, nil
}

// resource finds the resource that a managed identity belongs to; "" for an identity that is gone.
func (l *Ledger) resource(ctx context.Context, t vault.TenantID, id principal.ID) (string, error) {
	if known, ok := l.resources[id]; ok {
		return known, nil
	}
	found := ""
	err := l.Store.View(ctx, func(tx store.Tx) error {
		p, err := tx.Principal(ctx, t, id)
		if err == nil {
			found = p.Resource
		}
		return err
	})
	if err != nil && !fault.Is(err, fault.NotFound) {
		return "", err
	}
	if len(l.resources) >= maxSmall {
		clear(l.resources)
	}
	l.resources[id] = found
	return found, nil
}

// commit stores what is queued, and the position, when it is due or when somebody waits for it. The position moves with the last of the rows.
func (l *Ledger) commit(ctx context.Context, now bool) error {
	l.mu.Lock()
	next := l.tail.Next()
	due := now || len(l.pending) >= rowsQueued || l.wanted > l.committed || len(l.pending) > 0 && l.Clock.Now().Sub(l.since) >= l.Linger ||
		next-l.committed >= recordsUnstored || l.Clock.Now().Sub(l.storedAt) >= storedEvery
	due = due && (len(l.pending) > 0 || next > l.committed)
	if due {
		slices.SortFunc(l.pending, byKey)
	}
	l.mu.Unlock()
	for due {
		// Nobody else changes the queue: there is one projection, and queries only look.
		rows := l.pending[:min(len(l.pending), rowsAtOnce)]
		last := len(rows) == len(l.pending)
		op := store.NewOp(l.Clock.Now())
		err := l.Store.Update(ctx, op, func(tx store.Tx) error {
			b := batch{ctx: ctx, tx: tx, at: op.At}
			for _, c := range rows {
				if err := b.put(c); err != nil {
					return err
				}
			}
			if !last {
				return nil
			}
			return tx.SetProjected(ctx, l.reader, next)
		})
		if err != nil && !errors.Is(err, store.ErrCommitted) {
			return fmt.Errorf("storing %d rows of the ledger: %w", len(rows), err)
		}
		l.mu.Lock()
		l.stored(rows)
		if last {
			l.reached(next)
		}
		due = len(l.pending) > 0 && !last
		l.mu.Unlock()
	}
	return nil
}

// byKey orders rows as the store's index has them: neighbours share pages, and pages are what a transaction costs.
func byKey(a, b *change) int {
	x, y := &a.facts, &b.facts
	return cmp.Or(cmp.Compare(x.Vault, y.Vault), cmp.Compare(x.Kind, y.Kind), cmp.Compare(x.NameKey, y.NameKey), cmp.Compare(x.Version, y.Version),
		cmp.Compare(x.Principal, y.Principal), cmp.Compare(x.Instance, y.Instance))
}

// stored notes that the rows are committed. The caller holds mu.
func (l *Ledger) stored(rows []*change) {
	for _, c := range rows {
		delete(l.queued, c.facts.HoldingKey)
		if c.of == nil {
			continue
		}
		for i := range c.of.held {
			if h := &c.of.held[i]; h.queued == c {
				h.queued, h.stored = nil, later(h.stored, c.facts.Last)
			}
		}
	}
	l.pending = l.pending[len(rows):]
}

// reached notes that the store has taken in the log up to next. The caller holds mu.
func (l *Ledger) reached(next int64) {
	l.pending, l.storedAt = nil, l.Clock.Now()
	if next > l.committed {
		l.committed = next
		close(l.moved)
		l.moved = make(chan struct{})
	}
	if l.known > l.MaxConsumers {
		l.shrink()
	}
}

// shrink queues the deliveries that the store has only roughly and forgets all consumers: those that come again are found anew.
func (l *Ledger) shrink() {
	l.queueRough()
	for _, c := range l.pending {
		c.of = nil
	}
	l.forget()
}

// queueRough queues every last delivery that is exact in memory alone. The caller holds mu.
func (l *Ledger) queueRough() {
	for key, g := range l.groups {
		for i := range g.held {
			h := &g.held[i]
			if h.queued != nil || !h.last.After(h.stored) {
				continue
			}
			f := Holding{}
			f.HoldingKey = store.HoldingKey{Vault: key.vault, Kind: key.kind, NameKey: key.name, Version: h.version, Principal: key.principal, Instance: key.instance}
			f.First, f.Last = h.last, h.last
			c := &change{facts: f, of: g}
			h.queued, h.changes = c, g.changes
			l.queued[f.HoldingKey] = c
			l.pending = append(l.pending, c)
		}
	}
	if len(l.pending) > 0 {
		l.since = l.Clock.Now()
	}
}

// flush stores every last delivery exactly.
func (l *Ledger) flush(ctx context.Context) error {
	l.mu.Lock()
	l.queueRough()
	l.mu.Unlock()
	return l.commit(ctx, true)
}

// batch is the transaction of a commit.
type batch struct {
	ctx context.Context
	tx  store.Tx
	at  time.Time
}

// put joins the facts with what the store has.
func (b *batch) put(c *change) error {
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
	if h.Version != "" && (c.refused || !c.facts.Last.IsZero()) {
		v, o, err := b.retired(&h)
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

// retired returns the version and its object when the version was revoked at its target, nil otherwise.
func (b *batch) retired(h *Holding) (*vault.Version, *vault.Object, error) {
	o, err := b.tx.Object(b.ctx, h.Vault, h.Kind, h.NameKey)
	if err == nil {
		var v *vault.Version
		if v, err = b.tx.Version(b.ctx, o.ID, h.Version); err == nil && v.State == vault.Retired {
			return v, o, nil
		}
	}
	if fault.Is(err, fault.NotFound) {
		err = nil // purged since
	}
	return nil, nil, err
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
