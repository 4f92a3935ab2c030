package server

import (
	"context"
	"fmt"

	"github.com/keywright/keywright/client/api"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/seal"
	"github.com/keywright/keywright/internal/seal/shamir"
)

// errSealed is the answer to what needs an open server.
var errSealed = fault.New(fault.Unavailable, "the server is sealed: give shares first, with keywright seal unseal").Because(seal.Sealed)

// sealOf reads which seal is meant.
func sealOf(in *api.MoveSeal) (c SealConfig, err error) {
	c = SealConfig{KeyFiles: in.KeyFiles, PassphraseFile: in.PassphraseFile, Shares: in.Shares > 0 || in.Threshold > 0}
	if t := in.Token; t != nil {
		c.Token = &TokenSeal{Module: t.Module, Token: t.Token, PINFile: t.PINFile, Key: t.Key}
	}
	if c.KeyFiles == nil && c.PassphraseFile == "" && !c.Shares && c.Token == nil {
		return c, fault.New(fault.Invalid, "no seal is named: name a key file, a passphrase file, shares or a token")
	}
	return c, c.check()
}

// move wraps the root key with another seal too, proves that seal, and drops the old one. Shares are not proved before people gave them back. A move to
// the same seal that was interrupted goes on where it was.
func (s *sealing) move(ctx context.Context, who string, in *api.MoveSeal) (*api.SealMoved, error) {
	c, err := sealOf(in)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keys == nil {
		return nil, errSealed
	}
	out := &api.SealMoved{}
	if c.Shares {
		out.Shares, err = s.moveToShares(ctx, who, in)
	} else {
		err = s.moveTo(ctx, who, &c, in.KeepOld)
	}
	if err != nil {
		if aerr := s.record(ctx, "SealMoveBegin", who, "to "+c.kind(), err); aerr != nil {
			return nil, aerr
		}
		return nil, err
	}
	status, err := s.statusLocked(ctx)
	if err != nil {
		return nil, err
	}
	out.Status = *status
	return out, nil
}

func (s *sealing) moveTo(ctx context.Context, who string, c *SealConfig, keepOld bool) error {
	state, err := s.keys.SealState(ctx)
	if err != nil {
		return err
	}
	if state.Next != c.kind() {
		if err := s.add(ctx, who, c); err != nil {
			return err
		}
	}
	// What proves it is opened anew, from what is on disk or in the token.
	fresh, closer, err := c.Open(s.clock)
	if err != nil {
		return err
	}
	s.closers = append(s.closers, closer)
	if err := s.prove(ctx, who, fresh); err != nil {
		return err
	}
	if keepOld {
		return nil
	}
	return s.drop(ctx, who)
}

func (s *sealing) add(ctx context.Context, who string, c *SealConfig) error {
	to, closer, err := c.Make(s.clock)
	if err != nil {
		return err
	}
	err = s.keys.AddSeal(ctx, to, s.with("SealMoveBegin", who, fmt.Sprintf("from %s to %s", s.keys.SealName(), to.Name())))
	if closed := closer(); err == nil {
		err = closed
	}
	return err
}

// moveToShares makes shares, which are shown once. Until enough of them were given back, the old seal is kept.
func (s *sealing) moveToShares(ctx context.Context, who string, in *api.MoveSeal) (texts []string, err error) {
	to, shares, err := shamir.Create(shamir.Config{Clock: s.clock}, in.Shares, in.Threshold)
	if err != nil {
		return nil, err
	}
	with := s.with("SealMoveBegin", who, fmt.Sprintf("from %s to %d shares, %d of which open, of the set %s", s.keys.SealName(), in.Shares, in.Threshold, shares[0].Set()))
	if err := s.keys.AddSeal(ctx, to, with); err != nil {
		return nil, err
	}
	for _, share := range shares {
		text := share.Reveal()
		texts = append(texts, string(text))
		clear(text)
		share.Zero()
	}
	s.prover, s.keepOld = nil, in.KeepOld
	_, err = s.gatherer(ctx)
	return texts, err
}

// prove notes that a seal which was opened anew opens every root key. Shares finish the move at once.
func (s *sealing) prove(ctx context.Context, who string, fresh seal.Seal) error {
	with := s.with("SealMoveProve", who, "the seal "+fresh.Name()+" opens the root key")
	if err := s.keys.ProveSeal(ctx, fresh, with); err != nil {
		return err
	}
	s.next = fresh
	if _, gathers := fresh.(seal.Gatherer); gathers && !s.keepOld {
		return s.drop(ctx, who)
	}
	return nil
}

func (s *sealing) drop(ctx context.Context, who string) error {
	to := s.next
	if to == nil {
		to = s.seal // the server was started with the new one
	}
	with := s.with("SealMoveFinish", who, "the seal "+to.Name()+" alone")
	if err := s.keys.DropSeal(ctx, to, with); err != nil {
		return err
	}
	s.next = nil
	return nil
}

// finish drops what the old seal wrapped.
func (s *sealing) finish(ctx context.Context, who string) (*api.SealStatus, error) {
	return s.change(ctx, "SealMoveFinish", who, func() error { return s.drop(ctx, who) })
}

// giveUp drops what the new seal wrapped.
func (s *sealing) giveUp(ctx context.Context, who string) (*api.SealStatus, error) {
	return s.change(ctx, "SealMoveGiveUp", who, func() error {
		with := s.with("SealMoveGiveUp", who, "")
		if err := s.keys.GiveUpSeal(ctx, with); err != nil {
			return err
		}
		s.next, s.prover = nil, nil
		return nil
	})
}

func (s *sealing) change(ctx context.Context, operation, who string, do func() error) (*api.SealStatus, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keys == nil {
		return nil, errSealed
	}
	if err := do(); err != nil {
		if aerr := s.record(ctx, operation, who, "", err); aerr != nil {
			return nil, aerr
		}
		return nil, err
	}
	return s.statusLocked(ctx)
}
