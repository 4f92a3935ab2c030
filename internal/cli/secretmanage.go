package cli

import (
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keywright/keywright/client"
)

func (a *app) secretUpdate(vault *string) *cobra.Command {
	var w which
	var at secretAttributes
	c := &cobra.Command{
		Use:   "update NAME",
		Short: "Change what is known about a version, but not its value",
		Example: `  keywright secret update db-password --vault demo --expires 2160h
  keywright secret update db-password --vault demo --version 0199f0… --enabled=false`,
		Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeSecrets(vault),
		RunE: a.inVault(vault, func(c *cobra.Command, v *client.Vault, args []string) error {
			in, err := at.update(c)
			if err != nil {
				return err
			}
			s, err := v.Update(c.Context(), args[0], w.selector(), in)
			if err != nil {
				return err
			}
			return a.showSecret(s)
		}),
	}
	w.flags(c)
	at.flags(c)
	at.clearing(c)
	return c
}

// update says what the flags change; flags that were not given change nothing.
func (at *secretAttributes) update(c *cobra.Command) (in client.UpdateSecret, err error) {
	if err := changing(c, "content-type", "tag", "clear-tags", "enabled", "not-before", "expires"); err != nil {
		return in, err
	}
	if c.Flags().Changed("content-type") {
		in.ContentType = &at.contentType
	}
	in.Enabled = at.changedEnabled(c)
	if in.Tags, err = at.changedTags(c); err != nil {
		return in, err
	}
	if in.NotBefore, in.ClearNotBefore, err = instantOrNone("not-before", at.notBefore); err != nil {
		return in, err
	}
	in.Expires, in.ClearExpires, err = instantOrNone("expires", at.expires)
	return in, err
}

// changing refuses a change that changes nothing: the flags that would say what were left out.
func changing(c *cobra.Command, flags ...string) error {
	if anyChanged(c, flags...) {
		return nil
	}
	return usage("nothing to change: give --%s or --%s", strings.Join(flags[:len(flags)-1], ", --"), flags[len(flags)-1])
}

// instantOrNone reads an instant, or the word that takes one away.
func instantOrNone(flag, text string) (at *time.Time, none bool, err error) {
	if text == "none" {
		return nil, true, nil
	}
	at, err = instant(flag, text)
	return at, false, err
}
