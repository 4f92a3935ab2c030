package graph

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/keywright/keywright/internal/access"
	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/door/odata"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/vault"
)

// collection is a set of the directory's objects, as Microsoft Graph divides them.
type collection struct {
	name, operation string
	// typ is the object's type in answers that mix several.
	typ   string
	kinds []principal.Kind
	write func(*principal.Principal) map[string]any
}

// collections are those that are served. An application is shown with the client id as its own: the directory here does not
// keep applications apart from their service principals.
var collections = []collection{
	{"users", "User", "#microsoft.graph.user", []principal.Kind{principal.User}, user},
	{"groups", "Group", "#microsoft.graph.group", []principal.Kind{principal.GroupKind}, group},
	{"servicePrincipals", "ServicePrincipal", "#microsoft.graph.servicePrincipal", []principal.Kind{principal.Service, principal.ManagedIdentity}, service},
	{"applications", "Application", "#microsoft.graph.application", []principal.Kind{principal.Service}, application},
}

func user(p *principal.Principal) map[string]any {
	return map[string]any{"id": p.ID, "displayName": p.Name, "userPrincipalName": p.UPN, "mail": p.UPN, "accountEnabled": !p.Disabled,
		"businessPhones": []string{}, "userType": "Member"}
}

func group(p *principal.Principal) map[string]any {
	return map[string]any{"id": p.ID, "displayName": p.Name, "securityEnabled": true, "mailEnabled": false, "mailNickname": p.Name, "groupTypes": []string{}}
}

func service(p *principal.Principal) map[string]any {
	typ, alternative := "Application", []string{}
	if p.Kind == principal.ManagedIdentity {
		typ, alternative = "ManagedIdentity", []string{p.Resource}
	}
	return map[string]any{"id": p.ID, "appId": p.AppID, "displayName": p.Name, "appDisplayName": p.Name, "servicePrincipalType": typ,
		"servicePrincipalNames": []string{p.AppID}, "alternativeNames": alternative, "accountEnabled": !p.Disabled, "appOwnerOrganizationId": p.Tenant}
}

func application(p *principal.Principal) map[string]any {
	return map[string]any{"id": p.AppID, "appId": p.AppID, "displayName": p.Name, "identifierUris": []string{}, "signInAudience": "AzureADMyOrg"}
}

// served is a collection with what answers for it.
type served struct {
	*handler
	collection
}

func (c served) list(r *door.Request) error {
	lookups, err := c.lookups(r.Query("$filter"))
	if err != nil {
		return err
	}
	top := 0
	if t := r.Query("$top"); t != "" {
		if top, err = strconv.Atoi(t); err != nil || top < 1 {
			return fault.New(fault.Invalid, "$top is %.20q: give a number from 1", t)
		}
	}
	found, err := c.Access.Look(r.HTTP.Context(), &r.Call, lookups...)
	if err != nil {
		return err
	}
	if top > 0 && len(found) > top {
		found = found[:top]
	}
	value := make([]map[string]any, 0, len(found))
	for _, p := range found {
		value = append(value, c.write(p))
	}
	return r.JSON(http.StatusOK, map[string]any{"@odata.context": metadata(r) + c.name, "value": value})
}

func metadata(r *door.Request) string { return "https://" + r.HTTP.Host + "/v1.0/$metadata#" }

// lookups turns a filter into look-ups, one for each alternative.
func (c collection) lookups(filter string) ([]access.Lookup, error) {
	f, err := odata.Parse(filter)
	if err != nil {
		return nil, err
	}
	if len(f) == 0 {
		return []access.Lookup{{Kinds: c.kinds}}, nil
	}
	var list []access.Lookup
	for _, all := range f {
		l := access.Lookup{Kinds: c.kinds}
		nobody := false
		for _, clause := range all {
			to := c.member(&l, clause)
			if to == nil {
				return nil, fault.New(fault.Invalid, "the $filter condition %q is not known for %s", clause.String(), c.name).Because("InvalidFilter")
			}
			// An empty value, or two different ones for the same thing, select nobody.
			nobody = nobody || clause.Value == "" || *to != "" && !strings.EqualFold(*to, clause.Value)
			*to = clause.Value
		}
		if l.ID = principal.ID(strings.ToLower(string(l.ID))); !nobody {
			list = append(list, l)
		}
	}
	return list, nil
}

// member returns where a condition's value belongs; nil for a condition that is not known.
func (c collection) member(l *access.Lookup, clause odata.Clause) *string {
	field := strings.ToLower(clause.Field)
	switch {
	case clause.Op == "startswith" && field == "displayname":
		return &l.NamePrefix
	case clause.Op == "any" && field == "serviceprincipalnames" && c.name == "servicePrincipals":
		return &l.AppID
	case clause.Op != "eq":
		return nil
	case field == "displayname":
		return &l.Name
	case field == "id" && c.name != "applications":
		return (*string)(&l.ID)
	case field == "appid" && (c.name == "servicePrincipals" || c.name == "applications"), field == "id":
		return &l.AppID
	case (field == "userprincipalname" || field == "mail") && c.name == "users":
		return &l.UPN
	}
	return nil
}

func (c served) get(r *door.Request) error {
	id := r.Params.Get("id")
	l := access.Lookup{Kinds: c.kinds}
	guid, err := vault.ParseGUID(id)
	switch {
	case err == nil && c.name == "applications":
		l.AppID = guid
	case err == nil:
		l.ID = principal.ID(guid)
	case c.name == "users":
		l.UPN = id
	default:
		return notFound(id)
	}
	found, err := c.Access.Look(r.HTTP.Context(), &r.Call, l)
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return notFound(id)
	}
	return c.reply(r, found[0])
}

func (c served) reply(r *door.Request, p *principal.Principal) error {
	body := c.write(p)
	body["@odata.context"] = metadata(r) + c.name + "/$entity"
	return r.JSON(http.StatusOK, body)
}

func notFound(id string) error {
	return fault.New(fault.NotFound, "Resource '%.80s' does not exist or one of its queried reference-property objects are not present.", id)
}

// me describes the signed-in user. An application has no such thing: clients tell by the error that they are one.
func (h *handler) me(r *door.Request) error {
	if r.Call.Caller.Kind != principal.User {
		return fault.New(fault.Invalid, "/me request is only valid with delegated authentication flow.")
	}
	found, err := h.Access.Look(r.HTTP.Context(), &r.Call, access.Lookup{Kinds: []principal.Kind{principal.User}, ID: r.Call.Caller.Principal})
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return notFound(string(r.Call.Caller.Principal))
	}
	return served{h, collections[0]}.reply(r, found[0])
}

// maxIDs is Microsoft Graph's limit of getByIds.
const maxIDs = 1000

func (h *handler) getByIDs(r *door.Request) error {
	var in struct {
		IDs   []string `json:"ids"`
		Types []string `json:"types"`
	}
	if err := r.Decode(&in); err != nil {
		return err
	}
	if len(in.IDs) == 0 || len(in.IDs) > maxIDs {
		return fault.New(fault.Invalid, "the request names %d ids: give 1 to %d", len(in.IDs), maxIDs)
	}
	lookups := make([]access.Lookup, 0, len(in.IDs))
	for _, id := range in.IDs {
		guid, err := vault.ParseGUID(id)
		if err != nil {
			return err
		}
		lookups = append(lookups, access.Lookup{Kinds: kindsOf(in.Types), ID: principal.ID(guid)})
	}
	found, err := h.Access.Look(r.HTTP.Context(), &r.Call, lookups...)
	if err != nil {
		return err
	}
	value := make([]map[string]any, 0, len(found))
	for _, p := range found {
		c := collectionOf(p.Kind)
		body := c.write(p)
		body["@odata.type"] = c.typ
		value = append(value, body)
	}
	return r.JSON(http.StatusOK, map[string]any{"@odata.context": metadata(r) + "directoryObjects", "value": value})
}

// kindsOf returns the kinds of the named types; all of them for none, or for directoryObject.
func kindsOf(types []string) (kinds []principal.Kind) {
	for _, c := range collections[:3] {
		wanted := len(types) == 0
		for _, t := range types {
			wanted = wanted || strings.EqualFold(t, strings.TrimPrefix(c.typ, "#microsoft.graph.")) || strings.EqualFold(t, "directoryObject")
		}
		if wanted {
			kinds = append(kinds, c.kinds...)
		}
	}
	return kinds
}

func collectionOf(k principal.Kind) collection {
	switch k {
	case principal.User:
		return collections[0]
	case principal.GroupKind:
		return collections[1]
	}
	return collections[2]
}
