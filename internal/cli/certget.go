package cli

import (
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/keywright/keywright/client"
	"github.com/keywright/keywright/client/api"
	"github.com/keywright/keywright/internal/certfile"
)

// certOut says in which form a certificate is written.
type certOut struct {
	format, file, password, alias string
	key, legacy                   bool
}

// The forms of a certificate.
const (
	formatPEM  = "pem"
	formatPFX  = "pfx"
	formatDER  = "der"
	formatJKS  = "jks"
	formatJSON = "json"
)

var certFormats = []string{formatPEM, formatPFX, formatDER, formatJKS, formatJSON}

func (o *certOut) check(a *app) error {
	switch o.format {
	case formatPEM:
	case formatDER, formatJSON:
		if o.key {
			return usage("--format %s has no place for the private key: use pem, pfx or jks", o.format)
		}
	case formatPFX, formatJKS:
	default:
		return usage("the format %q is not one of pem, pfx, der, jks and json", o.format)
	}
	switch {
	case o.password != "" && o.format != formatPFX && o.format != formatJKS:
		return usage("--format %s has no password: use pfx or jks", o.format)
	case o.format == formatJKS && o.password == "":
		return usage("a Java key store has a password: give --password-file FILE")
	case o.legacy && o.format != formatPFX:
		return usage("--legacy is for --format pfx alone")
	case o.file == "-" && isTerminal(a.Stdout) && (o.format == formatPFX || o.format == formatDER || o.format == formatJKS):
		return usage("the format %s is binary, and standard output is a terminal: name a file with --file", o.format)
	}
	return nil
}

func (a *app) certGet(vault *string) *cobra.Command {
	var w which
	out := certOut{}
	watch := certWatch{}
	c := &cobra.Command{
		Use:   "get NAME",
		Short: "Write a certificate to a file, with its chain and, if you want, its key",
		Long: `Write a certificate with its chain: the certificate itself first, then its issuer, and so on up, unless the version keeps the order in which it came.
With --key the private key is in the file too; it comes from the secret of the certificate, so you need to be allowed to read that.

  pem   the key in PKCS #8 with --key, then the certificates
  pfx   PKCS #12, encrypted with the password, or with the empty one without --password-file
  der   the certificate alone
  jks   a Java key store of the old format; Java has read pfx since version 8
  json  what "keywright cert show --output json" writes

A file is readable by its owner alone. Without --key pfx and jks files are trust stores.

With --watch the command goes on: whenever the certificate has a new current version, the file is replaced in one step, and then the command of --exec is run, by which a
server reads it again. A command that fails is run again with each --poll. Once it has succeeded, the server of the vault is told that this machine has loaded the version.`,
		Example: `  keywright cert get web --vault demo >web.pem
  keywright cert get web --vault demo --key --file web.pem
  keywright cert get web --vault demo --key --format pfx --password-file web.pass --file web.pfx
  keywright cert get web --vault demo --key --file /etc/nginx/web.pem --watch --exec "nginx -s reload"`,
		Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeCerts(vault),
		RunE: a.inVault(vault, func(c *cobra.Command, v *client.Vault, args []string) error {
			if out.format == formatPEM && a.output != "" && !c.Flags().Changed("format") {
				out.format = formatJSON
			}
			if err := errors.Join(out.check(a), watch.check(&out)); err != nil {
				return err
			}
			a.stays = watch.on
			password, err := a.readPassword(out.password)
			if err != nil {
				return err
			}
			defer clear(password)
			if watch.on {
				watch.app, watch.command, watch.vault, watch.out, watch.password = a, c, v, &out, password
				return watch.run(args[0])
			}
			got, err := v.Certificates().Get(c.Context(), args[0], w.selector())
			if err != nil {
				return err
			}
			if out.format == formatJSON {
				if a.output == "" {
					a.output = formatJSON
				}
				return a.showCert(got)
			}
			if got.PEM == "" {
				return fmt.Errorf("the certificate %q is not made yet: see \"keywright cert pending show %s --vault %s\"", got.Name, got.Name, got.Vault)
			}
			content, err := a.certFile(c, v, got, &out, password)
			if err != nil {
				return err
			}
			defer clear(content)
			return a.writeOut(out.file, content)
		}),
	}
	versionFlag(c, &w)
	f := c.Flags()
	watch.flags(c)
	f.StringVar(&out.format, "format", formatPEM, "form of the file: pem, pfx, der, jks or json")
	f.BoolVar(&out.key, "key", false, "write the private key too")
	f.StringVar(&out.file, "file", "-", "file to write to; - for standard output")
	f.StringVar(&out.password, "password-file", "", "file that holds the password of a pfx or jks file; - for standard input")
	f.StringVar(&out.alias, "alias", "", "name of the entry in a jks file (default the certificate's name)")
	f.BoolVar(&out.legacy, "legacy", false, "encrypt a pfx file with 3DES, for programs that are older than 2019")
	c.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(certFormats, cobra.ShellCompDirectiveNoFileComp))
	return c
}

// certFile writes a certificate in the form that was asked for.
func (a *app) certFile(c *cobra.Command, v *client.Vault, got *client.Certificate, out *certOut, password []byte) ([]byte, error) {
	if out.format == formatDER {
		block, _ := pem.Decode([]byte(got.PEM))
		b, err := certfile.ReadPEM([]byte(got.PEM), true)
		if err != nil || block == nil {
			return nil, fmt.Errorf("reading the certificate %q: %w", got.Name, err)
		}
		return b.Leaf.Raw, nil
	}
	b, err := a.certBundle(c, v, got, out.key)
	if err != nil {
		return nil, err
	}
	switch out.format {
	case formatPFX:
		strength := certfile.Modern
		if out.legacy {
			strength = certfile.Legacy
		}
		if out.key && len(password) == 0 {
			a.say("Warning: the file has the empty password, so that whoever has it has the key.")
		}
		return certfile.WritePFX(b, string(password), strength)
	case formatJKS:
		return certfile.WriteJKS(b, first(out.alias, got.Name), string(password), time.Now())
	}
	return certfile.WritePEM(b)
}

// certBundle is the certificate with its chain, and with its key, which is in the secret behind it.
func (a *app) certBundle(c *cobra.Command, v *client.Vault, got *client.Certificate, key bool) (*certfile.Bundle, error) {
	if !key {
		return certfile.ReadPEM([]byte(got.PEM), true)
	}
	s, err := v.GetVersion(c.Context(), got.Name, client.Selector{Version: got.Version})
	if err != nil {
		return nil, err
	}
	value := s.Bytes()
	defer clear(value)
	b, err := secretBundle(s, value)
	if err != nil {
		return nil, fmt.Errorf("reading the secret of the certificate %q: %w", got.Name, err)
	}
	if b.Key == nil {
		return nil, fmt.Errorf("the key of the certificate %q does not leave the vault: its policy made it not exportable; make a version with --exportable, or leave --key out", got.Name)
	}
	return b, nil
}

func secretBundle(s *api.Secret, value []byte) (*certfile.Bundle, error) {
	if s.ContentType == "application/x-pem-file" {
		return certfile.ReadPEM(value, true)
	}
	der, err := base64.StdEncoding.DecodeString(string(value))
	if err != nil {
		return nil, err
	}
	defer clear(der)
	return certfile.ReadPFX(der, "", true)
}
