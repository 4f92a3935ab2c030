package cli

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/keywright/keywright/client"
	"github.com/keywright/keywright/client/api"
)

var policyHeader = []string{"PRINCIPAL", "KIND", "APPLICATION", "SECRETS", "KEYS", "CERTIFICATES", "FROM", "UNTIL"}

func policyRow(p *api.AccessPolicy) []string {
	words := func(list []string) string { return strings.Join(list, ",") }
	return []string{first(p.Principal.Name, p.Principal.ID), p.Principal.Kind, p.Application, words(p.Secrets), words(p.Keys), words(p.Certificates),
		when(p.NotBefore), when(p.Expires)}
}

func (a *app) vaultPolicy() *cobra.Command {
	c := &cobra.Command{Use: "policy", Short: "Manage the access policies of a vault that uses them and not roles"}
	c.AddCommand(a.policySet(), a.policyRemove(), a.policyList())
	return c
}

// policyFlags name a vault and a holder in it.
type policyFlags struct{ vault, principal, application string }

func (p *policyFlags) flags(a *app, c *cobra.Command) {
	f := c.Flags()
	p.vaultFlag(a, c)
	f.StringVar(&p.principal, "principal", "", "whose policy it is")
	f.StringVar(&p.application, "application", "", "client id through which the principal has to act")
	c.MarkFlagRequired("principal")
}

func (p *policyFlags) vaultFlag(a *app, c *cobra.Command) {
	c.Flags().StringVar(&p.vault, "vault", "", "name of the vault")
	c.MarkFlagRequired("vault")
	c.RegisterFlagCompletionFunc("vault", a.offerVaults)
}

// warnOfRoles tells whoever sets policies where they do not count.
func (a *app) warnOfRoles(vault string, counts bool) {
	if !counts {
		a.say("Warning: the vault %s uses roles, so its access policies do not count. Change that with \"keywright vault update %s --access policy\".", vault, vault)
	}
}

func (a *app) policySet() *cobra.Command {
	var at policyFlags
	var in api.SetAccessPolicy
	var notBefore, expires string
	c := &cobra.Command{Use: "set", Short: "Set what a principal may do in a vault, for a time if need be",
		Long: `Set the whole access policy of a principal in a vault: permissions that are not named are taken away, and so are times.` + whoHelp,
		Example: `  keywright vault policy set --vault billing --principal billing-service --secrets get,list
  keywright vault policy set --vault billing --principal ada@example.org --secrets all --keys get,sign --expires 8h`,
		Args: cobra.NoArgs,
		RunE: a.with(func(c *cobra.Command, cl *client.Client, _ []string) (err error) {
			if in.NotBefore, err = instant("not-before", notBefore); err != nil {
				return err
			}
			if in.Expires, err = instant("expires", expires); err != nil {
				return err
			}
			if len(in.Secrets)+len(in.Keys)+len(in.Certificates) == 0 {
				return usage("no permissions: name some with --secrets, --keys or --certificates, or use \"keywright vault policy remove\"")
			}
			in.Application = at.application
			p, err := cl.SetAccessPolicy(c.Context(), at.vault, at.principal, in)
			if err != nil {
				return err
			}
			a.warnOfRoles(at.vault, p.Counts)
			return a.show(p, table{policyHeader, policyRow(p)})
		})}
	at.flags(a, c)
	f := c.Flags()
	f.StringSliceVar(&in.Secrets, "secrets", nil, "permissions on secrets: all, get, list, set, delete, backup, restore, recover, purge")
	f.StringSliceVar(&in.Keys, "keys", nil, "permissions on keys")
	f.StringSliceVar(&in.Certificates, "certificates", nil, "permissions on certificates")
	f.StringVar(&notBefore, "not-before", "", "instant at which the policy begins (RFC 3339, a date, or a duration from now)")
	f.StringVar(&expires, "expires", "", "instant at which the policy ends (RFC 3339, a date, or a duration from now such as 8h)")
	return c
}

func (a *app) policyRemove() *cobra.Command {
	var at policyFlags
	c := &cobra.Command{Use: "remove", Short: "Remove the access policy of a principal", Long: "Remove the access policy of a principal." + whoHelp, Args: cobra.NoArgs,
		RunE: a.with(func(c *cobra.Command, cl *client.Client, _ []string) error {
			if err := a.confirm(c, "Remove the access policy of %q in the vault %q?", at.principal, at.vault); err != nil {
				return err
			}
			if err := cl.RemoveAccessPolicy(c.Context(), at.vault, at.principal, at.application); err != nil {
				return err
			}
			a.say("Removed the access policy of %s.", at.principal)
			return nil
		})}
	at.flags(a, c)
	confirmFlag(c)
	return c
}

func (a *app) policyList() *cobra.Command {
	var at policyFlags
	c := &cobra.Command{Use: "list", Short: "List the access policies of a vault", Args: cobra.NoArgs,
		RunE: a.with(func(c *cobra.Command, cl *client.Client, _ []string) error {
			all, err := collect(cl.AccessPolicies(c.Context(), at.vault))
			if err != nil {
				return err
			}
			if len(all) > 0 {
				a.warnOfRoles(at.vault, all[0].Counts)
			}
			return a.show(all, rows(policyHeader, all, policyRow))
		})}
	at.vaultFlag(a, c)
	return c
}
