package arm

import (
	"net/http"
	"strings"

	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/tenancy"
	"github.com/keywright/keywright/internal/vault"
)

// resource serves one type of resources with identities.
type resource struct {
	*handler
	typ tenancy.ResourceType
}

type identityBody struct {
	Type        string `json:"type"`
	PrincipalID string `json:"principalId,omitempty"`
	TenantID    string `json:"tenantId,omitempty"`
}

type resourceInput struct {
	Location string        `json:"location"`
	Identity *identityBody `json:"identity"`
}

func (s resource) ref(r *door.Request) tenancy.ResourceRef {
	return tenancy.ResourceRef{GroupRef: groupRef(r), Type: s.typ, Name: r.Params.Get("name")}
}

// body writes a resource with its identity, which is nil for none. g is the group that the resource is in.
func (s resource) body(ref tenancy.ResourceRef, location string, p *principal.Principal) map[string]any {
	b := map[string]any{"id": ref.ID(), "name": ref.Name, "type": string(s.typ), "location": location, "tags": map[string]string{}}
	if s.typ == tenancy.UserAssigned {
		b["properties"] = map[string]any{"tenantId": p.Tenant, "principalId": p.ID, "clientId": p.AppID, "isolationScope": "None"}
		return b
	}
	b["kind"] = "app"
	b["properties"] = map[string]any{"name": ref.Name, "resourceGroup": ref.Group, "provisioningState": "Succeeded", "reserved": true, "enabled": true}
	if p != nil {
		b["identity"] = identityBody{"SystemAssigned", string(p.ID), string(p.Tenant)}
	}
	return b
}

func (s resource) get(r *door.Request) error {
	ref := s.ref(r)
	p, g, err := s.Tenancy.Identity(r.HTTP.Context(), &r.Call, ref)
	if err != nil {
		return err
	}
	if p == nil && s.typ == tenancy.UserAssigned {
		return fault.New(fault.NotFound, "the resource '%s/%s' under resource group '%s' was not found", s.typ, ref.Name, ref.Group).Because(tenancy.ResourceNotFound)
	}
	return r.JSON(http.StatusOK, s.body(ref, g.Location, p))
}

// put assigns or removes an identity as the body says. A user-assigned identity is one; a site has the one it asks for.
func (s resource) put(r *door.Request) error {
	var in resourceInput
	if err := r.Decode(&in); err != nil {
		return err
	}
	ref, status := s.ref(r), http.StatusOK
	switch {
	case s.typ == tenancy.UserAssigned || in.Identity.has("SystemAssigned"):
		_, created, err := s.Tenancy.AssignIdentity(r.HTTP.Context(), &r.Call, ref)
		if err != nil {
			return err
		}
		if created && s.typ == tenancy.UserAssigned {
			status = http.StatusCreated
		}
	case in.Identity.has("None"):
		if _, err := s.Tenancy.RemoveIdentity(r.HTTP.Context(), &r.Call, ref); err != nil {
			return err
		}
	case in.Identity != nil && in.Identity.Type != "":
		return fault.New(fault.Unsupported, "a site cannot have the identity type %.60q here: use SystemAssigned or None", in.Identity.Type)
	}
	p, g, err := s.Tenancy.Identity(r.HTTP.Context(), &r.Call, ref)
	if err != nil {
		return err
	}
	if p == nil && s.typ == tenancy.UserAssigned {
		return fault.New(fault.Conflict, "the identity %q was removed meanwhile: try again", ref.Name)
	}
	return r.JSON(status, s.body(ref, g.Location, p))
}

func (b *identityBody) has(typ string) bool { return b != nil && strings.EqualFold(b.Type, typ) }

func (s resource) delete(r *door.Request) error {
	existed, err := s.Tenancy.RemoveIdentity(r.HTTP.Context(), &r.Call, s.ref(r))
	if err != nil {
		return err
	}
	status := http.StatusOK
	if !existed {
		status = http.StatusNoContent
	}
	r.Raw(status, nil)
	return nil
}

func (s resource) list(r *door.Request) error {
	found, err := s.Tenancy.ListIdentities(r.HTTP.Context(), &r.Call, groupRef(r), s.typ)
	if err != nil {
		return err
	}
	groups, err := s.Tenancy.Groups(r.HTTP.Context(), &r.Call, subscription(r))
	if err != nil {
		return err
	}
	locations := map[string]string{}
	for _, g := range groups {
		locations[vault.NameKey(g.Name)] = g.Location
	}
	bodies := make([]map[string]any, 0, len(found))
	for _, p := range found {
		if ref, ok := tenancy.ParseResource(p.Resource); ok {
			bodies = append(bodies, s.body(ref, locations[vault.NameKey(ref.Group)], p))
		}
	}
	return r.JSON(http.StatusOK, listBody{Value: bodies})
}
