package native

import (
	"github.com/keywright/keywright/client/api"
	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/directory"
	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/principal"
)

// names finds display names for ids, each once. A caller who may not see principals gets the ids alone: a name is a courtesy,
// and its lack no error.
type names struct {
	h     *handler
	r     *door.Request
	roles map[string]string
	refs  map[principal.ID]api.PrincipalRef
	blind bool
}

func (h *handler) names(r *door.Request) *names {
	return &names{h: h, r: r, roles: make(map[string]string), refs: make(map[principal.ID]api.PrincipalRef)}
}

func (n *names) grant(g *principal.Grant) *api.Grant {
	return &api.Grant{ID: g.ID, Role: g.Role, RoleName: n.role(g), Principal: n.principal(g), Scope: g.Scope, Description: g.Description,
		NotBefore: optional(g.NotBefore), Expires: optional(g.Expires), CreatedBy: string(g.CreatedBy), Created: g.Created}
}

func (n *names) role(g *principal.Grant) string {
	if role, ok := authz.BuiltinRole(g.Role); ok {
		return role.Name
	}
	name, ok := n.roles[g.Role]
	if !ok {
		if role, err := n.h.Access.Role(n.r.HTTP.Context(), &n.r.Call, g.Scope, g.Role); err == nil {
			name = role.Name
		}
		n.roles[g.Role] = name
	}
	return name
}

func (n *names) principal(g *principal.Grant) api.PrincipalRef {
	ref, ok := n.refs[g.Principal]
	if ok {
		return ref
	}
	ref = api.PrincipalRef{ID: string(g.Principal), Kind: string(g.PrincipalKind)}
	if !n.blind {
		e, err := n.h.Directory.Show(n.r.HTTP.Context(), &n.r.Call, directory.Ref(g.Principal))
		if err == nil {
			ref = refOfPrincipal(e.Principal)
		}
		n.blind = fault.Is(err, fault.Forbidden)
	}
	n.refs[g.Principal] = ref
	return ref
}
