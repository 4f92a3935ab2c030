package nats

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/rotator/endpoint"
)

// Preflight proves that a run can succeed.
func (*Rotator) Preflight(ctx context.Context, t *rotator.Target, p rotator.Plan) (*rotator.Report, error) {
	c, err := open(t)
	if err != nil {
		return nil, err
	}
	if err := fits(p); err != nil {
		return nil, err
	}
	report := &rotator.Report{Identities: map[string]string{}}
	for i := range c.Servers {
		if err := c.inspect(ctx, &c.Servers[i], p, report); err != nil {
			return nil, err
		}
	}
	for i := range c.Servers {
		if p.Current == nil {
			err = greets(ctx, c.Servers[i].Endpoint)
		} else {
			err = c.works(ctx, &c.Servers[i], *p.Current, report)
		}
		if err != nil {
			return nil, err
		}
	}
	return report, nil
}

// fits refuses a plan that the server cannot keep safe.
func fits(p rotator.Plan) error {
	return p.Fits("NATS, which disconnects the clients of a user that changes at once,", (*Rotator)(nil).Describe().Strategies)
}

// inspect proves that one server answers, that its file can be changed and loaded, and that the pair in it is one.
func (c *config) inspect(ctx context.Context, s *server, p rotator.Plan, report *rotator.Report) error {
	m, err := c.monitor(ctx, s)
	if err != nil {
		return err
	}
	defer m.close()
	now, err := m.state(ctx)
	if err != nil {
		return err
	}
	report.System = "NATS server " + now.Version
	if now.Cluster.Name == "" && now.Name == now.ID {
		report.Warnings = append(report.Warnings, "the server at "+s.Endpoint+" has no server_name: it gets another one at each start, and with it the identity of its users")
	}
	file, _, err := read(s.UsersFile)
	if err != nil {
		return err
	}
	pair := make([]user, len(p.Accounts))
	for i, account := range p.Accounts {
		if pair[i] = file.find(account); pair[i] == nil || !writable(account) {
			return rotator.Fail(rotator.Misconfigured, nil, "%q is not in %s, or has characters that a server's configuration cannot hold: add it, or name another in the policy", account, s.UsersFile)
		}
		id := identity(now.Cluster.Name, now.Name, account)
		if known := report.Identities[account]; known != "" && known != id {
			return rotator.Fail(rotator.Misconfigured, nil, "%s belongs to another cluster than the servers before it: name servers of one cluster", s.Endpoint)
		}
		report.Identities[account] = id
	}
	if !pair[0].equal(pair[1]) {
		return rotator.Fail(rotator.Misconfigured, nil, "the users %q and %q of the pair have different members in %s: make them equal, permissions above all, since applications use the one and then the other", p.Accounts[0], p.Accounts[1], s.UsersFile)
	}
	if err := s.changeable(); err != nil {
		return err
	}
	if err := s.valid(ctx); err != nil {
		return err
	}
	if s.Program == "" {
		report.Warnings = append(report.Warnings, "program and configFile are not given for "+s.Endpoint+", so the server's own check is left out before a reload")
	}
	return nil
}

// equal compares all members but name and password.
func (u user) equal(other user) bool {
	rest := func(u user) []byte {
		members := map[string]any{}
		for name, raw := range u {
			var value any
			if err := json.Unmarshal(raw, &value); err == nil && name != "user" && name != "password" {
				members[name] = value
			}
		}
		return encode(members)
	}
	return bytes.Equal(rest(u), rest(other))
}

// changeable proves that the file may be replaced and the process may be told.
func (s *server) changeable() error {
	pid, err := s.pid()
	if err != nil {
		return err
	}
	if err := unix.Kill(pid, 0); err != nil {
		return fileError(os.NewSyscallError("kill", err), "sending a signal to the server's process %d", pid)
	}
	temporary, err := os.CreateTemp(filepath.Dir(s.UsersFile), ".probe-*")
	if err != nil {
		return fileError(err, "making a file beside %s", s.UsersFile)
	}
	_ = temporary.Close()
	if err := os.Remove(temporary.Name()); err != nil {
		return fileError(err, "removing %s", temporary.Name())
	}
	return nil
}

// greets proves that a NATS server answers: it speaks first, with its INFO, before TLS and logins.
func greets(ctx context.Context, address string) error {
	conn, err := endpoint.Dial(ctx, address, nil)
	if err != nil {
		return rotator.Fail(rotator.NotApplied, err, "the server at %s was not reached", address)
	}
	defer conn.Close()
	if err := conn.SetReadDeadline(time.Now().Add(probeTime)); err != nil {
		return rotator.Fail(rotator.NotApplied, err, "the server at %s was not reached", address)
	}
	first := make([]byte, len("INFO "))
	if _, err := io.ReadFull(conn, first); err != nil {
		return rotator.Fail(rotator.NotApplied, err, "the server at %s did not greet", address)
	}
	if string(first) != "INFO " {
		return rotator.Fail(rotator.Misconfigured, nil, "what answers at %s is no NATS server", address)
	}
	return nil
}

// works proves that the present credential logs in at one server.
func (c *config) works(ctx context.Context, s *server, current rotator.Credential, report *rotator.Report) error {
	one := c.login(ctx, s, current)
	if err := one.Works(current.Account); err != nil {
		return err
	}
	if one.Identity != report.Identities[current.Account] {
		return rotator.Fail(rotator.Misconfigured, nil, "%s is another server than the one that is monitored: correct endpoint or monitoring", s.Endpoint)
	}
	return nil
}
