package cli

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keywright/keywright/client"
	"github.com/keywright/keywright/client/api"
)

// keyAttributes are the flags of what is known about a version of a key.
type keyAttributes struct {
	attributes
	operations []string
	purpose    string
}

func (at *keyAttributes) flags(c *cobra.Command) {
	at.attributes.flags(c, "whether the version can be used")
	at.times(c)
	c.Flags().StringSliceVar(&at.operations, "operations", nil, "what the key may be used for: encrypt, decrypt, sign, verify, wrapKey, unwrapKey, import, export")
}

// purposeFlag is for a key that is made: its purpose never changes.
func (at *keyAttributes) purposeFlag(c *cobra.Command) {
	c.Flags().StringVar(&at.purpose, "purpose", "", "what the key is for: data-at-rest, data-in-transit, connectivity or invocation; it then does nothing else")
	c.RegisterFlagCompletionFunc("purpose", cobra.FixedCompletions([]string{"data-at-rest", "data-in-transit", "connectivity", "invocation"}, noFiles))
}

// input is what a new version gets.
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

// update says what the flags change; flags that were not given change nothing.
func (at *keyAttributes) update(c *cobra.Command) (in client.UpdateKey, err error) {
	if err := changing(c, "operations", "tag", "clear-tags", "enabled", "not-before", "expires"); err != nil {
		return in, err
	}
	in.Operations, in.Enabled = at.operations, at.changedEnabled(c)
	if in.Tags, err = at.changedTags(c); err != nil {
		return in, err
	}
	if in.NotBefore, in.ClearNotBefore, err = instantOrNone("not-before", at.notBefore); err != nil {
		return in, err
	}
	in.Expires, in.ClearExpires, err = instantOrNone("expires", at.expires)
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
		RunE: a.inVault(vault, func(c *cobra.Command, v *client.Vault, args []string) (err error) {
			if in.KeyAttributes, err = at.input(); err != nil {
				return err
			}
			made, err := v.Keys().Create(c.Context(), args[0], in)
			if err != nil {
				return err
			}
			return a.showKey(made)
		}),
	}
	at.flags(c)
	at.purposeFlag(c)
	f := c.Flags()
	f.StringVar(&in.Type, "type", "RSA", "RSA, EC, oct or AKP; the first three also with -HSM")
	f.IntVar(&in.Bits, "bits", 0, "size of an RSA key (2048, 3072, 4096) or an oct key (128, 192, 256)")
	f.StringVar(&in.Curve, "curve", "", "curve of an EC key (P-256, P-384, P-521, P-256K) or algorithm of an AKP key (such as ML-DSA-65)")
	f.IntVar(&in.Exponent, "exponent", 0, "public exponent of an RSA key (default 65537)")
	c.RegisterFlagCompletionFunc("type", cobra.FixedCompletions([]string{"RSA", "EC", "oct", "AKP", "RSA-HSM", "EC-HSM", "oct-HSM"}, noFiles))
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
		RunE: a.inVault(vault, func(c *cobra.Command, v *client.Vault, args []string) error {
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
			made, err := v.Keys().Import(c.Context(), args[0], in)
			if err != nil {
				return err
			}
			return a.showKey(made)
		}),
	}
	at.flags(c)
	at.purposeFlag(c)
	c.Flags().StringVar(&file, "file", "-", "file that holds the key; - for standard input")
	c.Flags().BoolVar(&hsm, "hsm", false, "ask for a hardware module")
	c.Flags().StringVar(&kty, "type", "", "what a transfer blob holds, which does not say it: RSA, EC or oct")
	c.RegisterFlagCompletionFunc("type", cobra.FixedCompletions([]string{"RSA", "EC", "oct"}, noFiles))
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
