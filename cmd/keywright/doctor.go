package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/keywright/keywright/internal/cli"
	"github.com/keywright/keywright/internal/server"
)

func doctorCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look at everything that a production server needs, and say what to do",
		Long: `Look at everything that a server with this configuration needs: the file itself, the directory, the disk, the clock, the certificates, the
listeners, the store, the seal, and what the machine lets the server do. Run it as the server's user: before init, before a start, and while the
server runs, which it does not disturb.

Each finding is ok, warn (the server starts, and somebody should look at it) or fail (it does not start, or does not serve). The exit code is 1
when one of them is fail.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			findings := server.Examine(cmd.Context(), file)
			rows := [][]string{{"CHECK", "STATUS", "WHAT", "DO"}}
			failed := 0
			for _, f := range findings {
				rows = append(rows, []string{f.Check, f.Status, f.What, f.Do})
				if f.Status == server.FindingFail {
					failed++
				}
			}
			if err := cli.Show(cmd, findings, rows); err != nil {
				return err
			}
			switch failed {
			case 0:
				return nil
			case 1:
				return errors.New("one finding keeps the server from starting or serving")
			}
			return fmt.Errorf("%d findings keep the server from starting or serving", failed)
		},
	}
	configFlag(cmd, &file)
	return cmd
}
