package rotation

import (
	"context"
	"strings"

	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/vault"
)

// probe logs in with one version after the other. A version that cannot be tried proves nothing.
func (c *calling) probe(ctx context.Context, e Effect, o *Observation) error {
	t, err := c.target(ctx)
	if err != nil {
		return err
	}
	o.Matrix = make(map[vault.VersionID]rotator.Verdict, len(e.Probe))
	var details []string
	for _, v := range e.Probe {
		cred, err := c.credential(ctx, v)
		if err == nil {
			var logins rotator.Logins
			logins, err = c.rotator.Probe(ctx, t, cred)
			o.Matrix[v] = c.verdict(cred.Account, logins)
			if o.Matrix[v] == rotator.Accepted && logins[0].Identity != "" {
				if o.Identities == nil {
					o.Identities = make(map[string]string)
				}
				o.Identities[cred.Account] = logins[0].Identity
			}
			details = append(details, describeLogins(v, logins)...)
		}
		if err != nil {
			o.Matrix[v] = rotator.Unknown
			details = append(details, string(v)+": "+err.Error())
		}
		if o.Matrix[v] == rotator.Accepted && !e.All {
			break
		}
	}
	if len(details) > 0 {
		o.Err = &Trouble{Class: "probe", Message: scrub(strings.Join(details, "; "), c.values...)}
	}
	return nil
}

// verdict is what logins prove. One as somebody else than the preflight saw proves nothing.
func (c *calling) verdict(account string, logins rotator.Logins) rotator.Verdict {
	want := c.run.Identities[account]
	for _, l := range logins {
		if l.Verdict == rotator.Accepted && want != "" && l.Identity != "" && l.Identity != want {
			return rotator.Unknown
		}
	}
	return logins.Verdict()
}

func describeLogins(v vault.VersionID, logins rotator.Logins) (list []string) {
	for _, l := range logins {
		if l.Verdict != rotator.Accepted {
			list = append(list, string(v)+" at "+l.Endpoint+": "+l.Verdict.String()+" "+l.Detail)
		}
	}
	return list
}
