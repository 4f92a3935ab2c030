package cli

import (
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keywright/keywright/client"
	"github.com/keywright/keywright/client/api"
)

var principalHeader = []string{"ID", "KIND", "NAME", "CLIENT ID", "SIGN-IN NAME", "ENABLED"}

func principalRow(p *api.Principal) []string {
	return []string{p.ID, p.Kind, p.Name, p.AppID, p.UPN, yesNo(!p.Disabled)}
}

func (a *app) showPrincipal(p *api.Principal) error {
	return a.show(p, table{principalHeader, principalRow(p)})
}

const whoHelp = "\n\nWHO is an object id, a client id, a sign-in name or a whole display name that only one principal has."

func (a *app) principalCommand() *cobra.Command {
	c := &cobra.Command{Use: "principal", Short: "Manage users, service principals and managed identities, and how they sign in"}
	c.AddCommand(a.principalCreate(), a.principalList(), a.principalShow(), a.principalUpdate(), a.principalDelete("principal"), a.principalRevoke(), a.principalHoldings(),
		a.credentialCommand(), a.issuerCommand())
	return c
}

// kinds are the words of --kind.
var kinds = map[string]string{"user": api.User, "service": api.ServicePrincipal, "managed-identity": api.ManagedIdentity}

func (a *app) principalCreate() *cobra.Command {
	var in api.CreatePrincipal
	var kind string
	c := &cobra.Command{Use: "create NAME", Short: "Make a principal",
		Example: `  keywright principal create billing-service
  keywright principal create "Ada Lovelace" --kind user --upn ada@example.org`,
		Args: cobra.ExactArgs(1),
		RunE: a.with(func(c *cobra.Command, cl *client.Client, args []string) error {
			in.Name = args[0]
			if in.Kind = kinds[kind]; in.Kind == "" {
				return usage("the kind %q is not one of user, service and managed-identity", kind)
			}
			p, err := cl.CreatePrincipal(c.Context(), in)
			if err != nil {
				return err
			}
			return a.showPrincipal(p)
		})}
	f := c.Flags()
	f.StringVar(&kind, "kind", "service", "user, service or managed-identity")
	f.StringVar(&in.UPN, "upn", "", "sign-in name of a user, NAME@DOMAIN")
	f.StringVar(&in.Resource, "resource", "", "resource id that a managed identity belongs to")
	f.StringVar(&in.AppID, "client-id", "", "client id, a GUID (default: a new one)")
	c.RegisterFlagCompletionFunc("kind", cobra.FixedCompletions([]string{"user", "service", "managed-identity"}, noFiles))
	return c
}

func (a *app) principalList() *cobra.Command {
	var kind, prefix string
	c := &cobra.Command{Use: "list", Short: "List principals", Args: cobra.NoArgs,
		RunE: a.with(func(c *cobra.Command, cl *client.Client, _ []string) error {
			k := kinds[kind]
			if kind != "" && k == "" {
				return usage("the kind %q is not one of user, service and managed-identity", kind)
			}
			all, err := collect(cl.Principals(c.Context(), k, prefix))
			if err != nil {
				return err
			}
			return a.show(all, rows(principalHeader, all, principalRow))
		})}
	c.Flags().StringVar(&kind, "kind", "", "user, service or managed-identity (default: all of them)")
	c.Flags().StringVar(&prefix, "prefix", "", "beginning of the display name")
	return c
}

func (a *app) principalShow() *cobra.Command {
	return &cobra.Command{Use: "show WHO", Short: "Show a principal", Long: "Show a principal." + whoHelp, Args: cobra.ExactArgs(1),
		RunE: a.with(func(c *cobra.Command, cl *client.Client, args []string) error {
			p, err := cl.Principal(c.Context(), args[0])
			if err != nil {
				return err
			}
			return a.show(p, table{append(principalHeader, "GROUPS", "CREDENTIALS"), append(principalRow(p), names(p.Groups), strconv.Itoa(len(p.Credentials)))})
		})}
}

func names(refs []api.PrincipalRef) string {
	var list []string
	for _, r := range refs {
		list = append(list, r.Name)
	}
	return strings.Join(list, ", ")
}

func (a *app) principalUpdate() *cobra.Command {
	var name string
	var enabled bool
	c := &cobra.Command{Use: "update WHO", Short: "Rename, disable or enable a principal",
		Long: "Rename, disable or enable a principal. Disabling refuses its tokens at once." + whoHelp, Args: cobra.ExactArgs(1),
		RunE: a.with(func(c *cobra.Command, cl *client.Client, args []string) error {
			if err := changing(c, "name", "enabled"); err != nil {
				return err
			}
			var in api.UpdatePrincipal
			if c.Flags().Changed("name") {
				in.Name = &name
			}
			if c.Flags().Changed("enabled") {
				disabled := !enabled
				in.Disabled = &disabled
			}
			p, err := cl.UpdatePrincipal(c.Context(), args[0], in)
			if err != nil {
				return err
			}
			return a.showPrincipal(p)
		})}
	c.Flags().StringVar(&name, "name", "", "new display name")
	c.Flags().BoolVar(&enabled, "enabled", true, "whether the principal can sign in")
	return c
}

func (a *app) principalDelete(what string) *cobra.Command {
	c := &cobra.Command{Use: "delete WHO", Short: "Remove a " + what + " with its credentials, memberships and grants", Args: cobra.ExactArgs(1),
		RunE: a.with(func(c *cobra.Command, cl *client.Client, args []string) error {
			if err := a.confirm(c, "Remove the %s %q with its credentials, memberships and grants?", what, args[0]); err != nil {
				return err
			}
			if err := cl.DeletePrincipal(c.Context(), args[0]); err != nil {
				return err
			}
			a.say("Removed the %s %q.", what, args[0])
			return nil
		})}
	confirmFlag(c)
	return c
}

func (a *app) principalRevoke() *cobra.Command {
	c := &cobra.Command{Use: "revoke-tokens WHO", Short: "Refuse every token that a principal was issued before now", Args: cobra.ExactArgs(1),
		RunE: a.with(func(c *cobra.Command, cl *client.Client, args []string) error {
			if err := a.confirm(c, "Refuse every token that %q was issued before now?", args[0]); err != nil {
				return err
			}
			if err := cl.RevokeTokens(c.Context(), args[0]); err != nil {
				return err
			}
			a.say("Tokens of %q from before now are refused.", args[0])
			return nil
		})}
	confirmFlag(c)
	return c
}

func (a *app) groupCommand() *cobra.Command {
	c := &cobra.Command{Use: "group", Short: "Manage groups and who is in them"}
	create := &cobra.Command{Use: "create NAME", Short: "Make a group", Args: cobra.ExactArgs(1),
		RunE: a.with(func(c *cobra.Command, cl *client.Client, args []string) error {
			p, err := cl.CreatePrincipal(c.Context(), api.CreatePrincipal{Kind: api.Group, Name: args[0]})
			if err != nil {
				return err
			}
			return a.showPrincipal(p)
		})}
	list := &cobra.Command{Use: "list", Short: "List groups", Args: cobra.NoArgs,
		RunE: a.with(func(c *cobra.Command, cl *client.Client, _ []string) error {
			all, err := collect(cl.Principals(c.Context(), api.Group, ""))
			if err != nil {
				return err
			}
			return a.show(all, rows(principalHeader, all, principalRow))
		})}
	show := &cobra.Command{Use: "show GROUP", Short: "Show a group and who is directly in it", Args: cobra.ExactArgs(1),
		RunE: a.with(func(c *cobra.Command, cl *client.Client, args []string) error {
			p, err := cl.Principal(c.Context(), args[0])
			if err != nil {
				return err
			}
			return a.show(p, rows([]string{"MEMBER", "KIND", "NAME"}, p.Members, func(m *api.PrincipalRef) []string { return []string{m.ID, m.Kind, m.Name} }))
		})}
	member := func(verb, short string, change func(*cobra.Command, *client.Client, []string) error) *cobra.Command {
		return &cobra.Command{Use: verb + " GROUP WHO", Short: short, Args: cobra.ExactArgs(2), RunE: a.with(change)}
	}
	remove := member("remove", "Take a principal out of a group", func(c *cobra.Command, cl *client.Client, args []string) error {
		if err := a.confirm(c, "Take %q out of the group %q, with all that it may do by that?", args[1], args[0]); err != nil {
			return err
		}
		if err := cl.RemoveMember(c.Context(), args[0], args[1]); err != nil {
			return err
		}
		a.say("Took %q out of the group %q.", args[1], args[0])
		return nil
	})
	confirmFlag(remove)
	c.AddCommand(create, list, show, a.principalDelete("group"),
		member("add", "Add a principal to a group", func(c *cobra.Command, cl *client.Client, args []string) error {
			return cl.AddMember(c.Context(), args[0], args[1])
		}), remove)
	return c
}

func (a *app) issuerCommand() *cobra.Command {
	c := &cobra.Command{Use: "issuer", Short: "Manage the outside OpenID Connect issuers that the tenant believes"}
	list := &cobra.Command{Use: "list", Short: "List the trusted issuers", Args: cobra.NoArgs,
		RunE: a.with(func(c *cobra.Command, cl *client.Client, _ []string) error {
			all, err := collect(cl.TrustedIssuers(c.Context()))
			if err != nil {
				return err
			}
			return a.show(all, rows([]string{"ISSUER", "KEYS", "CREATED"}, all, func(i *api.TrustedIssuer) []string {
				keys := "fetched"
				if i.JWKS != "" {
					keys = "given"
				}
				return []string{i.Issuer, keys, when(i.Created)}
			}))
		})}
	const maxIssuerFile = 1 << 20 // bytes; the server takes less
	var jwks, ca string
	add := &cobra.Command{Use: "add URL", Short: "Believe an outside issuer", Args: cobra.ExactArgs(1),
		RunE: a.with(func(c *cobra.Command, cl *client.Client, args []string) error {
			in := api.TrustedIssuer{Issuer: args[0]}
			for file, into := range map[string]*string{jwks: &in.JWKS, ca: &in.CA} {
				if file == "" {
					continue
				}
				content, err := a.readInput(file, maxIssuerFile)
				if err != nil {
					return err
				}
				*into = string(content)
			}
			return cl.TrustIssuer(c.Context(), in)
		})}
	add.Flags().StringVar(&jwks, "jwks-file", "", "key set of an issuer that the server cannot reach")
	add.Flags().StringVar(&ca, "issuer-ca-file", "", "PEM bundle that the issuer's certificate is checked by")
	remove := &cobra.Command{Use: "remove URL", Short: "Stop believing an outside issuer", Args: cobra.ExactArgs(1),
		RunE: a.with(func(c *cobra.Command, cl *client.Client, args []string) error {
			if err := a.confirm(c, "Stop believing the issuer %s? Whoever signs in by it is refused.", args[0]); err != nil {
				return err
			}
			return cl.DistrustIssuer(c.Context(), args[0])
		})}
	confirmFlag(remove)
	c.AddCommand(list, add, remove)
	return c
}
