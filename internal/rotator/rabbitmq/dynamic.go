package rabbitmq

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/rotator"
)

// Provision makes a user with the tags and permissions of the configuration, or makes it fit: permissions elsewhere are taken away. RabbitMQ
// has no end for a user, so the engine alone ends the lease.
func (*Rotator) Provision(ctx context.Context, t *rotator.Target, c rotator.Credential, _ time.Time) error {
	a, err := open(ctx, t)
	if err != nil {
		return err
	}
	defer a.close()
	want := a.config.Dynamic
	switch {
	case want == nil:
		return rotator.Fail(rotator.Misconfigured, nil, "the configuration of the target has no member dynamic: write which rights an account for a lease gets")
	case len(c.Value) == 0:
		return rotator.Fail(rotator.Refused, nil, "an empty password would be one for nobody")
	case c.Account == a.admin.Account:
		return rotator.Fail(rotator.Misconfigured, nil, "%q is the administrator and no account for a lease", c.Account)
	}
	tags, err := json.Marshal(strings.Join(want.Tags, ",")) // every version takes this form
	if err != nil {
		return rotator.Fail(rotator.NotApplied, err, "encoding the tags of an account")
	}
	// Rights first, so that the account never logs in with fewer or more than it should have: until the password is there, nobody knows it.
	if err := a.put(ctx, c.Account, nobodys(), &user{Tags: tags}); err != nil {
		return err
	}
	if err := a.permit(ctx, c.Account, want.Permissions); err != nil {
		return err
	}
	return a.put(ctx, c.Account, hashed(c.Value.Reveal()), &user{Tags: tags})
}

// permit gives the user these permissions and no others.
func (a *api) permit(ctx context.Context, account string, want []permission) error {
	var has []permission
	if err := a.get(ctx, &has, "users", account, "permissions"); err != nil {
		return err
	}
	for _, p := range has {
		if slices.ContainsFunc(want, func(w permission) bool { return w.VHost == p.VHost }) {
			continue
		}
		if _, err := a.call(ctx, http.MethodDelete, path("permissions", p.VHost, account), nil, nil); err != nil && !errors.Is(err, errAbsent) {
			return err
		}
	}
	for _, p := range want {
		_, err := a.call(ctx, http.MethodPut, path("permissions", p.VHost, account), p, nil)
		if rotator.ClassOf(err) == rotator.Refused || errors.Is(err, errAbsent) {
			return rotator.Fail(rotator.Misconfigured, err, "the virtual host %q or a pattern for it is not valid: correct dynamic.permissions", p.VHost)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Remove deletes the user, which ends its connections. What it declared belongs to the virtual host and stays, apart from exclusive queues.
func (*Rotator) Remove(ctx context.Context, t *rotator.Target, account string) error {
	a, err := open(ctx, t)
	if err != nil {
		return err
	}
	defer a.close()
	if account == a.admin.Account {
		return rotator.Fail(rotator.Misconfigured, nil, "%q is the administrator and no account for a lease", account)
	}
	if _, err := a.call(ctx, http.MethodDelete, path("users", account), nil, nil); err != nil && !errors.Is(err, errAbsent) {
		return err
	}
	return nil
}

// Provisioned lists the users whose name has the prefix.
func (*Rotator) Provisioned(ctx context.Context, t *rotator.Target, prefix string) ([]string, error) {
	a, err := open(ctx, t)
	if err != nil {
		return nil, err
	}
	defer a.close()
	var all []struct {
		Name string `json:"name"`
	}
	if err := a.get(ctx, &all, "users"); err != nil {
		return nil, err
	}
	var names []string
	for _, u := range all {
		if strings.HasPrefix(u.Name, prefix) {
			names = append(names, u.Name)
		}
	}
	slices.Sort(names)
	return names, nil
}
