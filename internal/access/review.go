package access

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Entry is one right in an access review: who may do what, where, until when, by whom granted, and who looked at it last.
type Entry struct {
	// Who is nil when the directory does not know the principal any more.
	Who       *principal.Principal
	Principal principal.ID
	// Via is the group through which Who holds the right; empty when directly.
	Via principal.ID
	// One of Grant and Policy is set. Role is nil for a policy and for a role that does not exist.
	Grant  *principal.Grant
	Role   *principal.Role
	Policy *vault.AccessPolicy
	// Vault is the name of the vault whose policy it is.
	Vault string
	Scope string
	// Duties says what the right amounts to.
	Duties authz.Duty
	// Counts is false for a right that has not begun, is over, or that the vault's access model ignores.
	Counts  bool
	Decided *Decision
}

// Decision is what somebody decided about a role assignment in a review.
type Decision struct {
	// Outcome is attest or revoke.
	Outcome string       `json:"outcome"`
	By      principal.ID `json:"by"`
	At      time.Time    `json:"at"`
	Note    string       `json:"note,omitempty"`
}

// Review lists every right at, above and below a scope, groups expanded, for a periodic review of access. The caller needs the
// action AccessExplain at the scope.
func (s *Service) Review(ctx context.Context, call *guard.Call, scope string) (list []Entry, err error) {
	at, err := authz.ParseScope(scope)
	if err != nil {
		return nil, err
	}
	need := guard.Need{Action: authz.AccessExplain, Scope: at.String()}
	err = s.Guard.Read(ctx, call, &need, func() error {
		return s.Store.View(ctx, func(tx store.Tx) error {
			r := review{ctx: ctx, tx: tx, tenant: call.Caller.Tenant, now: call.Started}
			if err := exists(ctx, tx, r.tenant, at); err != nil {
				return err
			}
			err := r.grants(at)
			if err == nil {
				err = r.policies(at)
			}
			list = r.list
			return err
		})
	})
	return list, err
}

type review struct {
	ctx    context.Context
	tx     store.Tx
	tenant vault.TenantID
	now    time.Time
	list   []Entry
}

func (r *review) grants(at authz.Scope) error {
	grants, err := grantsAround(r.ctx, r.tx, r.tenant, at, true)
	if err != nil {
		return err
	}
	for _, g := range grants {
		e := Entry{Principal: g.Principal, Grant: g, Scope: g.Scope}
		role, err := findRole(r.ctx, r.tx, r.tenant, g.Role)
		switch {
		case err == nil:
			e.Role, e.Duties, e.Counts = role, authz.DutiesOf(authz.Allows(role)), g.Live(r.now)
		case !fault.Is(err, fault.NotFound):
			return err
		}
		if e.Decided, err = decision(r.ctx, r.tx, g); err != nil {
			return err
		}
		if err := r.add(e); err != nil {
			return err
		}
	}
	return nil
}

func (r *review) policies(at authz.Scope) error {
	vaults, err := r.tx.Vaults(r.ctx, store.VaultQuery{Tenant: r.tenant, Subscription: at.Parts().Subscription})
	if err != nil {
		return err
	}
	for _, v := range vaults {
		if !at.Overlaps(authz.VaultScope(v)) {
			continue
		}
		for i := range v.Policies {
			p := &v.Policies[i]
			live := !r.now.Before(p.NotBefore) && (p.Expires.IsZero() || r.now.Before(p.Expires))
			err := r.add(Entry{Principal: principal.ID(p.Principal), Policy: p, Vault: v.Name, Scope: v.Scope(), Duties: authz.DutiesOf(authz.PolicyAllows(p)),
				Counts: live && v.Access == vault.AccessByPolicy})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// add appends an entry for the holder and for everybody in it.
func (r *review) add(e Entry) error {
	holders, err := expand(r.ctx, r.tx, r.tenant, authz.Holder{Principal: e.Principal})
	if err != nil {
		return err
	}
	if len(holders) == 0 { // disabled: the right is worth a look all the same
		e.Counts = false
		if e.Who, err = r.tx.Principal(r.ctx, r.tenant, e.Principal); err != nil {
			return err
		}
		r.list = append(r.list, e)
	}
	for _, h := range holders {
		e.Who, e.Via = h.Who, h.Via
		r.list = append(r.list, e)
	}
	return nil
}

func decisionKey(t vault.TenantID, id string) string { return "access/review/" + string(t) + "/" + id }

// decision is the last one about a grant; nil when there is none. One from before the grant was made is about another that had its id.
func decision(ctx context.Context, tx store.Tx, g *principal.Grant) (*Decision, error) {
	data, err := tx.Setting(ctx, decisionKey(g.Tenant, g.ID))
	if fault.Is(err, fault.NotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var d Decision
	if err := json.Unmarshal(data, &d); err != nil {
		return nil, fmt.Errorf("reading the review of the role assignment %s: %w", g.ID, err)
	}
	if d.At.Before(g.Created) {
		return nil, nil
	}
	return &d, nil
}

// The outcomes of a review.
const (
	Attest = "attest"
	Revoke = "revoke"
)

// Decide records what a review found about a role assignment: that it is still needed, or not, which removes it. It takes the
// right to write assignments of that role, or to delete them.
func (s *Service) Decide(ctx context.Context, call *guard.Call, scope, id, outcome, note string) error {
	at, err := authz.ParseScope(scope)
	if err != nil {
		return err
	}
	need := guard.Need{Action: authz.RoleAssignmentWrite, Scope: at.String(), Name: fault.Clip(id)}
	switch {
	case outcome == Revoke:
		need.Action = authz.RoleAssignmentDelete
	case outcome != Attest:
		return fault.New(fault.Invalid, "a review ends in %s or %s, not in %q", Attest, Revoke, fault.Clip(outcome))
	}
	if len(note) > maxDescriptionBytes {
		return fault.New(fault.Invalid, "the note has %d bytes: at most %d are allowed", len(note), maxDescriptionBytes)
	}
	if call.Caller == nil {
		return fault.New(fault.Unauthenticated, "this needs an authenticated caller")
	}
	found, err := s.grantAt(ctx, call.Caller.Tenant, at, id)
	if err != nil {
		return err
	}
	if found != nil {
		need = needFor(need.Action, at, found.ID, found.Role, found.Principal)
	}
	if err := s.Guard.Authorize(ctx, call, &need); err != nil {
		return err
	}
	op := store.NewOp(s.Clock.Now())
	data, err := json.Marshal(Decision{Outcome: outcome, By: call.Caller.Principal, At: op.At, Note: note})
	if err != nil {
		return err
	}
	return s.Guard.Commit(ctx, call, need, op, func(tx store.Tx) error {
		if found == nil {
			return fault.New(fault.NotFound, "the role assignment '%s' is not found at %s", fault.Clip(id), at).Because(RoleAssignmentNotFound)
		}
		g, err := tx.Grant(ctx, found.Tenant, found.ID)
		if err != nil {
			return err
		}
		if !sameTriple(g, found) {
			return fault.New(fault.Conflict, "the role assignment %s was replaced meanwhile: look at it, and try again", g.ID)
		}
		if outcome == Revoke { // of what is gone, the audit log tells
			return tx.DeleteGrant(ctx, g.Tenant, g.ID)
		}
		return tx.PutSetting(ctx, decisionKey(g.Tenant, g.ID), data)
	})
}
