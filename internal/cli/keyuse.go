package cli

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keywright/keywright/client"
	"github.com/keywright/keywright/client/api"
)

// maxUse bounds what is given to a key, in bytes: it computes with digests and other keys, not with data.
const maxUse = 1 << 20

// useFlags are the flags of every use of a key.
type useFlags struct {
	which
	algorithm, in, out string
	iv, aad, tag       string
}

func (u *useFlags) flags(c *cobra.Command, algorithm string) {
	u.inFlags(c, algorithm)
	c.Flags().StringVar(&u.out, "out", "-", "file to write the result to, for this user alone; - for standard output")
}

// inFlags say what goes in.
func (u *useFlags) inFlags(c *cobra.Command, algorithm string) {
	versionFlag(c, &u.which)
	f := c.Flags()
	f.StringVar(&u.algorithm, "algorithm", algorithm, "algorithm, as RFC 7518 names it")
	f.StringVar(&u.in, "file", "-", "file to read; - for standard input")
}

// ivFlags are those of algorithms that take more than a value.
func (u *useFlags) ivFlags(c *cobra.Command, opens bool) {
	f := c.Flags()
	f.StringVar(&u.iv, "iv", "", "initialisation vector, in hexadecimal digits")
	f.StringVar(&u.aad, "aad", "", "additional authenticated data, in hexadecimal digits")
	if opens {
		f.StringVar(&u.tag, "tag", "", "authentication tag, in hexadecimal digits")
	}
}

func (u *useFlags) request(value []byte) (in client.UseKey, err error) {
	in = client.UseKey{Algorithm: u.algorithm, Value: value}
	for _, p := range []struct {
		flag, text string
		into       *api.Binary
	}{{"iv", u.iv, &in.IV}, {"aad", u.aad, &in.AAD}, {"tag", u.tag, &in.Tag}} {
		if *p.into, err = hex.DecodeString(p.text); err != nil {
			return in, usage("--%s is not in hexadecimal digits", p.flag)
		}
	}
	return in, nil
}

// keyUses are the commands that compute with a key.
func (a *app) keyUses(vault *string) []*cobra.Command {
	conceal := func(use, short, algorithm string, of func(*client.Keys) userOf) *cobra.Command {
		return a.keyTransform(vault, use, short, algorithm, false, of)
	}
	reveal := func(use, short, algorithm string, of func(*client.Keys) userOf) *cobra.Command {
		return a.keyTransform(vault, use, short, algorithm, true, of)
	}
	return []*cobra.Command{
		a.keySign(vault), a.keyVerify(vault),
		conceal("encrypt", "Encrypt a small value with a key", "RSA-OAEP-256", func(k *client.Keys) userOf { return k.Encrypt }),
		reveal("decrypt", "Decrypt a value with a key", "RSA-OAEP-256", func(k *client.Keys) userOf { return k.Decrypt }),
		conceal("wrap", "Encrypt a key with a key", "RSA-OAEP-256", func(k *client.Keys) userOf { return k.Wrap }),
		reveal("unwrap", "Decrypt a wrapped key with a key", "RSA-OAEP-256", func(k *client.Keys) userOf { return k.Unwrap }),
	}
}

type userOf = func(context.Context, string, client.Selector, client.UseKey) (*client.KeyResult, error)

// keyTransform is a command that turns bytes into bytes.
func (a *app) keyTransform(vault *string, use, short, algorithm string, opens bool, of func(*client.Keys) userOf) *cobra.Command {
	var u useFlags
	c := &cobra.Command{
		Use:   use + " NAME",
		Short: short,
		Long: short + `. The value comes from a file or standard input, and the result goes to a file or standard output, byte for byte. With --output
everything that belongs to the result is written: the version that was used, and what algorithms such as A256GCM return beside the value, in base64.`,
		Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeKeys(vault),
		RunE: a.inVault(vault, func(c *cobra.Command, v *client.Vault, args []string) error {
			if err := u.form(a); err != nil {
				return err
			}
			value, err := a.readInput(u.in, maxUse)
			if err != nil {
				return err
			}
			defer clear(value)
			in, err := u.request(value)
			if err != nil {
				return err
			}
			result, err := of(v.Keys())(c.Context(), args[0], u.selector(), in)
			if err != nil {
				return err
			}
			defer clear(result.Value)
			if !opens && len(result.Tag) > 0 && a.output == "" {
				return usage("%s returns an iv and a tag beside the value: take them all with --output json", u.algorithm)
			}
			return a.writeResult(&u, result)
		}),
	}
	u.flags(c, algorithm)
	u.ivFlags(c, opens)
	return c
}

// form checks that the result is asked for in one form.
func (u *useFlags) form(a *app) error {
	if u.out != "-" && a.output != "" {
		return usage("--out writes the bytes of the result alone, and --output everything that belongs to it: give one of them")
	}
	return nil
}

// writeResult writes the bytes of a result, or everything about it.
func (a *app) writeResult(u *useFlags, r *client.KeyResult) error {
	switch {
	case u.out != "-":
		return writePrivate(u.out, r.Value)
	case a.output == "":
		if isTerminal(a.Stdout) {
			return usage("the result is binary, and standard output is a terminal: name a file with --out, or take it with --output json")
		}
		_, err := a.Stdout.Write(r.Value)
		return err
	}
	return a.show(r, table{{"NAME", "VERSION", "VALUE"}, {r.Name, r.Version, hex.EncodeToString(r.Value)}})
}

// digestFlag lets a command take the digest instead of the message.
func digestFlag(c *cobra.Command) *bool {
	return c.Flags().Bool("digest", false, "the input is the digest itself, and not the message")
}

// digest hashes a message as the algorithm wants it. Algorithms that hash by themselves get the message.
func digest(algorithm string, message []byte) []byte {
	switch {
	case strings.HasPrefix(algorithm, "HS"), strings.HasPrefix(algorithm, "ML-"), algorithm == "RSNULL":
		return message
	case strings.HasSuffix(algorithm, "384"):
		sum := sha512.Sum384(message)
		return sum[:]
	case strings.HasSuffix(algorithm, "512"):
		sum := sha512.Sum512(message)
		return sum[:]
	}
	sum := sha256.Sum256(message)
	return sum[:]
}

// maxMessage bounds a message that is hashed here before it is signed.
const maxMessage = 256 << 20

// signed reads what is signed or verified.
func (a *app) signed(u *useFlags, isDigest bool) ([]byte, error) {
	message, err := a.readInput(u.in, maxMessage)
	if err != nil || isDigest {
		return message, err
	}
	return digest(u.algorithm, message), nil
}

func (a *app) keySign(vault *string) *cobra.Command {
	var u useFlags
	var isDigest *bool
	c := &cobra.Command{
		Use:   "sign NAME",
		Short: "Sign a file with a key",
		Long: `Sign a file with a key. The file is hashed here, and only its digest is sent. The signature is written byte for byte: for RSA as OpenSSL knows
it, for EC as r and s side by side (RFC 7518, section 3.4).`,
		Example: `  keywright key sign signing --vault demo --algorithm ES256 --file release.tar --out release.sig
  keywright key sign web --vault demo --algorithm RS256 <message >signature`,
		Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeKeys(vault),
		RunE: a.inVault(vault, func(c *cobra.Command, v *client.Vault, args []string) error {
			if err := u.form(a); err != nil {
				return err
			}
			value, err := a.signed(&u, *isDigest)
			if err != nil {
				return err
			}
			result, err := v.Keys().Sign(c.Context(), args[0], u.selector(), client.UseKey{Algorithm: u.algorithm, Value: value})
			if err != nil {
				return err
			}
			return a.writeResult(&u, result)
		}),
	}
	u.flags(c, "")
	isDigest = digestFlag(c)
	c.MarkFlagRequired("algorithm")
	return c
}

// errNotValid makes the command fail, whatever it printed.
var errNotValid = errors.New("the signature is not valid: the file, the key, its version or the algorithm is another than it was made with")

func (a *app) keyVerify(vault *string) *cobra.Command {
	var u useFlags
	var signature string
	var isDigest *bool
	c := &cobra.Command{
		Use:     "verify NAME",
		Short:   "Verify the signature of a file",
		Long:    "Verify the signature of a file. The command fails when the signature is not valid.",
		Example: `  keywright key verify signing --vault demo --algorithm ES256 --file release.tar --signature release.sig`,
		Args:    cobra.ExactArgs(1), ValidArgsFunction: a.completeKeys(vault),
		RunE: a.inVault(vault, func(c *cobra.Command, v *client.Vault, args []string) error {
			if u.in == "-" && signature == "-" {
				return usage("the file and its signature cannot both come from standard input")
			}
			value, err := a.signed(&u, *isDigest)
			if err != nil {
				return err
			}
			mark, err := a.readInput(signature, maxUse)
			if err != nil {
				return err
			}
			valid, err := v.Keys().Verify(c.Context(), args[0], u.selector(), api.VerifyKey{Algorithm: u.algorithm, Digest: value, Signature: mark})
			if err != nil {
				return err
			}
			if a.output != "" {
				err = a.show(api.KeyVerdict{Valid: valid}, table{{"VALID"}, {yesNo(valid)}})
			} else if valid {
				a.say("The signature is valid.")
			}
			if err == nil && !valid {
				err = errNotValid
			}
			return err
		}),
	}
	u.inFlags(c, "")
	isDigest = digestFlag(c)
	c.Flags().StringVar(&signature, "signature", "", "file that holds the signature; - for standard input")
	c.MarkFlagRequired("algorithm")
	c.MarkFlagRequired("signature")
	return c
}
