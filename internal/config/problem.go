package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is one mistake.
type Problem struct {
	// Line is where it is, from 1; 0 when it is about the file as a whole.
	Line int
	// Key is the path of the setting, such as listeners.public.address; empty for the file as a whole.
	Key string
	// Text says what is wrong and what to write instead.
	Text string
}

// In tells the mistake with its place in the file of that name, in the manner of compilers.
func (m Problem) In(file string) string {
	place := file
	if m.Line > 0 {
		place += fmt.Sprintf(":%d", m.Line)
	}
	if m.Key != "" {
		place += ": " + m.Key
	}
	return place + ": " + m.Text
}

// Problems are all mistakes of a file.
type Problems struct {
	File string
	List []Problem
}

// Error tells one mistake a line.
func (p *Problems) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "the configuration has %d mistake", len(p.List))
	if len(p.List) > 1 {
		b.WriteByte('s')
	}
	for _, m := range p.List {
		b.WriteString("\n" + m.In(p.File))
	}
	return b.String()
}

func (p *Problems) sort() {
	slices.SortStableFunc(p.List, func(a, b Problem) int { return cmp.Compare(a.Line, b.Line) })
}
