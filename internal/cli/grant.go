package cli

import (
	"github.com/spf13/cobra"

	"github.com/keywright/keywright/client"
	"github.com/keywright/keywright/client/api"
)

func (a *app) grantCommand() *cobra.Command {
	c := &cobra.Command{Use: "grant", Short: "Grant roles to principals, for a time if need be"}
	c.AddCommand(a.grantCreate(), a.grantList(), a.grantDelete())
	return c
}

var grantHeader = []string{"ID", "ROLE", "PRINCIPAL", "KIND", "SCOPE", "FROM", "UNTIL"}

func grantRow(g *api.Grant) []string {
	return []string{g.ID, first(g.RoleName, g.Role), first(g.Principal.Name, g.Principal.ID), g.Principal.Kind, g.Scope, when(g.NotBefore), when(g.Expires)}
}

func (a *app) grantCreate() *cobra.Command {
	var in api.CreateGrant
	var at scopeFlags
	var notBefore, expires string
	c := &cobra.Command{Use: "create", Short: "Grant a role to a principal at a scope",
		Long: "Grant a role to a principal at a scope." + whoHelp,
		Example: `  keywright grant create --role "Key Vault Secrets User" --principal billing-service --vault billing
  keywright grant create --role "Key Vault Secrets Officer" --principal ada@example.org --vault billing --expires 8h`,
		Args: cobra.NoArgs,
		RunE: a.with(func(c *cobra.Command, cl *client.Client, _ []string) (err error) {
			if in.NotBefore, err = instant("not-before", notBefore); err != nil {
				return err
			}
			if in.Expires, err = instant("expires", expires); err != nil {
				return err
			}
			if in.Scope, err = at.must(c, cl); err != nil {
				return err
			}
			g, err := cl.CreateGrant(c.Context(), in)
			if err != nil {
				return err
			}
			for _, w := range g.Warnings {
				a.say("Warning: %s.", w)
			}
			return a.show(g, table{grantHeader, grantRow(g)})
		})}
	f := c.Flags()
	f.StringVar(&in.Role, "role", "", "role, by its id or its name")
	f.StringVar(&in.Principal, "principal", "", "who gets it")
	f.StringVar(&in.Description, "description", "", "why, for people")
	f.StringVar(&notBefore, "not-before", "", "instant at which the grant begins (RFC 3339, a date, or a duration from now)")
	f.StringVar(&expires, "expires", "", "instant at which the grant ends (RFC 3339, a date, or a duration from now such as 8h)")
	at.flags(a, c)
	c.MarkFlagRequired("role")
	c.MarkFlagRequired("principal")
	return c
}

func (a *app) grantList() *cobra.Command {
	var at scopeFlags
	var who string
	c := &cobra.Command{Use: "list", Short: "List the grants that count at a scope, and those below it", Args: cobra.NoArgs,
		RunE: a.with(func(c *cobra.Command, cl *client.Client, _ []string) error {
			scope, err := at.find(c, cl)
			if err != nil {
				return err
			}
			all, err := collect(cl.Grants(c.Context(), scope, who))
			if err != nil {
				return err
			}
			return a.show(all, rows(grantHeader, all, grantRow))
		})}
	at.flags(a, c)
	c.Flags().StringVar(&who, "principal", "", "only grants that reach this principal, through groups included")
	return c
}

func (a *app) grantDelete() *cobra.Command {
	var at scopeFlags
	c := &cobra.Command{Use: "delete ID", Short: "Withdraw a grant; it counts no more at once", Args: cobra.ExactArgs(1),
		RunE: a.with(func(c *cobra.Command, cl *client.Client, args []string) error {
			scope, err := at.must(c, cl)
			if err != nil {
				return err
			}
			if err := a.confirm(c, "Withdraw the grant %s?", args[0]); err != nil {
				return err
			}
			if err := cl.DeleteGrant(c.Context(), args[0], scope); err != nil {
				return err
			}
			a.say("Withdrew the grant %s.", args[0])
			return nil
		})}
	at.flags(a, c)
	confirmFlag(c)
	return c
}
