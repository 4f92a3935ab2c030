package cli

import (
	"context"
	"iter"
	"time"

	"github.com/spf13/cobra"

	"github.com/keywright/keywright/client"
	"github.com/keywright/keywright/client/api"
)

// Completion asks the server, but never keeps a person waiting.
const (
	completionTimeout = 2 * time.Second
	maxCompletions    = 200
)

type completion = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective)

const noFiles = cobra.ShellCompDirectiveNoFileComp

// argument makes a completion that of the first argument alone. Flags complete whatever stands before them.
func argument(offer completion) completion {
	return func(c *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, noFiles
		}
		return offer(c, args, begun)
	}
}

// offer is a completion by what a listing of the server has. An error ends it, without a word: what is typed may be right all the same.
func offer[T any](a *app, list func(context.Context, *client.Client) iter.Seq2[*T, error], word func(*T) string) completion {
	return func(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		cl, err := a.client()
		if err != nil {
			return nil, noFiles
		}
		parent := c.Context()
		if parent == nil {
			parent = context.Background()
		}
		ctx, cancel := context.WithTimeout(parent, completionTimeout)
		defer cancel()
		var found []string
		for one, err := range list(ctx, cl) {
			if err != nil || len(found) == maxCompletions {
				break
			}
			found = append(found, word(one))
		}
		return found, noFiles
	}
}

// offerOf is offer by a listing of the vault that the command works in.
func offerOf[T any](a *app, vault *string, list func(context.Context, *client.Vault) iter.Seq2[*T, error], word func(*T) string) completion {
	return offer(a, func(ctx context.Context, cl *client.Client) iter.Seq2[*T, error] {
		name, err := a.vaultName(*vault)
		if err != nil {
			return func(func(*T, error) bool) {}
		}
		return list(ctx, cl.Vault(name))
	}, word)
}

func vaultsName(v *api.Vault) string { return v.Name }

// offerVaults offers the vaults that the caller may see.
func (a *app) offerVaults(c *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	return offer(a, func(ctx context.Context, cl *client.Client) iter.Seq2[*api.Vault, error] { return cl.Vaults(ctx) }, vaultsName)(c, args, begun)
}

// completeVaults is offerVaults for an argument.
func (a *app) completeVaults(c *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	return argument(a.offerVaults)(c, args, begun)
}

// completeDeletedVaults offers those that can be recovered.
func (a *app) completeDeletedVaults(c *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	return argument(offer(a, func(ctx context.Context, cl *client.Client) iter.Seq2[*api.Vault, error] {
		return cl.DeletedVaults(ctx)
	}, vaultsName))(c, args, begun)
}

// completeSecrets offers the names of a vault's secrets for an argument.
func (a *app) completeSecrets(vault *string) completion {
	return argument(a.secrets(vault).complete())
}
