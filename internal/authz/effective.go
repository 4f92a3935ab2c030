package authz

import (
	"strings"
	"time"

	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/vault"
)

// Effective is everything that one caller may do in one vault, flattened for the hot path: asking is a bit test, and a map
// look-up where the caller has grants on single objects. It leaves network rules out, which depend on the address of each
// request. It is immutable and safe for concurrent use.
type Effective struct {
	// Window is the time for which it holds, as long as the snapshot does.
	Window
	// whole holds what is allowed on the vault and so on everything in it.
	whole Set
	// keys holds what is allowed on all keys besides.
	keys Set
	// objects holds what is allowed on single objects besides.
	objects map[objectKey]Set
}

type objectKey struct {
	kind vault.Kind
	// name is a name key: see vault.NameKey.
	name string
}

// NewEffective flattens what the caller may do at now. Within its Window it answers exactly as Decide does for a request
// without an address and without an assigned role.
func NewEffective(c Caller, s *Snapshot, now time.Time) *Effective {
	e := &Effective{}
	if s.vault == nil || !s.ownTenant(c) {
		return e
	}
	s.each(&c, func(_ principal.ID, g *grant, p *policy) {
		if g != nil {
			e.narrow(now, g.NotBefore, g.Expires)
			e.addGrant(s, g, now)
			return
		}
		e.narrow(now, p.NotBefore, p.Expires)
		through := p.Application == "" || strings.EqualFold(p.Application, c.AppID)
		if p.never == unjudged && through && s.vault.Access == vault.AccessByPolicy && liveness(now, p.NotBefore, p.Expires) == Counts {
			e.whole = e.whole.Union(p.allows)
		}
	})
	return e
}

func (e *Effective) addGrant(s *Snapshot, g *grant, now time.Time) {
	if g.never != unjudged || liveness(now, g.NotBefore, g.Expires) != Counts {
		return
	}
	if !g.role.provisions.admitted(s.vault) {
		return
	}
	allows := g.role.allows
	if s.vault.Access != vault.AccessByRole && g.role.provisions == notProvisioner {
		allows = allows.Intersect(controlActions)
	}
	if g.role.assigns != nil {
		allows = allows.Minus(SetOf(RoleAssignmentWrite, RoleAssignmentDelete))
	}
	switch {
	case g.scope.Contains(s.scope):
		e.whole = e.whole.Union(allows)
	case g.scope == s.scope.AllKeys():
		e.keys = e.keys.Union(allows)
	case s.scope.Contains(g.scope):
		if e.objects == nil {
			e.objects = make(map[objectKey]Set)
		}
		k := objectKey{g.scope.kind, g.scope.object}
		e.objects[k] = e.objects[k].Union(allows)
	}
}

// controlActions holds every action of the control plane.
var controlActions = func() Set {
	var s Set
	for _, a := range Actions() {
		if a.Plane() == Control {
			s.add(a)
		}
	}
	return s
}()

// Allows reports whether the caller may do the action on the object whose kind and name key (see vault.NameKey) are given,
// or on the vault as a whole when both are empty. Outside its Window it allows nothing: ask Holds first, and make a new
// Effective when it says no. It does not allocate.
func (e *Effective) Allows(a Action, kind vault.Kind, nameKey string, now time.Time) bool {
	if !e.Holds(now) {
		return false
	}
	if nameKey == "" && kind != "" || nameKey != "" && kind != vault.Secret && kind != vault.Key && kind != vault.Certificate {
		return false
	}
	if e.whole.Has(a) || e.keys.Has(a) && (kind == vault.Key || nameKey == "" && aboutAllKeys.Has(a)) {
		return true
	}
	return len(e.objects) > 0 && nameKey != "" && e.objects[objectKey{kind, nameKey}].Has(a)
}
