package authz

import (
	"strings"
	"sync"
)

// Match reports whether an action's name fits a pattern. Both are compared without regard to case; each * in the pattern
// stands for any run of characters, slashes included, as in Azure. It takes time proportional to the product of the
// lengths at worst.
func Match(pattern, name string) bool {
	return matchLower(strings.ToLower(pattern), strings.ToLower(name))
}

func matchLower(pattern, name string) bool {
	p, n := 0, 0
	// star is the place of the last * seen, mark how much of the name it has swallowed so far.
	star, mark := -1, 0
	for n < len(name) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, n
			p++
		case p < len(pattern) && pattern[p] == name[n]:
			p++
			n++
		case star >= 0:
			mark++
			p, n = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// matching returns the actions of a plane that the patterns, less the exceptions, allow. An action with a second name is
// allowed when either name is.
func matching(plane Plane, patterns, except []string) Set {
	var set Set
	patterns, except = lowered(patterns), lowered(except)
	allows := func(name string) bool {
		return anyMatches(patterns, name) && !anyMatches(except, name)
	}
	for _, a := range Actions() {
		if a.Plane() != plane {
			continue
		}
		low := lowerNames()[a]
		if allows(low.name) || low.also != "" && allows(low.also) {
			set.add(a)
		}
	}
	return set
}

// lowerNames returns both names of each action in lower case, so that compiling a role does not make them again.
var lowerNames = sync.OnceValue(func() []struct{ name, also string } {
	list := make([]struct{ name, also string }, len(table))
	for i, r := range table {
		list[i].name, list[i].also = strings.ToLower(expand(r.name)), strings.ToLower(expand(r.also))
	}
	return list
})

func anyMatches(patterns []string, name string) bool {
	for _, p := range patterns {
		if matchLower(p, name) {
			return true
		}
	}
	return false
}

func lowered(list []string) []string {
	low := make([]string, len(list))
	for i, s := range list {
		low[i] = strings.ToLower(s)
	}
	return low
}
