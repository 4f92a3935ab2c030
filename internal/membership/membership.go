// Package membership is the service by which people see which nodes work on the store and how each is, and take those off the list that never come back.
package membership

import (
	"context"
	"errors"
	"slices"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/node"
	"github.com/keywright/keywright/internal/store"
)

// Config makes a Service. Everything is required.
type Config struct {
	Guard *guard.Guard
	Nodes *node.Registry
}

// Service shows and removes nodes.
type Service struct{ Config }

// New checks the configuration.
func New(c Config) (*Service, error) {
	if c.Guard == nil || c.Nodes == nil {
		return nil, errors.New("the membership service needs a guard and the registry of nodes")
	}
	return &Service{c}, nil
}

// List returns all nodes in the order of their ids. They belong to the installation, so that whoever operates a tenant sees them all.
func (s *Service) List(ctx context.Context, call *guard.Call) (list []node.Member, err error) {
	need := guard.Need{Action: authz.NodeRead, Scope: "/"}
	err = s.Guard.Read(ctx, call, &need, func() error {
		list, err = s.Nodes.Members(ctx)
		return err
	})
	return list, err
}

// NotFound is the reason when there is no such node, Lives that of the refusal to remove one that is live.
const (
	NotFound fault.Reason = "NodeNotFound"
	Lives    fault.Reason = "NodeLives"
)

// Remove takes a node off the list that is silent or stopped: nobody waits any longer for what it may still have to say. A live one is a fault.Conflict. It is the
// operator's: revocations of every tenant go on behind it.
func (s *Service) Remove(ctx context.Context, call *guard.Call, id string) error {
	need := guard.Need{Action: authz.NodeDelete, Scope: "/", Detail: "node " + fault.Clip(id)}
	if err := s.Guard.Operate(ctx, call, &need); err != nil {
		return err
	}
	return s.Guard.Commit(ctx, call, need, store.NewOp(call.Started), func(tx store.Tx) error {
		list, err := node.Members(ctx, tx)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(list, func(m node.Member) bool { return m.ID == id })
		switch {
		case i < 0:
			return fault.New(fault.NotFound, "there is no node %q: list those that there are", fault.Clip(id)).Because(NotFound)
		case list[i].State == node.Live:
			return fault.New(fault.Conflict, "the node %s is live: stop it, or wait until nothing was heard of it for %s", id, node.Silent).Because(Lives)
		}
		return tx.RemoveNode(ctx, id)
	})
}
