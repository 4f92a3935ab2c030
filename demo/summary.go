package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/keywright/keywright/client/api"
)

// summary ends part two with what can be counted.
func (c *changing) summary(ctx context.Context) error {
	holders, err := c.vault.Holders(ctx, shopSecret, "", 0)
	if err != nil {
		return err
	}
	chapter(0, "what is left of it")
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "    OLD CREDENTIAL\tDEAD AT\tAFTER\tBECAUSE\tIN")
	for _, d := range c.deaths {
		fmt.Fprintf(w, "    %s %s\t%s\t%.1f s\t%s\t%s\n", d.account, short(d.version), clockTime(d.at), d.at.Sub(d.promoted).Seconds(), d.evidence, d.chapter)
	}
	fmt.Fprintf(w, "\n    holders before\t%s\n", names(c.before))
	fmt.Fprintf(w, "    holders after\t%s\n", names(holders.Items))
	fmt.Fprintf(w, "    queries\t%d\n", c.tally.queries.Load())
	fmt.Fprintf(w, "    logins\t%d\n", c.tally.logins.Load())
	fmt.Fprintf(w, "    failures\t%d\n", c.tally.failures.Load())
	if err := w.Flush(); err != nil {
		return err
	}
	if c.tally.queries.Load() == 0 || c.tally.logins.Load() == 0 {
		return fmt.Errorf("the application did nothing, so nothing was proved")
	}
	for _, i := range c.shop {
		if !holds(holders.Items, i.name) {
			return fmt.Errorf("%s does not hold the current version at the end", i.name)
		}
	}
	return nil
}

func holds(list []api.VersionHolder, instance string) bool {
	for _, h := range list {
		if h.Instance == instance {
			return true
		}
	}
	return false
}

func names(list []api.VersionHolder) string {
	var all []string
	for _, h := range list {
		all = append(all, holder(&h))
	}
	return strings.Join(all, ", ")
}

// holder names a consumer.
func holder(h *api.VersionHolder) string {
	return cmp.Or(h.Name, h.Principal, "somebody unknown") + " " + h.Instance
}

// short is enough of a version's id to tell it from others: its end, since the beginning is the time.
func short(version string) string {
	const digits = 6
	return "…" + version[max(0, len(version)-digits):]
}

// clockTime is an instant of today.
func clockTime(t time.Time) string { return t.Local().Format("15:04:05.000") }

// hops prints each move of a run. Moves that it made before are counted.
func hops(r *api.Rotation) {
	seen, again := make(map[[3]string]bool), 0
	for _, s := range r.Steps {
		move := [3]string{s.From, s.To, s.Reason}
		if seen[move] {
			again++
			continue
		}
		seen[move] = true
		if again > 0 {
			fmt.Printf("                      … and the same over again, %d moves in all\n", again)
			again = 0
		}
		if s.From == "" {
			fmt.Printf("      %s  %s: %s\n", clockTime(s.At), r.Kind, s.To)
			continue
		}
		fmt.Printf("      %s    -> %s  (%s)\n", clockTime(s.At), s.To, s.Reason)
	}
}

// entered is how often a run entered a state.
func entered(r *api.Rotation, state string) int {
	n := 0
	for _, s := range r.Steps {
		if s.To == state {
			n++
		}
	}
	return n
}

// tells reports whether an audit record has a text in what it says of the reason.
func tells(r *api.AuditRecord, text string) bool {
	return strings.Contains(r.Reason, text) || strings.Contains(r.Detail, text)
}
