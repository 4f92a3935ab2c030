package cli

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

func (a *app) manCommand(root *cobra.Command) *cobra.Command {
	var dir string
	c := &cobra.Command{Use: "man", Short: "Write the manual pages", Args: cobra.NoArgs,
		Example: "  keywright man --dir /usr/local/share/man/man1",
		RunE: func(*cobra.Command, []string) error {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return fmt.Errorf("making the directory of the manual pages: %w", err)
			}
			root.DisableAutoGenTag = true
			return doc.GenManTree(root, &doc.GenManHeader{Title: "KEYWRIGHT", Section: "1", Source: "Keywright " + a.Version}, dir)
		}}
	c.Flags().StringVar(&dir, "dir", "", "directory to write to; made when missing")
	c.MarkFlagRequired("dir")
	c.MarkFlagDirname("dir")
	return c
}
