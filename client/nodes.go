package client

import (
	"context"

	"github.com/keywright/keywright/client/api"
)

// Nodes lists the nodes that work on the store, in the order of their ids.
func (c *Client) Nodes(ctx context.Context) ([]api.Node, error) {
	list, err := do[api.NodeList](ctx, c, "GET", "/api/v1/nodes", nil, nil)
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}
