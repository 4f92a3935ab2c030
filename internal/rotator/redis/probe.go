package redis

import (
	"context"
	"fmt"
	"sync"

	"github.com/keywright/keywright/internal/rotator"
)

// Probe logs in at every endpoint. A login counts as accepted only once the endpoint has saved its users.
func (*Rotator) Probe(ctx context.Context, t *rotator.Target, c rotator.Credential) (rotator.Logins, error) {
	return probe(ctx, t, c, true)
}

func probe(ctx context.Context, t *rotator.Target, c rotator.Credential, save bool) (rotator.Logins, error) {
	ctx, cancel := withDeadline(ctx)
	defer cancel()
	config, err := open(t, rotator.Change{Credential: c})
	if err != nil {
		return nil, err
	}
	if len(c.Value) == 0 {
		return nil, rotator.Fail(rotator.Misconfigured, nil, "there is no password to log in with")
	}
	logins := make(rotator.Logins, len(config.Endpoints))
	var all sync.WaitGroup
	for i, e := range config.Endpoints {
		all.Go(func() {
			logins[i] = try(ctx, config, e, c)
			if logins[i].Verdict == rotator.Accepted {
				confirm(ctx, config, t.Admin, c.Account, save, &logins[i])
			}
		})
	}
	all.Wait()
	return logins, nil
}

// try is one login.
func try(ctx context.Context, c *config, endpoint string, who rotator.Credential) rotator.Login {
	l := rotator.Login{Endpoint: endpoint}
	n, err := login(ctx, c, endpoint, who)
	if err == nil {
		defer n.close()
		var user string
		if user, err = n.whoami(ctx, who.Account); err == nil {
			l.Identity = c.identity(user)
			l.Verdict, l.Detail = rotator.Accepted, fmt.Sprintf("logged in as %q", user)
			if user != who.Account {
				l.Verdict, l.Detail = rotator.Unknown, fmt.Sprintf("the login became %q", user)
			}
			return l
		}
	}
	l.Verdict, l.Detail = verdictOf(err)
	return l
}

// confirm takes an acceptance back that would not outlive a restart, or that any password would have got.
func confirm(ctx context.Context, c *config, admin rotator.Credential, account string, save bool, l *rotator.Login) {
	err := func() error {
		n, err := login(ctx, c, l.Endpoint, admin)
		if err != nil {
			return loginFailure(l.Endpoint, err)
		}
		defer n.close()
		p := place{node: n}
		if err := p.look(ctx, c, account); err != nil || !save {
			return err
		}
		if err := p.save(ctx, p.keeping); err != nil {
			return rotator.Fail(rotator.NotApplied, cause(err), "the server cannot save its users in its %v", p.keeping)
		}
		return nil
	}()
	if err != nil {
		l.Verdict, l.Detail = rotator.Unknown, "the login came in, and it is not certain that it will after a restart: "+err.Error()
	}
}

// verdictOf reads a failed login. WRONGPASS is also the reply for a user that is off.
func verdictOf(err error) (rotator.Verdict, string) {
	switch w := word(err); w {
	case "WRONGPASS":
		return rotator.Rejected, "the server refused the password (WRONGPASS)"
	case "":
		return rotator.Unknown, "no answer: " + err.Error()
	default:
		return rotator.Unknown, "the server let nobody in (" + w + ")"
	}
}
