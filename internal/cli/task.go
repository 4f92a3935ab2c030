package cli

import (
	"context"
	"iter"

	"github.com/spf13/cobra"

	"github.com/keywright/keywright/client"
	"github.com/keywright/keywright/client/api"
)

func (a *app) taskCommand() *cobra.Command {
	c := &cobra.Command{Use: "task", Short: "Do the steps of rotations that wait for a person"}
	vault := a.vaultFlag(c)
	c.AddCommand(a.taskList(vault), a.taskShow(vault), a.taskAcknowledge(vault), a.taskSubmit(vault, false), a.taskSubmit(vault, true))
	return c
}

func (a *app) taskList(vault *string) *cobra.Command {
	var all bool
	c := &cobra.Command{Use: "list", Short: "List the tasks that wait for a person", Args: cobra.NoArgs}
	c.RunE = a.inVault(vault, func(c *cobra.Command, v *client.Vault, _ []string) error {
		list, err := collect(v.RotationTasks(c.Context(), all))
		if err != nil {
			return err
		}
		return a.show(list, rows([]string{"TASK", "NAME", "ASSIGNEE", "TEAM", "DUE", "TAKEN ON", "ESCALATED", "CLOSED"}, list, func(t *api.RotationTask) []string {
			return []string{t.ID, t.Name, t.Assignee, t.Team, when(&t.Due), when(t.Acknowledged), yesNo(t.Escalated), when(t.Closed)}
		}))
	})
	c.Flags().BoolVar(&all, "all", false, "also those that are over")
	return c
}

func (a *app) taskShow(vault *string) *cobra.Command {
	return &cobra.Command{Use: "show TASK", Short: "Show a task with its instructions", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeTasks(vault),
		RunE: a.inVault(vault, func(c *cobra.Command, v *client.Vault, args []string) error {
			t, err := v.RotationTask(c.Context(), args[0])
			if err != nil {
				return err
			}
			out := table{{"WHAT", "VALUE"}, {"task", t.ID}, {"secret", t.Name}, {"run", t.Run}, {"assignee", t.Assignee}, {"team", t.Team}, {"instructions", t.Instructions},
				{"opened", when(&t.Opened)}, {"due", when(&t.Due)}, {"escalates", when(&t.Escalate)}, {"taken on", when(t.Acknowledged)}, {"by", t.By}, {"closed", when(t.Closed)}}
			return a.show(t, out)
		})}
}

func (a *app) taskAcknowledge(vault *string) *cobra.Command {
	return &cobra.Command{Use: "acknowledge TASK", Aliases: []string{"ack"}, Short: "Say that you have taken a task on", Args: cobra.ExactArgs(1),
		ValidArgsFunction: a.completeTasks(vault), RunE: a.inVault(vault, func(c *cobra.Command, v *client.Vault, args []string) error {
			if err := v.AcknowledgeTask(c.Context(), args[0]); err != nil {
				return err
			}
			a.say("You have taken the task on.")
			return nil
		})}
}

// taskSubmit hands in a value. Done is the same for a target at which nothing can look: the person vouches for the value.
func (a *app) taskSubmit(vault *string, attested bool) *cobra.Command {
	var in valueFlags
	var watch watchFlags
	c := &cobra.Command{Use: "submit TASK", Short: "Hand in the value that you set at the target", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeTasks(vault),
		Long: "Hand in the value that you set at the target. It becomes current when a login has proved it."}
	if attested {
		c.Use, c.Short = "done TASK", "Hand in the value that you set at the target, and vouch for it"
		c.Long = "Hand in the value that you set at the target, and vouch that the target accepts it. It becomes current without a login that proves it."
	}
	c.RunE = a.inVault(vault, func(c *cobra.Command, v *client.Vault, args []string) error {
		value, err := a.readValue(c, &in)
		if err != nil {
			return err
		}
		defer clear(value)
		r, err := v.SubmitTask(c.Context(), args[0], value, attested)
		if err != nil {
			return err
		}
		if watch.on {
			return a.follow(c.Context(), v, r.ID, watch.revocation)
		}
		return a.show(r, table{runHeader, runRow(r)})
	})
	in.flags(c)
	watch.flags(c)
	return c
}

func (a *app) completeTasks(vault *string) completion {
	return argument(offerOf(a, vault, func(ctx context.Context, v *client.Vault) iter.Seq2[*api.RotationTask, error] {
		return v.RotationTasks(ctx, false)
	},
		func(t *api.RotationTask) string { return t.ID + "\t" + t.Name }))
}
