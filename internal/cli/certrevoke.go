package cli

import (
	"github.com/spf13/cobra"

	"github.com/keywright/keywright/client"
)

// revocationReasons are those that mean something for a certificate of a server or a program (RFC 5280, section 5.3.1).
var revocationReasons = []string{"unspecified", "keyCompromise", "cACompromise", "affiliationChanged", "superseded", "cessationOfOperation", "privilegeWithdrawn"}

func (a *app) certRevoke(vault *string) *cobra.Command {
	var w which
	var reason string
	c := &cobra.Command{Use: "revoke NAME", Short: "Have a certificate taken back by its issuer", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeCerts(vault),
		Long: `Have a version of a certificate taken back by its issuer, for good: whoever asks the issuer refuses it from then on. A certificate that its policy renews is made
anew at once. Doing it again does nothing.`,
		Example: `  keywright cert revoke web --vault demo --reason keyCompromise
  keywright cert revoke web --vault demo --version 0199f0… --reason superseded --yes`,
		RunE: a.inVault(vault, func(c *cobra.Command, v *client.Vault, args []string) error {
			if err := a.confirm(c, "Have %s of the certificate %q of the vault %q taken back for good? Whoever serves it is refused.", first(w.version, "the current version"), args[0], v.Name()); err != nil {
				return err
			}
			revoked, err := v.Certificates().Revoke(c.Context(), args[0], w.selector(), reason)
			if err != nil {
				return err
			}
			return a.showCert(revoked)
		})}
	versionFlag(c, &w)
	c.Flags().StringVar(&reason, "reason", "", "why, as RFC 5280 names it, such as keyCompromise or superseded (default unspecified)")
	c.RegisterFlagCompletionFunc("reason", cobra.FixedCompletions(revocationReasons, noFiles))
	confirmFlag(c)
	return c
}
