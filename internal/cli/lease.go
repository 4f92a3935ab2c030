package cli

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keywright/keywright/client"
	"github.com/keywright/keywright/client/api"
)

func (a *app) leaseCommand() *cobra.Command {
	c := &cobra.Command{Use: "lease", Short: "Lease accounts that are made for you and removed when their time is over",
		Long: `Lease accounts that are made for you and removed when their time is over. What can be leased is a secret whose rotation policy has the strategy dynamic; its value, with
the login of the lease in it, is what you get.`}
	vault := a.vaultFlag(c)
	c.AddCommand(a.leaseIssue(vault), a.leaseRenew(vault), a.leaseRevoke(vault), a.leaseList(vault), a.leaseShow(vault))
	return c
}

var leaseHeader = []string{"LEASE", "NAME", "ACCOUNT", "HOLDER", "STATE", "EXPIRES", "LATEST", "REASON", "TRIES"}

func leaseRow(l *api.Lease) []string {
	return []string{l.ID, l.Name, l.Account, first(l.HolderName, l.Holder), l.State, when(&l.Expires), when(&l.Latest), l.Reason, fmt.Sprint(l.Tries)}
}

// ttlFlag is how long a lease lives.
func ttlFlag(c *cobra.Command, ttl *time.Duration) {
	c.Flags().DurationVar(ttl, "ttl", 0, "how long from now, such as 30m; what the policy says unless given")
}

func (a *app) leaseIssue(vault *string) *cobra.Command {
	var ttl time.Duration
	c := &cobra.Command{Use: "issue NAME", Short: "Lease an account", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeSecrets(vault),
		Long: `Lease an account. The value goes to standard output, the lease's id and end to standard error; the value is not told again.`,
		Example: `  keywright lease issue reports --ttl 30m >login.json
  keywright lease issue reports --output json`}
	c.RunE = a.inVault(vault, func(c *cobra.Command, v *client.Vault, args []string) error {
		l, err := v.Lease(c.Context(), args[0], ttl)
		if err != nil {
			return err
		}
		if a.output == "json" || a.output == "yaml" {
			return a.show(l, nil)
		}
		a.say("Lease %s ends at %s: renew it before, or revoke it when you are done.", l.ID, when(&l.Expires))
		_, err = fmt.Fprintln(a.Stdout, string(*l.Value))
		return err
	})
	ttlFlag(c, &ttl)
	return c
}

func (a *app) leaseRenew(vault *string) *cobra.Command {
	var ttl time.Duration
	c := &cobra.Command{Use: "renew LEASE", Short: "Move the end of your lease", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeLeases(vault),
		Long: "Move the end of your lease, at most to its latest end. After that, lease another account."}
	c.RunE = a.inVault(vault, func(c *cobra.Command, v *client.Vault, args []string) error {
		l, err := v.RenewLease(c.Context(), args[0], ttl)
		if err != nil {
			return err
		}
		return a.show(l, table{leaseHeader, leaseRow(l)})
	})
	ttlFlag(c, &ttl)
	return c
}

func (a *app) leaseRevoke(vault *string) *cobra.Command {
	var note, of string
	c := &cobra.Command{Use: "revoke LEASE", Short: "Have the account of a lease removed", Args: cobra.MaximumNArgs(1), ValidArgsFunction: a.completeLeases(vault),
		Long: `Have the account of a lease removed, with its sessions. Your own needs no more rights than leasing it did. One that is irrevocable is tried again at once.

With --all-of NAME, all leases by the policy of a secret end.`,
		Example: `  keywright lease revoke 0199f0…
  keywright lease revoke --all-of reports --note "the host was taken over" --yes`}
	c.RunE = a.inVault(vault, func(c *cobra.Command, v *client.Vault, args []string) error {
		if (of == "") == (len(args) == 0) {
			return usage("name a lease, or a secret with --all-of")
		}
		ids := args
		if of != "" {
			var err error
			if ids, err = a.leasesOf(c, v, of); err != nil {
				return err
			}
		}
		ended := []api.Lease{}
		for _, id := range ids {
			l, err := v.RevokeLease(c.Context(), id, note)
			if err != nil && of != "" {
				err = fmt.Errorf("after %d of %d leases: %w", len(ended), len(ids), err)
			}
			if err != nil {
				return err
			}
			ended = append(ended, *l)
		}
		return a.show(ended, rows(leaseHeader, ended, leaseRow))
	})
	c.Flags().StringVar(&of, "all-of", "", "the secret whose leases all end")
	c.Flags().StringVar(&note, "note", "", "why, for the audit log")
	c.RegisterFlagCompletionFunc("all-of", a.secrets(vault).complete())
	confirmFlag(c)
	return c
}

// leasesOf lists the ids of all leases of a secret that can be ended, after a person has agreed.
func (a *app) leasesOf(c *cobra.Command, v *client.Vault, name string) (ids []string, err error) {
	for l, err := range v.Leases(c.Context(), client.LeaseFilter{Name: name, Open: true}) {
		if err != nil {
			return nil, err
		}
		if l.State != api.LeaseCreating {
			ids = append(ids, l.ID)
		}
	}
	return ids, a.confirm(c, "Remove the accounts of %d leases of %q under who uses them?", len(ids), name)
}

func (a *app) leaseList(vault *string) *cobra.Command {
	var f client.LeaseFilter
	var all bool
	c := &cobra.Command{Use: "list", Short: "List leases, the oldest first",
		Long: `List the leases whose account may still be there. Those in the state irrevocable could not be removed: see their errors with "keywright lease show".`, Args: cobra.NoArgs}
	c.RunE = a.inVault(vault, func(c *cobra.Command, v *client.Vault, _ []string) error {
		f.Open = !all
		list, err := collect(v.Leases(c.Context(), f))
		if err != nil {
			return err
		}
		return a.show(list, rows(leaseHeader, list, leaseRow))
	})
	c.Flags().StringVar(&f.Name, "name", "", "the secret by whose policy they were leased")
	c.Flags().StringVar(&f.State, "state", "", "the state in which they are, such as irrevocable")
	c.Flags().BoolVar(&all, "all", false, "also those that are over")
	c.RegisterFlagCompletionFunc("name", a.secrets(vault).complete())
	c.RegisterFlagCompletionFunc("state", cobra.FixedCompletions([]string{api.LeaseCreating, api.LeaseActive, api.LeaseRevoking, api.LeaseIrrevocable, api.LeaseRevoked}, noFiles))
	return c
}

func (a *app) leaseShow(vault *string) *cobra.Command {
	return &cobra.Command{Use: "show LEASE", Short: "Show a lease, without its value", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeLeases(vault),
		RunE: a.inVault(vault, func(c *cobra.Command, v *client.Vault, args []string) error {
			l, err := v.LeaseByID(c.Context(), args[0])
			if err != nil {
				return err
			}
			return a.show(l, leaseTable(l))
		})}
}

func leaseTable(l *api.Lease) table {
	t := table{{"WHAT", "VALUE"}}
	add := func(what string, value ...string) {
		if text := strings.Join(strings.Fields(strings.Join(value, " ")), " "); text != "" {
			t = append(t, []string{what, text})
		}
	}
	add("lease", l.ID)
	add("secret", l.Name)
	add("account", l.Account)
	add("holder", first(l.HolderName, l.Holder))
	add("state", l.State, l.Reason)
	add("issued", when(&l.Issued))
	add("expires", when(&l.Expires))
	add("latest end", when(&l.Latest))
	add("renewed", fmt.Sprint(l.Renewed))
	add("ended by", first(l.ByName, l.By), l.Note)
	add("gone", when(l.Ended))
	if e := l.LastError; e != nil {
		add("last error", when(&e.At), e.Class+":", e.Message)
		add("tries", fmt.Sprint(l.Tries))
		add("next try", when(l.Next))
	}
	return t
}

// completeLeases offers the leases that are not over.
func (a *app) completeLeases(vault *string) completion {
	return argument(offerOf(a, vault, func(ctx context.Context, v *client.Vault) iter.Seq2[*api.Lease, error] {
		return v.Leases(ctx, client.LeaseFilter{Open: true})
	}, func(l *api.Lease) string { return l.ID + "\t" + l.Name + " of " + first(l.HolderName, l.Holder) }))
}
