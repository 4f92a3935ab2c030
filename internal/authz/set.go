package authz

import "math/bits"

// Set is a set of actions. It is a value: copying it copies the set. It has a bit for each value that an Action can have, so that asking it needs no comparison besides.
type Set [4]uint64

// maxActions is how many values an Action can have, and so how many rows the table of actions, with that of NoAction: 8 bits of which 6 are the place in a word.
const maxActions = 256

// SetOf returns the set of the given actions.
func SetOf(actions ...Action) Set {
	var s Set
	for _, a := range actions {
		s.add(a)
	}
	return s
}

// Has reports whether the set holds a. No set holds an action outside the table.
func (s Set) Has(a Action) bool { return s[a>>6]&(1<<(a&63)) != 0 }

// add puts an action into the set, unless it is outside the table.
func (s *Set) add(a Action) {
	if a.Known() {
		s[a>>6] |= 1 << (a & 63)
	}
}

// Union returns the actions in either set.
func (s Set) Union(t Set) Set {
	for i := range s {
		s[i] |= t[i]
	}
	return s
}

// Intersect returns the actions in both sets.
func (s Set) Intersect(t Set) Set {
	for i := range s {
		s[i] &= t[i]
	}
	return s
}

// Minus returns the actions of s that t does not hold.
func (s Set) Minus(t Set) Set {
	for i := range s {
		s[i] &^= t[i]
	}
	return s
}

// Empty reports whether the set holds nothing.
func (s Set) Empty() bool { return s == Set{} }

// Len counts the actions in the set.
func (s Set) Len() (n int) {
	for _, word := range s {
		n += bits.OnesCount64(word)
	}
	return n
}

// Actions lists the set in the order of the table.
func (s Set) Actions() []Action {
	list := make([]Action, 0, s.Len())
	for i, word := range s {
		for ; word != 0; word &= word - 1 {
			list = append(list, Action(i*64+bits.TrailingZeros64(word)))
		}
	}
	return list
}
