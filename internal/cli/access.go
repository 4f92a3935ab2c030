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
			if err := cl.DeleteRole(c.Context(), args[0], scope); err != nil {
				return err
			}
			a.say("Removed the role %q.", args[0])
			return nil
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
