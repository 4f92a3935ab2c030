package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/keywright/keywright/client"
)

// Completion asks the server, but never keeps a person waiting.
const (
	completionTimeout = 2 * time.Second
	maxCompletions    = 200
)

type completion = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective)

const noFiles = cobra.ShellCompDirectiveNoFileComp

// completeVaults offers the vaults that the caller may see.
func (a *app) completeVaults(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	cl, err := a.client()
	if err != nil || len(args) > 0 {
		return nil, noFiles
	}
	ctx, cancel := completing(c)
	defer cancel()
	var names []string
	for v, err := range cl.Vaults(ctx) {
		if err != nil || len(names) == maxCompletions {
			break
		}
		names = append(names, v.Name)
	}
	return names, noFiles
}

// completing bounds how long a person waits for an offer.
func completing(c *cobra.Command) (context.Context, context.CancelFunc) {
	parent := c.Context()
	if parent == nil {
		parent = context.Background()
	}
	return context.WithTimeout(parent, completionTimeout)
}

// completeSecrets offers the names of a vault's secrets.
func (a *app) completeSecrets(vault *string) completion {
	return a.completeNames(vault, func(ctx context.Context, v *client.Vault, add func(string) bool) {
		for s, err := range v.List(ctx) {
			if err != nil || !add(s.Name) {
				return
			}
		}
	})
}

func (a *app) completeDeletedSecrets(vault *string) completion {
	return a.completeNames(vault, func(ctx context.Context, v *client.Vault, add func(string) bool) {
		for s, err := range v.ListDeleted(ctx) {
			if err != nil || !add(s.Name) {
				return
			}
		}
	})
}

func (a *app) completeNames(vault *string, list func(context.Context, *client.Vault, func(string) bool)) completion {
	return func(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		v, err := a.vault(*vault)
		if err != nil || len(args) > 0 {
			return nil, noFiles
		}
		ctx, cancel := completing(c)
		defer cancel()
		var names []string
		list(ctx, v, func(name string) bool {
			names = append(names, name)
			return len(names) < maxCompletions
		})
		return names, noFiles
	}
}
