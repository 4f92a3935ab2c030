package cli

import (
	"encoding/json"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/keywright/keywright/client"
	"github.com/keywright/keywright/client/api"
)

func (a *app) rotationPolicy(vault *string) *cobra.Command {
	c := &cobra.Command{Use: "policy", Short: "Say how and when the credential in a secret changes"}
	c.AddCommand(a.rotationPolicySet(vault), a.rotationPolicyGet(vault), a.rotationPolicyList(vault), a.rotationPolicyDelete(vault))
	return c
}

// maxPolicy bounds the file of a policy, in bytes.
const maxPolicy = 64 << 10

// policyDocument reads a policy as JSON or YAML and returns it as JSON. What it means is the server's to judge.
func policyDocument(raw []byte) (json.RawMessage, error) {
	if text := strings.TrimSpace(string(raw)); strings.HasPrefix(text, "{") && json.Valid(raw) {
		return raw, nil
	}
	var doc any
	if err := yaml.Unmarshal(raw, &doc); err != nil {
		return nil, usage("the policy is neither JSON nor YAML: %v", err)
	}
	if _, ok := doc.(map[string]any); !ok {
		return nil, usage("the policy is no object: give members such as strategy, rotator and target")
	}
	out, err := json.Marshal(doc)
	if err != nil {
		return nil, usage("the policy cannot be sent: %v; every member needs a text for a name", err)
	}
	return out, nil
}

var rotationPolicyHeader = []string{"NAME", "STRATEGY", "ROTATOR", "ACCOUNTS", "SCHEDULE", "MAX AGE", "DUE", "CAUSE", "LAST SUCCESS"}

func rotationPolicyRow(p *api.RotationPolicyInfo) []string {
	schedule := p.Policy.Schedule
	if p.Policy.Paused {
		schedule = "paused"
	}
	return []string{p.Name, p.Policy.Strategy, p.Policy.Rotator, strings.Join(p.Policy.Accounts, ","), schedule, p.Policy.MaxAge, when(p.DueAt), p.Cause, when(p.Succeeded)}
}

func (a *app) rotationPolicySet(vault *string) *cobra.Command {
	var file string
	c := &cobra.Command{Use: "set NAME", Short: "Give a secret its rotation policy, or another one",
		Long: `Give a secret its rotation policy, or another one. The policy is a file in YAML or JSON; it holds no value. Everything that is wrong with it is
told at once, and nothing is changed then.

"keywright rotation targets" lists what rotators there are and what their targets need; "keywright rotation plan" rehearses the policy.`,
		Example: `  keywright rotation policy set db --vault demo --file policy.yaml
  keywright rotation policy get db --document | sed s/90d/30d/ | keywright rotation policy set db --file -`,
		Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeSecrets(vault)}
	c.RunE = a.inVault(vault, func(c *cobra.Command, v *client.Vault, args []string) error {
		raw, err := a.readInput(file, maxPolicy)
		if err != nil {
			return err
		}
		doc, err := policyDocument(raw)
		if err != nil {
			return err
		}
		p, err := v.SetRotationPolicy(c.Context(), args[0], doc)
		if err != nil {
			return err
		}
		return a.show(p, table{rotationPolicyHeader, rotationPolicyRow(p)})
	})
	c.Flags().StringVar(&file, "file", "", "file of the policy; - for standard input")
	c.MarkFlagRequired("file")
	c.MarkFlagFilename("file", "yaml", "yml", "json")
	return c
}

func (a *app) rotationPolicyGet(vault *string) *cobra.Command {
	var document bool
	c := &cobra.Command{Use: "get NAME", Short: "Show the rotation policy of a secret", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeSecrets(vault)}
	c.RunE = a.inVault(vault, func(c *cobra.Command, v *client.Vault, args []string) error {
		p, err := v.RotationPolicy(c.Context(), args[0])
		if err != nil {
			return err
		}
		switch {
		case document && a.output == "json":
			return a.writeJSON(p.Policy)
		case document:
			return a.writeYAML(p.Policy)
		}
		return a.show(p, table{rotationPolicyHeader, rotationPolicyRow(p)})
	})
	c.Flags().BoolVar(&document, "document", false, "print the policy alone, in YAML or with --output json, as \"policy set\" takes it")
	return c
}

func (a *app) rotationPolicyList(vault *string) *cobra.Command {
	return &cobra.Command{Use: "list", Short: "List the rotation policies of a vault", Args: cobra.NoArgs, RunE: a.inVault(vault, func(c *cobra.Command, v *client.Vault, _ []string) error {
		all, err := collect(v.RotationPolicies(c.Context()))
		if err != nil {
			return err
		}
		return a.show(all, rows(rotationPolicyHeader, all, rotationPolicyRow))
	})}
}

func (a *app) rotationPolicyDelete(vault *string) *cobra.Command {
	c := &cobra.Command{Use: "delete NAME", Short: "Take the rotation policy of a secret away", Long: "Take the rotation policy of a secret away. A run that is open goes on.",
		Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeSecrets(vault)}
	confirmFlag(c)
	c.RunE = a.inVault(vault, func(c *cobra.Command, v *client.Vault, args []string) error {
		if err := a.confirm(c, "Take the rotation policy of %q away? Nothing rotates it then.", args[0]); err != nil {
			return err
		}
		if err := v.DeleteRotationPolicy(c.Context(), args[0]); err != nil {
			return err
		}
		a.say("Deleted the rotation policy of %s.", args[0])
		return nil
	})
	return c
}
