package authz

import "math/bits"

// Set is a set of actions. It is a value: copying it copies the set.
type Set [2]uint64

// maxActions is how many actions a Set can hold; a test keeps the table below it.
const maxActions = 128

// SetOf returns the set of the given actions.
func SetOf(actions ...Action) Set {
	var s Set
	for _, a := range actions {
		s.add(a)
	}
	return s
}

// Has reports whether the set holds a. No set holds an action outside the table.
func (s Set) Has(a Action) bool {
	return a < maxActions && s[a>>6&1]&(1<<(a&63)) != 0
}

func (s *Set) add(a Action) { s[a>>6&1] |= 1 << (a & 63) }

// Union returns the actions in either set.
func (s Set) Union(t Set) Set { return Set{s[0] | t[0], s[1] | t[1]} }

// Intersect returns the actions in both sets.
func (s Set) Intersect(t Set) Set { return Set{s[0] & t[0], s[1] & t[1]} }

// Minus returns the actions of s that t does not hold.
func (s Set) Minus(t Set) Set { return Set{s[0] &^ t[0], s[1] &^ t[1]} }

// Empty reports whether the set holds nothing.
func (s Set) Empty() bool { return s[0]|s[1] == 0 }

// Len counts the actions in the set.
func (s Set) Len() int { return bits.OnesCount64(s[0]) + bits.OnesCount64(s[1]) }

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
