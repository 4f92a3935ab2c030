package mysql

import (
	"slices"
	"strings"

	"github.com/keywright/keywright/internal/redact"
)

// goal is what a row shall be after a change.
type goal struct {
	// values are those that it accepts, at most two; with none it is closed and locked.
	values []redact.Bytes
	// unlock is true when the row may have been locked by an earlier closing.
	unlock bool
}

// restate returns what follows ALTER USER and the name, so that a row of MariaDB is as the goal says; empty when it is so already. The
// passwords come first: clients take part in one change of method only, and a method before them would use it up.
func restate(r row, plugin string, g goal) string {
	methods := make([]method, 0, len(r.methods)+2)
	for _, v := range g.values {
		if m := r.methodOf(v, plugin); !slices.Contains(methods, m) {
			methods = append(methods, m)
		}
	}
	if len(g.values) == 0 {
		methods = append(methods, closed(plugin))
	}
	for _, m := range r.methods {
		if passwordless[m.plugin] {
			methods = append(methods, m)
		}
	}
	lock := r.lockClause(g)
	if lock == "" && len(g.values) > 0 && sameSet(methods, r.methods) {
		return ""
	}
	texts := make([]string, len(methods))
	for i, m := range methods {
		texts[i] = m.plugin
		if m.stored != "" {
			texts[i] += " USING " + quoteText(m.stored)
		}
	}
	return "IDENTIFIED VIA " + strings.Join(texts, " OR ") + lock
}

// places are the two of a row of MySQL; an empty method is an empty place.
type places struct{ primary, secondary method }

// move is one ALTER USER on MySQL.
type move struct {
	// set goes to the primary place; nil leaves it.
	set *method
	// retain moves what was in the primary place to the secondary one, whose content is lost; without it, the secondary place stays.
	retain bool
	// discard empties the secondary place.
	discard bool
}

// moves plans how the two places come to accept exactly the values. After each move, every value that was accepted before and is wanted is
// still accepted. A move is never planned for what is there already: a value set with retain twice would fill both places.
func moves(p places, plugin string, values []redact.Bytes) []move {
	put := func(v redact.Bytes, retain bool) move {
		m := hashed(plugin, v)
		return move{set: &m, retain: retain}
	}
	if len(values) == 0 {
		m := closed(plugin)
		return append([]move{{set: &m}}, discardOf(p)...)
	}
	if len(values) == 1 {
		var plan []move
		if !p.primary.accepts(values[0]) {
			plan = append(plan, put(values[0], false))
		}
		return append(plan, discardOf(p)...)
	}
	next, keep := values[0], values[1]
	first := func(v redact.Bytes) bool { return p.primary.accepts(v) }
	second := func(v redact.Bytes) bool { return p.secondary.accepts(v) }
	switch {
	case first(next) && second(keep), first(keep) && second(next):
		return nil
	case first(keep):
		return []move{put(next, true)}
	case first(next):
		return []move{put(keep, true)}
	case second(keep):
		return []move{put(next, false)}
	case second(next):
		return []move{put(keep, false)}
	default:
		return []move{put(keep, false), put(next, true)}
	}
}

func discardOf(p places) []move {
	if p.secondary == (method{}) {
		return nil
	}
	return []move{{discard: true}}
}

// text is what follows ALTER USER and the name.
func (m move) text() string {
	if m.discard {
		return "DISCARD OLD PASSWORD"
	}
	text := "IDENTIFIED WITH " + m.set.plugin + " AS " + quoteText(m.set.stored)
	if m.retain {
		text += " RETAIN CURRENT PASSWORD"
	}
	return text
}

// statements are what a row needs, each without ALTER USER and the name.
func statements(r row, mariadb bool, plugin string, g goal) (texts []string) {
	if mariadb {
		if text := restate(r, plugin, g); text != "" {
			texts = append(texts, text)
		}
		return texts
	}
	lock := r.lockClause(g)
	for _, m := range moves(r.places(), plugin, g.values) {
		texts = append(texts, m.text()+lock)
		lock = ""
	}
	if lock != "" {
		texts = append(texts, strings.TrimSpace(lock))
	}
	return texts
}

func sameSet(a, b []method) bool {
	if len(a) != len(b) {
		return false
	}
	for _, m := range a {
		if !slices.Contains(b, m) {
			return false
		}
	}
	return true
}

// quoteText quotes a text for a session whose SQL mode has NO_BACKSLASH_ESCAPES: see expire.
func quoteText(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// quoteName quotes one half of an account's name. Backticks know no escape but their own doubling, whatever the SQL mode.
func quoteName(s string) string { return "`" + strings.ReplaceAll(s, "`", "``") + "`" }
