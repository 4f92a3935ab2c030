package cli

import (
	"context"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keywright/keywright/client"
)

// certAcme is the group of commands about who may enrol with an issuer.
func (a *app) certAcme(vault *string) *cobra.Command {
	c := &cobra.Command{Use: "acme", Short: "Say who may enrol with an issuer by ACME, and see what they did",
		Long: `Say who may enrol with an issuer by ACME (RFC 8555). An issuer that signs with a key of its vault is an ACME server as soon as it has an access rule; the
address of its directory is in the answer. A rule says which names its holders may have, and is proved with a key id and a MAC key (external account binding). The rule with the
name "anyone" is for clients without a binding, and there is none unless you make it.`}
	c.AddCommand(a.acmeSet(vault), a.acmeList(vault), a.acmeShow(vault), a.acmeDelete(vault), a.acmeOrders(vault), a.acmeRevoke(vault))
	return c
}

var ruleHeader = []string{"RULE", "PERMITS", "PROFILES", "PREAUTHORIZED", "MAX DAYS", "EXPIRES", "DIRECTORY"}

func ruleRow(r *client.AccessRule) []string {
	permits := append([]string{}, r.Names...)
	for _, d := range r.Domains {
		if permits = append(permits, d, "."+d); r.Wildcards {
			permits = append(permits, "*."+d)
		}
	}
	days := ""
	if r.MaxDays > 0 {
		days = strconv.Itoa(r.MaxDays)
	}
	return []string{r.Name, strings.Join(append(permits, r.Networks...), " "), strings.Join(r.Profiles, " "), yesNo(r.Preauthorized), days, when(r.Expires), r.Directory}
}

func (a *app) acmeSet(vault *string) *cobra.Command {
	var in client.SetAccessRule
	var expires, keyFile string
	c := &cobra.Command{Use: "set ISSUER RULE", Short: "Make an access rule, or say anew what one permits", Args: cobra.ExactArgs(2), ValidArgsFunction: a.completeRules(vault),
		Long: `Make an access rule, or say anew what one permits. The MAC key of a new rule is shown this once, or written to --key-file; give it to the client together with the key id,
which is the rule's name. A rule that is there keeps its key, and its accounts stay, unless you ask for another key with --new-key, which is for accounts yet to be opened.

The rule "anyone" is for clients without a binding.`,
		Example: `  keywright cert issuer acme set corporate web-team --vault demo --domain web.example.org --wildcards
  keywright cert issuer acme set corporate lab --vault demo --domain lab.example.org --preauthorized --max-days 30 --key-file lab.key
  keywright cert issuer acme set corporate anyone --vault demo --domain internal.example.org`,
		RunE: a.inVault(vault, func(c *cobra.Command, v *client.Vault, args []string) error {
			if expires != "" {
				t, err := time.Parse(time.RFC3339, expires)
				if err != nil {
					return usage("--expires %q is no instant such as 2027-01-31T12:00:00Z", expires)
				}
				in.Expires = &t
			}
			r, err := v.Certificates().SetAccessRule(c.Context(), args[0], args[1], in)
			if err != nil {
				return err
			}
			if r.MACKey != nil && keyFile != "" {
				if err := writePrivate(keyFile, []byte(r.MACKey.Reveal()+"\n")); err != nil {
					return err
				}
				r.MACKey = nil
			}
			if err := a.show(r, table{ruleHeader, ruleRow(r)}); err != nil {
				return err
			}
			if r.MACKey != nil && a.output != "json" && a.output != "yaml" {
				a.say("The key id is %s. Its MAC key, on the next line, is shown this once.", printable(r.KeyID))
				_, err = fmt.Fprintln(a.Stdout, r.MACKey.Reveal())
			}
			return err
		})}
	f := c.Flags()
	f.StringSliceVar(&in.Names, "name", nil, "a host name, an address, or a wildcard certificate such as *.example.org; may be given more than once")
	f.StringSliceVar(&in.Domains, "domain", nil, "a domain, which stands for itself and every name below it; may be given more than once")
	f.BoolVar(&in.Wildcards, "wildcards", false, "permit wildcards of the domains")
	f.StringSliceVar(&in.Networks, "network", nil, "a network whose addresses may be had, such as 10.0.0.0/8; may be given more than once")
	f.StringSliceVar(&in.Profiles, "profile", nil, "a kind of certificate that may be ordered: server, client or mutual; the first is the usual one (default server)")
	f.IntVar(&in.MaxDays, "max-days", 0, "longest life of a certificate; 0 leaves it to the issuer")
	f.BoolVar(&in.Preauthorized, "preauthorized", false, "believe the holder: ask for no proof of the names")
	f.StringVar(&expires, "expires", "", "instant at which the rule ends, such as 2027-01-31T12:00:00Z")
	f.BoolVar(&in.NewKey, "new-key", false, "make another MAC key for a rule that is there")
	f.StringVar(&keyFile, "key-file", "", "file that a new MAC key is written to, readable by its owner alone, instead of being shown")
	c.RegisterFlagCompletionFunc("profile", cobra.FixedCompletions([]string{"server", "client", "mutual"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

func (a *app) acmeList(vault *string) *cobra.Command {
	return &cobra.Command{Use: "list ISSUER", Short: "List the access rules of an issuer", Args: cobra.ExactArgs(1), ValidArgsFunction: argument(a.offerIssuers(vault)),
		RunE: a.inVault(vault, func(c *cobra.Command, v *client.Vault, args []string) error {
			all, err := collect(v.Certificates().AccessRules(c.Context(), args[0]))
			if err != nil {
				return err
			}
			return a.show(all, rows(ruleHeader, all, ruleRow))
		})}
}

func (a *app) acmeShow(vault *string) *cobra.Command {
	return &cobra.Command{Use: "show ISSUER RULE", Short: "Show an access rule without its MAC key", Args: cobra.ExactArgs(2), ValidArgsFunction: a.completeRules(vault),
		RunE: a.inVault(vault, func(c *cobra.Command, v *client.Vault, args []string) error {
			r, err := v.Certificates().AccessRule(c.Context(), args[0], args[1])
			if err != nil {
				return err
			}
			return a.show(r, table{ruleHeader, ruleRow(r)})
		})}
}

func (a *app) acmeDelete(vault *string) *cobra.Command {
	c := &cobra.Command{Use: "delete ISSUER RULE", Short: "Withdraw an access rule for good", Args: cobra.ExactArgs(2), ValidArgsFunction: a.completeRules(vault),
		Long: "Withdraw an access rule for good. Its accounts get no certificate any more; those that they have go on, and can be revoked by them and by you.",
		RunE: a.inVault(vault, func(c *cobra.Command, v *client.Vault, args []string) error {
			if err := a.confirm(c, "Withdraw the access rule %q of the issuer %q? Its clients cannot renew their certificates any more.", args[1], args[0]); err != nil {
				return err
			}
			r, err := v.Certificates().DeleteAccessRule(c.Context(), args[0], args[1])
			if err != nil {
				return err
			}
			return a.show(r, table{ruleHeader, ruleRow(r)})
		})}
	confirmFlag(c)
	return c
}

var enrolmentHeader = []string{"CREATED", "RULE", "STATUS", "NAMES", "SERIAL", "EXPIRES", "REVOKED", "ACCOUNT"}

func enrolmentRow(e *client.Enrolment) []string {
	return []string{when(&e.Created), e.Rule, e.Status, strings.Join(e.Names, " "), e.Serial, when(e.Expires), strings.TrimSpace(when(e.Revoked) + " " + e.Reason), e.Account}
}

func (a *app) acmeOrders(vault *string) *cobra.Command {
	return &cobra.Command{Use: "orders ISSUER", Short: "List what the clients of an issuer ordered, oldest first", Args: cobra.ExactArgs(1), ValidArgsFunction: argument(a.offerIssuers(vault)),
		RunE: a.inVault(vault, func(c *cobra.Command, v *client.Vault, args []string) error {
			all, err := collect(v.Certificates().Enrolments(c.Context(), args[0]))
			if err != nil {
				return err
			}
			return a.show(all, rows(enrolmentHeader, all, enrolmentRow))
		})}
}

func (a *app) acmeRevoke(vault *string) *cobra.Command {
	var reason string
	c := &cobra.Command{Use: "revoke ISSUER SERIAL", Short: "Take a client's certificate back", Args: cobra.ExactArgs(2), ValidArgsFunction: argument(a.offerIssuers(vault)),
		Long:    "Take a client's certificate back, by its serial number in hexadecimal digits. Clients that ask for renewal information renew it within hours.",
		Example: "  keywright cert issuer acme revoke corporate 5f3a91 --vault demo --reason keyCompromise",
		RunE: a.inVault(vault, func(c *cobra.Command, v *client.Vault, args []string) error {
			if err := a.confirm(c, "Take the certificate %s of the issuer %q in %q back?", args[1], args[0], v.Name()); err != nil {
				return err
			}
			return v.Certificates().RevokeEnrolment(c.Context(), args[0], strings.ToLower(strings.ReplaceAll(args[1], ":", "")), reason)
		})}
	c.Flags().StringVar(&reason, "reason", "", "why: keyCompromise, superseded, cessationOfOperation, ... (RFC 5280, section 5.3.1)")
	confirmFlag(c)
	return c
}

// completeRules offers issuers, and then the access rules of the one that was named.
func (a *app) completeRules(vault *string) completion {
	return func(c *cobra.Command, args []string, text string) ([]string, cobra.ShellCompDirective) {
		if len(args) == 0 {
			return a.offerIssuers(vault)(c, args, text)
		}
		if len(args) > 1 {
			return nil, noFiles
		}
		return offerOf(a, vault, func(ctx context.Context, v *client.Vault) iter.Seq2[*client.AccessRule, error] {
			return v.Certificates().AccessRules(ctx, args[0])
		}, func(r *client.AccessRule) string { return r.Name })(c, nil, text)
	}
}
