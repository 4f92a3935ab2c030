package cli

import (
	"context"
	"iter"
	"net/mail"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keywright/keywright/client"
	"github.com/keywright/keywright/client/api"
)

func (a *app) certIssuer(vault *string) *cobra.Command {
	c := &cobra.Command{Use: "issuer", Short: "Set up who issues the certificates of a vault"}
	c.AddCommand(a.certIssuerSet(vault, true), a.certIssuerSet(vault, false), a.certIssuerList(vault), a.certIssuerShow(vault), a.certIssuerDelete(vault),
		a.certAcme(vault))
	return c
}

var issuerHeader = []string{"NAME", "PROVIDER", "ACCOUNT", "ENABLED", "OPTIONS", "UPDATED"}

func issuerRow(i *client.CertificateIssuer) []string {
	return []string{i.Name, i.Provider, i.Account, yesNo(i.Enabled), pairs(i.Options), when(&i.Updated)}
}

func (a *app) showIssuer(i *client.CertificateIssuer) error {
	return a.show(i, table{issuerHeader, issuerRow(i)})
}

// issuerFlags say what an issuer is.
type issuerFlags struct {
	provider, account, organization, password string
	options, secrets, admins                  []string
	enabled                                   bool
}

func (i *issuerFlags) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&i.provider, "provider", "", "kind of authority")
	f.StringVar(&i.account, "account", "", "account at the authority")
	f.StringVar(&i.password, "password-file", "", "file that holds what proves the account; - for standard input. Nothing shows it again")
	f.StringVar(&i.organization, "organization", "", "id of the organisation at the authority")
	f.StringArrayVar(&i.admins, "admin", nil, "an administrator of the organisation, \"First Last <ada@example.org>\"; may be given more than once")
	f.StringArrayVar(&i.options, "option", nil, "what the provider wants to know beyond that, NAME=VALUE; may be given more than once")
	f.StringArrayVar(&i.secrets, "option-file", nil, "an option that is a secret, NAME=FILE; its name ends in Secret, and nothing shows it again")
	f.BoolVar(&i.enabled, "enabled", true, "whether certificates can be had from it")
}

// input is what the flags say; what was not given is nil.
func (i *issuerFlags) input(a *app, c *cobra.Command) (in client.SetCertificateIssuer, err error) {
	text := func(flag string, value *string) *string {
		if c.Flags().Changed(flag) {
			return value
		}
		return nil
	}
	in.Provider, in.Account, in.Organization = text("provider", &i.provider), text("account", &i.account), text("organization", &i.organization)
	if c.Flags().Changed("enabled") {
		in.Enabled = &i.enabled
	}
	if i.password != "" {
		secret, err := a.readPassword(i.password)
		if err != nil {
			return in, err
		}
		password := api.Text(secret)
		clear(secret)
		in.Password = &password
	}
	if err := i.readOptions(a, &in); err != nil {
		return in, err
	}
	for _, text := range i.admins {
		p, err := mail.ParseAddress(text)
		if err != nil {
			return in, usage("the administrator %q is not of the form \"First Last <ada@example.org>\"", text)
		}
		begin := max(strings.LastIndex(p.Name, " "), 0)
		in.Admins = append(in.Admins, api.CertificateAdmin{FirstName: strings.TrimSpace(p.Name[:begin]), LastName: strings.TrimSpace(p.Name[begin:]), Email: p.Address})
	}
	return in, nil
}

// readOptions reads the options. Those that are secrets come from files: a command line is seen by others.
func (i *issuerFlags) readOptions(a *app, in *client.SetCertificateIssuer) error {
	for n, text := range slices.Concat(i.options, i.secrets) {
		name, value, ok := strings.Cut(text, "=")
		fromFile, isSecret := n >= len(i.options), strings.HasSuffix(strings.ToLower(name), "secret")
		switch {
		case !ok || name == "":
			return usage("the option is not of the form NAME=VALUE, or NAME=FILE for --option-file")
		case isSecret && !fromFile && value != "":
			return usage("the option %s is a secret: give it with --option-file %s=FILE", name, name)
		case !isSecret && fromFile:
			return usage("the option %s is no secret, and would be shown: give it with --option", name)
		case fromFile:
			secret, err := a.readPassword(value)
			if err != nil {
				return err
			}
			value = string(secret)
			clear(secret)
		}
		if in.Options == nil {
			in.Options = map[string]string{}
		}
		in.Options[name] = value
	}
	return nil
}

// certIssuerSet sets up an issuer, or changes one.
func (a *app) certIssuerSet(vault *string, whole bool) *cobra.Command {
	var flags issuerFlags
	c := &cobra.Command{Use: "set NAME", Short: "Set up an issuer, in the place of one of that name", Args: cobra.ExactArgs(1),
		Long: `Set up an issuer, in the place of one of that name. Policies of certificates name it as their issuer.`,
		Example: `  keywright cert issuer set lets-encrypt --vault demo --provider LetsEncrypt --option agreeToTerms=true --option contact=mailto:ops@example.org
  keywright cert issuer set corporate --vault demo --provider ACME --option directory=https://acme.example/directory --account kid-1 --password-file eab.key`,
		RunE: a.inVault(vault, func(c *cobra.Command, v *client.Vault, args []string) error {
			in, err := flags.input(a, c)
			if err != nil {
				return err
			}
			change := v.Certificates().SetIssuer
			if !whole {
				change = v.Certificates().ChangeIssuer
			}
			i, err := change(c.Context(), args[0], in)
			if err != nil {
				return err
			}
			return a.showIssuer(i)
		})}
	flags.flags(c)
	if whole {
		c.MarkFlagRequired("provider")
		return c
	}
	c.Use, c.Short, c.Long = "update NAME", "Change what is given of an issuer", "Change what is given of an issuer, such as its password."
	c.Example = `  keywright cert issuer update corporate --vault demo --password-file eab-new.key`
	c.ValidArgsFunction = argument(a.offerIssuers(vault))
	return c
}

func (a *app) certIssuerList(vault *string) *cobra.Command {
	return &cobra.Command{Use: "list", Short: "List the issuers that were set up in a vault", Args: cobra.NoArgs,
		RunE: a.inVault(vault, func(c *cobra.Command, v *client.Vault, _ []string) error {
			all, err := collect(v.Certificates().Issuers(c.Context()))
			if err != nil {
				return err
			}
			return a.show(all, rows(issuerHeader, all, issuerRow))
		})}
}

func (a *app) certIssuerShow(vault *string) *cobra.Command {
	return &cobra.Command{Use: "show NAME", Short: "Show an issuer without its password", Args: cobra.ExactArgs(1), ValidArgsFunction: argument(a.offerIssuers(vault)),
		RunE: a.inVault(vault, func(c *cobra.Command, v *client.Vault, args []string) error {
			i, err := v.Certificates().Issuer(c.Context(), args[0])
			if err != nil {
				return err
			}
			return a.showIssuer(i)
		})}
}

func (a *app) certIssuerDelete(vault *string) *cobra.Command {
	c := &cobra.Command{Use: "delete NAME", Short: "Remove an issuer for good", Args: cobra.ExactArgs(1), ValidArgsFunction: argument(a.offerIssuers(vault)),
		Long: "Remove an issuer with its password, for good. Certificates that name it stay, and are not made anew until it is set up again.",
		RunE: a.inVault(vault, func(c *cobra.Command, v *client.Vault, args []string) error {
			if err := a.confirm(c, "Remove the issuer %q of the vault %q for good? Certificates that name it are not made anew any more.", args[0], v.Name()); err != nil {
				return err
			}
			i, err := v.Certificates().DeleteIssuer(c.Context(), args[0])
			if err != nil {
				return err
			}
			return a.showIssuer(i)
		})}
	confirmFlag(c)
	return c
}

func (a *app) certContact(vault *string) *cobra.Command {
	c := &cobra.Command{Use: "contact", Short: "Say who is told when a certificate of a vault is to be seen to"}
	c.AddCommand(a.certContactAdd(vault), a.certContactRemove(vault), a.certContactList(vault))
	return c
}

func (a *app) showContacts(list []client.CertificateContact) error {
	return a.show(list, rows([]string{"EMAIL", "NAME", "PHONE"}, list, func(c *client.CertificateContact) []string { return []string{c.Email, c.Name, c.Phone} }))
}

// contactsOf returns the contacts of the vault; to have none is no error.
func contactsOf(c *cobra.Command, k *client.Certificates) ([]client.CertificateContact, error) {
	list, err := k.Contacts(c.Context())
	if client.KindOf(err) == client.NotFound {
		return []client.CertificateContact{}, nil
	}
	return list, err
}

func (a *app) certContactList(vault *string) *cobra.Command {
	return &cobra.Command{Use: "list", Short: "List the contacts of a vault", Args: cobra.NoArgs,
		RunE: a.inVault(vault, func(c *cobra.Command, v *client.Vault, _ []string) error {
			list, err := contactsOf(c, v.Certificates())
			if err != nil {
				return err
			}
			return a.showContacts(list)
		})}
}

// without is a list less those who have the address.
func without(list []client.CertificateContact, email string) []client.CertificateContact {
	return slices.DeleteFunc(list, func(c client.CertificateContact) bool { return strings.EqualFold(c.Email, email) })
}

func (a *app) certContactAdd(vault *string) *cobra.Command {
	var in client.CertificateContact
	c := &cobra.Command{Use: "add EMAIL", Short: "Add a contact, or change what is known of one", Args: cobra.ExactArgs(1),
		Example: `  keywright cert contact add web-team@example.org --vault demo --name "Web team"`,
		RunE: a.inVault(vault, func(c *cobra.Command, v *client.Vault, args []string) error {
			list, err := contactsOf(c, v.Certificates())
			if err != nil {
				return err
			}
			in.Email = args[0]
			if list, err = v.Certificates().SetContacts(c.Context(), append(without(list, in.Email), in)); err != nil {
				return err
			}
			return a.showContacts(list)
		})}
	c.Flags().StringVar(&in.Name, "name", "", "name of the contact")
	c.Flags().StringVar(&in.Phone, "phone", "", "telephone number")
	return c
}

func (a *app) certContactRemove(vault *string) *cobra.Command {
	c := &cobra.Command{Use: "remove EMAIL", Short: "Remove a contact", Args: cobra.ExactArgs(1),
		RunE: a.inVault(vault, func(c *cobra.Command, v *client.Vault, args []string) error {
			list, err := contactsOf(c, v.Certificates())
			if err != nil {
				return err
			}
			if err := a.confirm(c, "Tell %s nothing more of the certificates of the vault %q?", args[0], v.Name()); err != nil {
				return err
			}
			had := len(list)
			list = without(list, args[0])
			switch {
			case len(list) == had:
				return &client.Error{Kind: client.NotFound, Message: "the vault " + v.Name() + " has no contact " + args[0] + ": list its contacts to see those that it has"}
			case len(list) == 0:
				if _, err := v.Certificates().DeleteContacts(c.Context()); err != nil {
					return err
				}
			default:
				if list, err = v.Certificates().SetContacts(c.Context(), list); err != nil {
					return err
				}
			}
			return a.showContacts(list)
		})}
	confirmFlag(c)
	return c
}

// offerIssuers offers who was set up to issue in a vault.
func (a *app) offerIssuers(vault *string) completion {
	return offerOf(a, vault, func(ctx context.Context, v *client.Vault) iter.Seq2[*client.CertificateIssuer, error] {
		return v.Certificates().Issuers(ctx)
	},
		func(i *client.CertificateIssuer) string { return i.Name })
}

// offerAnyIssuer offers those that every vault has, too.
func (a *app) offerAnyIssuer(vault *string) completion {
	return func(c *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		found, directive := a.offerIssuers(vault)(c, args, begun)
		return append([]string{"Self", "Unknown"}, found...), directive
	}
}
