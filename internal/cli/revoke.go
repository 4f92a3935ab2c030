package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/keywright/keywright/client"
	"github.com/keywright/keywright/client/api"
)

// shownHolders bounds how many consumers are named before a question.
const shownHolders = 20

func (a *app) versionRevoke() *cobra.Command {
	var in api.RevokeVersion
	var watch watchFlags
	c := &cobra.Command{Use: "revoke NAME VERSION", Short: "End an old version at its target, and show who breaks first",
		Long: `End an old version at its target: it is refused there from then on. Who would break is shown first, and on a terminal you are asked.

Without --force the revocation waits, as every one does, until no consumer needs the version; so nothing breaks, and the command returns with the revocation
that is open. With --force, which takes a --reason, it waits for nobody. A script that forces while consumers are left has to give --yes as well: else
nothing happens, and the exit code is 5.

With --watch the command follows the revocation to its end, and the exit code is 0 only when the version is refused at the target.`,
		Example: `  keywright version revoke db 0199f0… --vault demo --watch
  keywright version revoke db 0199f0… --vault demo --force --reason "incident 4711" --yes`, Args: cobra.ExactArgs(2)}
	vault := a.vaultFlag(c)
	c.ValidArgsFunction = a.completeSecrets(vault)
	c.RunE = a.inVault(vault, func(c *cobra.Command, v *client.Vault, args []string) error {
		if in.Force && in.Reason == "" {
			return usage("--force revokes under consumers: say why with --reason, it is recorded")
		}
		waiting, known, err := a.whoBreaks(c, v, args[0], args[1])
		if err != nil {
			return err
		}
		if err := a.mayRevoke(c, args, in.Force, waiting, known); err != nil {
			return err
		}
		r, err := v.RevokeVersion(c.Context(), args[0], args[1], in)
		if err != nil {
			return err
		}
		if watch.on {
			return a.follow(c.Context(), v, r.ID, false)
		}
		return a.show(r, table{runHeader, runRow(r)})
	})
	f := c.Flags()
	f.BoolVar(&in.Force, "force", false, "do not wait for consumers")
	f.StringVar(&in.Reason, "reason", "", "why, for the audit log")
	f.BoolVar(&watch.on, "watch", false, "follow the revocation to its end")
	confirmFlag(c)
	return c
}

// whoBreaks shows the consumers that still need a version. known is false when the caller may not see them.
func (a *app) whoBreaks(c *cobra.Command, v *client.Vault, name, version string) (waiting int, known bool, err error) {
	l, err := v.Holders(c.Context(), name, version, 1000)
	if client.KindOf(err) == client.Forbidden {
		a.say("You may not see who holds version %s of %q.", version, name)
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	a.say("%d of %d consumers of version %s would break now: %s.", l.Waiting, l.Total, l.Version, l.Reason)
	for i, h := range l.Items {
		if h.State != api.Live && h.State != api.Silent {
			continue
		}
		if i == shownHolders {
			a.say("  and more: keywright version holders %s %s", name, version)
			break
		}
		a.say("  %s", printable(fmt.Sprintf("%-6s %s %s: %s", h.State, first(h.Name, h.Principal, "nobody known"), h.Instance, h.Reason)))
	}
	return l.Waiting, true, nil
}

// mayRevoke asks a person, and stops a script that would break what it may not know of.
func (a *app) mayRevoke(c *cobra.Command, args []string, force bool, waiting int, known bool) error {
	if !force {
		return a.confirm(c, "Revoke version %s of %q as soon as nobody needs it?", args[1], args[0])
	}
	if yes, _ := c.Flags().GetBool("yes"); !yes && !a.interactive() && (waiting > 0 || !known) {
		return exitError{ExitConflict, fmt.Errorf("version %s of %q has consumers that would break: nothing was changed; add --yes to revoke it under them", args[1], args[0])}
	}
	return a.confirm(c, "Revoke version %s of %q now? Whoever still uses it breaks.", args[1], args[0])
}
