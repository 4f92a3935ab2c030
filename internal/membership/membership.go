// Package membership is the service by which people see which nodes work on the store, and how each is.
package membership

import (
	"context"
	"errors"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/node"
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
