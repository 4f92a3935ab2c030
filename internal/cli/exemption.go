package cli

import (
	"github.com/spf13/cobra"

	"github.com/keywright/keywright/client"
	"github.com/keywright/keywright/client/api"
)

func (a *app) rotationExemption(vault *string) *cobra.Command {
	c := &cobra.Command{Use: "exemption", Short: "Let secrets become older than the default of their vault or server"}
	c.AddCommand(a.exemptionSet(vault), a.exemptionEnd(vault), a.exemptionList(vault))
	return c
}

func (a *app) exemptionSet(vault *string) *cobra.Command {
	var in api.SetExemption
	var until string
	c := &cobra.Command{Use: "set NAME", Short: "Let a secret become older than the default until a date", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeSecrets(vault),
		Long: `Let a secret become older than the default of its vault or server until a date. It stands instead of an earlier exemption, and changes nothing for a secret whose
policy has a maxAge.`,
		Example: `  keywright rotation exemption set vendor-key --until 2027-06-30 --reason "the vendor issues a new one each July"`}
	c.RunE = a.inVault(vault, func(c *cobra.Command, v *client.Vault, args []string) error {
		at, err := instant("until", until)
		if err != nil {
			return err
		}
		if at == nil {
			return usage("--until is empty: say until when, such as 2027-06-30")
		}
		in.Until = *at
		if err := v.ExemptFromAge(c.Context(), args[0], in); err != nil {
			return err
		}
		a.say("%s may be older than the default until %s.", args[0], when(&in.Until))
		return nil
	})
	c.Flags().StringVar(&until, "until", "", "until when (RFC 3339, a date, or a duration from now)")
	c.Flags().StringVar(&in.Reason, "reason", "", "why, which is recorded")
	c.MarkFlagRequired("until")
	c.MarkFlagRequired("reason")
	return c
}

func (a *app) exemptionEnd(vault *string) *cobra.Command {
	c := &cobra.Command{Use: "end NAME", Short: "End the exemption of a secret", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeSecrets(vault)}
	c.RunE = a.inVault(vault, func(c *cobra.Command, v *client.Vault, args []string) error {
		if err := v.EndExemption(c.Context(), args[0]); err != nil {
			return err
		}
		a.say("%s has the maximum age of its vault or server again.", args[0])
		return nil
	})
	return c
}

func (a *app) exemptionList(vault *string) *cobra.Command {
	return &cobra.Command{Use: "list", Short: "List the exempted secrets of a vault, with who answers for each", Args: cobra.NoArgs, RunE: a.inVault(vault, func(c *cobra.Command, v *client.Vault, _ []string) error {
		list := []api.SecretAge{}
		for s, err := range v.Ages(c.Context()) {
			if err != nil {
				return err
			}
			if s.Exemption != nil {
				list = append(list, *s)
			}
		}
		return a.show(list, rows([]string{"NAME", "UNTIL", "COUNTS", "WHY", "BY", "SINCE"}, list, func(s *api.SecretAge) []string {
			x := s.Exemption
			return []string{s.Name, when(&x.Until), yesNo(s.LimitBy == "exemption"), x.Why, x.By, when(&x.At)}
		}))
	})}
}
