package cli

import (
	"github.com/spf13/cobra"

	"github.com/keywright/keywright/client"
)

func (a *app) keyRotate(vault *string) *cobra.Command {
	return &cobra.Command{Use: "rotate NAME", Short: "Make a new version of a key, of the same kind", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeKeys(vault),
		Long: `Make a new version of a key, of the same type, size, curve and operations. It is what everybody uses from now on who names no version; the versions
before go on to decrypt, unwrap and verify.`,
		RunE: a.inVault(vault, func(c *cobra.Command, v *client.Vault, args []string) error {
			made, err := v.Keys().Rotate(c.Context(), args[0])
			if err != nil {
				return err
			}
			return a.showKey(made)
		})}
}

func (a *app) keyPolicy(vault *string) *cobra.Command {
	c := &cobra.Command{Use: "policy", Short: "Show and change when a key is rotated"}
	c.AddCommand(a.keyPolicyShow(vault), a.keyPolicySet(vault))
	return c
}

func (a *app) showKeyPolicy(p *client.KeyPolicy) error {
	return a.show(p, table{{"ROTATE AFTER", "ROTATE BEFORE", "NOTIFY BEFORE", "EXPIRE AFTER", "UPDATED"},
		{p.RotateAfter, p.RotateBefore, p.NotifyBefore, p.ExpireAfter, when(p.Updated)}})
}

func (a *app) keyPolicyShow(vault *string) *cobra.Command {
	return &cobra.Command{Use: "show NAME", Short: "Show when a key is rotated", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeKeys(vault),
		RunE: a.inVault(vault, func(c *cobra.Command, v *client.Vault, args []string) error {
			p, err := v.Keys().Policy(c.Context(), args[0])
			if err != nil {
				return err
			}
			return a.showKeyPolicy(p)
		})}
}

func (a *app) keyPolicySet(vault *string) *cobra.Command {
	var in client.KeyPolicy
	c := &cobra.Command{
		Use:   "set NAME",
		Short: "Set when a key is rotated",
		Long: `Set when a key is rotated. Periods are years, months and days, such as P90D or P1Y6M. Flags set the whole policy.
A key is rotated 7 days after it was made at the earliest, and 7 days before it expires at the latest.`,
		Example: `  keywright key policy set disks --vault demo --rotate-after P90D
  keywright key policy set web --vault demo --expire-after P1Y --rotate-before P30D --notify-before P45D`,
		Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeKeys(vault),
		RunE: a.inVault(vault, func(c *cobra.Command, v *client.Vault, args []string) error {
			if in == (client.KeyPolicy{}) {
				return usage("nothing says what the policy is to be: give one of the flags")
			}
			p, err := v.Keys().SetPolicy(c.Context(), args[0], in)
			if err != nil {
				return err
			}
			return a.showKeyPolicy(p)
		}),
	}
	f := c.Flags()
	f.StringVar(&in.RotateAfter, "rotate-after", "", "rotate so long after a version was made")
	f.StringVar(&in.RotateBefore, "rotate-before", "", "rotate so long before a version expires")
	f.StringVar(&in.NotifyBefore, "notify-before", "", "tell of the expiry so long before it (default P30D)")
	f.StringVar(&in.ExpireAfter, "expire-after", "", "let new versions expire so long after their rotation")
	c.MarkFlagsMutuallyExclusive("rotate-after", "rotate-before")
	return c
}
