package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keywright/keywright/client"
	"github.com/keywright/keywright/client/api"
)

func (a *app) certAuthority(vault *string) *cobra.Command {
	c := &cobra.Command{Use: "ca", Aliases: []string{"authority"}, Short: "Change a certificate authority without an outage",
		Long: `Change a certificate authority without an outage. NAME is the certificate that signs. What those who trust it have to trust is kept in a secret, its trust bundle: publish
that first, and have everybody who verifies certificates of the authority read it.`}
	c.AddCommand(a.authorityPublish(vault), a.authorityPlan(vault), a.authorityChange(vault), a.authorityStatus(vault),
		a.authorityOrder(vault, api.AbortOrder, "Abort a change and return to the authority from before", `Abort a change and return to the authority from before. Certificates that its successor has signed are made anew, and consumers are waited for, so that nobody
has an outage. Once the old authority has left the trust bundles there is no way back.`, "The change is being undone.", "Abort the change of %q?"),
		a.authorityOrder(vault, api.ForceOrder, "Go on without the consumers that are waited for", `Go on without the consumers that are waited for. Those that are left lose their connections when the old authority goes; they are named in the audit log
with the reason, which --note has to give. It counts for the present wait alone.`, "The change goes on.", "Change %q under the consumers that are left?"),
		a.authorityOrder(vault, api.ApproveOrder, "Let a change go on that waits for somebody to agree", "Let a change go on that waits for somebody to agree. Nobody approves what they asked for themselves.",
			"Approved.", ""),
		a.authorityOrder(vault, api.ReplayOrder, "Send a stuck change on its way again", "Send a stuck change on its way again, after what stopped it was put right.", "The change goes on.", ""))
	return c
}

// onAuthority is a command about one authority.
func (a *app) onAuthority(vault *string, c *cobra.Command, do func(*cobra.Command, *client.Certificates, *client.Vault, string) error) *cobra.Command {
	c.Args, c.ValidArgsFunction = cobra.ExactArgs(1), a.completeCerts(vault)
	c.RunE = a.inVault(vault, func(c *cobra.Command, v *client.Vault, args []string) error {
		return do(c, v.Certificates(), v, args[0])
	})
	return c
}

func (a *app) authorityPublish(vault *string) *cobra.Command {
	var in api.PublishTrust
	var overdue string
	var approveOverdue bool
	c := &cobra.Command{Use: "publish NAME", Short: "Keep what is to be trusted in a secret, and say how the authority changes",
		Long: `Keep what those who trust an authority have to trust in a secret, in PEM: its trust bundle. From here on Keywright alone writes that secret, and the authority gets a
successor only by "keywright cert ca change". Again, the command says anew how the authority changes; what is not given is then as if it had never been.`,
		Example: "  keywright cert ca publish root --vault demo --deadline 30d"}
	a.onAuthority(vault, c, func(c *cobra.Command, k *client.Certificates, _ *client.Vault, name string) error {
		if overdue != "" || approveOverdue {
			in.Overdue = &api.OverduePolicy{Then: overdue, Approval: approveOverdue}
		}
		got, err := k.PublishTrust(c.Context(), name, in)
		if err != nil {
			return err
		}
		return a.show(got, authorityTable(got))
	})
	f := c.Flags()
	f.StringVar(&in.Bundle, "bundle", "", "name of the secret; NAME-trust when absent")
	f.StringVar(&in.Grace, "grace", "", "how long everybody is waited for at least, such as 5m")
	f.StringVar(&in.CacheTTL, "cache-ttl", "", "how long consumers that acknowledge nothing keep what they read")
	f.StringVar(&in.MaxConnectionLife, "max-connection-life", "", "how long they keep a connection with it")
	f.StringVar(&in.Deadline, "deadline", "", "how long each wait should take at most, such as 30d")
	f.StringVar(&overdue, "overdue", "", "what happens then: hold (when absent) or force")
	f.BoolVar(&approveOverdue, "approve-overdue", false, "ask a second person before consumers are no longer waited for")
	f.StringVar(&in.Schedule, "schedule", "", "when the authority changes by itself, such as 'every 700d'")
	f.StringVar(&in.BeforeExpiry, "before-expiry", "", "how long before its end the authority changes by itself, such as 365d")
	f.BoolVar(&in.Approval, "approval", false, "hold each change until somebody agrees")
	f.BoolVar(&in.Unread, "unread", false, "let the authority change although nobody is known to read the bundle")
	c.RegisterFlagCompletionFunc("overdue", cobra.FixedCompletions([]string{"hold", "force"}, noFiles))
	return c
}

func (a *app) authorityPlan(vault *string) *cobra.Command {
	c := &cobra.Command{Use: "plan NAME", Short: "Rehearse a change: what would happen, how long it takes, and who would have to move",
		Long: `Rehearse a change: which authorities would get successors, which certificates would be made anew, how long that is likely to take, and which consumers would have to move.
Nothing changes. The exit code is 5 when a change could not begin now.`, Example: "  keywright cert ca plan root --vault demo"}
	return a.onAuthority(vault, c, func(c *cobra.Command, k *client.Certificates, _ *client.Vault, name string) error {
		p, err := k.PlanAuthority(c.Context(), name)
		if err != nil {
			return err
		}
		if err := a.show(p, planTable(p)); err != nil {
			return err
		}
		if !p.Ready {
			return exitError{ExitConflict, fmt.Errorf("a change of %q could not begin now: %s", name, p.Problem)}
		}
		return nil
	})
}

// authorityReasons are the causes of changes as people say them on the command line.
var authorityReasons = map[string]string{"manual": api.OnDemand, "leak": api.Leak, "emergency": api.Emergency}

func (a *app) authorityChange(vault *string) *cobra.Command {
	var in api.ChangeAuthority
	var reason, exposed string
	var watch bool
	c := &cobra.Command{Use: "change NAME", Short: "Give an authority a successor",
		Long: `Give an authority a successor with a key of its own: a root by itself, an intermediate by the authority that signs it. The successor is published in the trust bundle
beside the authority from before; when everybody who reads the bundle has it, certificates are made anew; when their consumers have those, the old authority leaves the bundle. Those
below it get successors, too. Who has not moved is named, and waited for.

It goes on by itself, after a restart as well; --watch follows it, and "keywright cert ca status" tells where it stands. A leak or an emergency waits for nobody.`,
		Example: `  keywright cert ca change root --vault demo --watch
  keywright cert ca change root --vault demo --reason leak --note "the old data centre"`}
	a.onAuthority(vault, c, func(c *cobra.Command, k *client.Certificates, v *client.Vault, name string) (err error) {
		if in.Cause = authorityReasons[reason]; in.Cause == "" {
			return usage("--reason is one of emergency, leak, manual")
		}
		if in.Exposed, err = instant("exposed", exposed); err != nil {
			return err
		}
		r, err := k.ChangeAuthority(c.Context(), name, in)
		if err != nil {
			return err
		}
		if watch {
			return a.follow(c.Context(), v, r.ID, false)
		}
		return a.show(r, table{runHeader, runRow(r)})
	})
	f := c.Flags()
	f.StringVar(&reason, "reason", "manual", "why: manual, leak or emergency")
	f.StringVar(&in.Note, "note", "", "what else is to be known, for the audit log")
	f.StringVar(&exposed, "exposed", "", "since when it was exposed, for a leak (RFC 3339 or a date)")
	f.BoolVar(&watch, "watch", false, "follow the change to its end")
	c.RegisterFlagCompletionFunc("reason", cobra.FixedCompletions([]string{"emergency", "leak", "manual"}, noFiles))
	return c
}

func (a *app) authorityStatus(vault *string) *cobra.Command {
	c := &cobra.Command{Use: "status NAME", Short: "Show an authority: what is trusted, who signs, and where its change stands", Example: "  keywright cert ca status root --vault demo"}
	return a.onAuthority(vault, c, func(c *cobra.Command, k *client.Certificates, _ *client.Vault, name string) error {
		got, err := k.Authority(c.Context(), name)
		if err != nil {
			return err
		}
		return a.show(got, authorityTable(got))
	})
}

// authorityOrder is a command that tells the change of an authority what to do.
func (a *app) authorityOrder(vault *string, order, short, long, done, question string) *cobra.Command {
	in := api.OrderRotation{Order: order}
	c := &cobra.Command{Use: order + " NAME", Short: short, Long: long}
	a.onAuthority(vault, c, func(c *cobra.Command, k *client.Certificates, v *client.Vault, name string) error {
		got, err := k.Authority(c.Context(), name)
		if err != nil {
			return err
		}
		if got.Change == nil || !got.Change.Open {
			return exitError{ExitConflict, fmt.Errorf("no change of the authority %q is under way: start one with \"keywright cert ca change %s\"", got.Name, got.Name)}
		}
		if question != "" {
			if err := a.confirm(c, question, got.Name); err != nil {
				return err
			}
		}
		n, err := v.OrderRotation(c.Context(), got.Change.ID, in)
		if err != nil {
			return err
		}
		a.say("%s", done)
		return a.show(n, table{runHeader, runRow(n)})
	})
	c.Flags().StringVar(&in.Note, "note", "", "why, for the audit log")
	if question != "" {
		confirmFlag(c)
	}
	return c
}

func authorityTable(ca *api.CertificateAuthority) table {
	t := table{{"WHAT", "VALUE"}}
	add := func(what string, parts ...string) {
		if value := strings.Join(slices.DeleteFunc(parts, func(p string) bool { return p == "" }), " "); value != "" {
			t = append(t, []string{what, value})
		}
	}
	for i := range ca.Line {
		h := &ca.Line[i]
		add("authority", inVaultName(h.Vault, h.Name), h.Subject)
		add("signs", h.Signs)
		add("trusted", strings.Join(h.Trusted, " "))
		add("issuers", strings.Join(h.Issuers, " "))
	}
	if b := ca.Bundle; b != nil {
		add("trust bundle", b.Name)
		add("deadline", b.Policy.Deadline)
		add("due", when(b.DueAt))
		add("last change", when(b.Succeeded))
	}
	r := ca.Change
	if r == nil {
		return t
	}
	since := r.Since
	add("change", r.ID, r.Cause)
	add("state", r.State, r.Reason)
	add("meaning", meanings[r.State])
	add("since", when(&since))
	if r.Open {
		add("deadline of this wait", when(r.Deadline))
		add("next look", when(r.Next))
	}
	if e := r.LastError; e != nil && r.Open {
		add("last error", e.Class+":", e.Message)
	}
	if s := r.Succession; s != nil {
		for _, h := range s.Authorities {
			add("successor", inVaultName(h.Vault, h.Name), h.Old, "->", first(h.New, "(not made yet)"))
		}
		for _, b := range s.Bundles {
			at := b.At
			add("published", inVaultName(b.Vault, b.Name), b.Version, when(&at))
		}
		made := 0
		for _, x := range s.Certificates {
			if x.New != "" {
				made++
			}
			if x.Problem != "" {
				add("not made anew", inVaultName(x.Vault, x.Name)+":", x.Problem)
			}
		}
		if n := len(s.Certificates); n > 0 {
			add("certificates", fmt.Sprintf("%d of %d made anew", made, n))
		}
	}
	if r.Open {
		for i := range r.Waiting {
			add("waits for", holderText(&r.Waiting[i]))
		}
	}
	return t
}

// inVaultName names something of a change, with its vault where that is another one.
func inVaultName(vault, name string) string {
	if vault == "" {
		return name
	}
	return vault + "/" + name
}
