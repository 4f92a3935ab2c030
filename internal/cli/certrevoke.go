package cli

import (
	"github.com/spf13/cobra"

	"github.com/keywright/keywright/client"
)

func (a *app) certRevoke(vault *string) *cobra.Command {
	var which client.Selector
	var reason string
	c := &cobra.Command{Use: "revoke NAME", Short: "Have a certificate taken back by its issuer", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			certs, _, err := a.certs(*vault)
			if err != nil {
				return err
			}
			revoked, err := certs.Revoke(c.Context(), args[0], which, reason)
			if err != nil {
				return err
			}
			return a.showCert(revoked)
		}}
	c.Flags().StringVar(&which.Version, "version", "", "version to revoke; the current one when absent")
	c.Flags().StringVar(&reason, "reason", "", "why: keyCompromise, superseded, cessationOfOperation, ... (RFC 5280, section 5.3.1)")
	return c
}
