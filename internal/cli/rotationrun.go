package cli

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keywright/keywright/client"
	"github.com/keywright/keywright/client/api"
)

var runHeader = []string{"RUN", "KIND", "NAME", "STATE", "REASON", "CAUSE", "CREATED", "ENDED", "WAITING", "TRIES"}

func runRow(r *api.Rotation) []string {
	waiting := ""
	if len(r.Waiting) > 0 && r.Open {
		waiting = fmt.Sprint(len(r.Waiting))
	}
	return []string{r.ID, r.Kind, r.Name, r.State, r.Reason, r.Cause, when(&r.Created), when(r.Ended), waiting, fmt.Sprint(r.Tries)}
}

// reasons are the causes of runs as people say them on the command line.
var reasons = map[string]string{"manual": api.OnDemand, "leak": api.Leak, "emergency": api.Emergency, "first-deployment": api.FirstDeployment}

func (a *app) rotationRun(vault *string) *cobra.Command {
	var in api.StartRotation
	var reason, exposed string
	var watch watchFlags
	c := &cobra.Command{Use: "run NAME", Short: "Rotate a secret now",
		Long: `Rotate a secret now, by its policy. A leak or an emergency goes before all other runs and does not wait for consumers: the old credential is revoked
at once. On a secret whose rotation is under way, they make that one urgent.

With --watch the command follows the run to its end. The exit code is 0 when it is done, and 1 when it was aborted, superseded, or needs a person.`,
		Example: `  keywright rotation run db --vault demo --watch
  keywright rotation run db --vault demo --reason leak --version 0199f0… --exposed 2026-11-20T08:00:00Z --note "found in a log"`,
		Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeSecrets(vault)}
	c.RunE = a.inVault(vault, func(c *cobra.Command, v *client.Vault, args []string) (err error) {
		if in.Cause = reasons[reason]; in.Cause == "" {
			return usage("--reason is one of %s", strings.Join(slices.Sorted(maps.Keys(reasons)), ", "))
		}
		if (in.Cause == api.Leak) != (in.Version != "") {
			return usage("--version names the version that leaked: give it with --reason leak, and only there")
		}
		if in.Exposed, err = instant("exposed", exposed); err != nil {
			return err
		}
		r, err := v.Rotate(c.Context(), args[0], in)
		if err != nil {
			return err
		}
		if watch.on {
			return a.follow(c.Context(), v, r.ID, watch.revocation)
		}
		return a.show(r, table{runHeader, runRow(r)})
	})
	f := c.Flags()
	f.StringVar(&reason, "reason", "manual", "why: manual, leak, emergency or first-deployment")
	f.StringVar(&in.Note, "note", "", "what else is to be known, for the audit log")
	f.StringVar(&in.Version, "version", "", "the version that leaked")
	f.StringVar(&exposed, "exposed", "", "since when it was exposed (RFC 3339 or a date)")
	watch.flags(c)
	c.RegisterFlagCompletionFunc("reason", cobra.FixedCompletions(slices.Sorted(maps.Keys(reasons)), noFiles))
	return c
}

func (a *app) rotationList(vault *string) *cobra.Command {
	var f client.RotationFilter
	var limit int
	c := &cobra.Command{Use: "list", Short: "List rotations and revocations, newest first",
		Long: "List rotations and revocations, newest first. Those that need a person are in the state stuck.",
		Example: `  keywright rotation list --vault demo --open
  keywright rotation list --vault demo --state stuck`, Args: cobra.NoArgs}
	c.RunE = a.inVault(vault, func(c *cobra.Command, v *client.Vault, _ []string) error {
		all := []api.Rotation{}
		for r, err := range v.Rotations(c.Context(), f) {
			if err != nil {
				return err
			}
			if all = append(all, *r); len(all) == limit {
				break
			}
		}
		if s, err := v.SchedulesPaused(c.Context()); err != nil {
			return err
		} else if s != nil {
			a.say("Nothing starts by schedule: %s. See \"keywright rotation schedule status\".", pauseText(s))
		}
		return a.show(all, rows(runHeader, all, runRow))
	})
	fl := c.Flags()
	fl.StringVar(&f.Name, "name", "", "the secret whose runs are listed")
	fl.StringVar(&f.State, "state", "", "the state in which they are, such as stuck")
	fl.StringVar(&f.Kind, "kind", "", "rotation, revocation or authority")
	fl.BoolVar(&f.Open, "open", false, "only those that have not ended")
	fl.IntVar(&limit, "limit", 100, "the most runs; 0 for all")
	c.RegisterFlagCompletionFunc("name", a.secrets(vault).complete())
	c.RegisterFlagCompletionFunc("kind", cobra.FixedCompletions([]string{api.RotationRun, api.RevocationRun, api.AuthorityRun}, noFiles))
	c.RegisterFlagCompletionFunc("state", cobra.FixedCompletions(slices.Sorted(maps.Keys(meanings)), noFiles))
	return c
}

// runHelp says how a run is named.
const runHelp = " RUN is the id of a run, or the name of a secret for its newest one."

// onRun is a command that does something with one run.
func (a *app) onRun(vault *string, do func(*cobra.Command, *client.Vault, *api.Rotation, []string) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, args []string) error {
		v, err := a.vault(*vault)
		if err != nil {
			return err
		}
		r, err := a.findRun(c, v, args[0])
		if err != nil {
			return err
		}
		return do(c, v, r, args[1:])
	}
}

func (a *app) rotationShow(vault *string) *cobra.Command {
	return &cobra.Command{Use: "show RUN", Short: "Show a run: where it stands and every step that it made", Long: "Show a run: where it stands and every step that it made." + runHelp,
		Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeSecrets(vault), RunE: a.onRun(vault, func(_ *cobra.Command, _ *client.Vault, r *api.Rotation, _ []string) error {
			return a.show(r, runTable(r))
		})}
}

func runTable(r *api.Rotation) table {
	t := table{{"WHAT", "VALUE"}}
	add := func(what string, value ...string) {
		if text := strings.Join(strings.Fields(strings.Join(value, " ")), " "); text != "" {
			t = append(t, []string{what, text})
		}
	}
	add("run", r.ID)
	add("kind", r.Kind)
	add("secret", r.Name)
	add("state", r.State, r.Reason)
	add("meaning", meanings[r.State])
	add("stuck in", r.Stuck)
	add("cause", r.Cause)
	add("asked by", first(r.ActorName, r.Actor))
	add("note", r.Note)
	add("leaked version", r.LeakedVersion, when(r.Exposed))
	if r.Incident != nil {
		add("incident", incidentState(r.Incident))
	}
	add("follows", r.Parent)
	add("target", r.Rotator, r.System)
	add("strategy", r.Strategy)
	add("login", r.Account, r.Slot)
	add("replaced version", r.Base)
	add("new version", r.Pending)
	add("kept version", r.Current)
	add("ends versions", strings.Join(r.Old, " "))
	add("promoted", when(r.Promoted))
	add("deadline", when(r.Deadline))
	add("forced", r.Forced)
	add("next look", when(r.Next))
	if e := r.LastError; e != nil && r.State != api.RunDone {
		add("last error", when(&e.At), e.State, e.Class+":", e.Message)
	}
	for _, v := range slices.Sorted(maps.Keys(r.Matrix)) {
		add("target says", v, r.Matrix[v])
	}
	for _, w := range r.Warnings {
		add("warning", w)
	}
	for i := range r.Waiting {
		add("waits for", holderText(&r.Waiting[i]))
	}
	for _, o := range r.Orders {
		add("order", when(&o.At), o.Order, o.Version, "by", first(o.ByName, o.By)+":", o.Note)
	}
	for _, s := range r.Steps {
		at := s.At
		add("step", when(&at), s.To, s.Reason)
	}
	return t
}

// order is a command that tells a run what to do.
func (a *app) order(vault *string, c *cobra.Command, order, done string, question func(*api.Rotation) string) *cobra.Command {
	in := api.OrderRotation{Order: order}
	var watch watchFlags
	c.ValidArgsFunction = a.completeSecrets(vault)
	c.RunE = a.onRun(vault, func(c *cobra.Command, v *client.Vault, r *api.Rotation, rest []string) error {
		in.Version = strings.Join(rest, "")
		if question != nil {
			if err := a.confirm(c, "%s", question(r)); err != nil {
				return err
			}
		}
		n, err := v.OrderRotation(c.Context(), r.ID, in)
		if err != nil {
			return err
		}
		a.say("%s", done)
		if watch.on {
			return a.follow(c.Context(), v, r.ID, watch.revocation)
		}
		return a.show(n, table{runHeader, runRow(n)})
	})
	c.Flags().StringVar(&in.Note, "note", "", "why, for the audit log")
	if order == api.AdoptOrder {
		c.Flags().BoolVar(&in.Attested, "attested", false, "vouch for the version, where nothing can look whether the target accepts it")
	}
	if question != nil {
		confirmFlag(c)
	}
	watch.flags(c)
	return c
}

func (a *app) rotationApprove(vault *string) *cobra.Command {
	return a.order(vault, &cobra.Command{Use: "approve RUN", Short: "Let a run go on that waits for somebody to agree", Args: cobra.ExactArgs(1),
		Long: "Let a run go on that waits for somebody to agree. Nobody approves what they asked for themselves." + runHelp}, api.ApproveOrder, "Approved.", nil)
}

func (a *app) rotationAbort(vault *string) *cobra.Command {
	return a.order(vault, &cobra.Command{Use: "abort RUN", Short: "End a run and put the target back", Args: cobra.ExactArgs(1),
		Long: `End a run and put the target back to the credential from before. A revocation that has not begun to revoke returns to the version before, if that still
logs in.` + runHelp}, api.AbortOrder, "The run is being undone.", func(r *api.Rotation) string {
		if r.Kind == api.RevocationRun {
			return fmt.Sprintf("Return %q to the version before the current one?", r.Name)
		}
		return fmt.Sprintf("Abort the rotation of %q, which stands at %s, and put the target back?", r.Name, r.State)
	})
}

func (a *app) rotationReplay(vault *string) *cobra.Command {
	return a.order(vault, &cobra.Command{Use: "replay RUN", Short: "Send a stuck run on its way again", Args: cobra.ExactArgs(1),
		Long: "Send a stuck run on its way again, after what stopped it was put right. Where a change may have happened, it asks the target first." + runHelp},
		api.ReplayOrder, "The run goes on.", nil)
}

func (a *app) rotationAdopt(vault *string) *cobra.Command {
	return a.order(vault, &cobra.Command{Use: "adopt RUN VERSION", Short: "Make the version current that the target accepts", Args: cobra.ExactArgs(2),
		Long: `End a stuck rotation by making the version current that the target accepts. The target is asked: it has to accept the version. Where nothing can look,
--attested vouches for it.` + runHelp}, api.AdoptOrder, "The version is being adopted.", nil)
}

// errUnfinished is what following a run ends with when the server stops telling of it before its end.
var errUnfinished = errors.New("the run has not ended")

// ended judges a run that is not followed any more.
func ended(r *api.Rotation) error {
	switch r.State {
	case api.RunDone:
		return nil
	case api.RunStuck:
		why := r.Reason
		if r.LastError != nil {
			why += ": " + r.LastError.Message
		}
		return fmt.Errorf("the %s of %q is stuck in %s and needs a person: %s\nPut right what stopped it, then: keywright rotation replay %s", r.Kind, r.Name, r.Stuck, why, r.ID)
	case api.RunAborted, api.RunSuperseded:
		return fmt.Errorf("the %s of %q ended %s: %s", r.Kind, r.Name, r.State, r.Reason)
	}
	return errUnfinished
}

// since is how long ago an instant was, for people.
func since(t time.Time, now time.Time) string { return length(now.Sub(t)) }
