package cli

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keywright/keywright/client"
	"github.com/keywright/keywright/client/api"
)

func (a *app) certCommand() *cobra.Command {
	c := &cobra.Command{Use: "cert", Aliases: []string{"certificate"}, Short: "Make, deliver and manage certificates"}
	name := a.vaultFlag(c)
	c.AddCommand(a.certCreate(name), a.certImport(name), a.certGet(name), a.certShow(name), a.certList(name), a.certVersions(name), a.certUpdate(name), a.certPolicy(name),
		a.certPending(name), a.certMerge(name), a.certDelete(name), a.certRecover(name), a.certPurge(name), a.certBackup(name), a.certRestore(name), a.certIssuer(name), a.certContact(name),
		a.certRevoke(name), a.certEndpoint(name))
	return c
}

// certs returns the certificates of the vault that a command works in.
func (a *app) certs(vault string) (*client.Certificates, *client.Vault, error) {
	v, err := a.vault(vault)
	if err != nil {
		return nil, nil, err
	}
	return v.Certificates(), v, nil
}

var certHeader = []string{"NAME", "VERSION", "SUBJECT", "ISSUER", "ENABLED", "EXPIRES", "THUMBPRINT", "TAGS"}

func certRow(c *client.Certificate) []string {
	return []string{c.Name, c.Version, c.Subject, c.Issuer, yesNo(c.Enabled), when(c.Expires), c.Thumbprint, pairs(c.Tags)}
}

func (a *app) showCert(c *client.Certificate) error { return a.show(c, table{certHeader, certRow(c)}) }

// certAttributes are the flags of what is known about a version of a certificate.
type certAttributes struct{ attributes }

func (at *certAttributes) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringArrayVar(&at.tags, "tag", nil, "a tag, NAME=VALUE; may be given more than once")
	f.BoolVar(&at.enabled, "enabled", true, "whether the version, its key and its secret can be used")
}

// given returns what the flags say; what was not given is nil.
func (at *certAttributes) given(c *cobra.Command) (tags map[string]string, enabled *bool, err error) {
	if c.Flags().Changed("enabled") {
		enabled = &at.enabled
	}
	tags, err = at.tagMap()
	return tags, enabled, err
}

func (a *app) certImport(vault *string) *cobra.Command {
	var at certAttributes
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
		RunE: func(c *cobra.Command, args []string) (err error) {
			if file == "-" && password == "-" {
				return usage("the certificate and its password cannot both come from standard input")
			}
			if in.Policy, err = policy.read(a, c); err != nil {
				return err
			}
			if in.Tags, in.Enabled, err = at.given(c); err != nil {
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
			k, _, err := a.certs(*vault)
			if err != nil {
				return err
			}
			got, err := k.Import(c.Context(), args[0], in)
			if err != nil {
				return err
			}
			return a.showCert(got)
		},
	}
	at.flags(c)
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
		RunE: func(c *cobra.Command, args []string) error {
			k, _, err := a.certs(*vault)
			if err != nil {
				return err
			}
			got, err := k.Get(c.Context(), args[0], w.selector())
			if err != nil {
				return err
			}
			return a.showCert(got)
		}}
	versionFlag(c, &w)
	return c
}

func (a *app) certList(vault *string) *cobra.Command {
	var deleted bool
	c := &cobra.Command{Use: "list", Short: "List the certificates of a vault", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			k, _, err := a.certs(*vault)
			if err != nil {
				return err
			}
			if deleted {
				all, err := collect(k.ListDeleted(c.Context()))
				if err != nil {
					return err
				}
				return a.show(all, rows([]string{"NAME", "VERSION", "DELETED", "PURGED ON"}, all, func(k *api.Certificate) []string {
					return []string{k.Name, k.Version, when(k.Deleted), when(k.PurgeAt)}
				}))
			}
			all, err := collect(k.List(c.Context()))
			if err != nil {
				return err
			}
			return a.show(all, rows(certHeader, all, certRow))
		}}
	c.Flags().BoolVar(&deleted, "deleted", false, "list the deleted certificates that can be recovered")
	return c
}

func (a *app) certVersions(vault *string) *cobra.Command {
	return &cobra.Command{Use: "versions NAME", Short: "List the versions of a certificate, oldest first", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeCerts(vault),
		RunE: func(c *cobra.Command, args []string) error {
			k, v, err := a.certs(*vault)
			if err != nil {
				return err
			}
			all, err := collect(k.Versions(c.Context(), args[0]))
			if err == nil && len(all) == 0 {
				err = &client.Error{Kind: client.NotFound, Message: fmt.Sprintf("the certificate %q of the vault %q does not exist, or has no version yet", args[0], v.Name())}
			}
			if err != nil {
				return err
			}
			return a.show(all, rows(certHeader, all, certRow))
		}}
}

func (a *app) certUpdate(vault *string) *cobra.Command {
	var w which
	var at certAttributes
	c := &cobra.Command{
		Use:     "update NAME",
		Short:   "Change what is known about a version, and about the key and the secret behind it",
		Long:    "Change what is known about a version, and about the key and the secret behind it. When it expires stands in the certificate and does not change.",
		Example: `  keywright cert update web --vault demo --version 0199f0… --enabled=false`,
		Args:    cobra.ExactArgs(1), ValidArgsFunction: a.completeCerts(vault),
		RunE: func(c *cobra.Command, args []string) (err error) {
			var in client.UpdateCertificate
			if in.Tags, in.Enabled, err = at.given(c); err != nil {
				return err
			}
			if on, _ := c.Flags().GetBool("clear-tags"); on {
				in.Tags = map[string]string{}
			}
			if in.Tags == nil && in.Enabled == nil {
				return usage("nothing to change: give --tag, --clear-tags or --enabled")
			}
			k, _, err := a.certs(*vault)
			if err != nil {
				return err
			}
			got, err := k.Update(c.Context(), args[0], w.selector(), in)
			if err != nil {
				return err
			}
			return a.showCert(got)
		},
	}
	versionFlag(c, &w)
	at.flags(c)
	c.Flags().Bool("clear-tags", false, "remove all tags")
	c.MarkFlagsMutuallyExclusive("tag", "clear-tags")
	return c
}

func (a *app) certDelete(vault *string) *cobra.Command {
	c := &cobra.Command{Use: "delete NAME", Short: "Soft-delete a certificate, with the key and the secret behind it; it can be recovered", Args: cobra.ExactArgs(1),
		ValidArgsFunction: a.completeCerts(vault),
		RunE: func(c *cobra.Command, args []string) error {
			k, v, err := a.certs(*vault)
			if err != nil {
				return err
			}
			if err := a.confirm(c, "Delete the certificate %q of the vault %q, with its key and its secret? Who fetches it finds nothing.", args[0], v.Name()); err != nil {
				return err
			}
			gone, err := k.Delete(c.Context(), args[0])
			if err != nil {
				return err
			}
			a.say("Deleted. Until %s \"keywright cert recover %s --vault %s\" brings it back.", when(gone.PurgeAt), gone.Name, gone.Vault)
			return a.showCert(gone)
		}}
	confirmFlag(c)
	return c
}

func (a *app) certRecover(vault *string) *cobra.Command {
	return &cobra.Command{Use: "recover NAME", Short: "Bring a deleted certificate back with all of its versions", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeDeletedCerts(vault),
		RunE: func(c *cobra.Command, args []string) error {
			k, _, err := a.certs(*vault)
			if err != nil {
				return err
			}
			got, err := k.Recover(c.Context(), args[0])
			if err != nil {
				return err
			}
			return a.showCert(got)
		}}
}

func (a *app) certPurge(vault *string) *cobra.Command {
	c := &cobra.Command{Use: "purge NAME", Short: "Destroy a deleted certificate for good, with its key and its secret", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeDeletedCerts(vault),
		RunE: func(c *cobra.Command, args []string) error {
			k, v, err := a.certs(*vault)
			if err != nil {
				return err
			}
			if err := a.confirm(c, "Destroy the deleted certificate %q of the vault %q for good, with its key?", args[0], v.Name()); err != nil {
				return err
			}
			if err := k.Purge(c.Context(), args[0]); err != nil {
				return err
			}
			a.say("Purged the certificate %q of the vault %q.", args[0], v.Name())
			return nil
		}}
	confirmFlag(c)
	return c
}

func (a *app) certBackup(vault *string) *cobra.Command {
	var file string
	c := &cobra.Command{Use: "backup NAME", Short: "Write a sealed copy of a certificate with all of its versions and keys", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeCerts(vault),
		Long: "Write a sealed copy of a certificate with all of its versions, keys and secrets, and its policy. Only a vault of the same subscription can restore it.",
		RunE: func(c *cobra.Command, args []string) error {
			k, _, err := a.certs(*vault)
			if err != nil {
				return err
			}
			if file == "-" && isTerminal(a.Stdout) {
				return usage("a backup is binary, and standard output is a terminal: name a file with --file")
			}
			blob, err := k.Backup(c.Context(), args[0])
			if err != nil {
				return err
			}
			return a.writeOut(file, blob)
		}}
	c.Flags().StringVar(&file, "file", "-", "file to write to; - for standard output")
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

func (a *app) certRestore(vault *string) *cobra.Command {
	var file string
	c := &cobra.Command{Use: "restore", Short: "Bring a certificate back from its backup", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			k, _, err := a.certs(*vault)
			if err != nil {
				return err
			}
			blob, err := a.readInput(file, maxBackup)
			if err != nil {
				return err
			}
			got, err := k.Restore(c.Context(), blob)
			if err != nil {
				return err
			}
			return a.showCert(got)
		}}
	c.Flags().StringVar(&file, "file", "-", "file to read; - for standard input")
	return c
}

func (a *app) completeCerts(vault *string) completion {
	return a.completeNames(vault, func(ctx context.Context, v *client.Vault, add func(string) bool) {
		for k, err := range v.Certificates().List(ctx) {
			if err != nil || !add(k.Name) {
				return
			}
		}
	})
}

func (a *app) completeDeletedCerts(vault *string) completion {
	return a.completeNames(vault, func(ctx context.Context, v *client.Vault, add func(string) bool) {
		for k, err := range v.Certificates().ListDeleted(ctx) {
			if err != nil || !add(k.Name) {
				return
			}
		}
	})
}

// completeIssuers offers who can issue in a vault, for a flag or, with names alone, for an argument.
func (a *app) completeIssuers(vault *string, builtIn bool) completion {
	return func(c *cobra.Command, args []string, text string) ([]string, cobra.ShellCompDirective) {
		var found []string
		if builtIn {
			found, args = []string{"Self", "Unknown"}, nil
		}
		names, directive := a.completeNames(vault, func(ctx context.Context, v *client.Vault, add func(string) bool) {
			for i, err := range v.Certificates().Issuers(ctx) {
				if err != nil || !add(i.Name) {
					return
				}
			}
		})(c, args, strings.TrimSpace(text))
		return append(found, names...), directive
	}
}
