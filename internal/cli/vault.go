package cli

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/keywright/keywright/client"
	"github.com/keywright/keywright/client/api"
)

var vaultHeader = []string{"NAME", "RESOURCE GROUP", "LOCATION", "ACCESS", "NETWORK", "RETENTION", "PURGE PROTECTION", "CREATED"}

func vaultRow(v *api.Vault) []string {
	network := "default " + v.Network.DefaultAction
	if !v.Network.PublicAccess {
		network = "closed"
	}
	return []string{v.Name, v.ResourceGroup, v.Location, v.Access, network, days(v.RetentionDays), yesNo(v.PurgeProtection), when(&v.Created)}
}

func (a *app) showVault(v *api.Vault) error { return a.show(v, table{vaultHeader, vaultRow(v)}) }

// with returns a RunE that gets a client.
func (a *app) with(run func(*cobra.Command, *client.Client, []string) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, args []string) error {
		cl, err := a.client()
		if err != nil {
			return err
		}
		return run(c, cl, args)
	}
}

// ofVault returns a RunE that gets a client, and finds the name of its vault where the flag has it.
func (a *app) ofVault(vault *string, run func(*cobra.Command, *client.Client, []string) error) func(*cobra.Command, []string) error {
	return a.with(func(c *cobra.Command, cl *client.Client, args []string) (err error) {
		if *vault, err = a.vaultName(*vault); err != nil {
			return err
		}
		return run(c, cl, args)
	})
}

func (a *app) vaultCommand() *cobra.Command {
	c := &cobra.Command{Use: "vault", Short: "Make and manage vaults"}
	c.AddCommand(a.vaultCreate(), a.vaultList(), a.vaultShow(), a.vaultUpdate(), a.vaultDelete(), a.vaultRecover(), a.vaultPurge(), a.vaultNetwork(), a.vaultPolicy(), a.vaultEncryption(), a.vaultHold(), a.vaultShredded(), a.vaultCopy(), a.vaultCopyRestore(), a.vaultJobs())
	return c
}

func (a *app) vaultCreate() *cobra.Command {
	var in api.CreateVault
	var tags attributes
	var retention int
	c := &cobra.Command{Use: "create NAME", Short: "Make a vault",
		Example: "  keywright vault create billing --resource-group dev --purge-protection",
		Args:    cobra.ExactArgs(1),
		RunE: a.with(func(c *cobra.Command, cl *client.Client, args []string) (err error) {
			if in.Tags, err = tags.tagMap(); err != nil {
				return err
			}
			if c.Flags().Changed("retention-days") {
				in.RetentionDays = &retention
			}
			if in.Subscription = first(in.Subscription, a.Getenv("KEYWRIGHT_SUBSCRIPTION_ID")); in.Subscription == "" {
				return usage("no subscription: name one with --subscription, or in KEYWRIGHT_SUBSCRIPTION_ID; \"keywright init\" told the first one's id")
			}
			if in.ResourceGroup = first(in.ResourceGroup, a.Getenv("KEYWRIGHT_RESOURCE_GROUP")); in.ResourceGroup == "" {
				return usage("no resource group: name one with --resource-group, or in KEYWRIGHT_RESOURCE_GROUP")
			}
			v, err := cl.CreateVault(c.Context(), args[0], in)
			if err != nil {
				return err
			}
			a.say("Let somebody use it with \"keywright grant create --role 'Key Vault Administrator' --principal WHO --vault %s\".", v.Name)
			return a.showVault(v)
		})}
	f := c.Flags()
	f.StringVar(&in.Subscription, "subscription", "", "id of the subscription (default $KEYWRIGHT_SUBSCRIPTION_ID)")
	f.StringVarP(&in.ResourceGroup, "resource-group", "g", "", "name of the resource group (default $KEYWRIGHT_RESOURCE_GROUP)")
	f.StringVarP(&in.Location, "location", "l", "", "location (default: that of the resource group)")
	f.StringVar(&in.Access, "access", "", "access model: rbac or policy (default rbac)")
	f.IntVar(&retention, "retention-days", 90, "how long what was deleted can be recovered, 7 to 90 days; fixed for ever")
	f.BoolVar(&in.PurgeProtection, "purge-protection", false, "let nobody purge before the retention is over; cannot be taken back")
	f.StringArrayVar(&tags.tags, "tag", nil, "a tag, NAME=VALUE; may be given more than once")
	return c
}

func first(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}

func (a *app) vaultList() *cobra.Command {
	var deleted bool
	c := &cobra.Command{Use: "list", Short: "List the vaults that you may see", Args: cobra.NoArgs,
		RunE: a.with(func(c *cobra.Command, cl *client.Client, _ []string) error {
			list, header, row := cl.Vaults(c.Context()), vaultHeader, vaultRow
			if deleted {
				list, header = cl.DeletedVaults(c.Context()), []string{"NAME", "LOCATION", "DELETED", "PURGED ON"}
				row = func(v *api.Vault) []string { return []string{v.Name, v.Location, when(v.Deleted), when(v.PurgeAt)} }
			}
			all, err := collect(list)
			if err != nil {
				return err
			}
			return a.show(all, rows(header, all, row))
		})}
	c.Flags().BoolVar(&deleted, "deleted", false, "list the deleted vaults that can be recovered")
	return c
}

func (a *app) vaultShow() *cobra.Command {
	return &cobra.Command{Use: "show NAME", Short: "Show a vault", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeVaults,
		RunE: a.with(func(c *cobra.Command, cl *client.Client, args []string) error {
			v, err := cl.ShowVault(c.Context(), args[0])
			if err != nil {
				return err
			}
			return a.showVault(v)
		})}
}

func (a *app) vaultUpdate() *cobra.Command {
	var tags attributes
	var access string
	var protect bool
	var stale time.Duration
	c := &cobra.Command{Use: "update NAME", Short: "Change a vault", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeVaults,
		RunE: a.with(func(c *cobra.Command, cl *client.Client, args []string) (err error) {
			if err := changing(c, "tag", "access", "purge-protection", "stale-for"); err != nil {
				return err
			}
			in := api.UpdateVault{Access: access}
			if in.Tags, err = tags.tagMap(); err != nil {
				return err
			}
			if c.Flags().Changed("purge-protection") {
				in.PurgeProtection = &protect
			}
			if c.Flags().Changed("stale-for") {
				in.StaleFor = stale.String()
			}
			v, err := cl.UpdateVault(c.Context(), args[0], in)
			if err != nil {
				return err
			}
			return a.showVault(v)
		})}
	c.Flags().StringArrayVar(&tags.tags, "tag", nil, "a tag, NAME=VALUE; may be given more than once; replaces all tags")
	c.Flags().StringVar(&access, "access", "", "access model: rbac or policy")
	c.Flags().BoolVar(&protect, "purge-protection", false, "let nobody purge before the retention is over; cannot be taken back")
	c.Flags().DurationVar(&stale, "stale-for", 0, "how long a node that is cut off from the store goes on answering reads of secrets from memory, up to 1h; access that is "+
		"withdrawn meanwhile ends there no sooner")
	return c
}

func (a *app) vaultDelete() *cobra.Command {
	c := &cobra.Command{Use: "delete NAME", Short: "Soft-delete a vault with all that it keeps; it can be recovered", Args: cobra.ExactArgs(1),
		ValidArgsFunction: a.completeVaults,
		RunE: a.with(func(c *cobra.Command, cl *client.Client, args []string) error {
			if err := a.confirm(c, "Delete the vault %q with all that it keeps, and remove the grants in it?", args[0]); err != nil {
				return err
			}
			if err := cl.DeleteVault(c.Context(), args[0]); err != nil {
				return err
			}
			a.say("Deleted. \"keywright vault recover %s\" brings it back, without its grants.", args[0])
			return nil
		})}
	confirmFlag(c)
	return c
}

func (a *app) vaultRecover() *cobra.Command {
	return &cobra.Command{Use: "recover NAME", Short: "Bring a deleted vault back, without the grants that it had", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeDeletedVaults,
		RunE: a.with(func(c *cobra.Command, cl *client.Client, args []string) error {
			v, err := cl.RecoverVault(c.Context(), args[0])
			if err != nil {
				return err
			}
			return a.showVault(v)
		})}
}

func (a *app) vaultPurge() *cobra.Command {
	c := &cobra.Command{Use: "purge NAME", Short: "Destroy a deleted vault with all that it kept for good", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeDeletedVaults,
		RunE: a.with(func(c *cobra.Command, cl *client.Client, args []string) error {
			if err := a.confirm(c, "Destroy the deleted vault %q with all that it kept for good?", args[0]); err != nil {
				return err
			}
			if err := cl.PurgeVault(c.Context(), args[0]); err != nil {
				return err
			}
			a.say("Purged the vault %q.", args[0])
			return nil
		})}
	confirmFlag(c)
	return c
}

func (a *app) vaultNetwork() *cobra.Command {
	c := &cobra.Command{Use: "network", Short: "Say from where a vault can be reached"}
	show := &cobra.Command{Use: "show NAME", Short: "Show the network rules of a vault", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeVaults,
		RunE: a.with(func(c *cobra.Command, cl *client.Client, args []string) error {
			v, err := cl.ShowVault(c.Context(), args[0])
			if err != nil {
				return err
			}
			return a.showNetwork(v)
		})}
	var in api.UpdateNetwork
	var public bool
	update := &cobra.Command{Use: "update NAME", Short: "Change the network rules of a vault",
		Example: "  keywright vault network update billing --default deny --add 10.0.0.0/8 --add 192.0.2.7",
		Args:    cobra.ExactArgs(1), ValidArgsFunction: a.completeVaults,
		RunE: a.with(func(c *cobra.Command, cl *client.Client, args []string) error {
			if c.Flags().Changed("public-access") {
				in.PublicAccess = &public
			}
			v, err := cl.UpdateNetwork(c.Context(), args[0], in)
			if err != nil {
				return err
			}
			return a.showNetwork(v)
		})}
	f := update.Flags()
	f.StringVar(&in.DefaultAction, "default", "", "what happens to an address that no rule names: allow or deny")
	f.BoolVar(&public, "public-access", true, "whether any address may come in at all")
	f.StringArrayVar(&in.Add, "add", nil, "an address or range that may come in; may be given more than once")
	f.StringArrayVar(&in.Remove, "remove", nil, "an address or range whose rule is removed; may be given more than once")
	c.AddCommand(show, update)
	return c
}

func (a *app) showNetwork(v *api.Vault) error {
	t := table{{"ADDRESS", "ACTION"}}
	for _, addr := range v.Network.Addresses {
		t = append(t, []string{addr, "allow"})
	}
	t = append(t, []string{"any other", v.Network.DefaultAction})
	if !v.Network.PublicAccess {
		t = append(t[:1], []string{"any", "deny"})
	}
	return a.show(v.Network, t)
}
