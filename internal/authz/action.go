package authz

import (
	"slices"
	"strings"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/vault"
)

// Action is something that a caller can be allowed to do: an index into the table of actions, and the bit in a Set.
// Its number may change between builds; only its name may be stored.
//
// Several actions may share one name. Azure's role names are coarser than its access-policy words ("list" and "get" of a
// key are both keys/read), so the actions are as fine as the finer of the two.
type Action uint8

// Plane says which half of a role definition an action belongs to.
type Plane uint8

// The planes.
const (
	// Control is managing vaults, access and people: actions and notActions.
	Control Plane = iota
	// Data is using and changing what vaults keep: dataActions and notDataActions.
	Data
)

// String names the plane.
func (p Plane) String() string {
	if p == Data {
		return "data"
	}
	return "control"
}

// row is what the table says about an action.
type row struct {
	// name is the full Azure string; a leading "~/" stands for Microsoft.KeyVault/vaults/.
	name string
	// also is a second name that grants the action just as well, or empty.
	also  string
	plane Plane
	// kind and words are the access-policy permissions of which any one grants the action in a vault that uses policies.
	kind  vault.Kind
	words []string
	duty  Duty
}

// String returns the action's name, such as "Microsoft.KeyVault/vaults/secrets/getSecret/action".
func (a Action) String() string {
	if !a.Known() {
		return "unknown action"
	}
	return names()[a]
}

// Known reports whether the action is in the table.
func (a Action) Known() bool { return a != NoAction && int(a) < len(table) }

// Plane returns the plane of a known action.
func (a Action) Plane() Plane {
	if !a.Known() {
		return Control
	}
	return table[a].plane
}

// Kind returns the kind of object that a data action is about, or "" for a control-plane action.
func (a Action) Kind() vault.Kind {
	if !a.Known() {
		return ""
	}
	return table[a].kind
}

// Permission returns the access-policy permission that grants the action, or "" when no policy can. Where several do, it
// is the one that documentation and refusals name.
func (a Action) Permission() string {
	if !a.Known() || len(table[a].words) == 0 {
		return ""
	}
	return table[a].words[0]
}

// Duty returns the class of duty that the action belongs to.
func (a Action) Duty() Duty {
	if !a.Known() {
		return NoDuty
	}
	return table[a].duty
}

// Actions lists the whole table.
func Actions() []Action {
	list := make([]Action, 0, len(table)-1)
	for a := NoAction + 1; a.Known(); a++ {
		list = append(list, a)
	}
	return list
}

// ParseAction finds an action by its name, without regard to case. Where actions share a name it returns the first of the
// table, which is the stricter to be granted; a name on both planes is taken for the data action. An unknown name is a
// fault.Invalid that lists the nearest known ones.
func ParseAction(name string) (Action, error) {
	for _, a := range Actions() {
		if strings.EqualFold(a.String(), name) {
			return a, nil
		}
	}
	return NoAction, fault.New(fault.Invalid, "%q is not an action%s", fault.Clip(name), suggestion(name, Control, Data))
}

// suggestion names the nearest known actions on the given planes, as the end of a sentence.
func suggestion(name string, planes ...Plane) string {
	near := nearest(name, planes)
	if len(near) == 0 {
		return ": see the list of actions"
	}
	return ": did you mean " + strings.Join(near, ", ") + "?"
}

// nearest returns up to three known names by edit distance, of those that differ in at most a third of their letters.
func nearest(name string, planes []Plane) []string {
	const most = 3
	type candidate struct {
		name     string
		distance int
	}
	name = strings.ToLower(name[:min(len(name), 128)])
	var found []candidate
	for _, a := range Actions() {
		known := a.String()
		if !slices.Contains(planes, a.Plane()) || slices.ContainsFunc(found, func(c candidate) bool { return c.name == known }) {
			continue
		}
		if d := distance(name, strings.ToLower(known)); d <= len(known)/3 {
			found = append(found, candidate{known, d})
		}
	}
	slices.SortStableFunc(found, func(a, b candidate) int { return a.distance - b.distance })
	var list []string
	for _, c := range found[:min(len(found), most)] {
		list = append(list, c.name)
	}
	return list
}

// distance is the Levenshtein distance of two short strings, in bytes.
func distance(a, b string) int {
	previous := make([]int, len(b)+1)
	for j := range previous {
		previous[j] = j
	}
	for i := range len(a) {
		diagonal := previous[0]
		previous[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = previous[j+1]
			previous[j+1] = min(cost, previous[j]+1, previous[j+1]+1)
		}
	}
	return previous[len(b)]
}
