package cli

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keywright/keywright/client"
	"github.com/keywright/keywright/client/api"
)

func (a *app) rotationIncident(vault *string) *cobra.Command {
	c := &cobra.Command{Use: "incident", Short: "Follow leaks until their causes are written down",
		Long: `Follow leaks until their causes are written down. "keywright rotation run NAME --reason leak" opens an incident; it stays open after the rotation has ended, until the
target refuses what leaked, its root cause is recorded and somebody closes it.`}
	c.AddCommand(a.incidentList(vault), a.incidentShow(vault), a.incidentCause(vault), a.incidentClose(vault))
	return c
}

var incidentHeader = []string{"RUN", "NAME", "VERSION", "REPORTED", "BY", "EXPOSED SINCE", "ACCEPTED UNTIL", "ROOT CAUSE", "CLOSED"}

func incidentRow(r *api.Rotation) []string {
	i := r.Incident
	if i == nil {
		return []string{r.ID, r.Name, "", "", "", "", "", "", ""}
	}
	until, cause := "still accepted", "missing"
	if i.Until != nil {
		until = when(i.Until)
	}
	if i.Cause != nil {
		cause = i.Cause.What
	}
	return []string{r.ID, r.Name, i.Version, when(&i.Opened), first(i.ByName, i.By), first(when(i.From), "unknown"), until, cause, when(i.Closed)}
}

func (a *app) incidentList(vault *string) *cobra.Command {
	return &cobra.Command{Use: "list", Short: "List the leaks that are not closed", Args: cobra.NoArgs, RunE: a.inVault(vault, func(c *cobra.Command, v *client.Vault, _ []string) error {
		all, err := collect(v.Incidents(c.Context()))
		if err != nil {
			return err
		}
		return a.show(all, rows(incidentHeader, all, incidentRow))
	})}
}

// incidentHelp says how an incident is named.
const incidentHelp = " INCIDENT is the id of the run that answers the leak, or the name of a secret for its newest leak that is not closed."

// onIncident is a command that does something with one incident.
func (a *app) onIncident(vault *string, do func(*cobra.Command, *client.Vault, *api.Rotation) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, args []string) error {
		v, err := a.vault(*vault)
		if err != nil {
			return err
		}
		r, err := findIncident(c, v, args[0])
		if err != nil {
			return err
		}
		return do(c, v, r)
	}
}

func findIncident(c *cobra.Command, v *client.Vault, arg string) (*api.Rotation, error) {
	if runID.MatchString(arg) {
		r, err := v.Rotation(c.Context(), arg)
		if err == nil && r.Incident == nil {
			err = exitError{ExitNotFound, fmt.Errorf("the run %s answers no leak: list those that do with \"keywright rotation incident list\"", arg)}
		}
		return r, err
	}
	var newest *api.Rotation
	for r, err := range v.Incidents(c.Context()) {
		if err != nil {
			return nil, err
		}
		if strings.EqualFold(r.Name, arg) && (newest == nil || r.ID > newest.ID) {
			newest = r
		}
	}
	if newest == nil {
		return nil, exitError{ExitNotFound, fmt.Errorf("the secret %q has no leak that is not closed: give the id of its run", arg)}
	}
	return newest, nil
}

func (a *app) incidentShow(vault *string) *cobra.Command {
	return &cobra.Command{Use: "show INCIDENT", Short: "Show a leak", Long: "Show a leak." + incidentHelp, Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeIncidents(vault),
		RunE: a.onIncident(vault, func(_ *cobra.Command, _ *client.Vault, r *api.Rotation) error { return a.show(r, incidentTable(r)) })}
}

func incidentTable(r *api.Rotation) table {
	t := table{{"WHAT", "VALUE"}}
	add := func(what, value string) {
		if value != "" {
			t = append(t, []string{what, value})
		}
	}
	i := r.Incident
	add("run", r.ID)
	add("secret", r.Name)
	add("leaked version", i.Version)
	add("reported", when(&i.Opened)+" by "+first(i.ByName, i.By))
	add("note", r.Note)
	add("exposed since", first(when(i.From), "unknown"))
	add("accepted until", first(when(i.Until), "still accepted"))
	add("rotation", r.State)
	if k := i.Cause; k != nil {
		add("what", k.What)
		add("how", k.How)
		add("measures", k.Measures)
		add("root cause by", first(k.ByName, k.By)+" "+when(&k.At))
	} else {
		add("root cause", "missing: record it with \"keywright rotation incident cause "+r.ID+"\"")
	}
	if i.Closed != nil {
		add("closed", when(i.Closed)+" by "+first(i.ClosedByName, i.ClosedBy))
	}
	return t
}

// incidentState says what an incident waits for.
func incidentState(i *api.Incident) string {
	switch {
	case i.Closed != nil:
		return "closed " + when(i.Closed)
	case i.Until == nil:
		return "open: the target may still accept what leaked"
	case i.Cause == nil:
		return "open: its root cause is missing"
	}
	return "open: it can be closed"
}

// causeFlags are the parts of a root cause.
func causeFlags(c *cobra.Command, in *api.SetRootCause) {
	f := c.Flags()
	f.StringVar(&in.What, "what", "", "what leaked, without a value")
	f.StringVar(&in.How, "how", "", "how that could happen")
	f.StringVar(&in.Measures, "measures", "", "what was done so that it does not happen again")
}

func (a *app) incidentCause(vault *string) *cobra.Command {
	var in api.SetRootCause
	c := &cobra.Command{Use: "cause INCIDENT", Short: "Record how a leak came about", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeIncidents(vault),
		Long:    "Record how a leak came about. It can be corrected until the incident is closed." + incidentHelp,
		Example: `  keywright rotation incident cause db --what "password of the shop" --how "stood in a build log" --measures "the build reads it from the vault"`}
	causeFlags(c, &in)
	for _, name := range []string{"what", "how", "measures"} {
		c.MarkFlagRequired(name)
	}
	c.RunE = a.onIncident(vault, func(c *cobra.Command, v *client.Vault, r *api.Rotation) error {
		n, err := v.RecordCause(c.Context(), r.ID, in)
		if err != nil {
			return err
		}
		a.say("Recorded.")
		return a.show(n, table{incidentHeader, incidentRow(n)})
	})
	return c
}

func (a *app) incidentClose(vault *string) *cobra.Command {
	var in api.SetRootCause
	c := &cobra.Command{Use: "close INCIDENT", Short: "Close a leak", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeIncidents(vault),
		Long: `Close a leak, once the target refuses what leaked and the root cause is recorded. The flags record it first.` + incidentHelp}
	causeFlags(c, &in)
	c.RunE = a.onIncident(vault, func(c *cobra.Command, v *client.Vault, r *api.Rotation) error {
		if in != (api.SetRootCause{}) {
			if _, err := v.RecordCause(c.Context(), r.ID, in); err != nil {
				return err
			}
		}
		n, err := v.CloseIncident(c.Context(), r.ID)
		if err != nil {
			return err
		}
		a.say("Closed.")
		return a.show(n, table{incidentHeader, incidentRow(n)})
	})
	return c
}

func (a *app) completeIncidents(vault *string) completion {
	return argument(offerOf(a, vault, func(ctx context.Context, v *client.Vault) iter.Seq2[*api.Rotation, error] { return v.Incidents(ctx) },
		func(r *api.Rotation) string { return r.ID + "\t" + r.Name }))
}

func (a *app) rotationExemption(vault *string) *cobra.Command {
	c := &cobra.Command{Use: "exemption", Short: "Let secrets become older than the default of their vault or server"}
	c.AddCommand(a.exemptionSet(vault), a.exemptionEnd(vault), a.exemptionList(vault))
	return c
}

func (a *app) exemptionSet(vault *string) *cobra.Command {
	var in api.SetExemption
	var until string
	c := &cobra.Command{Use: "set NAME", Short: "Let a secret become older than the default until a date", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeSecrets(vault),
		Long: `Let a secret become older than the default of its vault or server until a date. It stands instead of an earlier exemption, and changes nothing for a secret whose
policy has a maxAge.`,
		Example: `  keywright rotation exemption set vendor-key --until 2027-06-30 --reason "the vendor issues a new one each July"`}
	c.RunE = a.inVault(vault, func(c *cobra.Command, v *client.Vault, args []string) error {
		at, err := instant("until", until)
		if err != nil {
			return err
		}
		if at == nil {
			return usage("--until is empty: say until when, such as 2027-06-30")
		}
		in.Until = *at
		if err := v.ExemptFromAge(c.Context(), args[0], in); err != nil {
			return err
		}
		a.say("%s may be older than the default until %s.", args[0], when(&in.Until))
		return nil
	})
	c.Flags().StringVar(&until, "until", "", "until when (RFC 3339, a date, or a duration from now)")
	c.Flags().StringVar(&in.Reason, "reason", "", "why, which is recorded")
	c.MarkFlagRequired("until")
	c.MarkFlagRequired("reason")
	return c
}

func (a *app) exemptionEnd(vault *string) *cobra.Command {
	c := &cobra.Command{Use: "end NAME", Short: "End the exemption of a secret", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeSecrets(vault)}
	c.RunE = a.inVault(vault, func(c *cobra.Command, v *client.Vault, args []string) error {
		if err := v.EndExemption(c.Context(), args[0]); err != nil {
			return err
		}
		a.say("%s has the maximum age of its vault or server again.", args[0])
		return nil
	})
	return c
}

func (a *app) exemptionList(vault *string) *cobra.Command {
	return &cobra.Command{Use: "list", Short: "List the exempted secrets of a vault, with who answers for each", Args: cobra.NoArgs, RunE: a.inVault(vault, func(c *cobra.Command, v *client.Vault, _ []string) error {
		list := []api.SecretAge{}
		for s, err := range v.Ages(c.Context()) {
			if err != nil {
				return err
			}
			if s.Exemption != nil {
				list = append(list, *s)
			}
		}
		return a.show(list, rows([]string{"NAME", "UNTIL", "COUNTS", "WHY", "BY", "SINCE"}, list, func(s *api.SecretAge) []string {
			x := s.Exemption
			return []string{s.Name, when(&x.Until), yesNo(s.LimitBy == "exemption"), x.Why, x.By, when(&x.At)}
		}))
	})}
}

func (a *app) rotationSchedule() *cobra.Command {
	c := &cobra.Command{Use: "schedule", Short: "See whether rotations start by schedule, and let them after the clock was moved"}
	c.AddCommand(a.scheduleStatus(), a.scheduleResume())
	return c
}

// pauseText says why nothing starts by schedule.
func pauseText(p *api.SchedulePause) string {
	d := time.Duration(p.ClockMovedSeconds) * time.Second
	way := "ahead"
	if d < 0 {
		d, way = -d, "back"
	}
	return fmt.Sprintf("the clock of the server was moved %s by %s", way, length(d))
}

func (a *app) scheduleStatus() *cobra.Command {
	return &cobra.Command{Use: "status", Short: "Show whether rotations start by schedule", Args: cobra.NoArgs,
		RunE: a.with(func(c *cobra.Command, cl *client.Client, _ []string) error {
			s, err := cl.Status(c.Context())
			if err != nil {
				return err
			}
			state := struct {
				Node   string             `json:"node"`
				Paused *api.SchedulePause `json:"paused"`
			}{s.Node, s.SchedulesPaused}
			t := table{{"WHAT", "VALUE"}, {"node", s.Node}, {"paused", yesNo(state.Paused != nil)}}
			if p := state.Paused; p != nil {
				t = append(t, []string{"why", pauseText(p)}, []string{"goes on", "when the clock is back, or with: keywright rotation schedule resume --reason TEXT"})
			}
			return a.show(state, t)
		})}
}

func (a *app) scheduleResume() *cobra.Command {
	var reason string
	c := &cobra.Command{Use: "resume", Short: "Take the clock of the server for right, and start what is due",
		Long: `Take the clock of the server for right after it was moved, and start what is due by it, in every vault of the tenant. Look at the clock first.
It needs the role Keywright Schedule Operator, or Owner, for the whole tenant.`, Args: cobra.NoArgs}
	c.RunE = a.with(func(c *cobra.Command, cl *client.Client, _ []string) error {
		if err := a.confirm(c, "Is the clock of the server right? Every rotation of the tenant that is due by it starts."); err != nil {
			return err
		}
		if err := cl.ResumeSchedules(c.Context(), reason); err != nil {
			return err
		}
		a.say("Rotations start by schedule again.")
		return nil
	})
	c.Flags().StringVar(&reason, "reason", "", "how you made sure that the clock is right, which is recorded")
	c.MarkFlagRequired("reason")
	confirmFlag(c)
	return c
}
