package guard

import (
	"fmt"
	"math"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
)

// MaxAge is how far what a node remembers may be behind the store when it decides or answers by it: access that was withdrawn is refused within
// a second on every node, and so is a version that was disabled. Beyond it the node fails closed.
const MaxAge = time.Second

// Forever is the age of a process whose node another one is: it hears from the store, and will never be right again.
const Forever time.Duration = math.MaxInt64

// Behind is the reason of a refusal by a node that does not know what has happened lately.
const Behind fault.Reason = "NodeBehind"

// behindRetry is when a refused caller should ask again, preferably another node: a node catches up in less, unless it is cut off.
const behindRetry = time.Second

// Begin notes how old is what this node remembers, before the first look at any of it: all that the request sees is as fresh as that, or fresher. A door
// calls it before it looks for the vault or the caller. Without it the age is that of the first decision.
func (g *Guard) Begin(call *Call) {
	if g.Age != nil {
		call.age, call.aged = g.Age(), true
	}
}

// Current fails when the node is too far behind the store to decide anything from memory, for a door whose callers no role is asked about.
func (g *Guard) Current(call *Call) error {
	g.Begin(call)
	return g.current(call, &network)
}

// current refuses what is decided from memory on a node that is too far behind. A vault's StaleFor lets it go on reading secrets, which the record
// shows.
func (g *Guard) current(call *Call, need *Need) error {
	if g.Age == nil {
		return nil
	}
	if !call.aged {
		g.Begin(call)
	}
	if call.age < MaxAge {
		return nil
	}
	if v := call.Vault; v != nil && need.Scope == "" && need.Action == authz.SecretGet && call.age < v.Vault.StaleFor {
		need.Detail = fmt.Sprintf("from memory, %s behind", call.age.Round(time.Millisecond))
		return nil
	}
	g.Late()
	if call.age == Forever {
		return fault.New(fault.Unavailable, "another process is this node now, so that this one serves nothing: ask another node, or try again; an operator sees whether the "+
			"node's directory was copied, and ends one of the two").Because(Behind).After(behindRetry)
	}
	return fault.New(fault.Unavailable, "this node has not heard from the store for %s and cannot know what was withdrawn since: ask another node, or try again; an operator "+
		"finds out with \"keywright node list\" and restores the node's connection to the store", shown(call.age)).Because(Behind).After(behindRetry)
}

// shown is an age as errors tell it.
func shown(age time.Duration) time.Duration {
	return age.Round(100 * time.Millisecond)
}
