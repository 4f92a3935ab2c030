package server

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/keywright/keywright/client/api"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/keyring"
	"github.com/keywright/keywright/internal/seal"
	"github.com/keywright/keywright/internal/seal/shamir"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// sealing is what operators do with the seal of a server: open it with shares, and move the installation to another one. It is there before the keyring
// is, and asks nobody for rights: see localDoor for who gets to it.
type sealing struct {
	clock clock.Clock
	log   *slog.Logger
	seal  seal.Seal

	// mu lets one caller at a time change the seal; it is held while seals and the store work.
	mu sync.Mutex
	// keys and guard are nil while the server is sealed.
	keys  *keyring.Keyring
	guard *guard.Guard
	// next is the seal to which the installation moves, as this process opened it anew; nil when it did not. prover gathers its shares.
	next   seal.Seal
	prover *shamir.Seal
	// keepOld says that somebody finishes the move by hand, once the shares were proved.
	keepOld bool
	// before are the attempts from before the audit log could be opened; dropped counts those that found no room.
	before  []attempt
	dropped int
	closers []func() error
}

// attempt is something that somebody did with the seal.
type attempt struct {
	at             time.Time
	operation, who string
	detail         string
	err            error
}

// maxAttempts bounds those that wait for the audit log.
const maxAttempts = 1000

// opened tells that the keyring is open, and records what was done before.
func (s *sealing) opened(ctx context.Context, keys *keyring.Keyring, g *guard.Guard) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys, s.guard = keys, g
	for _, a := range s.before {
		if err := s.write(ctx, a); err != nil {
			return err
		}
	}
	if s.dropped > 0 {
		detail := fmt.Sprintf("%d more attempts to unseal were not kept one by one", s.dropped)
		if err := s.write(ctx, attempt{at: s.clock.Now(), operation: "SealShares", detail: detail}); err != nil {
			return err
		}
	}
	s.before, s.dropped = nil, 0
	return nil
}

// record tells the audit log what was done, or keeps it until there is one. The caller holds mu.
func (s *sealing) record(ctx context.Context, operation, who, detail string, err error) error {
	a := attempt{s.clock.Now(), operation, who, detail, err}
	s.log.InfoContext(ctx, "the seal was operated", "operation", operation, "by", who, "what", detail, "error", err)
	if s.guard != nil {
		return s.write(ctx, a)
	}
	if len(s.before) == maxAttempts {
		s.dropped++
	} else {
		s.before = append(s.before, a)
	}
	return nil
}

func (s *sealing) write(ctx context.Context, a attempt) error {
	call := sealCall(a.operation, a.who, a.at)
	need := guard.Need{Detail: a.detail}
	if a.err == nil {
		return s.guard.Record(ctx, call, &need)
	}
	if fault.As(s.guard.Refuse(ctx, call, need, a.err)) != fault.As(a.err) {
		return fault.New(fault.Unavailable, "the audit log cannot take records now")
	}
	return nil
}

func sealCall(operation, who string, at time.Time) *guard.Call { return localCall("", operation, who, at) }

// localCall is that of an operator of the machine, about a tenant or, when there is none, the installation.
func localCall(tenant vault.TenantID, operation, who string, at time.Time) *guard.Call {
	call := guard.System(tenant, operation, at)
	call.Door, call.Caller.Kind, call.Caller.UPN = "local", "Local", who
	return call
}

// with commits a change together with its audit record.
func (s *sealing) with(operation, who, detail string) keyring.With {
	return func(ctx context.Context, change func(store.Tx, store.Op) error) error {
		op := store.NewOp(s.clock.Now())
		return s.guard.Commit(ctx, sealCall(operation, who, op.At), guard.Need{Detail: detail}, op, func(tx store.Tx) error { return change(tx, op) })
	}
}

func (s *sealing) close() error {
	for _, c := range s.closers {
		if err := c(); err != nil {
			return err
		}
	}
	return nil
}

// Progress is what a readiness check says of a server that may be sealed.
func (s *sealing) progress() (seal.Progress, bool) {
	g, ok := s.seal.(seal.Gatherer)
	if !ok {
		return seal.Progress{Open: true}, false
	}
	p := g.Progress()
	return p, !p.Open
}

// status tells how the seal is now.
func (s *sealing) status(ctx context.Context) (*api.SealStatus, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.statusLocked(ctx)
}

func (s *sealing) statusLocked(ctx context.Context) (*api.SealStatus, error) {
	p, sealed := s.progress()
	out := &api.SealStatus{Seal: s.seal.Name(), Sealed: sealed || s.keys == nil}
	if s.keys == nil {
		// Once it is open none is asked for any more, although the server has still to start.
		if _, gathers := s.seal.(seal.Gatherer); gathers && !p.Open {
			out.Shares = wireProgress(p)
		}
		return out, nil
	}
	state, err := s.keys.SealState(ctx)
	if err != nil {
		return nil, err
	}
	out.Seal = s.keys.SealName()
	out.Wraps, out.Next = state.Seal, state.Next
	if state.Moving() {
		out.Since = &state.Since
		if !state.Proved.IsZero() {
			out.Proved = &state.Proved
		}
	}
	if s.prover != nil && state.Moving() && state.Proved.IsZero() {
		out.Shares = wireProgress(s.prover.Progress())
	}
	if !state.Opens {
		out.Problem = fmt.Sprintf("the root key is not wrapped by the seal of this node any more, which will not start again with it: configure the seal %q", state.Seal)
	}
	return out, nil
}

func wireProgress(p seal.Progress) *api.ShareProgress {
	return &api.ShareProgress{Given: p.Given, Needed: p.Needed, Total: p.Total, Set: p.Set, WaitSeconds: int((p.Wait + time.Second - 1) / time.Second)}
}

// gatherer is who shares are for now: the seal of a server that is sealed, or the one to which the installation moves.
func (s *sealing) gatherer(ctx context.Context) (seal.Gatherer, error) {
	if s.keys == nil {
		if g, ok := s.seal.(seal.Gatherer); ok {
			return g, nil
		}
		return nil, fault.New(fault.Conflict, "the seal of this server, %s, is not opened with shares", s.seal.Name())
	}
	if s.prover == nil {
		fresh, err := shamir.New(shamir.Config{Clock: s.clock})
		if err != nil {
			return nil, err
		}
		state, err := s.keys.SealState(ctx)
		if err != nil {
			return nil, err
		}
		if state.Next != fresh.Name() || !state.Proved.IsZero() {
			return nil, fault.New(fault.Conflict, "the server is not sealed, and no new shares wait to be proved").Because("NotSealed")
		}
		if err := s.keys.ExpectNext(ctx, fresh); err != nil {
			return nil, err
		}
		s.prover = fresh
	}
	return s.prover, nil
}

// give takes a share. The last one that proves a new seal finishes the move.
func (s *sealing) give(ctx context.Context, who string, share []byte) (*api.SealStatus, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, err := s.gatherer(ctx)
	if err != nil {
		return nil, err
	}
	p, err := g.Give(ctx, share)
	if aerr := s.record(ctx, "SealShares", who, p.String(), err); aerr != nil {
		return nil, aerr
	}
	if err != nil {
		return nil, err
	}
	if p.Open && s.keys != nil {
		if err := s.prove(ctx, who, s.prover); err != nil {
			return nil, err
		}
		s.prover = nil
	}
	return s.statusLocked(ctx)
}

func (s *sealing) reset(ctx context.Context, who string) (*api.SealStatus, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, err := s.gatherer(ctx)
	if err != nil {
		return nil, err
	}
	g.Reset()
	if err := s.record(ctx, "SealSharesReset", who, g.Progress().String(), nil); err != nil {
		return nil, err
	}
	return s.statusLocked(ctx)
}
