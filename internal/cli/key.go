package cli

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keywright/keywright/client"
	"github.com/keywright/keywright/client/api"
)

func (a *app) keyCommand() *cobra.Command {
	c := &cobra.Command{Use: "key", Short: "Make, use and manage keys"}
	name := a.vaultFlag(c)
	c.AddCommand(a.keyCreate(name), a.keyImport(name), a.keyGet(name), a.keyList(name), a.keyVersions(name), a.keyUpdate(name), a.keyRotate(name), a.keyPolicy(name),
		a.keyDelete(name), a.keyRecover(name), a.keyPurge(name), a.keyBackup(name), a.keyRestore(name))
	c.AddCommand(a.keyUses(name)...)
	return c
}

// keys returns the keys of the vault that a command works in.
func (a *app) keys(vault string) (*client.Keys, *client.Vault, error) {
	v, err := a.vault(vault)
	if err != nil {
		return nil, nil, err
	}
	return v.Keys(), v, nil
}

var keyHeader = []string{"NAME", "VERSION", "TYPE", "ENABLED", "EXPIRES", "UPDATED", "OPERATIONS", "PURPOSE", "TAGS"}

func keyRow(k *client.Key) []string {
	return []string{k.Name, k.Version, keyType(k), yesNo(k.Enabled), when(k.Expires), when(&k.Updated), strings.Join(k.Operations, " "), k.Purpose, pairs(k.Tags)}
}

// keyType is the type with its size or curve.
func keyType(k *client.Key) string {
	switch {
	case k.Curve != "":
		return k.Type + " " + k.Curve
	case k.Bits != 0:
		return fmt.Sprint(k.Type, " ", k.Bits)
	}
	return k.Type
}

func (a *app) showKey(k *client.Key) error { return a.show(k, table{keyHeader, keyRow(k)}) }

// keyAttributes are the flags of what is known about a version of a key.
type keyAttributes struct {
	attributes
	operations []string
	purpose    string
}

func (at *keyAttributes) flags(c *cobra.Command, made bool) {
	at.attributes.flags(c)
	f := c.Flags()
	f.Lookup("content-type").Hidden = true
	f.Lookup("enabled").Usage = "whether the version can be used"
	f.StringSliceVar(&at.operations, "operations", nil, "what the key may be used for: encrypt, decrypt, sign, verify, wrapKey, unwrapKey, import, export")
	if made {
		f.StringVar(&at.purpose, "purpose", "", "what the key is for: data-at-rest, data-in-transit, connectivity or invocation; it then does nothing else")
	}
}

func (at *keyAttributes) input() (in api.KeyAttributes, err error) {
	in = api.KeyAttributes{Operations: at.operations, Purpose: at.purpose, Enabled: &at.enabled}
	if in.Tags, err = at.tagMap(); err != nil {
		return in, err
	}
	if in.NotBefore, err = instant("not-before", at.notBefore); err != nil {
		return in, err
	}
	in.Expires, err = instant("expires", at.expires)
	return in, err
}

func (a *app) keyCreate(vault *string) *cobra.Command {
	var at keyAttributes
	var in client.CreateKey
	c := &cobra.Command{
		Use:   "create NAME",
		Short: "Make a key, or a new version of one",
		Example: `  keywright key create signing --vault demo --type EC --curve P-256
  keywright key create disks --vault demo --type RSA --bits 3072 --purpose data-at-rest
  keywright key create tokens --vault demo --type oct --operations sign,verify`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) (err error) {
			k, _, err := a.keys(*vault)
			if err != nil {
				return err
			}
			if in.KeyAttributes, err = at.input(); err != nil {
				return err
			}
			made, err := k.Create(c.Context(), args[0], in)
			if err != nil {
				return err
			}
			return a.showKey(made)
		},
	}
	at.flags(c, true)
	f := c.Flags()
	f.StringVar(&in.Type, "type", "RSA", "RSA, EC, oct or AKP; the first three also with -HSM")
	f.IntVar(&in.Bits, "bits", 0, "size of an RSA key (2048, 3072, 4096) or an oct key (128, 192, 256)")
	f.StringVar(&in.Curve, "curve", "", "curve of an EC key (P-256, P-384, P-521, P-256K) or algorithm of an AKP key (such as ML-DSA-65)")
	f.IntVar(&in.Exponent, "exponent", 0, "public exponent of an RSA key (default 65537)")
	return c
}

func (a *app) keyImport(vault *string) *cobra.Command {
	var at keyAttributes
	var file, kty string
	var hsm bool
	c := &cobra.Command{
		Use:   "import NAME",
		Short: "Store a key that was made elsewhere",
		Long: `Store a key that was made elsewhere, as a new version. The file holds an unencrypted PKCS #8 key in PEM or DER, a JSON Web Key, or
a key that was wrapped for an exchange key of the vault (a transfer blob, .byok). Once it is in the vault, nothing gives the private half out again.`,
		Example: `  openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 | keywright key import web --vault demo --file -
  keywright key import web --vault demo --file key.jwk
  keywright key import web --vault demo --file key.byok --type RSA`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			k, _, err := a.keys(*vault)
			if err != nil {
				return err
			}
			text, err := a.readInput(file, maxValue)
			if err != nil {
				return err
			}
			defer clear(text)
			in, err := keyIn(text, kty)
			if err != nil {
				return err
			}
			defer clear(in.PKCS8)
			if in.KeyAttributes, err = at.input(); err != nil {
				return err
			}
			in.HSM = hsm
			made, err := k.Import(c.Context(), args[0], in)
			if err != nil {
				return err
			}
			return a.showKey(made)
		},
	}
	at.flags(c, true)
	c.Flags().StringVar(&file, "file", "-", "file that holds the key; - for standard input")
	c.Flags().BoolVar(&hsm, "hsm", false, "ask for a hardware module")
	c.Flags().StringVar(&kty, "type", "", "what a transfer blob holds, which does not say it: RSA, EC or oct")
	return c
}

// keyIn tells the forms of a private key apart.
func keyIn(text []byte, kty string) (in client.ImportKey, err error) {
	switch trimmed := bytes.TrimSpace(text); {
	case len(trimmed) == 0:
		return in, usage("the file is empty: it has to hold a key")
	case isTransferBlob(trimmed):
		return transferred(trimmed, kty)
	case kty != "":
		return in, usage("--type is for transfer blobs: other keys say what they are")
	case trimmed[0] == '{':
		in.JWK = trimmed
		return in, nil
	case trimmed[0] == 0x30: // a SEQUENCE in DER
		in.PKCS8 = text
		return in, nil
	}
	for rest := text; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return in, usage("the file holds no private key that can be read: convert it with \"openssl pkcs8 -topk8 -nocrypt\"")
		}
		if block.Type == "PRIVATE KEY" {
			in.PKCS8 = block.Bytes
			return in, nil
		}
	}
}

// isTransferBlob reports whether a file is a transfer blob, as the bring-your-own-key specification of Key Vault describes it.
func isTransferBlob(text []byte) bool {
	var blob struct {
		Version    string `json:"schema_version"`
		Ciphertext string `json:"ciphertext"`
	}
	return json.Unmarshal(text, &blob) == nil && blob.Version != "" && blob.Ciphertext != ""
}

// transferred is the import of a transfer blob: a JSON Web Key whose only number is the blob.
func transferred(blob []byte, kty string) (in client.ImportKey, err error) {
	if kty == "" {
		return in, usage("a transfer blob does not say what it holds: name it with --type RSA, EC or oct")
	}
	in.JWK, err = json.Marshal(map[string]string{"kty": strings.TrimSuffix(kty, "-HSM") + "-HSM", "key_hsm": base64.RawURLEncoding.EncodeToString(blob)})
	return in, err
}

func (a *app) keyGet(vault *string) *cobra.Command {
	var w which
	var file string
	c := &cobra.Command{
		Use:   "get NAME",
		Short: "Show a key, or write its public half",
		Example: `  keywright key get signing --vault demo
  keywright key get signing --vault demo --public-key signing.pem`,
		Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeKeys(vault),
		RunE: func(c *cobra.Command, args []string) error {
			k, _, err := a.keys(*vault)
			if err != nil {
				return err
			}
			got, err := k.Get(c.Context(), args[0], w.selector())
			if err != nil {
				return err
			}
			switch {
			case file == "":
				return a.showKey(got)
			case got.PublicKey == "":
				return fmt.Errorf("the key %q is of type %s and has no public half", got.Name, got.Type)
			case file == "-":
				_, err = a.Stdout.Write([]byte(got.PublicKey))
				return err
			}
			return writePrivate(file, []byte(got.PublicKey))
		},
	}
	versionFlag(c, &w)
	c.Flags().StringVar(&file, "public-key", "", "file to write the public half to, in PEM; - for standard output")
	return c
}

func versionFlag(c *cobra.Command, w *which) {
	c.Flags().StringVar(&w.version, "version", "", "version, 32 hexadecimal digits (default: the current one)")
}

func (a *app) keyList(vault *string) *cobra.Command {
	var deleted bool
	c := &cobra.Command{Use: "list", Short: "List the keys of a vault", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			k, _, err := a.keys(*vault)
			if err != nil {
				return err
			}
			if deleted {
				all, err := collect(k.ListDeleted(c.Context()))
				if err != nil {
					return err
				}
				return a.show(all, rows([]string{"NAME", "VERSION", "DELETED", "PURGED ON"}, all, func(k *api.Key) []string {
					return []string{k.Name, k.Version, when(k.Deleted), when(k.PurgeAt)}
				}))
			}
			all, err := collect(k.List(c.Context()))
			if err != nil {
				return err
			}
			return a.show(all, rows(keyHeader, all, keyRow))
		}}
	c.Flags().BoolVar(&deleted, "deleted", false, "list the deleted keys that can be recovered")
	return c
}

func (a *app) keyVersions(vault *string) *cobra.Command {
	return &cobra.Command{Use: "versions NAME", Short: "List the versions of a key, oldest first", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeKeys(vault),
		RunE: func(c *cobra.Command, args []string) error {
			k, v, err := a.keys(*vault)
			if err != nil {
				return err
			}
			all, err := collect(k.Versions(c.Context(), args[0]))
			if err == nil && len(all) == 0 {
				err = &client.Error{Kind: client.NotFound, Message: fmt.Sprintf("the vault %q has no key %q: list its keys to see those that it has", v.Name(), args[0])}
			}
			if err != nil {
				return err
			}
			return a.show(all, rows(keyHeader, all, keyRow))
		}}
}

func (a *app) keyUpdate(vault *string) *cobra.Command {
	var w which
	var at keyAttributes
	c := &cobra.Command{
		Use:     "update NAME",
		Short:   "Change what is known about a version of a key",
		Example: `  keywright key update signing --vault demo --operations verify --enabled=true`,
		Args:    cobra.ExactArgs(1), ValidArgsFunction: a.completeKeys(vault),
		RunE: func(c *cobra.Command, args []string) error {
			common, err := at.update(c)
			if err != nil {
				return err
			}
			in := client.UpdateKey{Operations: at.operations, Tags: common.Tags, Enabled: common.Enabled, NotBefore: common.NotBefore, Expires: common.Expires,
				ClearNotBefore: common.ClearNotBefore, ClearExpires: common.ClearExpires}
			k, _, err := a.keys(*vault)
			if err != nil {
				return err
			}
			got, err := k.Update(c.Context(), args[0], w.selector(), in)
			if err != nil {
				return err
			}
			return a.showKey(got)
		},
	}
	versionFlag(c, &w)
	at.flags(c, false)
	c.Flags().Lookup("not-before").Usage += "; none removes it"
	c.Flags().Lookup("expires").Usage += "; none removes it"
	c.Flags().Bool("clear-tags", false, "remove all tags")
	c.MarkFlagsMutuallyExclusive("tag", "clear-tags")
	return c
}

func (a *app) keyRotate(vault *string) *cobra.Command {
	return &cobra.Command{Use: "rotate NAME", Short: "Make a new version of a key, of the same kind", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeKeys(vault),
		Long: `Make a new version of a key, of the same type, size, curve and operations. It is what everybody uses from now on who names no version; the versions
before go on to decrypt, unwrap and verify.`,
		RunE: func(c *cobra.Command, args []string) error {
			k, _, err := a.keys(*vault)
			if err != nil {
				return err
			}
			made, err := k.Rotate(c.Context(), args[0])
			if err != nil {
				return err
			}
			return a.showKey(made)
		}}
}

func (a *app) keyPolicy(vault *string) *cobra.Command {
	var in client.KeyPolicy
	c := &cobra.Command{
		Use:   "policy NAME",
		Short: "Show or set when a key is rotated",
		Long: `Show or set when a key is rotated. Periods are years, months and days, such as P90D or P1Y6M. Flags set the whole policy; without flags it is shown.
A key is rotated 7 days after it was made at the earliest, and 7 days before it expires at the latest.`,
		Example: `  keywright key policy disks --vault demo --rotate-after P90D
  keywright key policy web --vault demo --expire-after P1Y --rotate-before P30D --notify-before P45D
  keywright key policy web --vault demo`,
		Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeKeys(vault),
		RunE: func(c *cobra.Command, args []string) error {
			k, _, err := a.keys(*vault)
			if err != nil {
				return err
			}
			var p *client.KeyPolicy
			if in == (client.KeyPolicy{}) {
				p, err = k.Policy(c.Context(), args[0])
			} else {
				p, err = k.SetPolicy(c.Context(), args[0], in)
			}
			if err != nil {
				return err
			}
			return a.show(p, table{{"ROTATE AFTER", "ROTATE BEFORE", "NOTIFY BEFORE", "EXPIRE AFTER", "UPDATED"},
				{p.RotateAfter, p.RotateBefore, p.NotifyBefore, p.ExpireAfter, when(p.Updated)}})
		},
	}
	f := c.Flags()
	f.StringVar(&in.RotateAfter, "rotate-after", "", "rotate so long after a version was made")
	f.StringVar(&in.RotateBefore, "rotate-before", "", "rotate so long before a version expires")
	f.StringVar(&in.NotifyBefore, "notify-before", "", "tell of the expiry so long before it (default P30D)")
	f.StringVar(&in.ExpireAfter, "expire-after", "", "let new versions expire so long after their rotation")
	c.MarkFlagsMutuallyExclusive("rotate-after", "rotate-before")
	return c
}

func (a *app) keyDelete(vault *string) *cobra.Command {
	c := &cobra.Command{Use: "delete NAME", Short: "Soft-delete a key with all of its versions; it can be recovered", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeKeys(vault),
		RunE: func(c *cobra.Command, args []string) error {
			k, v, err := a.keys(*vault)
			if err != nil {
				return err
			}
			if err := a.confirm(c, "Delete the key %q of the vault %q? What it encrypted cannot be read until it is recovered.", args[0], v.Name()); err != nil {
				return err
			}
			gone, err := k.Delete(c.Context(), args[0])
			if err != nil {
				return err
			}
			a.say("Deleted. Until %s \"keywright key recover %s --vault %s\" brings it back.", when(gone.PurgeAt), gone.Name, gone.Vault)
			return a.showKey(gone)
		}}
	confirmFlag(c)
	return c
}

func (a *app) keyRecover(vault *string) *cobra.Command {
	return &cobra.Command{Use: "recover NAME", Short: "Bring a deleted key back with all of its versions", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeDeletedKeys(vault),
		RunE: func(c *cobra.Command, args []string) error {
			k, _, err := a.keys(*vault)
			if err != nil {
				return err
			}
			got, err := k.Recover(c.Context(), args[0])
			if err != nil {
				return err
			}
			return a.showKey(got)
		}}
}

func (a *app) keyPurge(vault *string) *cobra.Command {
	c := &cobra.Command{Use: "purge NAME", Short: "Destroy a deleted key for good", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeDeletedKeys(vault),
		RunE: func(c *cobra.Command, args []string) error {
			k, v, err := a.keys(*vault)
			if err != nil {
				return err
			}
			if err := a.confirm(c, "Destroy the deleted key %q of the vault %q for good? What it encrypted is lost.", args[0], v.Name()); err != nil {
				return err
			}
			if err := k.Purge(c.Context(), args[0]); err != nil {
				return err
			}
			a.say("Purged the key %q of the vault %q.", args[0], v.Name())
			return nil
		}}
	confirmFlag(c)
	return c
}

func (a *app) keyBackup(vault *string) *cobra.Command {
	var file string
	c := &cobra.Command{Use: "backup NAME", Short: "Write a sealed copy of a key with all of its versions", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeKeys(vault),
		Long: "Write a sealed copy of a key with all of its versions and its rotation policy. Only a vault of the same subscription can restore it.",
		RunE: func(c *cobra.Command, args []string) error {
			k, _, err := a.keys(*vault)
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
			if file == "-" {
				_, err = a.Stdout.Write(blob)
				return err
			}
			return writePrivate(file, blob)
		}}
	c.Flags().StringVar(&file, "file", "-", "file to write to; - for standard output")
	return c
}

func (a *app) keyRestore(vault *string) *cobra.Command {
	var file string
	c := &cobra.Command{Use: "restore", Short: "Bring a key back from its backup", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			k, _, err := a.keys(*vault)
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
			return a.showKey(got)
		}}
	c.Flags().StringVar(&file, "file", "-", "file to read; - for standard input")
	return c
}

func (a *app) completeKeys(vault *string) completion {
	return a.completeNames(vault, func(ctx context.Context, v *client.Vault, add func(string) bool) {
		for k, err := range v.Keys().List(ctx) {
			if err != nil || !add(k.Name) {
				return
			}
		}
	})
}

func (a *app) completeDeletedKeys(vault *string) completion {
	return a.completeNames(vault, func(ctx context.Context, v *client.Vault, add func(string) bool) {
		for k, err := range v.Keys().ListDeleted(ctx) {
			if err != nil || !add(k.Name) {
				return
			}
		}
	})
}
