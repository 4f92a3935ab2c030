package cli

import (
	"github.com/spf13/cobra"

	"github.com/keywright/keywright/client"
)

func (a *app) secretUpdate(vault *string) *cobra.Command {
	var w which
	var at attributes
	c := &cobra.Command{
		Use:   "update NAME",
		Short: "Change what is known about a version, but not its value",
		Example: `  keywright secret update db-password --vault demo --expires 2160h
  keywright secret update db-password --vault demo --version 0199f0… --enabled=false`,
		Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeSecrets(vault),
		RunE: func(c *cobra.Command, args []string) error {
			in, err := at.update(c)
			if err != nil {
				return err
			}
			v, err := a.vault(*vault)
			if err != nil {
				return err
			}
			s, err := v.Update(c.Context(), args[0], w.selector(), in)
			if err != nil {
				return err
			}
			return a.showSecret(s)
		},
	}
	w.flags(c)
	at.flags(c)
	c.Flags().Lookup("not-before").Usage += "; none removes it"
	c.Flags().Lookup("expires").Usage += "; none removes it"
	c.Flags().Bool("clear-tags", false, "remove all tags")
	c.MarkFlagsMutuallyExclusive("tag", "clear-tags")
	return c
}

// update says what the flags change; flags that were not given change nothing.
func (at *attributes) update(c *cobra.Command) (in client.UpdateSecret, err error) {
	f := c.Flags()
	if f.Changed("content-type") {
		in.ContentType = &at.contentType
	}
	if f.Changed("enabled") {
		in.Enabled = &at.enabled
	}
	if in.Tags, err = at.tagMap(); err != nil {
		return in, err
	}
	if on, _ := f.GetBool("clear-tags"); on {
		in.Tags = map[string]string{}
	}
	if in.ClearNotBefore = at.notBefore == "none"; !in.ClearNotBefore {
		if in.NotBefore, err = instant("not-before", at.notBefore); err != nil {
			return in, err
		}
	}
	if in.ClearExpires = at.expires == "none"; !in.ClearExpires {
		in.Expires, err = instant("expires", at.expires)
	}
	return in, err
}

func (a *app) secretDelete(vault *string) *cobra.Command {
	c := &cobra.Command{Use: "delete NAME", Short: "Soft-delete a secret with all of its versions; it can be recovered", Args: cobra.ExactArgs(1),
		ValidArgsFunction: a.completeSecrets(vault),
		RunE: func(c *cobra.Command, args []string) error {
			v, err := a.vault(*vault)
			if err != nil {
				return err
			}
			if err := a.confirm(c, "Delete the secret %q of the vault %q with all of its versions?", args[0], v.Name()); err != nil {
				return err
			}
			s, err := v.Delete(c.Context(), args[0])
			if err != nil {
				return err
			}
			a.say("Deleted. Until %s \"keywright secret recover %s --vault %s\" brings it back.", when(s.PurgeAt), s.Name, s.Vault)
			return a.showSecret(s)
		}}
	confirmFlag(c)
	return c
}

func (a *app) secretRecover(vault *string) *cobra.Command {
	return &cobra.Command{Use: "recover NAME", Short: "Bring a deleted secret back with all of its versions", Args: cobra.ExactArgs(1),
		ValidArgsFunction: a.completeDeletedSecrets(vault),
		RunE: func(c *cobra.Command, args []string) error {
			v, err := a.vault(*vault)
			if err != nil {
				return err
			}
			s, err := v.Recover(c.Context(), args[0])
			if err != nil {
				return err
			}
			return a.showSecret(s)
		}}
}

func (a *app) secretPurge(vault *string) *cobra.Command {
	c := &cobra.Command{Use: "purge NAME", Short: "Destroy a deleted secret for good", Args: cobra.ExactArgs(1),
		ValidArgsFunction: a.completeDeletedSecrets(vault),
		RunE: func(c *cobra.Command, args []string) error {
			v, err := a.vault(*vault)
			if err != nil {
				return err
			}
			if err := a.confirm(c, "Destroy the deleted secret %q of the vault %q for good?", args[0], v.Name()); err != nil {
				return err
			}
			if err := v.Purge(c.Context(), args[0]); err != nil {
				return err
			}
			a.say("Purged the secret %q of the vault %q.", args[0], v.Name())
			return nil
		}}
	confirmFlag(c)
	return c
}

func (a *app) secretBackup(vault *string) *cobra.Command {
	var file string
	c := &cobra.Command{Use: "backup NAME", Short: "Write a sealed copy of a secret with all of its versions", Args: cobra.ExactArgs(1),
		Long:              "Write a sealed copy of a secret with all of its versions. Only a vault of the same subscription can restore it.",
		ValidArgsFunction: a.completeSecrets(vault),
		RunE: func(c *cobra.Command, args []string) error {
			v, err := a.vault(*vault)
			if err != nil {
				return err
			}
			if file == "-" && isTerminal(a.Stdout) {
				return usage("a backup is binary, and standard output is a terminal: name a file with --file")
			}
			blob, err := v.Backup(c.Context(), args[0])
			if err != nil {
				return err
			}
			if file == "-" {
				_, err = a.Stdout.Write(blob)
				return err
			}
			return writePrivate(file, blob)
		}}
	c.Flags().StringVar(&file, "file", "-", "file to write to; - for standard output")
	return c
}

func (a *app) secretRestore(vault *string) *cobra.Command {
	var file string
	c := &cobra.Command{Use: "restore", Short: "Bring a secret back from its backup", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			v, err := a.vault(*vault)
			if err != nil {
				return err
			}
			blob, err := a.readInput(file, maxBackup)
			if err != nil {
				return err
			}
			s, err := v.Restore(c.Context(), blob)
			if err != nil {
				return err
			}
			return a.showSecret(s)
		}}
	c.Flags().StringVar(&file, "file", "-", "file to read; - for standard input")
	return c
}
