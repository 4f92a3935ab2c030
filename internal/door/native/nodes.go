package native

import (
	"net/http"

	"github.com/keywright/keywright/client/api"
	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/door"
)

func (h *handler) nodeRoutes() []door.Route {
	return []door.Route{{Method: "GET", Pattern: root + "/nodes", Operation: "Nodes", Action: authz.NodeRead.String(), Output: api.NodeList{}, Serve: h.listNodes,
		Summary: "Lists the nodes that work on the store, and how each is."},
		{Method: "DELETE", Pattern: root + "/nodes/{node}", Operation: "NodeRemove", Action: authz.NodeDelete.String(), Success: http.StatusNoContent, Serve: h.removeNode,
			Summary: "Takes a node out of the list that is gone and answers nobody any more."}}
}

func (h *handler) removeNode(r *door.Request) error {
	return done(r, h.Membership.Remove(r.HTTP.Context(), &r.Call, r.Params.Get("node")))
}

func (h *handler) listNodes(r *door.Request) error {
	list, err := h.Membership.List(r.HTTP.Context(), &r.Call)
	if err != nil {
		return err
	}
	out := api.NodeList{Items: make([]api.Node, 0, len(list))}
	for _, m := range list {
		n := api.Node{ID: m.ID, Host: m.Host, Version: m.Version, State: string(m.State), Seen: m.Seen, QuietSeconds: m.Quiet.Seconds(), Started: m.Started,
			Position: int64(m.Position), Behind: m.Behind, Answers: m.Own}
		if !m.Left.IsZero() {
			n.Stopped = &m.Left
		}
		out.Items = append(out.Items, n)
	}
	return r.JSON(http.StatusOK, out)
}
