package composition

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/secret"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// ID is the principal under which values that were made anew stand in the audit log.
const ID principal.ID = "00000000-0000-0000-0000-636f6d706f73"

// lookInterval is for what no commit announced, and for what failed.
const lookInterval = time.Minute

// Changed hears of a commit. It belongs to the store's watchers.
func (s *Service) Changed(c *store.Commit) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if c.Flush {
		s.signal()
		return
	}
	for i := range c.Changes {
		ch := &c.Changes[i]
		part := ch.Kind == store.ObjectChanged && ch.Object == vault.Secret && (s.parts == nil || s.parts[ch.Vault][ch.NameKey])
		if part || ch.Kind == store.SettingChanged && strings.HasPrefix(ch.Key, settings) { // which a restore writes too
			s.signal()
			return
		}
	}
}

func (s *Service) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Start begins to follow the parts, until Stop.
func (s *Service) Start(ctx context.Context) {
	ctx, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	s.done.Go(func() {
		timer := time.NewTicker(lookInterval)
		defer timer.Stop()
		for {
			if err := s.Sweep(ctx); err != nil && ctx.Err() == nil {
				s.Logger.ErrorContext(ctx, "not all composed secrets are up to date: they are tried again", "error", err)
			}
			select {
			case <-ctx.Done():
				return
			case <-s.wake:
			case <-timer.C:
			}
		}
	})
}

// Stop ends the work and waits for it. It is safe twice and before Start.
func (s *Service) Stop() {
	if s.stop != nil {
		s.stop()
		s.done.Wait()
	}
}

// Sweep makes every value anew whose parts have changed. It does nothing where nothing has.
func (s *Service) Sweep(ctx context.Context) error {
	var vaults []*vault.Vault
	books := map[vault.ID]book{}
	err := s.Store.View(ctx, func(tx store.Tx) (err error) {
		if vaults, err = tx.Vaults(ctx, store.VaultQuery{}); err != nil {
			return err
		}
		for _, v := range vaults {
			if books[v.ID], err = readBook(ctx, tx, v.ID); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.watch(books)
	var errs []error
	for _, v := range vaults {
		for id := range books[v.ID] {
			errs = append(errs, s.remake(ctx, v, id))
		}
	}
	return errors.Join(append(errs, s.pruneAll(ctx, vaults, books))...)
}

// watch remembers whose changes matter. What changed before is seen by the sweep under way.
func (s *Service) watch(books map[vault.ID]book) {
	parts := map[vault.ID]map[string]bool{}
	for v, b := range books {
		parts[v] = map[string]bool{}
		for _, c := range b {
			if t, err := Parse(c.Template); err == nil {
				for _, name := range t.Parts() {
					parts[v][name] = true
				}
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.parts = parts
}

// errOther says that a part or the template changed meanwhile: the next look sees it.
var errOther = fmt.Errorf("a part changed meanwhile: %w", guard.ErrAgain)

// remake brings one composed secret up to date.
func (s *Service) remake(ctx context.Context, v *vault.Vault, id vault.ObjectID) error {
	var c *Composed
	var o *vault.Object
	var t *Template
	stale := false
	err := s.Store.View(ctx, func(tx store.Tx) error {
		b, err := readBook(ctx, tx, v.ID)
		if err != nil || b[id] == nil || b[id].Template == "" {
			return err
		}
		c = b[id]
		if t, err = Parse(c.Template); err != nil {
			return err
		}
		if o, err = tx.Object(ctx, v.ID, vault.Secret, c.Name); err != nil {
			return err
		}
		parts, err := current(ctx, tx, v.ID, t)
		stale = !c.fresh(parts)
		return err
	})
	if fault.Is(err, fault.NotFound) || c == nil || err == nil && (!stale || o.ID != id || o.Deleted != nil) {
		return nil // nothing to do, or nothing to do it with
	}
	if err != nil {
		return err
	}
	err = s.store(ctx, v, o, c, t)
	if errors.Is(err, errOther) {
		s.signal()
		return nil
	}
	if err != nil {
		s.note(ctx, v.ID, id, err)
		return fmt.Errorf("composing %q of the vault %q: %w", c.Name, v.Name, err)
	}
	s.signal() // it may be a part itself
	return nil
}

func current(ctx context.Context, tx store.Tx, v vault.ID, t *Template) (map[string]vault.VersionID, error) {
	parts := map[string]vault.VersionID{}
	for _, name := range t.Parts() {
		o, err := tx.Object(ctx, v, vault.Secret, name)
		switch {
		case fault.Is(err, fault.NotFound), err == nil && o.Deleted != nil:
			parts[name] = ""
		case err != nil:
			return nil, err
		default:
			parts[name] = o.Current
		}
	}
	return parts, nil
}

// store writes the new value, makes it current and notes of what it was made, in one transaction that fails when a part has changed since.
func (s *Service) store(ctx context.Context, v *vault.Vault, o *vault.Object, c *Composed, t *Template) error {
	value, parts, err := s.render(ctx, v, t)
	if err != nil {
		return err
	}
	defer clear(value)
	op := store.NewOp(s.Clock.Now())
	moves := s.Secrets.Rotation(v, o.Name, o.ID)
	in := secret.Input{Value: value, Enabled: true}
	if err := s.Store.View(ctx, func(tx store.Tx) error {
		before, err := tx.Version(ctx, o.ID, o.Current)
		if err == nil {
			in.ContentType, in.Tags = before.ContentType, before.Tags
		}
		return err
	}); err != nil {
		return err
	}
	ver, err := moves.Seal(ctx, op, in)
	if err != nil {
		return err
	}
	need := guard.Need{Action: authz.SecretSet, Kind: vault.Secret, Name: o.Name, Version: ver.ID, Reason: fmt.Sprintf("composed of %v", parts)}
	caller := &guard.Caller{Principal: ID, Tenant: v.Tenant, Kind: principal.Service, Name: "composition", Expires: op.At.Add(time.Hour)}
	call := &guard.Call{Caller: caller, Vault: &guard.View{Vault: v}, Door: "engine", Operation: "SecretCompose", Correlation: string(ver.ID), Started: op.At}
	return s.Guard.Commit(ctx, call, need, op, func(tx store.Tx) error {
		b, err := readBook(ctx, tx, v.ID)
		if err != nil {
			return err
		}
		now, err := current(ctx, tx, v.ID, t)
		if err != nil {
			return err
		}
		stored := b[o.ID]
		if stored == nil || stored.Template != c.Template || !sameParts(now, parts) {
			return errOther
		}
		if err := moves.Pend(ctx, tx, ver); err != nil {
			return err
		}
		live, err := moves.Find(ctx, tx)
		if err != nil {
			return err
		}
		if err := moves.Promote(ctx, tx, ver.ID, live.Current); err != nil {
			return err
		}
		stored.made(Made{Version: ver.ID, At: op.At, Parts: parts})
		return b.write(ctx, tx, v.ID)
	})
}

func sameParts(a, b map[string]vault.VersionID) bool {
	for name, v := range a {
		if b[name] != v {
			return false
		}
	}
	return len(a) == len(b)
}

// note keeps why a value is not up to date, for people to see.
func (s *Service) note(ctx context.Context, v vault.ID, id vault.ObjectID, problem error) {
	text := "it could not be made: see the server's log"
	if e := fault.As(problem); e != nil && e.Kind != fault.Internal {
		text = e.Message
	}
	err := s.Store.Update(ctx, store.NewOp(s.Clock.Now()), func(tx store.Tx) error {
		b, err := readBook(ctx, tx, v)
		if err != nil || b[id] == nil || b[id].Problem == text {
			return err
		}
		b[id].Problem = text
		return b.write(ctx, tx, v)
	})
	if err != nil {
		s.Logger.WarnContext(ctx, "the problem of a composed secret could not be noted", "error", err)
	}
}
