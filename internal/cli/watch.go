package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keywright/keywright/client"
	"github.com/keywright/keywright/client/api"
)

// meanings say what a run does in each state.
var meanings = map[string]string{
	"queued":      "waits for a worker, or for what goes before it",
	"preflight":   "checks the target, the accounts and the rights there",
	"approval":    "waits for somebody to approve it",
	"generating":  "makes a new value",
	"generated":   "has stored the new value, which nobody gets yet",
	"setting":     "sets the new value at the target",
	"probing":     "asks the target which value it accepts",
	"testing":     "logs in with the new value at every endpoint",
	"rollout":     "spreads the new version ring by ring",
	"listing":     "lists the keys that the target has",
	"creating":    "lets the target make a key",
	"finding":     "looks for a key that the target may have made",
	"taking":      "takes over a key that the target made",
	"discarding":  "removes a key that nobody knows the value of",
	"asked":       "waits for a person to change the target: see \"keywright task list\"",
	"undoing":     "finds out what the target accepts, to put it back",
	"restoring":   "puts the target back",
	"restored":    "proves that the target is back",
	"adopting":    "asks the target about the version to adopt",
	"awaiting":    "waits until nobody needs the old version",
	"held":        "waits for a person, or for the old version's last consumers, past the deadline",
	"verifying":   "proves that the current value works before the old one goes",
	"repairing":   "sets the current value again, which the target lost",
	"revoking":    "makes the target refuse the old value",
	"terminating": "ends the old login's sessions",
	"confirming":  "proves that the old value is refused",
	"returning":   "returns to the version before",
	"surveying":   "finds out who signs for whom, and who reads the trust bundle",
	"making":      "makes the authority's successor",
	"unmaking":    "gives up the successor that is not made yet",
	"publishing":  "puts the successor into trust bundles, beside the authority from before",
	"trusting":    "waits until everybody who reads the trust bundles has the successor",
	"reissuing":   "makes certificates anew",
	"deploying":   "waits until the consumers of the certificates have the new ones",
	"dropping":    "takes what is over out of the trust bundles",
	"withdrawing": "has the old authority taken back by the one above it",
	"stuck":       "needs a person",
	"done":        "is done",
	"aborted":     "was aborted; the target is as before",
	"superseded":  "gave way to another write, or to another run",
}

// watchFlags are those of commands that can follow what they began.
type watchFlags struct{ on, revocation bool }

func (w *watchFlags) flags(c *cobra.Command) {
	c.Flags().BoolVar(&w.on, "watch", false, "follow the run to its end")
	c.Flags().BoolVar(&w.revocation, "revocation", false, "with --watch, also follow the revocation of the old version")
}

func (a *app) rotationWatch(vault *string) *cobra.Command {
	var revocation bool
	c := &cobra.Command{Use: "watch RUN", Short: "Follow a run to its end",
		Long: `Follow a run to its end, drawn live on a terminal and as plain lines elsewhere; with --output json each line is the run as one JSON object.` + runHelp + `

The exit code is 0 when the run is done, and 1 when it was aborted, superseded, or needs a person.`,
		Example: "  keywright rotation watch db --vault demo --revocation", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeSecrets(vault)}
	c.RunE = a.onRun(vault, func(c *cobra.Command, v *client.Vault, r *api.Rotation, _ []string) error {
		return a.follow(c.Context(), v, r.ID, revocation)
	})
	c.Flags().BoolVar(&revocation, "revocation", false, "also follow the revocation of the old version")
	return c
}

// follow watches a run to its end, and with revocation the one that ends what it replaced.
func (a *app) follow(ctx context.Context, v *client.Vault, id string, revocation bool) error {
	r, err := a.followOne(ctx, v, id)
	if err != nil {
		return err
	}
	if err := ended(r); err != nil || r.Kind != api.RotationRun {
		return err
	}
	for n, err := range v.Rotations(ctx, client.RotationFilter{Name: r.Name, Kind: api.RevocationRun}) {
		if err != nil {
			return err
		}
		if n.Parent != r.ID {
			continue
		}
		if !revocation {
			a.say("The old version is revoked by run %s: keywright rotation watch %s", n.ID, n.ID)
			return nil
		}
		if n, err = a.followOne(ctx, v, n.ID); err != nil {
			return err
		}
		return ended(n)
	}
	return nil
}

// followOne shows a run until it ends or needs a person.
func (a *app) followOne(ctx context.Context, v *client.Vault, id string) (last *api.Rotation, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type update struct {
		run *api.Rotation
		err error
	}
	updates := make(chan update)
	go func() {
		defer close(updates)
		for r, err := range v.WatchRotation(ctx, id) {
			select {
			case updates <- update{r, err}:
			case <-ctx.Done():
				return
			}
		}
	}()
	d := a.newDrawing()
	defer d.end()
	tick := time.NewTicker(drawEvery)
	defer tick.Stop()
	for {
		select {
		case u, ok := <-updates:
			if !ok {
				return last, nil
			}
			if u.err != nil {
				return nil, u.err
			}
			last = u.run
			if err := d.update(last); err != nil {
				return nil, err
			}
			if last.State == api.RunStuck && !last.Ordered {
				return last, nil
			}
		case now := <-tick.C:
			d.refresh(now)
		}
	}
}

// drawEvery is how often the clock of a live line moves on.
const drawEvery = 200 * time.Millisecond

// drawing shows a run: finished steps as lines, and on a terminal a line below them for the one under way.
type drawing struct {
	*app
	live    bool
	run     *api.Rotation
	shown   int
	waiting string
	drawn   bool
}

func (a *app) newDrawing() *drawing {
	return &drawing{app: a, live: a.output != "json" && a.output != "yaml" && a.output != "tsv" && isTerminal(a.Stdout) && a.Getenv("TERM") != "dumb"}
}

// update shows what is new of a run.
func (d *drawing) update(r *api.Rotation) error {
	d.run = r
	if d.output == "json" {
		e := json.NewEncoder(d.Stdout)
		e.SetEscapeHTML(false)
		return e.Encode(r)
	}
	if d.output == "yaml" {
		return d.writeDocument(r)
	}
	d.clear()
	if len(r.Steps) < d.shown {
		d.shown = 0
	}
	for ; d.shown < len(r.Steps); d.shown++ {
		if err := d.step(r, d.shown); err != nil {
			return err
		}
	}
	if err := d.consumers(r); err != nil {
		return err
	}
	d.refresh(time.Now())
	return nil
}

// step writes a move: when, how long after the one before, where to and why.
func (d *drawing) step(r *api.Rotation, i int) error {
	s, took := &r.Steps[i], ""
	if i > 0 {
		took = "+" + length(s.At.Sub(r.Steps[i-1].At))
	}
	if d.output == "tsv" {
		return d.writeTSV(table{nil, {s.At.UTC().Format(time.RFC3339Nano), r.ID, r.Kind, s.To, s.Reason, took}})
	}
	if i == 0 {
		if err := d.line("%s %s of %s (%s)", r.Kind, r.ID, r.Name, r.Cause); err != nil {
			return err
		}
	}
	mark := "·"
	switch s.To {
	case api.RunDone:
		mark = d.paint("32", "✓")
	case api.RunStuck, api.RunAborted, api.RunSuperseded:
		mark = d.paint("31", "✗")
	}
	return d.line("%s %s %9s  %-12s %-20s %s", mark, s.At.Local().Format("15:04:05.000"), took, s.To, s.Reason, d.meaning(r, s.To))
}

// meaning is what a state means in this run.
func (d *drawing) meaning(r *api.Rotation, state string) string {
	text := meanings[state]
	if r.Account != "" && (state == "setting" || state == "testing" || state == "revoking" || state == "confirming") {
		text += " (" + strings.TrimSpace(r.Account+" "+r.Slot) + ")"
	}
	return text
}

// consumers names those who are waited for, whenever they are others than before.
func (d *drawing) consumers(r *api.Rotation) error {
	if d.output == "tsv" || !r.Open {
		return nil
	}
	var names []string
	for i := range r.Waiting {
		names = append(names, holderName(&r.Waiting[i]))
	}
	now := strings.Join(sorted(names), ", ")
	if now == d.waiting {
		return nil
	}
	d.waiting = now
	if now == "" {
		return d.line("  nobody is waited for any more")
	}
	return d.line("  waits for %d: %s", len(names), now)
}

// refresh draws the line of the step under way.
func (d *drawing) refresh(now time.Time) {
	if !d.live || d.run == nil || !d.run.Open {
		return
	}
	d.clear()
	text := fmt.Sprintf("… %s for %s: %s", d.run.State, since(d.run.Since, now), d.meaning(d.run, d.run.State))
	if d.run.Tries > 0 {
		text += fmt.Sprintf(" (try %d)", d.run.Tries+1)
	}
	fmt.Fprint(d.Stdout, printable(text))
	d.drawn = true
}

// clear takes the live line away.
func (d *drawing) clear() {
	if d.drawn {
		fmt.Fprint(d.Stdout, "\r\x1b[K")
		d.drawn = false
	}
}

func (d *drawing) end() { d.clear() }

func (d *drawing) line(format string, args ...any) error {
	for i, arg := range args {
		if text, ok := arg.(string); ok && !strings.HasPrefix(text, "\x1b[") {
			args[i] = printable(text)
		}
	}
	_, err := fmt.Fprintln(d.Stdout, strings.TrimRight(fmt.Sprintf(format, args...), " "))
	return err
}

func (d *drawing) paint(colour, text string) string {
	if !d.colour {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}
