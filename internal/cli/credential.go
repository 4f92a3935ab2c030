package cli

import (
	"github.com/spf13/cobra"

	"github.com/keywright/keywright/client"
	"github.com/keywright/keywright/client/api"
)

func (a *app) credentialCommand() *cobra.Command {
	c := &cobra.Command{Use: "credential", Short: "Manage how a principal proves itself"}
	c.AddCommand(a.credentialList(), a.credentialAdd(), a.credentialRemove(), a.credentialPassword())
	return c
}

var credentialHeader = []string{"ID", "NAME", "ABOUT", "EXPIRES", "CREATED"}

func credentialRow(c *api.Credential) []string {
	about := first(c.Thumbprint, c.Subject)
	if c.Hint != "" {
		about = c.Hint + "…"
	}
	return []string{c.ID, c.Name, about, when(c.Expires), when(&c.Created)}
}

func (a *app) credentialList() *cobra.Command {
	return &cobra.Command{Use: "list WHO", Short: "List the credentials of a principal, without their secrets", Args: cobra.ExactArgs(1),
		RunE: a.with(func(c *cobra.Command, cl *client.Client, args []string) error {
			p, err := cl.Principal(c.Context(), args[0])
			if err != nil {
				return err
			}
			if p.Credentials == nil {
				p.Credentials = []api.Credential{}
			}
			return a.show(p.Credentials, rows(credentialHeader, p.Credentials, credentialRow))
		})}
}

func (a *app) credentialAdd() *cobra.Command {
	var in api.AddCredential
	var notBefore, expires, certificate string
	c := &cobra.Command{Use: "add WHO", Short: "Add a credential to a principal",
		Long: `Add a credential to a principal. A secret (of an application or a managed identity) and a code generator (totp, of a user) are
made by the server and shown once: alone on standard output, or as the member "secret" with --output json or yaml. A certificate and a
federation are given.`,
		Example: `  keywright principal credential add billing-service --expires 2160h > client-secret
  keywright principal credential add billing-service --kind certificate --certificate cert.pem
  keywright principal credential add billing-service --kind federation --issuer https://kubernetes.example.org \
      --subject system:serviceaccount:billing:default
  keywright principal credential add ada@example.org --kind totp`,
		Args: cobra.ExactArgs(1),
		RunE: a.with(func(c *cobra.Command, cl *client.Client, args []string) (err error) {
			if in.NotBefore, err = instant("not-before", notBefore); err != nil {
				return err
			}
			if in.Expires, err = instant("expires", expires); err != nil {
				return err
			}
			if certificate != "" {
				in.Kind = "certificate"
				if in.Certificate, err = a.readInput(certificate, maxValue); err != nil {
					return err
				}
			}
			if in.Kind == "totp" && in.Name == "" {
				in.Name = "authenticator"
			}
			made, err := cl.AddCredential(c.Context(), args[0], in)
			if err != nil {
				return err
			}
			if made.Secret == nil || a.output == "json" || a.output == "yaml" {
				return a.show(made, table{credentialHeader, credentialRow(made)})
			}
			a.say("Added the credential %s. Its secret is shown this once.", made.ID)
			return a.writeValue([]byte(made.Secret.Reveal()))
		})}
	f := c.Flags()
	f.StringVar(&in.Kind, "kind", "secret", "secret, certificate, federation or totp")
	f.StringVar(&in.Name, "name", "", "name of the credential, for people")
	f.StringVar(&notBefore, "not-before", "", "instant from which a secret is valid")
	f.StringVar(&expires, "expires", "", "instant at which a secret expires (default: in a year)")
	f.StringVar(&certificate, "certificate", "", "file with an X.509 certificate, PEM or DER; - for standard input")
	f.StringVar(&in.Issuer, "issuer", "", "issuer of a federation")
	f.StringVar(&in.Subject, "subject", "", "subject of a federation")
	f.StringVar(&in.Audience, "audience", "", "audience of a federation (default api://AzureADTokenExchange)")
	return c
}

func (a *app) credentialRemove() *cobra.Command {
	c := &cobra.Command{Use: "remove WHO CREDENTIAL", Short: "Remove a credential, named KIND/ID; tokens that were had by it end with it", Args: cobra.ExactArgs(2),
		RunE: a.with(func(c *cobra.Command, cl *client.Client, args []string) error {
			if err := a.confirm(c, "Remove the credential %s of %q?", args[1], args[0]); err != nil {
				return err
			}
			if err := cl.RemoveCredential(c.Context(), args[0], args[1]); err != nil {
				return err
			}
			a.say("Removed the credential %s of %q, and ended its tokens.", args[1], args[0])
			return nil
		})}
	confirmFlag(c)
	return c
}

func (a *app) credentialPassword() *cobra.Command {
	var in valueFlags
	c := &cobra.Command{Use: "set-password WHO", Short: "Set a user's password, which signs in only together with a code", Args: cobra.ExactArgs(1),
		RunE: a.with(func(c *cobra.Command, cl *client.Client, args []string) error {
			value, err := a.readValue(c, &in)
			if err != nil {
				return err
			}
			defer clear(value)
			return cl.SetPassword(c.Context(), args[0], value)
		})}
	in.flags(c)
	return c
}
