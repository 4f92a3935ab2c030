package cli

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/keywright/keywright/client"
	"github.com/keywright/keywright/client/api"
)

func (a *app) showEncryption(e *api.VaultEncryption) error {
	return a.show(e, table{{"KEY VAULT", "KEY", "VERSION", "WRAPPED WITH", "BACKUPS KEPT", "SINCE", "PROBLEM"},
		{e.KeyVault, e.Key, first(e.Version, "current"), strings.Join(e.WrappedWith, " "), days(e.BackupDays), when(&e.Since), first(e.Problem, "none")}})
}

func (a *app) vaultEncryption() *cobra.Command {
	c := &cobra.Command{Use: "encryption", Short: "Let a key of your own protect a vault"}
	c.AddCommand(a.encryptionSet(), a.encryptionShow(), a.encryptionRewrap(), a.encryptionRemove())
	return c
}

func (a *app) encryptionSet() *cobra.Command {
	var in api.SetVaultEncryption
	c := &cobra.Command{Use: "set NAME", Short: "Choose the key that protects a vault",
		Long: `Choose the key that protects a vault: an RSA key, or an oct key of 256 bits, in another vault. It wraps the vault's own key, beside the tenant's. While
it is disabled or deleted, nothing of the vault opens. It takes the right to write the vault, and to wrap and unwrap with the key.`,
		Example: "  keywright vault encryption set billing --key-vault keys --key billing-root --backup-days 2557",
		Args:    cobra.ExactArgs(1), ValidArgsFunction: a.completeVaults,
		RunE: a.with(func(c *cobra.Command, cl *client.Client, args []string) error {
			e, err := cl.SetVaultEncryption(c.Context(), args[0], in)
			if err != nil {
				return err
			}
			a.say("While the key %q of the vault %q is disabled or deleted, nothing of %q opens.", e.Key, e.KeyVault, args[0])
			return a.showEncryption(e)
		})}
	f := c.Flags()
	f.StringVar(&in.KeyVault, "key-vault", "", "vault that has the key")
	f.StringVar(&in.Key, "key", "", "name of the key")
	f.StringVar(&in.Version, "version", "", "the only version to use (default: the current one, through rotations)")
	f.IntVar(&in.BackupDays, "backup-days", 0, "how long backups of what the vault keeps are kept, 1 to 3653; the key cannot be purged sooner (default 365)")
	c.MarkFlagRequired("key-vault")
	c.MarkFlagRequired("key")
	return c
}

func (a *app) encryptionShow() *cobra.Command {
	return &cobra.Command{Use: "show NAME", Short: "Show the key that protects a vault, and whether it can be used", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeVaults,
		RunE: a.with(func(c *cobra.Command, cl *client.Client, args []string) error {
			e, err := cl.VaultEncryption(c.Context(), args[0])
			if err != nil {
				return err
			}
			return a.showEncryption(e)
		})}
}

func (a *app) encryptionRewrap() *cobra.Command {
	return &cobra.Command{Use: "rewrap NAME", Short: "Wrap a vault with the current version of its key", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeVaults,
		Long: "Wrap a vault with the current version of its key. The server does it by itself within an hour of a rotation.",
		RunE: a.with(func(c *cobra.Command, cl *client.Client, args []string) error {
			if _, err := cl.RewrapVault(c.Context(), args[0]); err != nil {
				return err
			}
			e, err := cl.VaultEncryption(c.Context(), args[0])
			if err != nil {
				return err
			}
			return a.showEncryption(e)
		})}
}

func (a *app) encryptionRemove() *cobra.Command {
	c := &cobra.Command{Use: "remove NAME", Short: "Protect a vault with the tenant's key alone again", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeVaults,
		RunE: a.with(func(c *cobra.Command, cl *client.Client, args []string) error {
			if err := a.confirm(c, "Take the key of your own away from the vault %q? Backups that were made under it still need it.", args[0]); err != nil {
				return err
			}
			if err := cl.RemoveVaultEncryption(c.Context(), args[0]); err != nil {
				return err
			}
			a.say("The tenant's key alone protects the vault %q.", args[0])
			return nil
		})}
	confirmFlag(c)
	return c
}
