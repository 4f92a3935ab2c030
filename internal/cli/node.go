package cli

import (
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/keywright/keywright/client"
	"github.com/keywright/keywright/client/api"
)

var nodeHeader = []string{"ID", "HOST", "STATE", "QUIET FOR", "BEHIND", "VERSION", "STARTED", "ANSWERS"}

func nodeRow(n *api.Node) []string {
	quiet := time.Duration(n.QuietSeconds * float64(time.Second))
	return []string{n.ID, n.Host, n.State, quiet.Round(100 * time.Millisecond).String(), strconv.FormatInt(n.Behind, 10), n.Version, when(&n.Started), yesNo(n.Answers)}
}

func (a *app) nodeCommand() *cobra.Command {
	c := &cobra.Command{Use: "node", Short: "Show and remove nodes that work on the store"}
	c.AddCommand(&cobra.Command{Use: "list", Short: "List the nodes, and how each is", Args: cobra.NoArgs,
		Long: `List the nodes that work on the store, and how each is: live, silent when nothing was heard of it for ten seconds, or stopped when it ended
in order. BEHIND is how many changes it has not seen. A node that is gone for a week leaves the list.`,
		RunE: a.with(func(c *cobra.Command, cl *client.Client, _ []string) error {
			list, err := cl.Nodes(c.Context())
			if err != nil {
				return err
			}
			t := table{nodeHeader}
			for i := range list {
				t = append(t, nodeRow(&list[i]))
			}
			return a.show(list, t)
		})})
	remove := &cobra.Command{Use: "remove ID", Short: "Take a node off the list that will not come back", Args: cobra.ExactArgs(1),
		Long: `Take a node off the list that is silent or stopped, and will not come back: revocations wait no longer for what it may have delivered. Make sure that
its process has ended, or that nobody reaches it.`,
		RunE: a.with(func(c *cobra.Command, cl *client.Client, args []string) error {
			if err := a.confirm(c, "Remove the node %q, which answers nobody any more?", args[0]); err != nil {
				return err
			}
			if err := cl.RemoveNode(c.Context(), args[0]); err != nil {
				return err
			}
			a.say("Removed the node %s: nobody waits any longer for what it may have delivered.", args[0])
			return nil
		})}
	confirmFlag(remove)
	c.AddCommand(remove)
	return c
}
