package client

import (
	"context"
	"net/url"

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

// RemoveNode takes a node out of the list that is gone and answers nobody any more: it holds no revocation back from then on.
func (c *Client) RemoveNode(ctx context.Context, id string) error {
	return c.call(ctx, "DELETE", "/api/v1/nodes/"+url.PathEscape(id), nil, nil, nil)
}
