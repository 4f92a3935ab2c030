package redis

import (
	"context"
	"slices"
	"strings"

	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/rotator"
)

// goal is what a user shall be after a change.
type goal struct {
	// values are the passwords; with none the user is switched off.
	values []redact.Bytes
	// enable is true when the user may have been switched off by an earlier change.
	enable bool
}

// Set makes the user accept the value on every endpoint.
func (*Rotator) Set(ctx context.Context, t *rotator.Target, c rotator.Change) error {
	g := goal{values: []redact.Bytes{c.Value}, enable: c.Keep == nil}
	if c.Keep != nil {
		g.values = append(g.values, c.Keep.Value)
	}
	return change(ctx, t, c, g, func(endpoint string) error {
		return rotator.Fail(rotator.Misconfigured, nil, "the user %q does not exist at %s: create it there", c.Account, endpoint)
	})
}

// Revoke makes the user refuse the value on every endpoint. Without another one to keep, the user has no password and is off.
func (*Rotator) Revoke(ctx context.Context, t *rotator.Target, c rotator.Change) error {
	var g goal
	if c.Keep != nil {
		g.values = []redact.Bytes{c.Keep.Value}
	}
	return change(ctx, t, c, g, func(string) error { return nil })
}

// place is a user on a node that can be changed.
type place struct {
	*node
	user    *user
	keeping keeping
}

// change brings the user to the goal on one endpoint after the other, when it can be changed on all of them. absent says what it means that
// an endpoint does not have it.
func change(ctx context.Context, t *rotator.Target, c rotator.Change, g goal, absent func(endpoint string) error) error {
	ctx, cancel := withDeadline(ctx)
	defer cancel()
	config, err := open(t, c)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(g.values, func(v redact.Bytes) bool { return len(v) == 0 }) {
		return rotator.Fail(rotator.Refused, nil, "a password is empty: use another")
	}
	var places []place
	defer func() {
		for _, p := range places {
			p.close()
		}
	}()
	for _, e := range slices.Sorted(slices.Values(config.Endpoints)) {
		n, err := login(ctx, config, e, t.Admin)
		if err != nil {
			return loginFailure(e, err)
		}
		places = append(places, place{node: n})
		p := &places[len(places)-1]
		if err := n.lock(ctx, c.Account); err != nil {
			return err
		}
		if err := p.look(ctx, config, c.Account); err != nil {
			return err
		}
		if p.user == nil {
			if err := absent(e); err != nil {
				return err
			}
		}
	}
	// Locked in the order of their names, so that two changes never wait for each other; changed in the order of the configuration.
	slices.SortFunc(places, func(a, b place) int {
		return slices.Index(config.Endpoints, a.endpoint) - slices.Index(config.Endpoints, b.endpoint)
	})
	applied := false
	for _, p := range places {
		if p.user == nil {
			continue
		}
		if err := p.apply(ctx, c.Account, g); err != nil {
			if applied {
				return rotator.Fail(rotator.Doubt, err, "the change of %q is done in part: probe before the next try", c.Account)
			}
			return err
		}
		applied = true
	}
	return nil
}

// open reads what a verb needs.
func open(t *rotator.Target, c rotator.Change) (*config, error) {
	config, err := parse(t.Config)
	if err != nil {
		return nil, rotator.Fail(rotator.Misconfigured, err, "the target cannot be used")
	}
	switch {
	case t.Admin.IsZero():
		return nil, rotator.Fail(rotator.Misconfigured, nil, "the target has no administrator: a Redis user changes itself only with the right to change everybody")
	case c.Account == "" || strings.ContainsAny(c.Account, " \t\r\n\v\f\x00"):
		return nil, rotator.Fail(rotator.Misconfigured, nil, "%q is no name of a user: Redis takes none with spaces", c.Account)
	case c.Account == "default" && !config.AllowDefault:
		return nil, rotator.Fail(rotator.Misconfigured, nil, "the user default is everybody who has not logged in: make a user for the application, or set allowDefault if it is meant")
	case c.Keep != nil && c.Keep.Account != c.Account:
		return nil, rotator.Fail(rotator.Misconfigured, nil, "the value to keep belongs to %q and not to %q", c.Keep.Account, c.Account)
	}
	return config, nil
}

// look reads the user and refuses one that must not be changed here. It is nil where the node has none.
func (p *place) look(ctx context.Context, c *config, account string) (err error) {
	if p.user, err = p.node.user(ctx, account); err != nil {
		return p.before(err, "reading the user")
	}
	if p.user == nil {
		return nil
	}
	if p.user.nopass {
		return rotator.Fail(rotator.Misconfigured, nil, "the user %q takes any password at %s (nopass): give it a password first", account, p.endpoint)
	}
	if p.keeping, err = p.node.keeping(ctx, c); err != nil {
		return err
	}
	if wrong := p.keeping.writable(account); wrong != "" {
		return rotator.Fail(rotator.Misconfigured, nil, "the user %q at %s: %s", account, p.endpoint, wrong)
	}
	return nil
}

// apply states the passwords and saves them. What cannot be saved is taken back: the next start would bring the old ones back, unnoticed.
func (p place) apply(ctx context.Context, account string, g goal) error {
	wanted := make([]string, len(g.values))
	for i, v := range g.values {
		wanted[i] = hash(v)
	}
	on := len(g.values) > 0 && (g.enable || p.user.on)
	if err := p.state(ctx, account, wanted, on); err != nil {
		return p.setting(err)
	}
	err := p.save(ctx, p.keeping)
	if err == nil {
		return nil
	}
	if !isReply(err) || p.state(ctx, account, p.user.hashes, p.user.on) != nil {
		return rotator.Fail(rotator.Doubt, cause(err), "the passwords of %q are set at %s and may not be saved in its %v: probe before the next try", account, p.endpoint, p.keeping)
	}
	if word(err) == "NOPERM" {
		return rotator.Fail(rotator.Denied, cause(err), "the administrator may not save the users of %s in its %v, so nothing was changed: see the rules in the rotator's page", p.endpoint, p.keeping)
	}
	return rotator.Fail(rotator.NotApplied, cause(err), "%s cannot save its users in its %v, so nothing was changed: look at the file, its directory and the server's log", p.endpoint, p.keeping)
}

// state is one command: no login comes between the old passwords and the new ones.
func (p place) state(ctx context.Context, account string, hashes []string, on bool) error {
	args := []any{"ACL", "SETUSER", account, "resetpass"}
	for _, h := range hashes {
		args = append(args, "#"+h)
	}
	if on {
		args = append(args, "on")
	} else {
		args = append(args, "off")
	}
	return p.conn.Do(ctx, args...).Err()
}
