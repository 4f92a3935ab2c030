package cli

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/keywright/keywright/client"
	"github.com/keywright/keywright/client/api"
)

func (a *app) vaultHold() *cobra.Command {
	c := &cobra.Command{Use: "hold", Short: "Keep a vault, or an object in it, from being purged"}
	c.AddCommand(a.holdPlace(), a.holdList(), a.holdLift())
	return c
}

func (a *app) showHolds(data any, holds ...api.Hold) error {
	rows := table{{"ID", "KIND", "NAME", "BY", "SINCE", "UNTIL", "REASON"}}
	for i := range holds {
		h := &holds[i]
		rows = append(rows, []string{h.ID, first(h.Kind, "vault"), first(h.Name, "-"), h.ByName, when(&h.Since), first(when(h.Until), "lifted"), h.Reason})
	}
	return a.show(data, rows)
}

func (a *app) holdPlace() *cobra.Command {
	var in api.PlaceHold
	var secret, key, certificate, until string
	c := &cobra.Command{Use: "place VAULT", Short: "Place a hold on a vault, or on an object in it",
		Long: `Place a hold on a vault with all that it keeps, or on one object. While it is there, nobody can purge what is held, whatever rights they have, and what is over its
retention is kept on. Who placed the hold, and why, is told to whoever is refused a purge.`,
		Example: "  keywright vault hold place billing --reason \"case 4711\"\n  keywright vault hold place billing --secret db-password --reason \"case 4711\" --until 2030-01-01",
		Args:    cobra.ExactArgs(1), ValidArgsFunction: a.completeVaults,
		RunE: a.with(func(c *cobra.Command, cl *client.Client, args []string) error {
			for kind, name := range map[string]string{"secret": secret, "key": key, "certificate": certificate} {
				if name != "" {
					in.Kind, in.Name = kind, name
				}
			}
			if until != "" {
				end, err := parseEnd(until)
				if err != nil {
					return err
				}
				in.Until = &end
			}
			h, err := cl.PlaceHold(c.Context(), args[0], in)
			if err != nil {
				return err
			}
			return a.showHolds(h, *h)
		})}
	f := c.Flags()
	f.StringVar(&secret, "secret", "", "hold this secret alone")
	f.StringVar(&key, "key", "", "hold this key alone")
	f.StringVar(&certificate, "certificate", "", "hold this certificate alone")
	f.StringVar(&in.Reason, "reason", "", "why")
	f.StringVar(&until, "until", "", "when the hold ends by itself: a date, or an instant such as 2030-01-01T00:00:00Z (default: when somebody lifts it)")
	c.MarkFlagsMutuallyExclusive("secret", "key", "certificate")
	c.MarkFlagRequired("reason")
	return c
}

// parseEnd reads a date, or an instant.
func parseEnd(s string) (time.Time, error) {
	for _, form := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(form, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, usage("%q is neither a date, such as 2030-01-01, nor an instant, such as 2030-01-01T00:00:00Z", s)
}

func (a *app) holdList() *cobra.Command {
	return &cobra.Command{Use: "list VAULT", Short: "List the holds of a vault and its objects", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeVaults,
		RunE: a.with(func(c *cobra.Command, cl *client.Client, args []string) error {
			l, err := cl.Holds(c.Context(), args[0])
			if err != nil {
				return err
			}
			return a.showHolds(l.Items, l.Items...)
		})}
}

func (a *app) holdLift() *cobra.Command {
	c := &cobra.Command{Use: "lift VAULT HOLD", Short: "Lift a hold", Args: cobra.ExactArgs(2),
		RunE: a.with(func(c *cobra.Command, cl *client.Client, args []string) error {
			if err := a.confirm(c, "Lift the hold %q of the vault %q? What is over its retention is purged then.", args[1], args[0]); err != nil {
				return err
			}
			if err := cl.LiftHold(c.Context(), args[0], args[1]); err != nil {
				return err
			}
			a.say("Lifted the hold %q of the vault %q.", args[1], args[0])
			return nil
		})}
	confirmFlag(c)
	return c
}

func (a *app) vaultShredded() *cobra.Command {
	var all bool
	c := &cobra.Command{Use: "shredded VAULT", Short: "List what was purged, and until when backups can bring it back", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeVaults,
		RunE: a.with(func(c *cobra.Command, cl *client.Client, args []string) error {
			l, err := cl.Shredded(c.Context(), args[0], all)
			if err != nil {
				return err
			}
			rows := table{{"OBJECT", "PURGED", "GONE FOR GOOD"}}
			for i := range l.Items {
				s := &l.Items[i]
				gone := "yes"
				if s.Backups {
					gone = first(when(s.Until), "no end is set")
				}
				rows = append(rows, []string{s.Object, when(&s.Purged), gone})
			}
			if len(l.Items) == 0 {
				a.say("No backup that is known of can bring back what was purged of the vault %q.", args[0])
			}
			return a.show(l.Items, rows)
		})}
	c.Flags().BoolVar(&all, "all", false, "list what is gone for good, too")
	return c
}
