package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/keywright/keywright/client"
	"github.com/keywright/keywright/client/api"
	"github.com/keywright/keywright/internal/certfile"
)

func (a *app) certCreate(vault *string) *cobra.Command {
	var at attributes
	var policy certPolicyFlags
	var in client.CreateCertificate
	var noWait bool
	var csr string
	c := &cobra.Command{
		Use:   "create NAME",
		Short: "Make a certificate, or a new version of one",
		Long: `Make a certificate, or a new version of one, and wait for its issuer. The policy says what it is to be, and how it is made anew later; without a policy and
flags of one, a certificate that exists is made anew by the policy that it has.

With --issuer Unknown the command ends when the request is made: take it to an authority (--csr writes it), and bring what that gives with
"keywright cert merge".`,
		Example: `  keywright cert create web --vault demo --subject CN=shop.example --dns shop.example,www.shop.example
  keywright cert create web --vault demo --policy web.yaml --renew-before 30
  keywright cert create web --vault demo --issuer Unknown --dns shop.example --csr web.csr
  keywright cert create web --vault demo`,
		Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeCerts(vault),
		RunE: a.inVault(vault, func(c *cobra.Command, v *client.Vault, args []string) (err error) {
			if in.Policy, err = policy.read(a, c); err != nil {
				return err
			}
			if in.Policy != nil && (in.Policy.Issuer == nil || in.Policy.Issuer.Name == "") {
				by := api.CertificateIssuerRef{Name: "Self"}
				if in.Policy.Issuer != nil {
					by.Type = in.Policy.Issuer.Type
				}
				in.Policy.Issuer = &by
			}
			in.Enabled = at.changedEnabled(c)
			if in.Tags, err = at.tagMap(); err != nil {
				return err
			}
			op, err := v.Certificates().Create(c.Context(), args[0], in)
			if err != nil {
				return err
			}
			if csr != "" {
				if err := a.writeOut(csr, []byte(op.CSR)); err != nil {
					return err
				}
			}
			if noWait || op.ByHand() {
				return a.showBegun(op, csr)
			}
			return a.waitForCert(c.Context(), v.Certificates(), op, csr)
		}),
	}
	at.flags(c, certEnabled)
	policy.flags(a, c, vault)
	f := c.Flags()
	f.BoolVar(&noWait, "no-wait", false, "do not wait for the issuer")
	f.StringVar(&csr, "csr", "", "file to write the certificate request to, in PEM; - for standard output")
	f.BoolVar(&in.PreserveOrder, "preserve-order", false, "deliver the chain as the issuer gave it, and not with the certificate itself first")
	return c
}

var operationHeader = []string{"NAME", "VERSION", "ISSUER", "STATUS", "STARTED", "DETAILS"}

func operationRow(o *client.CertificateOperation) []string {
	return []string{o.Name, o.Version, o.Issuer.Name, o.Status, when(&o.Started), first(o.Message, o.Details)}
}

func (a *app) showOperation(o *client.CertificateOperation) error {
	if st := o.Stalled; st != nil {
		a.say("The renewal that is due cannot begin: %s (tried %d times since %s, next at %s)", printable(st.Message), st.Tries, when(&st.Since), when(&st.Next))
	}
	return a.show(o, table{operationHeader, operationRow(o)})
}

// showBegun shows an operation that goes on without this command. Standard output that has the request has nothing else.
func (a *app) showBegun(o *client.CertificateOperation, csr string) error {
	if csr == "-" {
		return nil
	}
	return a.showOperation(o)
}

// waitForCert follows an operation to its end and shows the certificate.
func (a *app) waitForCert(ctx context.Context, k *client.Certificates, begun *client.CertificateOperation, csr string) error {
	op, err := k.Wait(ctx, begun.Name, func(o *client.CertificateOperation) {
		if o.Status == api.CertificateInProgress {
			a.say("%s", printable(o.Details))
		}
	})
	switch {
	case err != nil:
		if ctx.Err() != nil {
			a.say("The server goes on without this command: \"keywright cert pending show %s\" tells how far it is.", begun.Name)
		}
		return err
	case op.Version != begun.Version:
		return &client.Error{Kind: client.Conflict, Message: fmt.Sprintf("the operation on the certificate %q was ended by somebody else, who began another", op.Name)}
	case op.Status != api.CertificateCompleted:
		return fmt.Errorf("the certificate %q was not made (%s): %s", op.Name, op.Status, first(op.Message, op.Details))
	case csr == "-":
		return nil
	}
	made, err := k.Get(ctx, op.Name, client.Selector{Version: op.Version})
	if err != nil {
		return err
	}
	return a.showCert(made)
}

func (a *app) certPending(vault *string) *cobra.Command {
	c := &cobra.Command{Use: "pending", Short: "See and end the making of a certificate"}
	c.AddCommand(a.certPendingShow(vault), a.certPendingEnd(vault, "cancel", "Give up the making of a certificate; its key stays for a merge", (*client.Certificates).Cancel),
		a.certPendingEnd(vault, "delete", "Remove the operation of a certificate; one in progress is given up with its key", (*client.Certificates).DeleteOperation))
	return c
}

func (a *app) certPendingShow(vault *string) *cobra.Command {
	var csr string
	c := &cobra.Command{Use: "show NAME", Short: "Show how far the making of a certificate has come, or write its request", Args: cobra.ExactArgs(1),
		Example: `  keywright cert pending show web --vault demo
  keywright cert pending show web --vault demo --csr web.csr`, ValidArgsFunction: a.completeCerts(vault),
		RunE: a.inVault(vault, func(c *cobra.Command, v *client.Vault, args []string) error {
			op, err := v.Certificates().Operation(c.Context(), args[0])
			if err != nil {
				return err
			}
			if csr != "" {
				return a.writeOut(csr, []byte(op.CSR))
			}
			return a.showOperation(op)
		})}
	c.Flags().StringVar(&csr, "csr", "", "file to write the certificate request to, in PEM; - for standard output")
	return c
}

func (a *app) certPendingEnd(vault *string, verb, short string, end func(*client.Certificates, context.Context, string) (*client.CertificateOperation, error)) *cobra.Command {
	c := &cobra.Command{Use: verb + " NAME", Short: short, Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeCerts(vault),
		RunE: a.inVault(vault, func(c *cobra.Command, v *client.Vault, args []string) error {
			if err := a.confirm(c, "Give up what is being made of the certificate %q of the vault %q?", args[0], v.Name()); err != nil {
				return err
			}
			op, err := end(v.Certificates(), c.Context(), args[0])
			if err != nil {
				return err
			}
			return a.showOperation(op)
		})}
	confirmFlag(c)
	return c
}

func (a *app) certMerge(vault *string) *cobra.Command {
	var at attributes
	var file string
	c := &cobra.Command{
		Use:   "merge NAME",
		Short: "Complete a certificate with what an authority gave for its request",
		Long: `Complete a certificate with what an authority gave for its request. The file holds the certificate and those of its authorities, in PEM or DER, in any order. It
belongs to the request when its public key is the same. It takes an operation of the issuer Unknown, or one that failed or was cancelled.`,
		Example: `  keywright cert merge web --vault demo --file web-and-chain.pem`,
		Args:    cobra.ExactArgs(1), ValidArgsFunction: a.completeCerts(vault),
		RunE: a.inVault(vault, func(c *cobra.Command, v *client.Vault, args []string) (err error) {
			var in client.MergeCertificate
			in.Enabled = at.changedEnabled(c)
			if in.Tags, err = at.tagMap(); err != nil {
				return err
			}
			raw, err := a.readInput(file, maxValue)
			if err != nil {
				return err
			}
			// Only the certificates are sent, whatever else is in the file: a private key in it stays here.
			chain, err := certfile.ReadCertificates(raw)
			clear(raw)
			if err != nil {
				return usageError{err}
			}
			in.PEM = string(certfile.WriteChainPEM(chain))
			got, err := v.Certificates().Merge(c.Context(), args[0], in)
			if err != nil {
				return err
			}
			return a.showCert(got)
		}),
	}
	at.flags(c, certEnabled)
	c.Flags().StringVar(&file, "file", "-", "file that holds the certificates; - for standard input")
	return c
}
