package cli

import (
	"errors"
	"iter"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keywright/keywright/client"
	"github.com/keywright/keywright/client/api"
)

// vaultFlag adds --vault, whose default is the environment's vault.
func (a *app) vaultFlag(c *cobra.Command) *string {
	name := c.PersistentFlags().String("vault", "", "name of the vault (default $KEYWRIGHT_VAULT_NAME)")
	c.RegisterFlagCompletionFunc("vault", a.offerVaults)
	return name
}

// vaultName returns the name that the flag gives, or the environment's.
func (a *app) vaultName(flag string) (string, error) {
	name := first(flag, a.Getenv("KEYWRIGHT_VAULT_NAME"))
	if name == "" {
		return "", usage("no vault: name one with --vault, or in KEYWRIGHT_VAULT_NAME")
	}
	return name, nil
}

// vault returns the vault that a command works in.
func (a *app) vault(flag string) (*client.Vault, error) {
	name, err := a.vaultName(flag)
	if err != nil {
		return nil, err
	}
	c, err := a.client()
	if err != nil {
		return nil, err
	}
	return c.Vault(name), nil
}

// inVault returns a RunE that gets the vault that its command works in.
func (a *app) inVault(vault *string, run func(*cobra.Command, *client.Vault, []string) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, args []string) error {
		v, err := a.vault(*vault)
		if err != nil {
			return err
		}
		return run(c, v, args)
	}
}

func (a *app) secretCommand() *cobra.Command {
	c := &cobra.Command{Use: "secret", Short: "Store, read and manage secrets"}
	name := a.vaultFlag(c)
	c.AddCommand(a.secrets(name).commands()...)
	c.AddCommand(a.secretSet(name), a.secretGet(name), a.secretWatch(name), a.secretTemplate(name), a.secretUpdate(name), a.secretHoldings(name))
	return c
}

// secrets are the secrets of a vault.
func (a *app) secrets(vault *string) *kind[api.Secret] {
	return &kind[api.Secret]{app: a, vault: vault, noun: "secret", command: "secret", header: secretHeader, row: secretRow,
		in:     func(v *client.Vault) *client.Objects[api.Secret] { return &v.Objects },
		fate:   func(s *api.Secret) fate { return fate{s.Vault, s.Name, s.Version, s.Deleted, s.PurgeAt} },
		listed: ", without values", whole: "with all of its versions", copied: "all of its versions"}
}

// secretAttributes are the flags of what is known about a version of a secret.
type secretAttributes struct {
	attributes
	contentType string
}

func (at *secretAttributes) flags(c *cobra.Command) {
	at.attributes.flags(c, "whether the version can be read")
	at.times(c)
	c.Flags().StringVar(&at.contentType, "content-type", "", "what the value is, such as application/json")
}

func (a *app) secretSet(vault *string) *cobra.Command {
	var in valueFlags
	var at secretAttributes
	var template string
	c := &cobra.Command{
		Use:   "set NAME",
		Short: "Store a value as the newest version of a secret",
		Long: `Store a value as the newest version of a secret. The value comes from a file, from standard input or, on a terminal, from a
question. Only with --value does it stand on the command line, where other users of the machine and the shell's history see it.`,
		Example: `  keywright secret set db-password --vault demo --file password.txt
  openssl rand -base64 24 | keywright secret set db-password --vault demo --value-from-stdin
  keywright secret set keystore --vault demo --file - --content-type application/x-pkcs12 <store.p12`,
		Args: cobra.ExactArgs(1),
		RunE: a.inVault(vault, func(c *cobra.Command, v *client.Vault, args []string) error {
			if c.Flags().Changed("template") {
				return a.setTemplate(c, *vault, args[0], template)
			}
			tags, err := at.tagMap()
			if err != nil {
				return err
			}
			notBefore, err := instant("not-before", at.notBefore)
			if err != nil {
				return err
			}
			expires, err := instant("expires", at.expires)
			if err != nil {
				return err
			}
			value, err := a.readValue(c, &in)
			if err != nil {
				return err
			}
			defer clear(value)
			s := client.NewSecret(value)
			s.ContentType, s.Tags, s.NotBefore, s.Expires, s.Enabled = at.contentType, tags, notBefore, expires, &at.enabled
			set, err := v.SetVersion(c.Context(), args[0], s)
			if err != nil {
				return err
			}
			return a.showSecret(set)
		}),
	}
	in.flags(c)
	at.flags(c)
	c.Flags().StringVar(&template, "template", "", "compose the value of other secrets of the vault; see \"secret template set\"")
	c.MarkFlagsMutuallyExclusive("file", "value-from-stdin", "value", "template")
	for _, name := range []string{"tag", "enabled", "not-before", "expires", "content-type"} {
		c.MarkFlagsMutuallyExclusive("template", name) // what is composed has the attributes of the version before
	}
	return c
}

// which are the flags that select a version.
type which struct{ version, label string }

func (w *which) flags(c *cobra.Command) {
	c.Flags().StringVar(&w.version, "version", "", "version, 32 hexadecimal digits (default: the current one)")
	c.Flags().StringVar(&w.label, "label", "", "label whose version is meant, such as previous")
	c.MarkFlagsMutuallyExclusive("version", "label")
}

func (w *which) selector() client.Selector {
	return client.Selector{Version: w.version, Label: w.label}
}

func (a *app) secretGet(vault *string) *cobra.Command {
	var w which
	var file string
	c := &cobra.Command{
		Use:   "get NAME",
		Short: "Read a secret",
		Long: `Read a secret. Without --output the value alone is written, byte for byte; on a terminal a line break follows. With --output
everything that is known about the version is written, the value included: in base64 as valueBase64 where it is not text.`,
		Example: `  keywright secret get db-password --vault demo
  keywright secret get db-password --vault demo --label previous
  keywright secret get db-password --vault demo --output json | jq -r .value
  keywright secret get keystore --vault demo --file store.p12`,
		Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeSecrets(vault),
		RunE: a.inVault(vault, func(c *cobra.Command, v *client.Vault, args []string) error {
			s, err := v.GetVersion(c.Context(), args[0], w.selector())
			if err != nil {
				return err
			}
			switch {
			case file != "" && file != "-":
				return writePrivate(file, s.Bytes())
			case a.output == "" || file == "-":
				return a.writeValue(s.Bytes())
			}
			return a.showValue(s)
		}),
	}
	w.flags(c)
	c.Flags().StringVar(&file, "file", "", "file to write the value to, for this user alone; - for standard output")
	return c
}

// writeValue writes a value as it is.
func (a *app) writeValue(value []byte) error {
	if isTerminal(a.Stdout) {
		value = append(slices.Clip(value), '\n')
	}
	_, err := a.Stdout.Write(value)
	return err
}

// writePrivate writes a file that only this user can read. It does not follow a link that somebody put in its place.
func writePrivate(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|noFollow, 0o600)
	if err != nil {
		return err
	}
	err = f.Chmod(0o600)
	if err == nil {
		_, err = f.Write(content)
	}
	return errors.Join(err, f.Close())
}

func (a *app) showValue(s *client.Secret) error {
	value := "(binary; use --file)"
	if s.Value != nil {
		value = s.Value.Reveal()
	}
	return a.show(s, table{{"NAME", "VERSION", "VALUE"}, {s.Name, s.Version, value}})
}

var secretHeader = []string{"NAME", "VERSION", "ENABLED", "EXPIRES", "UPDATED", "CONTENT TYPE", "LABELS", "TAGS"}

func secretRow(s *client.Secret) []string {
	return []string{s.Name, s.Version, yesNo(s.Enabled), when(s.Expires), when(&s.Updated), s.ContentType, strings.Join(s.Labels, " "), pairs(s.Tags)}
}

func (a *app) showSecret(s *client.Secret) error { return a.show(s, table{secretHeader, secretRow(s)}) }

// collect reads a whole listing.
func collect[T any](list iter.Seq2[*T, error]) ([]T, error) {
	all := []T{}
	for item, err := range list {
		if err != nil {
			return nil, err
		}
		all = append(all, *item)
	}
	return all, nil
}

func rows[T any](header []string, all []T, row func(*T) []string) table {
	t := table{header}
	for i := range all {
		t = append(t, row(&all[i]))
	}
	return t
}
