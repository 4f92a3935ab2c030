// Package membership is the service by which people see which nodes work on the store, and how each is, and say that one is gone for good.
package membership

import (
	"context"
	"errors"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/node"
	"github.com/keywright/keywright/internal/store"
)

// Config makes a Service. Everything is required.
type Config struct {
	Guard *guard.Guard
	Nodes *node.Registry
}

// Service shows nodes.
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

// Remove takes a node that is gone out of the list. Whoever does vouches that it answers nobody any more: what it delivered and nobody knows of holds no revocation
// back from then on.
func (s *Service) Remove(ctx context.Context, call *guard.Call, id string) error {
	need := guard.Need{Action: authz.NodeDelete, Scope: "/", Detail: "node " + id[:min(len(id), 64)]}
	if err := s.Guard.Authorize(ctx, call, &need); err != nil {
		return err
	}
	return s.Guard.Commit(ctx, call, need, store.NewOp(s.Nodes.Clock.Now()), func(tx store.Tx) error { return node.Remove(ctx, tx, id) })
}
