package cli

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keywright/keywright/client"
	"github.com/keywright/keywright/client/api"
)

func (a *app) certEndpoint(vault *string) *cobra.Command {
	c := &cobra.Command{Use: "endpoint", Short: "Watch which certificates are presented where",
		Long: `Watch which certificates are presented where. An endpoint is a place where TLS is spoken. The server connects to every address behind its name, again and
again, and raises an alarm when a renewed certificate is not served, when one ends soon, or when clients would refuse it.`}
	c.AddCommand(a.certEndpointAdd(vault), a.certEndpointList(vault), a.certEndpointShow(vault), a.certEndpointCheck(vault), a.certEndpointAcknowledge(vault), a.certEndpointRemove(vault))
	return c
}

var endpointHeader = []string{"NAME", "ADDRESS", "CERTIFICATE", "STATE", "LEVEL", "OLDEST ENDS", "LEFT", "ALARMS", "CHECKED"}

func endpointRow(e *client.CertificateEndpoint) []string {
	ends, left := "", ""
	if e.Oldest != nil {
		ends = when(&e.Oldest.NotAfter)
	}
	if e.SecondsLeft != nil {
		left = countdown(time.Duration(*e.SecondsLeft) * time.Second)
	}
	var alarms []string
	for _, a := range e.Alarms {
		if a.Raised != nil {
			alarms = append(alarms, a.Kind)
		}
	}
	return []string{e.Name, e.Address, e.Certificate, e.State, e.Level, ends, left, strings.Join(alarms, " "), when(e.Checked)}
}

// countdown writes what is left in days, or in hours on the last two.
func countdown(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d <= 0:
		return "over"
	case d < 2*day:
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return fmt.Sprintf("%dd", d/day)
}

// showEndpoint shows an endpoint, what is wrong with it in words, and for people what each address presents.
func (a *app) showEndpoint(e *client.CertificateEndpoint) error {
	for _, alarm := range e.Alarms {
		if alarm.Raised != nil {
			a.say("%s, %s: %s (%s)", alarm.Level, alarm.Kind, alarm.Detail, strings.Join(alarm.Addresses, ", "))
		}
	}
	if t := e.Task; t != nil {
		a.say("%s", taskLine(e, t))
	}
	return a.show(e, table{endpointHeader, endpointRow(e)})
}

// taskLine says who sees to the alarms, and until when.
func taskLine(e *client.CertificateEndpoint, t *api.EndpointTask) string {
	line := "to be seen to by " + when(&t.Due)
	if e.Assignee != "" {
		line = e.Assignee + ": " + line
	}
	switch {
	case t.Acknowledged != nil:
		line += ", taken on at " + when(t.Acknowledged) + " by " + t.By
	case t.Escalated && e.Team != "":
		line += ", told to " + e.Team
	default:
		line += ", taken on by nobody"
	}
	return line
}

func (a *app) certEndpointAcknowledge(vault *string) *cobra.Command {
	c := a.onEndpoint(vault, "acknowledge NAME", "Say that you have taken the alarms of an endpoint on", (*client.Certificates).AcknowledgeEndpoint)
	c.Aliases = []string{"ack"}
	c.Long = `Say that you have taken the alarms of an endpoint on. They are not told every day any more. Reminders go on, the team hears of it at the escalation, and
something worse is told, and has to be acknowledged, anew.`
	return c
}

func (a *app) certEndpointAdd(vault *string) *cobra.Command {
	var in client.SetCertificateEndpoint
	var every, timeout, grace, within, escalate time.Duration
	var remind []time.Duration
	var caFile string
	c := &cobra.Command{Use: "add NAME", Short: "Register a place where a certificate is presented, or change the one of that name", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeEndpoints(vault),
		Long: `Register a place where a certificate is presented, or change the one of that name. It is looked at once, and from then on again and again.
Without --certificate it is watched alone: whatever is presented has to be valid for the name, and to be made anew in time by whoever keeps it.`,
		Example: `  keywright cert endpoint add shop --vault demo --certificate web --address shop.example:443
  keywright cert endpoint add mail --vault demo --certificate mail --address mx.example:25 --protocol smtp
  keywright cert endpoint add partner --vault demo --address api.partner.example:443 --every 6h`,
		RunE: a.inVault(vault, func(c *cobra.Command, v *client.Vault, args []string) error {
			if caFile != "" {
				pem, err := a.readInput(caFile, 64<<10)
				if err != nil {
					return err
				}
				in.CA = string(pem)
			}
			for flag, d := range map[string]struct {
				from time.Duration
				to   *int64
			}{"every": {every, &in.EverySeconds}, "timeout": {timeout, &in.TimeoutSeconds}, "grace": {grace, &in.GraceSeconds}, "within": {within, &in.WithinSeconds},
				"escalate": {escalate, &in.EscalateSeconds}} {
				if d.from%time.Second != 0 {
					return usage("--%s %s is not in whole seconds", flag, d.from)
				}
				*d.to = int64(d.from / time.Second)
			}
			for _, d := range remind {
				in.RemindSeconds = append(in.RemindSeconds, int64(d/time.Second))
			}
			if _, err := v.Certificates().SetEndpoint(c.Context(), args[0], in); err != nil {
				return err
			}
			e, err := v.Certificates().CheckEndpoint(c.Context(), args[0])
			if client.KindOf(err) == client.Conflict { // the server is at it already
				e, err = v.Certificates().Endpoint(c.Context(), args[0])
			}
			if err != nil {
				return err
			}
			return a.showEndpoint(e)
		})}
	f := c.Flags()
	f.StringVar(&in.Certificate, "certificate", "", "certificate of the vault that is to be presented there; none for one that is kept elsewhere")
	f.StringVar(&in.Address, "address", "", "host and port, such as shop.example:443")
	f.StringVar(&in.ServerName, "server-name", "", "name to ask for, which has to stand in the certificate (default the host of the address)")
	f.StringVar(&in.Protocol, "protocol", "", "what is said before TLS begins: tls, smtp, imap, ldap or postgres (default tls)")
	f.DurationVar(&every, "every", 0, "how often to look, 1m to 24h (default 1h)")
	f.DurationVar(&timeout, "timeout", 0, "how long one address may take, 1s to 30s (default 10s)")
	f.DurationVar(&grace, "grace", 0, "how long a renewed certificate may stay unserved before that is an alarm, 1m to 2160h (default 1h)")
	f.StringVar(&caFile, "endpoint-ca-file", "", "PEM bundle of authorities that are trusted beside the system's and the root of the stored chain")
	f.StringVar(&in.Assignee, "assignee", "", "who sees to alarms: a person or a queue; an address of mail is written to")
	f.StringVar(&in.Team, "team", "", "who hears of an alarm at the escalation; an address of mail is written to")
	f.DurationVar(&within, "within", 0, "by when alarms should be seen to, 1h to 8760h (default 720h, and before the oldest certificate presented ends)")
	f.DurationSliceVar(&remind, "remind", nil, "how long before that reminders go out (default 720h,336h,168h,24h)")
	f.DurationVar(&escalate, "escalate", 0, "how long before that the team hears of it (default 72h)")
	c.MarkFlagRequired("address")
	c.RegisterFlagCompletionFunc("certificate", a.certs(vault).complete())
	c.RegisterFlagCompletionFunc("protocol", cobra.FixedCompletions([]string{"tls", "smtp", "imap", "ldap", "postgres"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

func (a *app) certEndpointList(vault *string) *cobra.Command {
	var certificate string
	c := &cobra.Command{Use: "list", Short: "List the endpoints of a vault", Args: cobra.NoArgs,
		RunE: a.inVault(vault, func(c *cobra.Command, v *client.Vault, _ []string) error {
			all, err := collect(v.Certificates().Endpoints(c.Context(), certificate))
			if err != nil {
				return err
			}
			return a.show(all, rows(endpointHeader, all, endpointRow))
		})}
	c.Flags().StringVar(&certificate, "certificate", "", "certificate whose endpoints are wanted (default all)")
	c.RegisterFlagCompletionFunc("certificate", a.certs(vault).complete())
	return c
}

// onEndpoint makes a command that does something with one endpoint and shows it.
func (a *app) onEndpoint(vault *string, use, short string, do func(*client.Certificates, context.Context, string) (*client.CertificateEndpoint, error)) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeEndpoints(vault),
		RunE: a.inVault(vault, func(c *cobra.Command, v *client.Vault, args []string) error {
			e, err := do(v.Certificates(), c.Context(), args[0])
			if err != nil {
				return err
			}
			return a.showEndpoint(e)
		})}
}

func (a *app) certEndpointShow(vault *string) *cobra.Command {
	return a.onEndpoint(vault, "show NAME", "Show an endpoint and what was seen there", (*client.Certificates).Endpoint)
}

func (a *app) certEndpointCheck(vault *string) *cobra.Command {
	return a.onEndpoint(vault, "check NAME", "Look at an endpoint now", (*client.Certificates).CheckEndpoint)
}

func (a *app) certEndpointRemove(vault *string) *cobra.Command {
	c := &cobra.Command{Use: "remove NAME", Short: "End the watching of an endpoint", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeEndpoints(vault),
		RunE: a.inVault(vault, func(c *cobra.Command, v *client.Vault, args []string) error {
			if err := a.confirm(c, "Watch the endpoint %q of the vault %q no more? What was seen there is forgotten.", args[0], v.Name()); err != nil {
				return err
			}
			if err := v.Certificates().RemoveEndpoint(c.Context(), args[0]); err != nil {
				return err
			}
			a.say("The endpoint %q of the vault %q is not watched any more.", args[0], v.Name())
			return nil
		})}
	confirmFlag(c)
	return c
}

// completeEndpoints offers the names of a vault's endpoints for an argument.
func (a *app) completeEndpoints(vault *string) completion {
	return argument(offerOf(a, vault, func(ctx context.Context, v *client.Vault) iter.Seq2[*client.CertificateEndpoint, error] {
		return v.Certificates().Endpoints(ctx, "")
	}, func(e *client.CertificateEndpoint) string { return e.Name }))
}
