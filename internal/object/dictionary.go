package object

import (
	"strings"

	"github.com/keywright/keywright/internal/vault"
)

// dictionary numbers texts that occur in many packed records, such as the id of their vault, so that the records have the numbers alone. Texts are only
// added: they leave with all records that have their numbers. It is bounded; for which text it has no room, that stands in the records themselves.
type dictionary struct {
	texts   []string
	numbers map[string]uint32
}

// The bounds of a dictionary. A text that is longer than any id is not worth its room.
const (
	maxTexts     = 256
	maxTextBytes = 48
)

// whose says who made a text up. The names of labels and tags are anybody's who may write: they get half of the room, so that no writer takes it all.
type whose int

const (
	ours whose = iota
	callers
)

// number returns the number of a text, which is added when there is room for it.
func (d *dictionary) number(t string, by whose) (n uint32, ok bool) {
	if d.numbers == nil {
		d.numbers = make(map[string]uint32)
		for _, l := range [...]vault.Label{vault.Previous, vault.Pending, vault.Candidate} {
			d.add(string(l)) // whoever fills it
		}
	}
	if n, ok = d.numbers[t]; ok {
		return n, true
	}
	room := maxTexts
	if by == callers {
		room /= 2
	}
	if len(t) > maxTextBytes || len(d.texts) >= room {
		return 0, false
	}
	return d.add(t), true
}

func (d *dictionary) add(t string) uint32 {
	n := uint32(len(d.texts))
	t = strings.Clone(t) // it may be a part of a record, which is not kept with it
	d.numbers[t], d.texts = n, append(d.texts, t)
	return n
}
