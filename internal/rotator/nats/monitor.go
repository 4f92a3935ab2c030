package nats

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/rotator/endpoint"
)

// maxAnswerBytes bounds an answer of the monitoring endpoint; pageSize is how many connections it tells at a time.
const (
	maxAnswerBytes = 32 << 20
	pageSize       = 1024
)

// monitor is the monitoring endpoint of one server (https://docs.nats.io/running-a-nats-service/nats_admin/monitoring), for one verb.
type monitor struct {
	address, scheme string
	client          *http.Client
}

// monitor prepares calls, whose connections end with the context. The caller calls close.
func (c *config) monitor(ctx context.Context, s *server) (*monitor, error) {
	settings, err := c.TLS.Config()
	if err != nil {
		return nil, rotator.Fail(rotator.Misconfigured, err, "the policy's configuration of the target cannot be used")
	}
	m := &monitor{address: s.Monitoring, scheme: "http"}
	if s.MonitoringTLS {
		m.scheme = "https"
	}
	dial := func(settings *tls.Config) func(context.Context, string, string) (net.Conn, error) {
		return func(_ context.Context, _, address string) (net.Conn, error) {
			return endpoint.Dial(ctx, address, settings)
		}
	}
	// A connection for each call: on one that is used again, a lost answer would be asked for again without a word.
	m.client = &http.Client{Transport: &http.Transport{DialContext: dial(nil), DialTLSContext: dial(settings), DisableKeepAlives: true}}
	return m, nil
}

func (m *monitor) close() { m.client.CloseIdleConnections() }

// state is what /varz tells.
type state struct {
	Name    string    `json:"server_name"`
	ID      string    `json:"server_id"`
	Version string    `json:"version"`
	Loaded  time.Time `json:"config_load_time"`
	Cluster struct {
		Name string `json:"name"`
	} `json:"cluster"`
}

func (m *monitor) state(ctx context.Context) (*state, error) {
	s := &state{}
	if err := m.get(ctx, "varz", s); err != nil {
		return nil, err
	}
	if s.Loaded.IsZero() {
		return nil, rotator.Fail(rotator.Misconfigured, nil, "the monitoring endpoint %s does not tell when the server loaded its configuration: it is too old, or no NATS server", m.address)
	}
	return s, nil
}

// connection is one that /connz tells.
type connection struct {
	ID      uint64    `json:"cid"`
	IP      string    `json:"ip"`
	Port    int       `json:"port"`
	Start   time.Time `json:"start"`
	Name    string    `json:"name"`
	Library string    `json:"lang"`
	User    string    `json:"authorized_user"`
}

// connections lists the connections of one user.
func (m *monitor) connections(ctx context.Context, account string) ([]connection, error) {
	var own []connection
	for offset := 0; ; offset += pageSize {
		var page struct {
			Total       int          `json:"total"`
			Connections []connection `json:"connections"`
		}
		if err := m.get(ctx, fmt.Sprintf("connz?auth=1&limit=%d&offset=%d", pageSize, offset), &page); err != nil {
			return nil, err
		}
		own = append(own, slices.DeleteFunc(page.Connections, func(c connection) bool { return c.User != account })...)
		if offset+pageSize >= page.Total {
			return own, nil
		}
	}
}

// get decodes one page. Nothing changes by it, so its failure is NotApplied.
func (m *monitor) get(ctx context.Context, path string, into any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, m.scheme+"://"+m.address+"/"+path, nil)
	if err != nil {
		return rotator.Fail(rotator.Misconfigured, err, "the address of the monitoring endpoint cannot be used")
	}
	response, err := m.client.Do(request)
	if err != nil {
		return rotator.Fail(rotator.NotApplied, err, "the monitoring endpoint %s did not answer: see that the server is up and monitoring is on", m.address)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return rotator.Fail(rotator.NotApplied, nil, "the monitoring endpoint %s answered with status %d", m.address, response.StatusCode)
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, maxAnswerBytes)).Decode(into); err != nil {
		return rotator.Fail(rotator.NotApplied, err, "the monitoring endpoint %s answered with something else than its JSON", m.address)
	}
	return nil
}

// Sessions lists the connections of the user at every server. A server shows which user they belong to and not by which password they came.
func (*Rotator) Sessions(ctx context.Context, t *rotator.Target, account string) ([]rotator.Session, error) {
	c, err := open(t)
	if err != nil {
		return nil, err
	}
	sessions := []rotator.Session{}
	for i := range c.Servers {
		s := &c.Servers[i]
		m, err := c.monitor(ctx, s)
		if err != nil {
			return nil, err
		}
		found, err := m.connections(ctx, account)
		m.close()
		if err != nil {
			return nil, err
		}
		for _, one := range found {
			client := one.Name
			if client == "" {
				client = one.Library
			}
			sessions = append(sessions, rotator.Session{
				Endpoint: s.Endpoint, Account: account, ID: strconv.FormatUint(one.ID, 10), Client: client,
				Address: net.JoinHostPort(one.IP, strconv.Itoa(one.Port)), Since: one.Start.UTC(),
			})
		}
	}
	return sessions, nil
}
