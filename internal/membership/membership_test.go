package membership_test

import (
	"log/slog"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/guard/guardtest"
	"github.com/keywright/keywright/internal/membership"
	"github.com/keywright/keywright/internal/node"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

func TestNodesAreForOperators(t *testing.T) {
	w := guardtest.New(t, guardtest.Options{})
	nodes, err := node.New(node.Config{Store: w.Store, Clock: w.Clock, Logger: slog.New(slog.DiscardHandler), ID: "000000000000000a"})
	if err != nil {
		t.Fatal(err)
	}
	if err := nodes.Join(t.Context()); err != nil {
		t.Fatal(err)
	}
	gone := &store.Node{ID: "000000000000000b", Process: "p"}
	w.Change(func(tx store.Tx) error {
		if err := tx.JoinNode(t.Context(), gone); err != nil {
			return err
		}
		return tx.LeaveNode(t.Context(), gone.ID, gone.Process)
	})
	s, err := membership.New(membership.Config{Guard: w.Guard, Nodes: nodes})
	if err != nil {
		t.Fatal(err)
	}
	at := func(role string) *guard.Call {
		c := w.Caller()
		if role != "" {
			w.Grant(c, role, func(g *principal.Grant) { g.Scope = "/" })
		}
		return w.Call(c)
	}
	if _, err := s.List(t.Context(), at("")); !fault.Is(err, fault.Forbidden) {
		t.Errorf("who may nothing lists the nodes: %v", err)
	}
	list, err := s.List(t.Context(), at(authz.Reader))
	if err != nil || len(list) != 2 || !list[0].Own || list[0].State != node.Live || list[1].State != node.Stopped {
		t.Errorf("a reader sees %+v, %v", list, err)
	}
	if err := s.Remove(t.Context(), at(authz.Reader), gone.ID); !fault.Is(err, fault.Forbidden) {
		t.Errorf("a reader removes a node: %v", err)
	}
	// Nobody waits for what a node delivered that was removed: another tenant's owner must not decide that for this one.
	other := w.Caller()
	other.Tenant = vault.NewTenantID()
	w.Change(func(tx store.Tx) error {
		if err := tx.PutTenant(t.Context(), &vault.Tenant{ID: other.Tenant, Name: "Other", Created: w.Clock.Now().Add(time.Minute)}); err != nil {
			return err
		}
		return tx.PutGrant(t.Context(), &principal.Grant{ID: vault.NewGUID(), Tenant: other.Tenant, Scope: "/", Role: authz.Owner, Principal: other.Principal, PrincipalKind: other.Kind})
	})
	stranger := w.Call(other)
	stranger.Vault = nil
	err = s.Remove(t.Context(), stranger, gone.ID)
	if f := fault.As(err); f == nil || f.Kind != fault.Forbidden || f.Reason != guard.NotOperator {
		t.Errorf("the owner of another tenant removes a node: %v", err)
	}
	owner := at(authz.Owner)
	if err := s.Remove(t.Context(), owner, nodes.ID); !fault.Is(err, fault.Conflict) {
		t.Errorf("a live node is removed: %v", err)
	}
	if err := s.Remove(t.Context(), owner, gone.ID); err != nil {
		t.Errorf("a stopped node is not removed: %v", err)
	}
	if err := s.Remove(t.Context(), owner, gone.ID); !fault.Is(err, fault.NotFound) {
		t.Errorf("a node is removed twice: %v", err)
	}
	changes := w.Changes()
	if last := changes[len(changes)-1]; last.Detail != "node "+gone.ID || last.Action != authz.NodeDelete.String() {
		t.Errorf("the record is %+v", last)
	}
}
