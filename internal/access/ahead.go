package access

import (
	"context"
	"errors"
	"fmt"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Judging duties reads all that a tenant has granted, and a transaction that writes keeps every other writer of the installation waiting. So it is judged ahead, in a view,
// which keeps nobody waiting; the transaction looks whether anything that was judged by has changed since, in the few entries of the journal that came meanwhile. If so, it
// is judged anew: within the transaction where that is little work, else from the beginning.

const (
	// maxInside is how many grants, groups and vaults may be read within a transaction.
	maxInside = 200
	// maxBehind is how many entries of the journal a transaction reads at most, aheadPage how many a view does at once.
	maxBehind, aheadPage = 100, 1000
	// maxAheadTries bounds how often is judged ahead while others change who has access.
	maxAheadTries = 5
)

// errMoved says that what was judged by changed meanwhile.
var errMoved = fmt.Errorf("the access of the tenant changed while duties were judged: %w", guard.ErrAgain)

// judged is a judgement that was made ahead.
type judged struct {
	tenant vault.TenantID
	scope  authz.Scope
	judge  func(context.Context, *judgement) ([]Finding, error)
	// at is the place in the journal up to which it is known to stand.
	at   store.Position
	work int
	// found and err are its outcome.
	found []Finding
	err   error
}

// ahead judges in a view.
func (s *Service) ahead(ctx context.Context, t vault.TenantID, scope authz.Scope, judge func(context.Context, *judgement) ([]Finding, error)) (*judged, error) {
	d := &judged{tenant: t, scope: scope, judge: judge}
	err := s.Store.View(ctx, func(tx store.Tx) (err error) {
		if d.at, err = tx.Head(ctx); err != nil {
			return err
		}
		j := newJudgement(tx, t, scope)
		d.found, d.err = judge(ctx, j)
		d.work = j.work
		return nil
	})
	if err != nil || fault.Of(d.err) == fault.Internal && d.err != nil {
		return d, errors.Join(err, d.err)
	}
	return d, s.catchUp(ctx, d)
}

// catchUp reads what came while it was judged, so that the transaction has little left to read.
func (s *Service) catchUp(ctx context.Context, d *judged) error {
	for {
		behind := 0
		err := s.Store.View(ctx, func(tx store.Tx) error {
			commits, err := tx.Commits(ctx, d.at, aheadPage)
			behind = len(commits)
			if err == nil && behind > 0 && !d.touches(commits) {
				d.at = commits[behind-1].Position
			} else {
				behind = 0
			}
			return err
		})
		if err != nil || behind < aheadPage {
			return err
		}
	}
}

// stands returns the outcome in the transaction that is about to change something. An errMoved, which is a guard.ErrAgain, asks for another judgement ahead.
func (d *judged) stands(ctx context.Context, tx store.Tx) ([]Finding, error) {
	commits, err := tx.Commits(ctx, d.at, maxBehind)
	switch {
	case err != nil:
		return nil, err
	case len(commits) < maxBehind && !d.touches(commits):
		return d.found, d.err
	case d.work <= maxInside:
		return d.judge(ctx, newJudgement(tx, d.tenant, d.scope))
	}
	return nil, errMoved
}

// touches reports whether commits change anything that is judged by.
func (d *judged) touches(commits []*store.Commit) bool {
	for _, c := range commits {
		for i := range c.Changes {
			switch ch := &c.Changes[i]; ch.Kind {
			case store.PrincipalChanged, store.MemberChanged, store.GrantChanged, store.RoleChanged, store.VaultChanged:
				if ch.Tenant == d.tenant || ch.Tenant == "" {
					return true
				}
			case store.SettingChanged:
				if ch.Key == rulesKey(d.tenant) {
					return true
				}
			}
		}
	}
	return false
}

// again does work that is judged ahead until nothing moves meanwhile.
func (s *Service) again(ctx context.Context, call *guard.Call, need guard.Need, work func() error) error {
	for range maxAheadTries {
		if err := work(); !errors.Is(err, guard.ErrAgain) {
			return err
		}
	}
	return s.Guard.Refuse(ctx, call, need, fault.New(fault.Conflict, "others change who has access in this tenant all the time: try again").Because(store.StaleRevision))
}
