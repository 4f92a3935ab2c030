package server

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/keywright/keywright/internal/cert"
	"github.com/keywright/keywright/internal/fault"
)

// settings reads what an issuer was set up with and gathers what is wrong with them.
type settings struct {
	s        *cert.Settings
	mistakes []string
}

func (p *settings) wrong(format string, args ...any) {
	p.mistakes = append(p.mistakes, fmt.Sprintf(format, args...))
}

// known names the settings that mean nothing, which are most often spelled wrong.
func (p *settings) known(options []string) {
	given := append(slices.Sorted(maps.Keys(p.s.Options)), slices.Sorted(maps.Keys(p.s.Secrets))...)
	for _, name := range given {
		if !slices.Contains(options, name) {
			p.wrong("there is no setting %q: use %s", fault.Clip(name), strings.Join(options, ", "))
		}
	}
}

// list is a setting that has commas between its members.
func (p *settings) list(name string) (list []string) {
	for part := range strings.SplitSeq(p.s.Options[name], ",") {
		if part = strings.TrimSpace(part); part != "" {
			list = append(list, part)
		}
	}
	return list
}
