package cli

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/keywright/keywright/client"
	"github.com/keywright/keywright/client/api"
)

// scopeFlags say where: by a resource id, or by the names of a vault and of a secret in it.
type scopeFlags struct{ scope, vault, secret string }

func (s *scopeFlags) flags(a *app, c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&s.scope, "scope", "", "resource id, from / (the tenant) down to one object")
	f.StringVar(&s.vault, "vault", "", "name of a vault, instead of a scope")
	f.StringVar(&s.secret, "secret", "", "name of a secret in the vault")
	c.MarkFlagsMutuallyExclusive("scope", "vault")
	c.RegisterFlagCompletionFunc("vault", a.offerVaults)
}

// find returns the scope; empty when the flags name none.
func (s *scopeFlags) find(c *cobra.Command, cl *client.Client) (string, error) {
	if s.vault == "" {
		if s.secret != "" {
			return "", usage("--secret needs --vault")
		}
		return s.scope, nil
	}
	v, err := cl.ShowVault(c.Context(), s.vault)
	if err != nil {
		return "", fmt.Errorf("finding the vault's scope: %w", err)
	}
	if s.secret != "" {
		return v.ID + "/secrets/" + s.secret, nil
	}
	return v.ID, nil
}

// must is find for commands that need a scope.
func (s *scopeFlags) must(c *cobra.Command, cl *client.Client) (string, error) {
	at, err := s.find(c, cl)
	if err == nil && at == "" {
		err = usage("no scope: give --scope, or --vault and perhaps --secret")
	}
	return at, err
}

func (a *app) roleCommand() *cobra.Command {
	c := &cobra.Command{Use: "role", Short: "Look at roles, and make custom ones"}
	c.AddCommand(a.roleList(), a.roleShow(), a.roleCreate(), a.roleDelete())
	return c
}

var roleHeader = []string{"ID", "NAME", "BUILT IN", "DESCRIPTION"}

func roleRow(r *api.Role) []string {
	return []string{r.ID, r.Name, yesNo(r.BuiltIn), r.Description}
}

func (a *app) roleList() *cobra.Command {
	var at scopeFlags
	c := &cobra.Command{Use: "list", Short: "List the roles that can be granted", Args: cobra.NoArgs,
		RunE: a.with(func(c *cobra.Command, cl *client.Client, _ []string) error {
			scope, err := at.find(c, cl)
			if err != nil {
				return err
			}
			all, err := collect(cl.Roles(c.Context(), scope))
			if err != nil {
				return err
			}
			return a.show(all, rows(roleHeader, all, roleRow))
		})}
	at.flags(a, c)
	return c
}

func (a *app) roleShow() *cobra.Command {
	var at scopeFlags
	c := &cobra.Command{Use: "show ROLE", Short: "Show a role, by its id or its name", Args: cobra.ExactArgs(1),
		RunE: a.with(func(c *cobra.Command, cl *client.Client, args []string) error {
			scope, err := at.find(c, cl)
			if err != nil {
				return err
			}
			r, err := cl.Role(c.Context(), args[0], scope)
			if err != nil {
				return err
			}
			t := table{{"ALLOWS", "PATTERN"}}
			for _, p := range r.Permissions {
				for _, part := range []struct {
					word string
					list []string
				}{{"action", p.Actions}, {"not action", p.NotActions}, {"data action", p.DataActions}, {"not data action", p.NotDataActions}} {
					for _, pattern := range part.list {
						t = append(t, []string{part.word, pattern})
					}
				}
			}
			return a.show(r, t)
		})}
	at.flags(a, c)
	return c
}

func (a *app) roleCreate() *cobra.Command {
	var file string
	c := &cobra.Command{Use: "create", Short: "Make a custom role or, with the id of one, change it",
		Long: `Make a custom role from a definition in JSON or YAML, in the form in which "keywright role show --output json" writes it. With the
id of a custom role that exists, change that one.`,
		Example: `  keywright role create --file reader.yaml

  name: Secret names
  assignableScopes: [/]
  permissions:
    - dataActions: [Microsoft.KeyVault/vaults/secrets/readMetadata/action]`,
		Args: cobra.NoArgs,
		RunE: a.with(func(c *cobra.Command, cl *client.Client, _ []string) error {
			raw, err := a.readInput(file, maxValue)
			if err != nil {
				return err
			}
			var role api.Role
			if err := decodeYAML(raw, &role); err != nil {
				return err
			}
			made, err := cl.PutRole(c.Context(), role)
			if err != nil {
				return err
			}
			return a.show(made, table{roleHeader, roleRow(made)})
		})}
	c.Flags().StringVar(&file, "file", "-", "file with the definition; - for standard input")
	return c
}

// decodeYAML reads YAML, of which JSON is a part, by the names of JSON. A misspelt member is an error.
func decodeYAML(raw []byte, into any) error {
	var plain any
	if err := yaml.Unmarshal(raw, &plain); err != nil {
		return usage("the definition is neither JSON nor YAML: %v", err)
	}
	text, err := json.Marshal(plain)
	if err != nil {
		return usage("the definition cannot be read: %v", err)
	}
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return usage("the definition cannot be read: %v", err)
	}
	return nil
}

func (a *app) roleDelete() *cobra.Command {
	var at scopeFlags
	c := &cobra.Command{Use: "delete ROLE", Short: "Remove a custom role that nobody holds", Args: cobra.ExactArgs(1),
		RunE: a.with(func(c *cobra.Command, cl *client.Client, args []string) error {
			scope, err := at.find(c, cl)
			if err != nil {
				return err
			}
			if err := a.confirm(c, "Remove the role %q?", args[0]); err != nil {
				return err
			}
			return cl.DeleteRole(c.Context(), args[0], scope)
		})}
	at.flags(a, c)
	confirmFlag(c)
	return c
}

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
			return cl.DeleteGrant(c.Context(), args[0], scope)
		})}
	at.flags(a, c)
	confirmFlag(c)
	return c
}

func (a *app) accessCommand() *cobra.Command {
	c := &cobra.Command{Use: "access", Short: "Ask why somebody may or may not, and who can"}
	c.AddCommand(a.accessExplain(), a.accessWhoCan())
	return c
}

// getSecret is the action that people ask about most.
const getSecret = "Microsoft.KeyVault/vaults/secrets/getSecret/action"

func (a *app) accessExplain() *cobra.Command {
	var at scopeFlags
	var who, action string
	c := &cobra.Command{Use: "explain", Short: "Say whether and why a principal may do something",
		Long: "Say whether and why a principal may do something." + whoHelp, Args: cobra.NoArgs,
		Example: "  keywright access explain --principal billing-service --action " + getSecret + " --vault billing --secret db-password",
		RunE: a.with(func(c *cobra.Command, cl *client.Client, _ []string) error {
			scope, err := at.must(c, cl)
			if err != nil {
				return err
			}
			e, err := cl.Explain(c.Context(), who, action, scope)
			if err != nil {
				return err
			}
			t := table{{"ALLOWED", "WHY"}, {yesNo(e.Allowed), e.Reason}}
			for _, s := range e.Steps {
				t = append(t, []string{"", s})
			}
			return a.show(e, t)
		})}
	c.Flags().StringVar(&who, "principal", "", "who")
	c.Flags().StringVar(&action, "action", getSecret, "what")
	at.flags(a, c)
	c.MarkFlagRequired("principal")
	return c
}

func (a *app) accessWhoCan() *cobra.Command {
	var at scopeFlags
	var action string
	c := &cobra.Command{Use: "who-can", Short: "List everybody who may do something", Args: cobra.NoArgs,
		RunE: a.with(func(c *cobra.Command, cl *client.Client, _ []string) error {
			scope, err := at.must(c, cl)
			if err != nil {
				return err
			}
			all, err := collect(cl.WhoCan(c.Context(), action, scope))
			if err != nil {
				return err
			}
			return a.show(all, rows([]string{"PRINCIPAL", "KIND", "NAME", "BY", "SCOPE", "UNTIL"}, all, func(h *api.Holder) []string {
				by := h.Role
				if h.Policy {
					by = "access policy"
				}
				return []string{h.Principal.ID, h.Principal.Kind, h.Principal.Name, by, h.Scope, when(h.Until)}
			}))
		})}
	c.Flags().StringVar(&action, "action", getSecret, "what")
	at.flags(a, c)
	return c
}
