package ledger

import (
	"context"
	"net/netip"
	"time"

	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Target is what the target shows of the use of one version, over time.
type Target struct {
	// Sampled is when it was looked at last, and Open how many sessions there were. Samples counts the looks.
	Sampled time.Time `json:"sampled"`
	Open    int       `json:"open,omitempty"`
	Samples int       `json:"samples"`
	// Clean is since when no look has shown a session, without a gap; zero while there is one.
	Clean time.Time `json:"clean,omitzero"`
	// Used is when a session was last seen.
	Used time.Time `json:"used,omitzero"`
}

// SampleGap is the longest time between two looks at a target that still prove something together, and how old the last one may be. Nobody knows who
// came and went in a longer one.
const SampleGap = 5 * time.Minute

// sample returns what is known after another look.
func (t *Target) sample(at time.Time, open int) *Target {
	next := Target{Sampled: at, Open: open, Samples: 1}
	if t != nil {
		if at.Before(t.Sampled) {
			return t // a look that was overtaken tells nothing new
		}
		next.Samples, next.Used = t.Samples+1, t.Used
		if at.Sub(t.Sampled) <= SampleGap {
			next.Clean = t.Clean
		}
	}
	switch {
	case open > 0:
		next.Clean, next.Used = time.Time{}, at
	case next.Clean.IsZero():
		next.Clean = at
	}
	return &next
}

// Session is a login at the target that is still there.
type Session struct {
	// Address is where the client is; invalid when the target does not tell. Since is when the session began; zero when the target does not tell.
	Address netip.Addr
	Since   time.Time
}

// Observation is one look at a target: every session that uses the version's credential, at every endpoint. Where the target does not tell which
// credential a session uses, there is no observation.
type Observation struct {
	Object
	Version  vault.VersionID
	At       time.Time
	Sessions []Session
}

// maxSessionRows bounds the rows that one observation makes for clients that nobody knows. The count of sessions is exact all the same.
const maxSessionRows = 100

// Seen takes in an observation. A session is that of the consumer who came from its address when it was given the version, if there is exactly one such;
// else it belongs to somebody at that address, who uses the version all the same. Sessions of a retired version raise an alarm. It catches up before it
// says whose a session is: a client of which only the log tells would be taken for a stranger, who can neither acknowledge nor be acknowledged for. A page
// of holders is read at a time, and everything is stored in one transaction.
func (l *Ledger) Seen(ctx context.Context, o Observation) error {
	if o.Vault == "" || o.Name == "" || o.Version == "" || o.At.IsZero() {
		return fault.New(fault.Internal, "an observation names its object, version and instant")
	}
	o.At = clock.Micro(o.At)
	if len(o.Sessions) > 0 {
		if _, err := l.settle(ctx, &o.Object); err != nil {
			return err
		}
	}
	rows, err := l.rows(ctx, store.HoldingQuery{Vault: o.Vault, Kind: o.Kind, NameKey: vault.NameKey(o.Name), Version: o.Version})
	if err != nil {
		return err
	}
	facts := o.attribute(rows)
	op := store.NewOp(l.Clock.Now())
	return l.Store.Update(ctx, op, func(tx store.Tx) error {
		b := batch{ctx: ctx, tx: tx, at: op.At}
		if err := b.sample(&o); err != nil {
			return err
		}
		if len(facts) == 0 {
			return nil
		}
		if err := b.lookAt(o.Version); err != nil {
			return err
		}
		for _, f := range facts {
			if err := b.seen(f, o.At); err != nil {
				return err
			}
		}
		return nil
	})
}

// attribute finds whose the sessions are, and makes a fact for each client.
func (o *Observation) attribute(rows []*Holding) []*Holding {
	at := make(map[string][]*Holding)
	for _, h := range rows {
		if h.Principal != "" && h.Delivered() {
			at[h.place()] = append(at[h.place()], h)
		}
	}
	facts := make(map[string]*Holding)
	var list []*Holding
	for _, s := range o.Sessions {
		place := atAddress(s.Address)
		f := facts[place]
		if f == nil {
			if len(list) == maxSessionRows {
				continue
			}
			c := Consumer{Instance: place, Weak: true}
			if known := at[place]; len(known) == 1 {
				c = known[0].Consumer()
			}
			f = &Holding{}
			f.HoldingKey, f.Tenant, f.Weak, f.Seen = o.key(o.Version, c), o.Tenant, c.Weak, o.At
			facts[place], list = f, append(list, f)
		}
		f.Login = later(f.Login, clock.Micro(s.Since))
	}
	return list
}

// place is where the consumer came from last, as an instance.
func (h *Holding) place() string {
	if a, err := netip.ParseAddr(h.Address); err == nil {
		return atAddress(a)
	}
	return h.Instance
}

// sample adds the look to the row of the target, which has no consumer.
func (b *batch) sample(o *Observation) error {
	h := &Holding{}
	h.HoldingKey, h.Tenant = o.key(o.Version, Consumer{}), o.Tenant
	row, err := b.tx.Holding(b.ctx, h.HoldingKey)
	if err == nil {
		h, err = open(row)
	}
	if err != nil && !fault.Is(err, fault.NotFound) {
		return err
	}
	h.Target = h.Target.sample(o.At, len(o.Sessions))
	if row, err = h.row(); err != nil {
		return err
	}
	return b.tx.PutHolding(b.ctx, row)
}

// seen joins a session's fact with the row of its consumer.
func (b *batch) seen(f *Holding, at time.Time) error {
	h := *f
	row, err := b.tx.Holding(b.ctx, h.HoldingKey)
	if err == nil {
		var was *Holding
		if was, err = open(row); err == nil {
			was.join(&h)
			h = *was
		}
	}
	if err != nil && !fault.Is(err, fault.NotFound) {
		return err
	}
	v, o, err := b.revoked(&h)
	if err == nil && v != nil {
		err = b.alarm(&h, o, time.Time{}, at)
	}
	if err != nil {
		return err
	}
	if row, err = h.row(); err != nil {
		return err
	}
	return b.tx.PutHolding(b.ctx, row)
}
