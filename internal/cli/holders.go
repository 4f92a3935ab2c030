package cli

import (
	"iter"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keywright/keywright/client"
	"github.com/keywright/keywright/client/api"
)

// addVersionCommands adds what is done with versions of secrets to the command that prints the program's own.
func (a *app) addVersionCommands(c *cobra.Command) {
	for _, sub := range []*cobra.Command{a.versionHolders(), a.versionRevoke(), a.versionClear(), a.versionAck()} {
		c.AddCommand(sub)
	}
}

func (a *app) versionHolders() *cobra.Command {
	var limit int
	c := &cobra.Command{Use: "holders NAME [VERSION]", Short: "List who holds a version of a secret, and who breaks if it dies now",
		Long: `List who holds a version of a secret; without VERSION it is the current one. Those who would break if the version died now come first.

  live    it may sign in with the version at any moment
  silent  it was not heard of for long, and nothing proves that it is gone
  moved   it proved that it uses another version
  gone    it does not exist any more, or somebody vouched for that`,
		Example: "  keywright version holders db-password --vault demo", Args: cobra.RangeArgs(1, 2)}
	vault := a.vaultFlag(c)
	c.ValidArgsFunction = a.completeSecrets(vault)
	c.RunE = a.inVault(vault, func(c *cobra.Command, v *client.Vault, args []string) error {
		l, err := v.Holders(c.Context(), args[0], strings.Join(args[1:], ""), limit)
		if err != nil {
			return err
		}
		t := rows([]string{"STATE", "NAME", "PRINCIPAL", "INSTANCE", "LAST READ", "USED", "SEEN", "REASON"}, l.Items, func(h *api.VersionHolder) []string {
			return []string{h.State, h.Name, h.Principal, h.Instance, when(h.Last), when(h.Used), when(h.Seen), h.Reason}
		})
		if err := a.show(l, t); err != nil {
			return err
		}
		a.say("%d of %d consumers of version %s have to be waited for: %s.", l.Waiting, l.Total, l.Version, l.Reason)
		return nil
	})
	c.Flags().IntVar(&limit, "limit", 1000, "the most consumers that are listed")
	return c
}

func (a *app) versionClear() *cobra.Command {
	var in api.ClearHolder
	c := &cobra.Command{Use: "clear NAME VERSION", Short: "Vouch that a consumer does not use a version any more",
		Long: `Vouch that a consumer does not use a version any more, so that nobody waits for it. It is recorded with your name and the reason. When the
consumer reads the version again, it is waited for again.`,
		Example: `  keywright version clear db-password 0199f0… --vault demo --principal 8c5f… --instance @10.0.0.7 --reason "the host is switched off"`,
		Args:    cobra.ExactArgs(2)}
	vault := a.vaultFlag(c)
	c.ValidArgsFunction = a.completeSecrets(vault)
	c.RunE = a.inVault(vault, func(c *cobra.Command, v *client.Vault, args []string) error {
		if err := a.confirm(c, "Stop waiting for %s of %s? If it still uses version %s of %q, it will break.", in.Instance, first(in.Principal, "nobody known"), args[1], args[0]); err != nil {
			return err
		}
		if err := v.ClearHolder(c.Context(), args[0], args[1], in); err != nil {
			return err
		}
		a.say("Cleared.")
		return nil
	})
	f := c.Flags()
	f.StringVar(&in.Principal, "principal", "", "object id of the principal; empty for sessions of nobody known")
	f.StringVar(&in.Instance, "instance", "", "instance, as the list of holders shows it")
	f.StringVar(&in.Reason, "reason", "", "why, for the audit log")
	confirmFlag(c)
	c.MarkFlagRequired("instance")
	c.MarkFlagRequired("reason")
	return c
}

func (a *app) versionAck() *cobra.Command {
	var level string
	var poll time.Duration
	c := &cobra.Command{Use: "ack NAME VERSION", Short: "Acknowledge that this instance loaded or uses a version that it read",
		Long: `Acknowledge that this instance loaded or uses a version that it read. It counts for the instance that KEYWRIGHT_INSTANCE names, which must have
read the version under the same name.`,
		Example: `  KEYWRIGHT_INSTANCE=pod-7 keywright version ack db-password 0199f0… --vault demo --level used --poll 30s`, Args: cobra.ExactArgs(2)}
	vault := a.vaultFlag(c)
	c.ValidArgsFunction = a.completeSecrets(vault)
	c.RunE = a.inVault(vault, func(c *cobra.Command, v *client.Vault, args []string) error {
		if level != api.Loaded && level != api.Used {
			return usage("--level is %s or %s", api.Loaded, api.Used)
		}
		if poll < 0 || poll%time.Second != 0 {
			return usage("--poll is a whole number of seconds, such as 30s")
		}
		return v.Ack(c.Context(), args[0], args[1], api.Ack{Level: level, PollSeconds: int(poll / time.Second)})
	})
	c.Flags().StringVar(&level, "level", api.Used, "loaded or used")
	c.Flags().DurationVar(&poll, "poll", 0, "the longest time between two reads of this instance; after three missed ones it counts as gone")
	return c
}

func (a *app) principalHoldings() *cobra.Command {
	var limit int
	c := &cobra.Command{Use: "holdings ID", Short: "List every version that was ever delivered to a principal", Args: cobra.ExactArgs(1),
		Example: "  keywright principal holdings 8c5f0a5e-0000-4000-8000-000000000000",
		RunE: a.with(func(c *cobra.Command, cl *client.Client, args []string) error {
			return a.showHeld(cl.HeldBy(c.Context(), args[0]), limit)
		})}
	c.Flags().IntVar(&limit, "limit", 0, "the most versions; 0 for all")
	return c
}

func (a *app) secretHoldings(vault *string) *cobra.Command {
	var limit int
	c := &cobra.Command{Use: "holdings NAME", Short: "List every place to which any version of a secret was ever delivered", Args: cobra.ExactArgs(1),
		ValidArgsFunction: a.completeSecrets(vault),
		RunE: a.inVault(vault, func(c *cobra.Command, v *client.Vault, args []string) error {
			return a.showHeld(v.Holdings(c.Context(), args[0]), limit)
		})}
	c.Flags().IntVar(&limit, "limit", 0, "the most places; 0 for all")
	return c
}

func (a *app) showHeld(held iter.Seq2[*api.HeldVersion, error], limit int) error {
	all := []api.HeldVersion{}
	for h, err := range held {
		if err != nil {
			return err
		}
		if all = append(all, *h); len(all) == limit {
			break
		}
	}
	return a.show(all, rows([]string{"VAULT", "KIND", "NAME", "VERSION", "PRINCIPAL", "INSTANCE", "FIRST READ", "LAST READ", "VIA"}, all, func(h *api.HeldVersion) []string {
		return []string{h.Vault, h.Kind, h.Name, first(h.Version, "all"), h.Principal, h.Instance, when(h.First), when(h.Last), strings.Join(h.Via, " ")}
	}))
}
