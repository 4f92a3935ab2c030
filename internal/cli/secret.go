package cli

import (
	"errors"
	"fmt"
	"iter"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keywright/keywright/client"
	"github.com/keywright/keywright/client/api"
)

// vaultFlag adds --vault, whose default is the environment's vault.
func (a *app) vaultFlag(c *cobra.Command) *string {
	name := c.PersistentFlags().String("vault", "", "name of the vault (default $KEYWRIGHT_VAULT_NAME)")
	c.RegisterFlagCompletionFunc("vault", a.completeVaults)
	return name
}

// vault returns the vault that a command works in.
func (a *app) vault(name string) (*client.Vault, error) {
	if name == "" {
		name = a.Getenv("KEYWRIGHT_VAULT_NAME")
	}
	if name == "" {
		return nil, usage("no vault: name one with --vault")
	}
	c, err := a.client()
	if err != nil {
		return nil, err
	}
	return c.Vault(name), nil
}

func (a *app) secretCommand() *cobra.Command {
	c := &cobra.Command{Use: "secret", Short: "Store, read and manage secrets"}
	name := a.vaultFlag(c)
	c.AddCommand(a.secretSet(name), a.secretGet(name), a.secretList(name), a.secretVersions(name), a.secretWatch(name), a.secretUpdate(name), a.secretDelete(name),
		a.secretRecover(name), a.secretPurge(name), a.secretBackup(name), a.secretRestore(name), a.secretHoldings(name))
	return c
}

// attributes are the flags of what is known about a version.
type attributes struct {
	contentType        string
	tags               []string
	notBefore, expires string
	enabled            bool
}

func (at *attributes) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&at.contentType, "content-type", "", "what the value is, such as application/json")
	f.StringArrayVar(&at.tags, "tag", nil, "a tag, NAME=VALUE; may be given more than once")
	f.StringVar(&at.notBefore, "not-before", "", "instant from which the value is meant to be used (RFC 3339, a date, or a duration from now such as 24h)")
	f.StringVar(&at.expires, "expires", "", "instant at which the value expires (RFC 3339, a date, or a duration from now such as 720h)")
	f.BoolVar(&at.enabled, "enabled", true, "whether the version can be read")
}

func (at *attributes) tagMap() (map[string]string, error) {
	if len(at.tags) == 0 {
		return nil, nil
	}
	m := make(map[string]string, len(at.tags))
	for _, t := range at.tags {
		name, value, ok := strings.Cut(t, "=")
		if !ok || name == "" {
			return nil, usage("the tag %q is not of the form NAME=VALUE", t)
		}
		m[name] = value
	}
	return m, nil
}

// instant reads an instant as people write it.
func instant(flag, text string) (*time.Time, error) {
	if text == "" {
		return nil, nil
	}
	if d, err := time.ParseDuration(text); err == nil {
		t := time.Now().Add(d).UTC().Truncate(time.Second)
		return &t, nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return &t, nil
		}
	}
	return nil, usage("--%s %q is no instant: write 2027-01-31T12:00:00Z, 2027-01-31 or a duration from now such as 720h", flag, text)
}

func (a *app) secretSet(vault *string) *cobra.Command {
	var in valueFlags
	var at attributes
	c := &cobra.Command{
		Use:   "set NAME",
		Short: "Store a value as the newest version of a secret",
		Long: `Store a value as the newest version of a secret. The value comes from a file, from standard input or, on a terminal, from a
question. Only with --value does it stand on the command line, where other users of the machine and the shell's history see it.`,
		Example: `  keywright secret set db-password --vault demo --file password.txt
  openssl rand -base64 24 | keywright secret set db-password --vault demo --value-from-stdin
  keywright secret set keystore --vault demo --file - --content-type application/x-pkcs12 <store.p12`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			v, err := a.vault(*vault)
			if err != nil {
				return err
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
		},
	}
	in.flags(c)
	at.flags(c)
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
		RunE: func(c *cobra.Command, args []string) error {
			v, err := a.vault(*vault)
			if err != nil {
				return err
			}
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
		},
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

func (a *app) secretList(vault *string) *cobra.Command {
	var deleted bool
	c := &cobra.Command{Use: "list", Short: "List the secrets of a vault, without values", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			v, err := a.vault(*vault)
			if err != nil {
				return err
			}
			if deleted {
				all, err := collect(v.ListDeleted(c.Context()))
				if err != nil {
					return err
				}
				return a.show(all, rows([]string{"NAME", "VERSION", "DELETED", "PURGED ON"}, all, func(s *api.Secret) []string {
					return []string{s.Name, s.Version, when(s.Deleted), when(s.PurgeAt)}
				}))
			}
			all, err := collect(v.List(c.Context()))
			if err != nil {
				return err
			}
			return a.show(all, rows(secretHeader, all, secretRow))
		}}
	c.Flags().BoolVar(&deleted, "deleted", false, "list the deleted secrets that can be recovered")
	return c
}

func (a *app) secretVersions(vault *string) *cobra.Command {
	return &cobra.Command{Use: "versions NAME", Short: "List the versions of a secret, oldest first", Args: cobra.ExactArgs(1),
		ValidArgsFunction: a.completeSecrets(vault),
		RunE: func(c *cobra.Command, args []string) error {
			v, err := a.vault(*vault)
			if err != nil {
				return err
			}
			all, err := collect(v.Versions(c.Context(), args[0]))
			if err == nil && len(all) == 0 {
				err = &client.Error{Kind: client.NotFound, Message: fmt.Sprintf("the vault %q has no secret %q: list its secrets to see those that it has",
					v.Name(), args[0])}
			}
			if err != nil {
				return err
			}
			return a.show(all, rows(secretHeader, all, secretRow))
		}}
}
