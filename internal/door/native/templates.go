package native

import (
	"net/http"

	"github.com/keywright/keywright/client/api"
	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/composition"
	"github.com/keywright/keywright/internal/door"
)

func (h *handler) templateRoutes() []door.Route {
	const template = root + "/vaults/{vault}/secrets/{name}/template"
	return []door.Route{
		{Method: "PUT", Pattern: template, Operation: "SecretTemplateSet", Action: authz.SecretSet.String(), MaxBody: maxSmallBody, Input: api.SetTemplate{},
			Output: api.SecretTemplate{}, Summary: "Composes a secret of others of its vault; who sets the template must be allowed to read them.", Serve: h.setTemplate},
		{Method: "GET", Pattern: template, Operation: "SecretTemplateGet", Action: authz.SecretList.String(), Output: api.SecretTemplate{},
			Summary: "Shows of what a secret is composed, and of which versions its latest values were made.", Serve: h.getTemplate},
		{Method: "DELETE", Pattern: template, Operation: "SecretTemplateDelete", Action: authz.SecretSet.String(), Success: http.StatusNoContent,
			Summary: "Takes the template of a secret away, which keeps its value.", Serve: h.deleteTemplate},
	}
}

func (h *handler) setTemplate(r *door.Request) error {
	var in api.SetTemplate
	if err := r.Decode(&in); err != nil {
		return err
	}
	c, err := h.Composed.Set(r.HTTP.Context(), &r.Call, r.Params.Get("name"), in.Template)
	return answerTemplate(r, c, err)
}

func (h *handler) getTemplate(r *door.Request) error {
	c, err := h.Composed.Get(r.HTTP.Context(), &r.Call, r.Params.Get("name"))
	return answerTemplate(r, c, err)
}

func answerTemplate(r *door.Request, c *composition.Composed, err error) error {
	if err != nil {
		return err
	}
	out := api.SecretTemplate{Vault: r.Call.Vault.Vault.Name, Name: c.Name, Template: c.Template, Problem: c.Problem, Made: make([]api.ComposedVersion, 0, len(c.Made))}
	for _, m := range c.Made {
		w := api.ComposedVersion{Version: string(m.Version), At: m.At, Parts: make(map[string]string, len(m.Parts))}
		for name, v := range m.Parts {
			w.Parts[name] = string(v)
		}
		out.Made = append(out.Made, w)
	}
	return r.JSON(http.StatusOK, out)
}

func (h *handler) deleteTemplate(r *door.Request) error {
	return done(r, h.Composed.Delete(r.HTTP.Context(), &r.Call, r.Params.Get("name")))
}
