package cli

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keywright/keywright/client"
)

// pollNever is longer than anybody watches: what is printed are changes that the stream told, and not the reminders of polls.
const pollNever = 100 * 365 * 24 * time.Hour

func (a *app) secretWatch(vault *string) *cobra.Command {
	var count int
	c := &cobra.Command{Use: "watch [NAME...]", Args: cobra.ArbitraryArgs, Short: "Print changes of secrets as they happen, without their values",
		Long: `Print changes of secrets as they happen, without their values: of those named, or of all in the vault that you may list or read. Each line has the
name, the version that you would read now, and when it changed; "deleted" stands for a version that is not there any more. It goes on until it is
interrupted, and connects again by itself. With --output json each line is a JSON object, and with --output yaml each change a document.`,
		Example: "  keywright secret watch db-password --vault demo", ValidArgsFunction: a.secrets(vault).complete()}
	c.RunE = a.inVault(vault, func(c *cobra.Command, v *client.Vault, args []string) error {
		nothing, told := 0, 0
		for change, err := range v.Watch(c.Context(), pollNever, args...) {
			switch {
			case err != nil:
				if k := client.KindOf(err); k == client.Forbidden || k == client.NotFound || k == client.Invalid || k == client.Unauthenticated {
					return err
				}
				a.say("%v; it is tried again.", err)
				continue
			case change == nil:
				if nothing++; nothing == 2 {
					a.say("Watching.")
				} else if nothing > 2 {
					a.say("Changes may have been missed.")
				}
				continue
			}
			if err := a.printChange(change); err != nil {
				return err
			}
			if told++; told == count {
				return nil
			}
		}
		return nil
	})
	c.Flags().IntVar(&count, "count", 0, "end after so many changes; 0 goes on")
	return c
}

// printChange prints a line at once: a table would have to wait for the widest.
func (a *app) printChange(c *client.Change) error {
	switch a.output {
	case "json":
		return json.NewEncoder(a.Stdout).Encode(c)
	case "yaml":
		return a.writeDocument(c)
	}
	version := c.Version
	if c.Deleted {
		version = "deleted"
	}
	_, err := fmt.Fprintln(a.Stdout, strings.Join([]string{printable(c.Name), version, when(&c.At)}, "\t"))
	return err
}
