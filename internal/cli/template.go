package cli

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keywright/keywright/client"
	"github.com/keywright/keywright/client/api"
)

func (a *app) secretTemplate(vault *string) *cobra.Command {
	c := &cobra.Command{Use: "template", Short: "Compose a secret of other secrets of its vault"}
	c.AddCommand(a.templateGet(vault), a.templateSet(vault), a.templateDelete(vault))
	return c
}

var templateHeader = []string{"NAME", "TEMPLATE", "VERSION", "MADE", "OF", "PROBLEM"}

func templateTable(t *api.SecretTemplate) table {
	row := []string{t.Name, t.Template, "", "", "", t.Problem}
	if n := len(t.Made); n > 0 {
		last := t.Made[n-1]
		var of []string
		for _, name := range slices.Sorted(maps.Keys(last.Parts)) {
			of = append(of, name+"@"+last.Parts[name])
		}
		row[2], row[3], row[4] = last.Version, when(&last.At), strings.Join(of, " ")
	}
	return table{templateHeader, row}
}

func (a *app) templateSet(vault *string) *cobra.Command {
	return &cobra.Command{Use: "set NAME TEMPLATE", Short: "Compose a secret of others",
		Long: `Compose a secret of others of its vault. {{NAME}} is the value of a secret, {{NAME.MEMBER}} a member of one that is a JSON object; with |url behind
it the value is escaped for a URL. The secret is made when there is none of the name, and made anew whenever a part changes.

A template holds no value: what is secret in it belongs into a secret of its own. You must be allowed to read every part.`,
		Example: `  keywright secret template set db-url 'postgres://{{db.username|url}}:{{db.password|url}}@db.internal/shop' --vault demo`,
		Args:    cobra.ExactArgs(2), ValidArgsFunction: a.completeSecrets(vault), RunE: func(c *cobra.Command, args []string) error {
			return a.setTemplate(c, *vault, args[0], args[1])
		}}
}

func (a *app) setTemplate(c *cobra.Command, vault, name, template string) error {
	v, err := a.vault(vault)
	if err != nil {
		return err
	}
	t, err := v.SetTemplate(c.Context(), name, template)
	if err != nil {
		return err
	}
	return a.show(t, templateTable(t))
}

func (a *app) templateGet(vault *string) *cobra.Command {
	return &cobra.Command{Use: "get NAME", Short: "Show of what a secret is composed", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeSecrets(vault),
		RunE: a.inVault(vault, func(c *cobra.Command, v *client.Vault, args []string) error {
			t, err := v.Template(c.Context(), args[0])
			if err != nil {
				return err
			}
			return a.show(t, templateTable(t))
		})}
}

func (a *app) templateDelete(vault *string) *cobra.Command {
	c := &cobra.Command{Use: "delete NAME", Short: "Take the template of a secret away, which keeps its value", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeSecrets(vault)}
	confirmFlag(c)
	c.RunE = a.inVault(vault, func(c *cobra.Command, v *client.Vault, args []string) error {
		if err := a.confirm(c, "Take the template of %q away? Its value does not follow its parts then.", args[0]); err != nil {
			return err
		}
		if err := v.DeleteTemplate(c.Context(), args[0]); err != nil {
			return err
		}
		a.say("%s", fmt.Sprintf("The template of %s is gone.", args[0]))
		return nil
	})
	return c
}
