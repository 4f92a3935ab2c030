package cli

import (
	"context"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keywright/keywright/client"
	"github.com/keywright/keywright/client/api"
)

var subscriptionHeader = []string{"NAME", "VAULT", "ENDPOINT", "SCHEMA", "STATE", "WAITING", "DEAD"}

func subscriptionRow(s *api.EventSubscription) []string {
	return []string{s.Name, s.Vault, s.Endpoint, s.Schema, s.State, strconv.Itoa(s.Waiting), strconv.Itoa(s.Dead)}
}

func (a *app) showSubscription(s *api.EventSubscription) error {
	if s.Detail != "" {
		a.say("%s", s.Detail)
	}
	return a.show(s, table{subscriptionHeader, subscriptionRow(s)})
}

func (a *app) eventCommand() *cobra.Command {
	c := &cobra.Command{Use: "event", Short: "Manage who is told of events"}
	s := &cobra.Command{Use: "subscription", Short: "Manage the webhooks that the events of a vault are delivered to"}
	s.AddCommand(a.subscriptionCreate(), a.subscriptionList(), a.subscriptionShow(), a.subscriptionValidate(), a.subscriptionDelete())
	d := &cobra.Command{Use: "deadletter", Short: "Look at events that could not be delivered, and deliver them again"}
	d.AddCommand(a.deadLetterList(), a.deadLetterReplay())
	c.AddCommand(s, d)
	return c
}

// vaultOf adds the flag of the vault whose events are meant.
func (a *app) vaultOf(c *cobra.Command, vault *string) {
	c.Flags().StringVar(vault, "vault", "", "name of the vault (default $KEYWRIGHT_VAULT_NAME)")
	c.RegisterFlagCompletionFunc("vault", a.offerVaults)
}

// offerSubscriptions offers those of a vault.
func (a *app) offerSubscriptions(vault *string) completion {
	return offer(a, func(ctx context.Context, cl *client.Client) iter.Seq2[*api.EventSubscription, error] {
		name, _ := a.vaultName(*vault) // without one there is nothing to offer
		return cl.EventSubscriptions(ctx, name)
	}, func(s *api.EventSubscription) string { return s.Name })
}

// maxEndpoint bounds a file with an endpoint or the value of a header, in bytes.
const maxEndpoint = 16 << 10

// readLine reads a file, or standard input for "-", less the line break at its end.
func (a *app) readLine(file string) (api.Text, error) {
	raw, err := a.readInput(file, maxEndpoint)
	return api.Text(strings.TrimRight(string(raw), "\r\n")), err
}

func (a *app) subscriptionCreate() *cobra.Command {
	var in api.CreateEventSubscription
	var vault, endpoint, endpointFile, caFile string
	var headers []string
	var ttl time.Duration
	c := &cobra.Command{Use: "create NAME", Short: "Deliver the events of a vault to a webhook",
		Long: `Deliver the events of a vault to a webhook, as Azure Event Grid does: in its own schema or as CloudEvents, after a handshake with the endpoint.

What authenticates deliveries, a query in the endpoint's URL or a header, is read from files: others can see what is on a command line.`,
		Example: `  keywright event subscription create functions --vault billing --endpoint https://hooks.example.org/rotate --type Microsoft.KeyVault.SecretNearExpiry
  keywright event subscription create functions --vault billing --endpoint-file url.txt --schema CloudEventSchemaV1_0
  keywright event subscription create functions --vault billing --endpoint https://hooks.example.org/rotate --header Authorization=token.txt`,
		Args: cobra.ExactArgs(1),
		RunE: a.ofVault(&vault, func(c *cobra.Command, cl *client.Client, args []string) (err error) {
			if in.Endpoint = api.Text(endpoint); endpointFile != "" {
				if in.Endpoint, err = a.readLine(endpointFile); err != nil {
					return err
				}
			}
			if in.Endpoint == "" {
				return usage("no endpoint: give its URL with --endpoint, or with --endpoint-file when it holds a secret")
			}
			if strings.Contains(endpoint, "?") {
				a.say("Warning: what is on the command line is visible to other users of this machine. Use --endpoint-file when the query is a secret.")
			}
			in.Headers = make(map[string]api.Text, len(headers))
			for _, h := range headers {
				name, file, ok := strings.Cut(h, "=")
				if !ok || name == "" {
					return usage("--header %q is not NAME=FILE", h)
				}
				if in.Headers[name], err = a.readLine(file); err != nil {
					return err
				}
			}
			if caFile != "" {
				pem, err := a.readInput(caFile, 64<<10)
				if err != nil {
					return err
				}
				in.CA = string(pem)
			}
			if ttl%time.Minute != 0 {
				return usage("--ttl %s is not in whole minutes", ttl)
			}
			in.TTLMinutes = int(ttl / time.Minute)
			s, err := cl.CreateEventSubscription(c.Context(), vault, args[0], in)
			if err != nil {
				return err
			}
			return a.showSubscription(s)
		})}
	a.vaultOf(c, &vault)
	f := c.Flags()
	f.StringVar(&endpoint, "endpoint", "", "https URL of the webhook")
	f.StringVar(&endpointFile, "endpoint-file", "", "file that holds the URL; - for standard input")
	f.StringArrayVar(&headers, "header", nil, "a header for every request, NAME=FILE with its value in the file; may be given more than once")
	f.StringVar(&in.Schema, "schema", "", "EventGridSchema or CloudEventSchemaV1_0 (default EventGridSchema)")
	f.StringSliceVar(&in.Types, "type", nil, "type of events, such as Microsoft.KeyVault.SecretNearExpiry (default all); may be given more than once")
	f.StringVar(&in.SubjectBegins, "subject-begins", "", "how names of objects begin")
	f.StringVar(&in.SubjectEnds, "subject-ends", "", "how names of objects end")
	f.IntVar(&in.MaxAttempts, "max-attempts", 0, "how often an event is tried, 1 to 30 (default 30)")
	f.DurationVar(&ttl, "ttl", 0, "for how long an event is tried, 1m to 24h (default 24h)")
	f.IntVar(&in.Concurrency, "concurrency", 0, "how many deliveries may be under way at once, 1 to 64 (default 8)")
	f.StringVar(&caFile, "endpoint-ca-file", "", "PEM bundle in which the endpoint's authority is")
	c.MarkFlagsMutuallyExclusive("endpoint", "endpoint-file")
	c.RegisterFlagCompletionFunc("schema", cobra.FixedCompletions([]string{"EventGridSchema", "CloudEventSchemaV1_0"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

func (a *app) subscriptionList() *cobra.Command {
	var vault string
	c := &cobra.Command{Use: "list", Short: "List who is told of the events of a vault", Args: cobra.NoArgs,
		RunE: a.ofVault(&vault, func(c *cobra.Command, cl *client.Client, _ []string) error {
			all, err := collect(cl.EventSubscriptions(c.Context(), vault))
			if err != nil {
				return err
			}
			return a.show(all, rows(subscriptionHeader, all, subscriptionRow))
		})}
	a.vaultOf(c, &vault)
	return c
}

func (a *app) subscriptionShow() *cobra.Command {
	var vault string
	c := &cobra.Command{Use: "show NAME", Short: "Show a subscription and how its deliveries are", Args: cobra.ExactArgs(1), ValidArgsFunction: argument(a.offerSubscriptions(&vault)),
		RunE: a.ofVault(&vault, func(c *cobra.Command, cl *client.Client, args []string) error {
			s, err := cl.ShowEventSubscription(c.Context(), vault, args[0])
			if err != nil {
				return err
			}
			return a.showSubscription(s)
		})}
	a.vaultOf(c, &vault)
	return c
}

func (a *app) subscriptionValidate() *cobra.Command {
	var vault string
	c := &cobra.Command{Use: "validate NAME", Short: "Repeat the handshake with the endpoint of a subscription", Args: cobra.ExactArgs(1), ValidArgsFunction: argument(a.offerSubscriptions(&vault)),
		RunE: a.ofVault(&vault, func(c *cobra.Command, cl *client.Client, args []string) error {
			s, err := cl.ValidateEventSubscription(c.Context(), vault, args[0])
			if err != nil {
				return err
			}
			return a.showSubscription(s)
		})}
	a.vaultOf(c, &vault)
	return c
}

func (a *app) subscriptionDelete() *cobra.Command {
	var vault string
	c := &cobra.Command{Use: "delete NAME", Short: "Remove a subscription with everything that was still to be delivered", Args: cobra.ExactArgs(1), ValidArgsFunction: argument(a.offerSubscriptions(&vault)),
		RunE: a.ofVault(&vault, func(c *cobra.Command, cl *client.Client, args []string) error {
			if err := a.confirm(c, "Remove the event subscription %q of the vault %q, with what was still to be delivered?", args[0], vault); err != nil {
				return err
			}
			if err := cl.DeleteEventSubscription(c.Context(), vault, args[0]); err != nil {
				return err
			}
			a.say("Removed the event subscription %s.", args[0])
			return nil
		})}
	confirmFlag(c)
	a.vaultOf(c, &vault)
	return c
}

// lettersOf adds the flags that name a subscription.
func (a *app) lettersOf(c *cobra.Command, vault, subscription *string) {
	a.vaultOf(c, vault)
	c.Flags().StringVar(subscription, "subscription", "", "name of the event subscription")
	c.MarkFlagRequired("subscription")
	c.RegisterFlagCompletionFunc("subscription", a.offerSubscriptions(vault))
}

func (a *app) deadLetterList() *cobra.Command {
	var vault, subscription string
	header := []string{"SEQ", "TIME", "TYPE", "SUBJECT", "REASON", "ATTEMPTS", "OUTCOME"}
	c := &cobra.Command{Use: "list", Short: "List the events that could not be delivered, oldest first", Args: cobra.NoArgs,
		RunE: a.ofVault(&vault, func(c *cobra.Command, cl *client.Client, _ []string) error {
			all, err := collect(cl.DeadLetters(c.Context(), vault, subscription))
			if err != nil {
				return err
			}
			return a.show(all, rows(header, all, func(l *api.DeadLetter) []string {
				return []string{strconv.FormatInt(l.Seq, 10), when(&l.Time), l.Type, l.Subject, l.Reason, strconv.Itoa(l.Attempts), l.Outcome}
			}))
		})}
	a.lettersOf(c, &vault, &subscription)
	return c
}

func (a *app) deadLetterReplay() *cobra.Command {
	var vault, subscription string
	var all bool
	c := &cobra.Command{Use: "replay [SEQ]", Short: "Deliver an event again that could not be delivered, or all of them", Args: cobra.MaximumNArgs(1),
		RunE: a.ofVault(&vault, func(c *cobra.Command, cl *client.Client, args []string) error {
			if all == (len(args) == 1) {
				return usage("say which dead letter, by its SEQ, or --all")
			}
			if !all {
				seq, err := strconv.ParseInt(args[0], 10, 64)
				if err != nil || seq < 1 {
					return usage("%q is not the SEQ of a dead letter: list them", args[0])
				}
				if _, err := cl.ReplayDeadLetters(c.Context(), vault, subscription, seq); err != nil {
					return err
				}
				a.say("The event is delivered again.")
				return nil
			}
			// Those that die again meanwhile come back with the next call; as many as there were at first are replayed.
			left, err := cl.ShowEventSubscription(c.Context(), vault, subscription)
			if err != nil {
				return err
			}
			total := 0
			for total < left.Dead {
				n, err := cl.ReplayDeadLetters(c.Context(), vault, subscription, 0)
				if err != nil {
					return err
				}
				if n == 0 {
					break
				}
				total += n
			}
			a.say("%d events are delivered again.", total)
			return nil
		})}
	a.lettersOf(c, &vault, &subscription)
	c.Flags().BoolVar(&all, "all", false, "deliver all of them again")
	return c
}
