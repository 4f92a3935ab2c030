package cli

import (
	"context"
	"fmt"
	"iter"
	"strings"

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
