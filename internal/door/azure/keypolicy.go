package azure

import (
	"net/http"

	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/door/keyjson"
	"github.com/keywright/keywright/internal/key"
	"github.com/keywright/keywright/internal/vault"
)

func policyBody(base string, o *vault.Object, p *key.Policy) keyjson.RotationPolicy {
	b := keyjson.Of(p)
	b.ID = base + "/" + keys + "/" + o.Name + "/rotationpolicy"
	return b
}

func (h *handler) getRotationPolicy(r *door.Request) error {
	o, p, err := h.Keys.Policy(r.HTTP.Context(), &r.Call, r.Params.Get("name"))
	if err != nil {
		return err
	}
	return r.JSON(http.StatusOK, policyBody(r.Base, o, &p))
}

func (h *handler) setRotationPolicy(r *door.Request) error {
	var in keyjson.RotationPolicy
	if err := r.Decode(&in); err != nil {
		return err
	}
	p, err := in.Policy()
	if err != nil {
		return err
	}
	o, p, err := h.Keys.SetPolicy(r.HTTP.Context(), &r.Call, r.Params.Get("name"), p)
	if err != nil {
		return err
	}
	return r.JSON(http.StatusOK, policyBody(r.Base, o, &p))
}
