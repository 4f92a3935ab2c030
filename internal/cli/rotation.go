package cli

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keywright/keywright/client"
	"github.com/keywright/keywright/client/api"
)

func (a *app) rotationCommand() *cobra.Command {
	c := &cobra.Command{Use: "rotation", Short: "Change credentials at their targets while everything that uses them keeps running"}
	vault := a.vaultFlag(c)
	c.AddCommand(a.rotationPolicy(vault), a.rotationPlan(vault), a.rotationRun(vault), a.rotationList(vault), a.rotationShow(vault), a.rotationWatch(vault),
		a.rotationApprove(vault), a.rotationAbort(vault), a.rotationReplay(vault), a.rotationAdopt(vault), a.rotationTargets(), a.rotationAge(vault),
		a.rotationExemption(vault), a.rotationIncident(vault), a.rotationSchedule())
	return c
}

func (a *app) rotationPlan(vault *string) *cobra.Command {
	c := &cobra.Command{Use: "plan NAME", Short: "Rehearse a rotation: everything except the effect",
		Long: `Rehearse a rotation: plan it, reach the target, check accounts and rights there, and log in with the current credential. Nothing changes.
It tells how long the rotation would take and which consumers hold the current version.

The exit code is 5 when a run could not begin now.`,
		Example: "  keywright rotation plan db --vault demo", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeSecrets(vault)}
	c.RunE = a.inVault(vault, func(c *cobra.Command, v *client.Vault, args []string) error {
		p, err := v.PlanRotation(c.Context(), args[0])
		if err != nil {
			return err
		}
		if err := a.show(p, planTable(p)); err != nil {
			return err
		}
		if !p.Ready {
			return exitError{ExitConflict, fmt.Errorf("a rotation of %q could not begin now: %s", args[0], p.Problem)}
		}
		return nil
	})
	return c
}

func planTable(p *api.RotationPlan) table {
	t := table{{"WHAT", "VALUE"}}
	add := func(what, value string) {
		if value != "" {
			t = append(t, []string{what, value})
		}
	}
	add("ready", yesNo(p.Ready))
	add("problem", p.Problem)
	add("strategy", p.Strategy)
	add("target", strings.TrimSpace(p.Rotator+" "+p.System))
	add("current version", p.Current)
	add("current login", p.Holding)
	add("next login", strings.TrimSpace(p.Account+" "+p.Slot))
	if p.Approval {
		add("approval", "waits for somebody to agree")
	}
	if p.Ready {
		basis := "an estimate"
		if p.LengthMeasured {
			basis = "as the last one"
		}
		add("takes", seconds(p.LengthSeconds)+" ("+basis+")")
		if p.Gap {
			add("gap", "logins with the old value fail until consumers have read the new one")
		}
		add("old one goes", "not before "+seconds(p.EarliestSeconds)+" after, and when no consumer needs it")
		if p.DeadlineSeconds > 0 {
			add("deadline", seconds(p.DeadlineSeconds)+" after, then: "+first(p.Overdue, "hold"))
		}
	}
	for _, h := range p.Authorities {
		add("gets a successor", strings.TrimSpace(h.Name+" "+h.Subject))
	}
	for _, b := range p.Bundles {
		add("trust bundle", b)
	}
	if n := len(p.Certificates); n > 0 {
		add("made anew", fmt.Sprintf("%d: %s", n, strings.Join(p.Certificates, " ")))
	}
	for _, w := range p.Warnings {
		add("warning", w)
	}
	add("consumers at risk", fmt.Sprint(len(p.AtRisk)))
	for i := range p.AtRisk {
		add("consumer", holderText(&p.AtRisk[i]))
	}
	return t
}

func holderText(h *api.RotationHolder) string {
	text := holderName(h)
	if h.Why != "" {
		text += ": " + h.Why
	}
	return text
}

// holderName names a consumer.
func holderName(h *api.RotationHolder) string {
	return first(h.Name, h.Principal, "nobody known") + " " + h.Instance
}

// seconds writes a length of time as people read it.
func seconds(s float64) string { return length(time.Duration(s * float64(time.Second))) }

// length rounds a duration to what matters of it: milliseconds below ten seconds, seconds below an hour, and whole days above three.
func length(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < 0:
		return "0s"
	case d < 10*time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Hour:
		return d.Round(time.Second).String()
	case d < 3*day:
		return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
	}
	return fmt.Sprintf("%dd", int(d/day))
}

func (a *app) rotationTargets() *cobra.Command {
	var members bool
	c := &cobra.Command{Use: "targets", Short: "List the rotators, what each can do and what it was verified against",
		Long: `List the rotators, what each can do and what it was verified against. Verified means that the conformance suite passes against that system in
that version; everything else is unverified, also where it is written for.`,
		Args: cobra.NoArgs, RunE: a.with(func(c *cobra.Command, cl *client.Client, _ []string) error {
			all, err := cl.Rotators(c.Context())
			if err != nil {
				return err
			}
			if members {
				t := table{{"ROTATOR", "MEMBER", "TYPE", "REQUIRED", "MEANING"}}
				for _, r := range all {
					for _, m := range r.Config {
						t = append(t, []string{r.Name, m.Name, m.Type, yesNo(m.Required), m.Help})
					}
				}
				return a.show(all, t)
			}
			return a.show(all, rows([]string{"ROTATOR", "TARGET", "STRATEGIES", "EVIDENCE", "VERIFIED", "UNVERIFIED"}, all, func(r *api.Rotator) []string {
				return []string{r.Name, r.Title, strings.Join(r.Strategies, ","), r.Evidence, systems(r.Verified), systems(r.Unverified)}
			}))
		})}
	c.Flags().BoolVar(&members, "config", false, "list the members of a policy's target instead")
	return c
}

func systems(list []api.TargetSystem) string {
	var all []string
	for _, s := range list {
		text := s.Product + " " + s.Version
		if s.By != "" {
			text += " (" + s.By + ")"
		}
		all = append(all, text)
	}
	return strings.Join(all, "; ")
}

func (a *app) rotationAge(vault *string) *cobra.Command {
	var over, check bool
	c := &cobra.Command{Use: "age", Short: "List how old every secret is, against what its policy allows",
		Long: `List how old the current version of every secret is, against what its policy allows. Secrets that nothing rotates are in the list, too.
With --check the exit code is 1 when one is too old.`,
		Example: "  keywright rotation age --vault demo --output tsv", Args: cobra.NoArgs}
	c.RunE = a.inVault(vault, func(c *cobra.Command, v *client.Vault, _ []string) error {
		all, err := collect(v.Ages(c.Context()))
		if err != nil {
			return err
		}
		shown, tooOld := []api.SecretAge{}, 0
		for _, s := range all {
			if s.Over {
				tooOld++
			}
			if s.Over || !over {
				shown = append(shown, s)
			}
		}
		t := rows([]string{"NAME", "AGE", "LIMIT", "SHARE", "OVER", "STRATEGY", "DUE", "CAUSE", "EXPIRES", "EXEMPT UNTIL"}, shown, func(s *api.SecretAge) []string {
			limit, share, strategy := "none", "", first(s.Strategy, "none")
			if s.LimitSeconds > 0 {
				limit, share = seconds(float64(s.LimitSeconds)), fmt.Sprintf("%.0f%%", 100*s.Share)
			}
			if s.Paused {
				strategy += " (paused)"
			}
			return []string{s.Name, seconds(float64(s.AgeSeconds)), limit, share, yesNo(s.Over), strategy, when(s.DueAt), s.Cause, when(s.Expires), exemptUntil(s)}
		})
		if err := a.show(shown, t); err != nil {
			return err
		}
		if check && tooOld > 0 {
			return fmt.Errorf("%d of %d secrets are older than they may be", tooOld, len(all))
		}
		return nil
	})
	c.Flags().BoolVar(&over, "over", false, "list only those that are too old")
	c.Flags().BoolVar(&check, "check", false, "fail when one is too old")
	return c
}

func exemptUntil(s *api.SecretAge) string {
	if s.Exemption == nil {
		return ""
	}
	return when(&s.Exemption.Until)
}

// exitError is an error with an exit code of its own.
type exitError struct {
	code int
	err  error
}

func (e exitError) Error() string { return e.err.Error() }
func (e exitError) Unwrap() error { return e.err }

var runID = regexp.MustCompile(`^[0-9a-f]{32}$`)

// findRun returns the run of an id, or the newest of a secret: one that is open before one that is not.
func (a *app) findRun(c *cobra.Command, v *client.Vault, arg string) (*api.Rotation, error) {
	if runID.MatchString(arg) {
		return v.Rotation(c.Context(), arg)
	}
	var newest *api.Rotation
	for r, err := range v.Rotations(c.Context(), client.RotationFilter{Name: arg}) {
		if err != nil {
			return nil, err
		}
		if r.Open && r.Kind != api.RevocationRun {
			return r, nil
		}
		if newest == nil || r.Open && !newest.Open {
			newest = r
		}
	}
	if newest == nil {
		return nil, exitError{ExitNotFound, fmt.Errorf("the secret %q has no runs: start one with \"keywright rotation run %s\"", arg, arg)}
	}
	return newest, nil
}
