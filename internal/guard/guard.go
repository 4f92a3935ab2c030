package guard

import (
	"context"
	"encoding/hex"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/keywright/keywright/internal/audit"
	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Auditor takes what was decided. The audit log implements it.
type Auditor interface {
	// Append returns when the record is as durable as the installation asks.
	Append(ctx context.Context, r *audit.Record) error
	// Seal encrypts a record for the transaction of the change that it tells of; the log takes it from the journal.
	Seal(r *audit.Record) ([]byte, error)
	// Unauthenticated counts a request that proved no identity, or one over a rate limit. Such requests are aggregated, so
	// that nobody can fill the log.
	Unauthenticated(r audit.Refusal)
}

// Config makes a Guard. Store, Audit, Clock and Logger are required.
type Config struct {
	Store  store.Store
	Audit  Auditor
	Clock  clock.Clock
	Logger *slog.Logger
	Limits Limits
	// Denied hears of each request that was refused for lack of proof or rights, by the refusal's reason, which never holds what a
	// caller said. TooOften hears of each that came too often, by whose rate it passed: "principal" or "vault". Both must be quick and
	// may be nil.
	Denied, TooOften func(string)
	// Age says how far what this node remembers is behind the store: how long ago the present state of its caches was the store's for certain. It is asked
	// with every request. Nil is for a node that has its store to itself: then it is always the present.
	Age func() time.Duration
	// Late hears of each request that was refused because the node is behind. It must be quick and may be nil.
	Late func()
}

// Guard authorises, audits and commits.
type Guard struct {
	Config
	views    viewCache
	limiters limiters
}

// New checks the configuration. The caller hooks Changed to the store's commits before the first request.
func New(c Config) (*Guard, error) {
	if c.Store == nil || c.Audit == nil || c.Clock == nil || c.Logger == nil {
		return nil, errors.New("a guard needs a store, an audit log, a clock and a logger")
	}
	if c.Denied == nil {
		c.Denied = func(string) {}
	}
	if c.TooOften == nil {
		c.TooOften = func(string) {}
	}
	if c.Late == nil {
		c.Late = func() {}
	}
	return &Guard{Config: c}, nil
}

// Need is what a piece of work needs to be allowed, and how its audit record names it. Version and Name may be filled in
// by the work itself, before it returns.
type Need struct {
	Action authz.Action
	// Kind and Name say which object; a Name of "" means all of a vault's objects of the kind.
	Kind    vault.Kind
	Name    string
	Version vault.VersionID
	// Scope is where a control-plane action happens; empty for the vault of the call.
	Scope string
	// Detail is what the audit record tells beyond the names, such as why a person does it. It holds no value.
	Detail string
	// Reason is why it is allowed, for work that the program does by itself and no rule decides about; empty for all other.
	Reason string
	// AssignedRole is the role that is granted or withdrawn by this work, if it is that.
	AssignedRole string
}

// Read authorises, does the work and records the outcome before the answer leaves. When the record cannot be written the
// read fails with a fault.Unavailable: what is not audited does not happen.
func (g *Guard) Read(ctx context.Context, call *Call, need *Need, work func() error) error {
	if err := g.Authorize(ctx, call, need); err != nil {
		return err
	}
	if err := work(); err != nil {
		return g.Refuse(ctx, call, *need, err)
	}
	return g.record(ctx, call, need, audit.Allowed, nil)
}

// Authorize decides whether the caller may do what is needed. A refusal is recorded.
func (g *Guard) Authorize(ctx context.Context, call *Call, need *Need) error {
	err := g.decide(ctx, call, need)
	if err == nil {
		return nil
	}
	if fault.Is(err, fault.Forbidden) {
		g.Denied(reason(err))
		if aerr := g.record(ctx, call, need, audit.Denied, err); aerr != nil {
			return aerr
		}
	}
	return err
}

// Record tells the log of something that the program did for itself, without a caller whose rights could be asked.
func (g *Guard) Record(ctx context.Context, call *Call, need *Need) error {
	return g.record(ctx, call, need, audit.Allowed, nil)
}

// Refuse records that allowed work failed and returns err.
func (g *Guard) Refuse(ctx context.Context, call *Call, need Need, err error) error {
	if aerr := g.record(ctx, call, &need, audit.Failed, err); aerr != nil {
		return aerr
	}
	return err
}

// Deny records that work was refused by rules other than those of roles and policies, such as an access rule of an issuer, and returns err.
func (g *Guard) Deny(ctx context.Context, call *Call, need Need, err error) error {
	g.Denied(reason(err))
	if aerr := g.record(ctx, call, &need, audit.Denied, err); aerr != nil {
		return aerr
	}
	return err
}

// ErrAgain is what a change returns that was planned on a state which is no more. Commit undoes it and returns this,
// without a record: the caller plans anew, or gives up with Refuse.
var ErrAgain = errors.New("the change has to be planned anew")

// Commit runs an authorised change in one transaction, together with its audit record. The caller has called Authorize.
// A change whose commit was reported lost is looked up before the answer: what is stored counts as done. When the store cannot
// answer that either, the error is a fault.Unavailable that says so, and the record's outcome is audit.Unknown.
func (g *Guard) Commit(ctx context.Context, call *Call, need Need, op store.Op, change func(store.Tx) error) error {
	rec := g.newRecord(call, &need, audit.Allowed, nil)
	rec.ID, rec.Time = operationID(op.ID), op.At
	sealed, err := g.Audit.Seal(rec)
	freeRecord(rec)
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "the audit record of this change cannot be made, so the change was not made")
	}
	err = g.Store.Update(ctx, op, func(tx store.Tx) error {
		if err := change(tx); err != nil {
			return err
		}
		tx.Audit(sealed)
		return nil
	})
	switch {
	case err == nil, errors.Is(err, store.ErrCommitted):
		return nil
	case errors.Is(err, ErrAgain):
		return err
	}
	if fault.Is(err, fault.Unavailable) {
		switch done, lookup := g.committed(ctx, op.ID); {
		case lookup != nil:
			return g.unknown(ctx, call, need, errors.Join(err, lookup))
		case done:
			return nil
		}
	}
	return g.Refuse(ctx, call, need, err)
}

// unknown records that nobody can say whether the change was made: a record that called it failed would be wrong where the change
// is found in the store later. If it was made, its own record follows from the journal, under the operation's id.
func (g *Guard) unknown(ctx context.Context, call *Call, need Need, cause error) error {
	why := "the store does not answer"
	if e := fault.As(cause); e != nil && e.Kind == fault.Unavailable {
		why = e.Message
	}
	err := fault.Wrap(cause, fault.Unavailable, "%s. It is not known whether this change was made: read the object before you try again", why)
	if aerr := g.record(ctx, call, &need, audit.Unknown, err); aerr != nil {
		return aerr
	}
	return err
}

// committedTimeout bounds the look-up of an ambiguous commit. The request's own context may be over by then.
const committedTimeout = 5 * time.Second

func (g *Guard) committed(ctx context.Context, id store.OpID) (bool, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), committedTimeout)
	defer cancel()
	return g.Store.Committed(ctx, id)
}

// network stands for what is needed before any action is known.
var network Need

// operationID is an operation's id as audit records hold it.
func operationID(id store.OpID) (b audit.ID) {
	hex.Decode(b[:], []byte(id)) // NewOp made it: 32 hexadecimal digits
	return b
}

// Throttled is the reason under which requests over a rate limit are counted.
const Throttled fault.Reason = "Throttled"

// Admit applies a vault's network rules to a request that is authenticated, and the rate limits after them. Requests over
// a limit are counted like those without a credential: a record for each would let one caller fill the log.
func (g *Guard) Admit(ctx context.Context, call *Call) error {
	v := call.Vault
	if ok, why := v.admits(call); !ok {
		err := authz.NetworkRefusal(why, call.Caller.subject(), call.Address, v.Vault)
		g.Denied(reason(err))
		if aerr := g.record(ctx, call, &network, audit.Denied, err); aerr != nil {
			return aerr
		}
		return err
	}
	return g.throttle(call, v.Vault.Name)
}

// Throttle applies the rate limit of the caller to a request outside of vaults; Admit does it for those within.
func (g *Guard) Throttle(call *Call) error { return g.throttle(call, "") }

func (g *Guard) throttle(call *Call, host string) error {
	limit, err := g.limiters.take(&g.Limits, call, call.Started)
	return g.tooOften(call, host, limit, err)
}

// tooOften counts a request that passed a limit, and returns err.
func (g *Guard) tooOften(call *Call, host, limit string, err error) error {
	if err != nil {
		g.TooOften(limit)
		g.Audit.Unauthenticated(audit.Refusal{Door: call.Door, Host: host, Address: call.Address, Reason: string(Throttled)})
	}
	return err
}

// Unauthenticated counts a request without a valid credential and returns err. An error of another kind says nothing about the
// credential, and is passed on: a store that does not answer must not look like an attack.
func (g *Guard) Unauthenticated(call *Call, host string, err error) error {
	if !fault.Is(err, fault.Unauthenticated) {
		return err
	}
	refusal := audit.Refusal{Door: call.Door, Host: host, Address: call.Address}
	if e := fault.As(err); e != nil {
		refusal.Reason = string(e.Reason)
	}
	g.Denied(reason(err))
	g.Audit.Unauthenticated(refusal)
	return err
}

var records = sync.Pool{New: func() any { return new(audit.Record) }}

func freeRecord(r *audit.Record) {
	*r = audit.Record{}
	records.Put(r)
}

func (g *Guard) record(ctx context.Context, call *Call, need *Need, outcome audit.Outcome, cause error) error {
	r := g.newRecord(call, need, outcome, cause)
	err := g.Audit.Append(ctx, r)
	freeRecord(r)
	return fault.Wrap(err, fault.Unavailable, "the audit log cannot take records now, so nothing is served: try again later")
}
