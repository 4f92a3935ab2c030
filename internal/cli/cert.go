package cli

import (
	"bytes"

	"github.com/spf13/cobra"

	"github.com/keywright/keywright/client"
	"github.com/keywright/keywright/client/api"
)

func (a *app) certCommand() *cobra.Command {
	c := &cobra.Command{Use: "cert", Aliases: []string{"certificate"}, Short: "Make, deliver and manage certificates"}
	name := a.vaultFlag(c)
	c.AddCommand(a.certs(name).commands()...)
	c.AddCommand(a.certCreate(name), a.certImport(name), a.certGet(name), a.certShow(name), a.certUpdate(name), a.certPolicy(name), a.certPending(name), a.certMerge(name),
		a.certIssuer(name), a.certContact(name), a.certRevoke(name), a.certEndpoint(name), a.certAuthority(name))
	return c
}

// certs are the certificates of a vault.
func (a *app) certs(vault *string) *kind[api.Certificate] {
	return &kind[api.Certificate]{app: a, vault: vault, noun: "certificate", command: "cert", header: certHeader, row: certRow,
		in:    func(v *client.Vault) *client.Objects[api.Certificate] { return &v.Certificates().Objects },
		fate:  func(c *api.Certificate) fate { return fate{c.Vault, c.Name, c.Version, c.Deleted, c.PurgeAt} },
		whole: "with its key, its secret and all of their versions", copied: "its key and its secret, all of their versions, and its policy",
		deleting: " Who fetches it finds nothing."}
}

// completeCerts offers the names of a vault's certificates for an argument.
func (a *app) completeCerts(vault *string) completion { return argument(a.certs(vault).complete()) }

var certHeader = []string{"NAME", "VERSION", "SUBJECT", "ISSUER", "ENABLED", "EXPIRES", "THUMBPRINT", "TAGS"}

func certRow(c *client.Certificate) []string {
	return []string{c.Name, c.Version, c.Subject, c.Issuer, yesNo(c.Enabled), when(c.Expires), c.Thumbprint, pairs(c.Tags)}
}

// certEnabled is the meaning of --enabled.
const certEnabled = "whether the version, its key and its secret can be used"

func (a *app) showCert(c *client.Certificate) error { return a.show(c, table{certHeader, certRow(c)}) }

func (a *app) certImport(vault *string) *cobra.Command {
	var at attributes
	var policy certPolicyFlags
	var in client.ImportCertificate
	var file, password string
	c := &cobra.Command{
		Use:   "import NAME",
		Short: "Store a certificate with its key that was made elsewhere",
		Long: `Store a certificate with its key that was made elsewhere, as the newest version. The file is PFX (PKCS #12) or PEM with an unencrypted key.
How the certificate is made anew is taken from it, but for what --policy and the other flags say; without --issuer a person has to bring the next one.`,
		Example: `  keywright cert import web --vault demo --file web.pfx --password-file web.pass
  cat key.pem chain.pem | keywright cert import web --vault demo --file - --issuer Self`,
		Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeCerts(vault),
		RunE: a.inVault(vault, func(c *cobra.Command, v *client.Vault, args []string) (err error) {
			if file == "-" && password == "-" {
				return usage("the certificate and its password cannot both come from standard input")
			}
			if in.Policy, err = policy.read(a, c); err != nil {
				return err
			}
			in.Enabled = at.changedEnabled(c)
			if in.Tags, err = at.tagMap(); err != nil {
				return err
			}
			secret, err := a.readPassword(password)
			if err != nil {
				return err
			}
			defer clear(secret)
			content, err := a.readInput(file, maxValue)
			if err != nil {
				return err
			}
			defer clear(content)
			if len(content) == 0 {
				return usage("the file is empty: it has to hold a certificate with its key")
			}
			in.File, in.Password = content, api.Text(secret)
			got, err := v.Certificates().Import(c.Context(), args[0], in)
			if err != nil {
				return err
			}
			return a.showCert(got)
		}),
	}
	at.flags(c, certEnabled)
	policy.flags(a, c, vault)
	f := c.Flags()
	f.StringVar(&file, "file", "-", "file that holds the certificate; - for standard input")
	f.StringVar(&password, "password-file", "", "file that holds the password of a PFX file; - for standard input")
	f.BoolVar(&in.PreserveOrder, "preserve-order", false, "deliver the chain in the order of the file, and not with the certificate itself first")
	return c
}

// readPassword reads a password from a file, without the line break at its end. No file is no password.
func (a *app) readPassword(file string) ([]byte, error) {
	if file == "" {
		return nil, nil
	}
	secret, err := a.readInput(file, maxPassword)
	return bytes.TrimSuffix(bytes.TrimSuffix(secret, []byte("\n")), []byte("\r")), err
}

// maxPassword bounds the file of a password, in bytes.
const maxPassword = 4 << 10

func (a *app) certShow(vault *string) *cobra.Command {
	var w which
	c := &cobra.Command{Use: "show NAME", Short: "Show what is known about a certificate", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeCerts(vault),
		RunE: a.inVault(vault, func(c *cobra.Command, v *client.Vault, args []string) error {
			got, err := v.Certificates().Get(c.Context(), args[0], w.selector())
			if err != nil {
				return err
			}
			return a.showCert(got)
		})}
	versionFlag(c, &w)
	return c
}

func (a *app) certUpdate(vault *string) *cobra.Command {
	var w which
	var at attributes
	c := &cobra.Command{
		Use:     "update NAME",
		Short:   "Change what is known about a version, and about the key and the secret behind it",
		Long:    "Change what is known about a version, and about the key and the secret behind it. When it expires stands in the certificate and does not change.",
		Example: `  keywright cert update web --vault demo --version 0199f0… --enabled=false`,
		Args:    cobra.ExactArgs(1), ValidArgsFunction: a.completeCerts(vault),
		RunE: a.inVault(vault, func(c *cobra.Command, v *client.Vault, args []string) (err error) {
			var in client.UpdateCertificate
			if err := changing(c, "tag", "clear-tags", "enabled"); err != nil {
				return err
			}
			in.Enabled = at.changedEnabled(c)
			if in.Tags, err = at.changedTags(c); err != nil {
				return err
			}
			got, err := v.Certificates().Update(c.Context(), args[0], w.selector(), in)
			if err != nil {
				return err
			}
			return a.showCert(got)
		}),
	}
	versionFlag(c, &w)
	at.flags(c, certEnabled)
	at.clearing(c)
	return c
}

// writeOut writes to a file of the owner's alone, or to standard output for "-".
func (a *app) writeOut(file string, content []byte) error {
	if file != "-" {
		return writePrivate(file, content)
	}
	_, err := a.Stdout.Write(content)
	return err
}
