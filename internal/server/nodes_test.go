package server

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/keywright/keywright/client/api"
	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/store"
)

// A node that is gone is taken off the list at the native door by whoever operates the installation, and nobody else; a live one stays, whoever asks.
func TestNodesAreRemovedAtTheDoor(t *testing.T) {
	x := startTarget(t)
	const gone = "00000000000000000000000000000b0b"
	x.change(func(tx store.Tx) error {
		if err := tx.JoinNode(t.Context(), &store.Node{ID: gone, Process: "p", Host: "other"}); err != nil {
			return err
		}
		return tx.LeaveNode(t.Context(), gone, "p")
	})
	at := x.fronts()["native"]
	tenant := x.demo().Tenant
	as := func(role string) string {
		p := x.newPerson(tenant, "node-"+strings.ToLower(strings.ReplaceAll(role, " ", "-")))
		if role != "" {
			x.grant(p, role)
		}
		return x.tokenOf(p, at.resource)
	}
	nobody, reader, owner := as(""), as(authz.Reader), as(authz.Owner)
	listed := func() (ids []string) {
		t.Helper()
		got := x.send(http.MethodGet, at.base+"/api/v1/nodes", owner, "")
		var list api.NodeList
		if err := json.Unmarshal([]byte(got.body), &list); err != nil || got.status != http.StatusOK {
			t.Fatalf("the list of nodes: %d %s", got.status, got.body)
		}
		for _, n := range list.Items {
			ids = append(ids, n.ID)
			if n.Answers != (n.ID == x.core.audit.node) || (n.State == "stopped") != (n.ID == gone) {
				t.Errorf("the node %+v", n)
			}
		}
		return ids
	}
	if ids := listed(); len(ids) != 2 || !slices.Contains(ids, gone) {
		t.Fatalf("the nodes %v", ids)
	}
	for _, c := range []struct {
		name, token, id string
		status          int
		says            string
	}{
		{"without a token", "", gone, http.StatusUnauthorized, ""},
		{"without a role", nobody, gone, http.StatusForbidden, ""},
		{"as a reader", reader, gone, http.StatusForbidden, ""},
		{"the live node, without a role", nobody, x.core.audit.node, http.StatusForbidden, ""},
		{"an unknown node, without a role", nobody, "0000000000000000000000000000abcd", http.StatusForbidden, ""},
		{"the live node", owner, x.core.audit.node, http.StatusConflict, "NodeLives"},
		{"an unknown node", owner, "0000000000000000000000000000abcd", http.StatusNotFound, "NodeNotFound"},
	} {
		got := x.send(http.MethodDelete, at.base+"/api/v1/nodes/"+c.id, c.token, "")
		if got.status != c.status || !strings.Contains(got.body, c.says) {
			t.Errorf("%s: %d %s, want %d %s", c.name, got.status, got.body, c.status, c.says)
		}
	}
	if ids := listed(); len(ids) != 2 {
		t.Errorf("after refusals alone there are the nodes %v", ids)
	}
	if got := x.send(http.MethodDelete, at.base+"/api/v1/nodes/"+gone, owner, ""); got.status != http.StatusNoContent {
		t.Errorf("the removal: %d %s", got.status, got.body)
	}
	if ids := listed(); len(ids) != 1 || ids[0] == gone {
		t.Errorf("after the removal there are the nodes %v", ids)
	}
	if got := x.send(http.MethodDelete, at.base+"/api/v1/nodes/"+gone, owner, ""); got.status != http.StatusNotFound {
		t.Errorf("a second removal: %d %s", got.status, got.body)
	}
}
