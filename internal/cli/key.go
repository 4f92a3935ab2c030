package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keywright/keywright/client"
	"github.com/keywright/keywright/client/api"
)

func (a *app) keyCommand() *cobra.Command {
	c := &cobra.Command{Use: "key", Short: "Make, use and manage keys"}
	name := a.vaultFlag(c)
	c.AddCommand(a.keys(name).commands()...)
	c.AddCommand(a.keyCreate(name), a.keyImport(name), a.keyGet(name), a.keyUpdate(name), a.keyRotate(name), a.keyPolicy(name))
	c.AddCommand(a.keyUses(name)...)
	return c
}

// keys are the keys of a vault.
func (a *app) keys(vault *string) *kind[api.Key] {
	return &kind[api.Key]{app: a, vault: vault, noun: "key", command: "key", header: keyHeader, row: keyRow,
		in:    func(v *client.Vault) *client.Objects[api.Key] { return &v.Keys().Objects },
		fate:  func(k *api.Key) fate { return fate{k.Vault, k.Name, k.Version, k.Deleted, k.PurgeAt} },
		whole: "with all of its versions", copied: "all of its versions and its rotation policy",
		deleting: " What it encrypted cannot be read until it is recovered.", purging: " What it encrypted is lost."}
}

// completeKeys offers the names of a vault's keys for an argument.
func (a *app) completeKeys(vault *string) completion { return argument(a.keys(vault).complete()) }

var keyHeader = []string{"NAME", "VERSION", "TYPE", "ENABLED", "EXPIRES", "UPDATED", "OPERATIONS", "PURPOSE", "TAGS"}

func keyRow(k *client.Key) []string {
	return []string{k.Name, k.Version, keyType(k), yesNo(k.Enabled), when(k.Expires), when(&k.Updated), strings.Join(k.Operations, " "), k.Purpose, pairs(k.Tags)}
}

// keyType is the type with its size or curve.
func keyType(k *client.Key) string {
	switch {
	case k.Curve != "":
		return k.Type + " " + k.Curve
	case k.Bits != 0:
		return fmt.Sprint(k.Type, " ", k.Bits)
	}
	return k.Type
}

func (a *app) showKey(k *client.Key) error { return a.show(k, table{keyHeader, keyRow(k)}) }

func (a *app) keyGet(vault *string) *cobra.Command {
	var w which
	var file string
	c := &cobra.Command{
		Use:   "get NAME",
		Short: "Show a key, or write its public half",
		Example: `  keywright key get signing --vault demo
  keywright key get signing --vault demo --public-key signing.pem`,
		Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeKeys(vault),
		RunE: a.inVault(vault, func(c *cobra.Command, v *client.Vault, args []string) error {
			got, err := v.Keys().Get(c.Context(), args[0], w.selector())
			if err != nil {
				return err
			}
			switch {
			case file == "":
				return a.showKey(got)
			case got.PublicKey == "":
				return fmt.Errorf("the key %q is of type %s and has no public half", got.Name, got.Type)
			case file == "-":
				_, err = a.Stdout.Write([]byte(got.PublicKey))
				return err
			}
			return writePrivate(file, []byte(got.PublicKey))
		}),
	}
	versionFlag(c, &w)
	c.Flags().StringVar(&file, "public-key", "", "file to write the public half to, in PEM; - for standard output")
	return c
}

func versionFlag(c *cobra.Command, w *which) {
	c.Flags().StringVar(&w.version, "version", "", "version, 32 hexadecimal digits (default: the current one)")
}

func (a *app) keyUpdate(vault *string) *cobra.Command {
	var w which
	var at keyAttributes
	c := &cobra.Command{
		Use:     "update NAME",
		Short:   "Change what is known about a version of a key",
		Example: `  keywright key update signing --vault demo --operations verify --enabled=true`,
		Args:    cobra.ExactArgs(1), ValidArgsFunction: a.completeKeys(vault),
		RunE: a.inVault(vault, func(c *cobra.Command, v *client.Vault, args []string) error {
			in, err := at.update(c)
			if err != nil {
				return err
			}
			got, err := v.Keys().Update(c.Context(), args[0], w.selector(), in)
			if err != nil {
				return err
			}
			return a.showKey(got)
		}),
	}
	versionFlag(c, &w)
	at.flags(c)
	at.clearing(c)
	return c
}
