package rabbitmq

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/keywright/keywright/internal/rotator"
)

// connection is one as the management API shows it.
type connection struct {
	Name        string `json:"name"`
	User        string `json:"user"`
	Node        string `json:"node"`
	PeerHost    string `json:"peer_host"`
	PeerPort    uint16 `json:"peer_port"`
	ConnectedAt int64  `json:"connected_at"` // milliseconds since 1970
	Properties  struct {
		ConnectionName string `json:"connection_name"`
		Product        string `json:"product"`
	} `json:"client_properties"`
}

// connections lists those of one user on all nodes.
func (a *api) connections(ctx context.Context, account string) ([]connection, error) {
	var listed, own []connection
	if err := a.get(ctx, &listed, "connections"); err != nil {
		return nil, err
	}
	for _, c := range listed {
		if c.User == account {
			own = append(own, c)
		}
	}
	return own, nil
}

// Sessions lists the connections of the user, on all nodes of the cluster. The broker shows which user they belong to and not by which password they came.
func (*Rotator) Sessions(ctx context.Context, t *rotator.Target, account string) ([]rotator.Session, error) {
	a, err := open(ctx, t)
	if err != nil {
		return nil, err
	}
	defer a.close()
	found, err := a.connections(ctx, account)
	if err != nil {
		return nil, err
	}
	sessions := make([]rotator.Session, 0, len(found))
	for _, c := range found {
		s := rotator.Session{Endpoint: c.Node, Account: account, ID: c.Name, Client: c.Properties.ConnectionName}
		if s.Client == "" {
			s.Client = c.Properties.Product
		}
		if c.PeerHost != "" {
			s.Address = net.JoinHostPort(c.PeerHost, strconv.Itoa(int(c.PeerPort)))
		}
		if c.ConnectedAt > 0 {
			s.Since = time.UnixMilli(c.ConnectedAt).UTC()
		}
		sessions = append(sessions, s)
	}
	return sessions, nil
}

// Terminate closes the connections of the user and says how many it closed.
func (*Rotator) Terminate(ctx context.Context, t *rotator.Target, account string) (int, error) {
	a, err := open(ctx, t)
	if err != nil {
		return 0, err
	}
	defer a.close()
	found, err := a.connections(ctx, account)
	if err != nil {
		return 0, err
	}
	ended := 0
	for _, c := range found {
		_, err := a.call(ctx, http.MethodDelete, path("connections", c.Name), nil, nil)
		if errors.Is(err, errAbsent) {
			continue // it ended by itself
		}
		if err != nil {
			return ended, err
		}
		ended++
	}
	return ended, nil
}
