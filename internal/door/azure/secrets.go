package azure

import (
	"net/http"
	"slices"
	"time"

	"github.com/keywright/keywright/internal/admission"
	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/cert"
	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/key"
	"github.com/keywright/keywright/internal/object"
	"github.com/keywright/keywright/internal/secret"
	"github.com/keywright/keywright/internal/vault"
)

// maxUpdateBody bounds the body of a change of attributes and tags, in bytes.
const maxUpdateBody = 128 << 10

var apiVersionParam = door.Param{Name: "api-version", Summary: "The protocol version.", Required: true}

// Table returns the door's routes over services, which bound their bodies, for documents: nothing can be served by them.
func Table(s *secret.Service, k *key.Service, c *cert.Service) []door.Route {
	return (&handler{Config: Config{Secrets: s, Keys: k, Certificates: c}}).routes()
}

// pageParams are the query parameters of listings.
var pageParams = []door.Param{apiVersionParam, {Name: "maxresults", Summary: "The most entries of one page, 1 to 25."}}

// routes is the door's table.
func (h *handler) routes() []door.Route {
	routes := slices.Concat(h.secretRoutes(), h.keyRoutes(), h.certificateRoutes(), h.issuerRoutes(), h.roleRoutes(), h.settingRoutes(), h.fullBackupRoutes())
	for i := range routes {
		if routes[i].Query == nil {
			routes[i].Query = pageParams[:1]
		}
	}
	return routes
}

// secretRoutes has every secret operation of the Key Vault REST API.
func (h *handler) secretRoutes() []door.Route {
	return []door.Route{
		{Method: "PUT", Pattern: "/secrets/{name}", Operation: "SecretSet", Action: authz.SecretSet.String(), MaxBody: h.Secrets.MaxBodyBytes(), Input: setInput{},
			Summary: "Stores a value as the newest version of a secret.", Serve: h.setSecret},
		{Method: "GET", Pattern: "/secrets/{name}/{version?}", Operation: "SecretGet", Class: admission.Read, Action: authz.SecretGet.String(),
			Summary: "Returns a secret, or one version of it.", Serve: h.getSecret},
		{Method: "PATCH", Pattern: "/secrets/{name}/{version?}", Operation: "SecretUpdate", Action: authz.SecretUpdate.String(), MaxBody: maxUpdateBody, Input: updateInput{},
			Summary: "Changes the attributes of the current version, or of one version.", Serve: h.updateSecret},
		{Method: "DELETE", Pattern: "/secrets/{name}", Operation: "SecretDelete", Action: authz.SecretDelete.String(),
			Summary: "Soft-deletes a secret with all its versions.", Serve: h.deleteSecret},
		{Method: "GET", Pattern: "/secrets", Operation: "SecretList", Action: authz.SecretList.String(), Query: pageParams,
			Summary: "Lists secrets without their values.", Serve: h.listSecrets},
		{Method: "GET", Pattern: "/secrets/{name}/versions", Operation: "SecretListVersions", Action: authz.SecretList.String(), Query: pageParams,
			Summary: "Lists the versions of a secret without their values.", Serve: h.listVersions},
		{Method: "POST", Pattern: "/secrets/{name}/backup", Operation: "SecretBackup", Action: authz.SecretBackup.String(),
			Summary: "Returns a secret with all its versions as a sealed blob.", Serve: h.backupSecret},
		{Method: "POST", Pattern: "/secrets/restore", Operation: "SecretRestore", Action: authz.SecretRestore.String(), MaxBody: h.Secrets.MaxBackupBytes, Input: blob{}, Admit: h.admitRestore,
			Summary: "Brings a secret back from a blob.", Serve: h.restoreSecret},
		{Method: "GET", Pattern: "/deletedsecrets", Operation: "SecretListDeleted", Action: authz.SecretList.String(), Query: pageParams,
			Summary: "Lists the deleted secrets that can be recovered.", Serve: h.listDeleted},
		{Method: "GET", Pattern: "/deletedsecrets/{name}", Operation: "SecretGetDeleted", Action: authz.SecretGetDeleted.String(),
			Summary: "Shows a deleted secret without its value.", Serve: h.getDeleted},
		{Method: "POST", Pattern: "/deletedsecrets/{name}/recover", Operation: "SecretRecover", Action: authz.SecretRecover.String(),
			Summary: "Brings a deleted secret back.", Serve: h.recoverSecret},
		{Method: "DELETE", Pattern: "/deletedsecrets/{name}", Operation: "SecretPurge", Action: authz.SecretPurge.String(), Success: http.StatusNoContent,
			Summary: "Destroys a deleted secret for good.", Serve: h.purgeSecret},
	}
}

// attributesInput are the attributes that a caller may set. Instants are Unix seconds.
type attributesInput struct {
	Enabled *bool  `json:"enabled,omitempty"`
	NBF     *int64 `json:"nbf,omitempty"`
	EXP     *int64 `json:"exp,omitempty"`
}

type setInput struct {
	Value       *string           `json:"value"`
	ContentType string            `json:"contentType,omitempty"`
	Tags        map[string]string `json:"tags,omitempty"`
	Attributes  attributesInput   `json:"attributes,omitempty"`
}

type updateInput struct {
	ContentType *string           `json:"contentType,omitempty"`
	Tags        map[string]string `json:"tags,omitempty"`
	Attributes  attributesInput   `json:"attributes,omitempty"`
}

func (h *handler) setSecret(r *door.Request) error {
	var in setInput
	if err := r.Decode(&in); err != nil {
		return err
	}
	if in.Value == nil {
		return fault.New(fault.Invalid, "the request body has no member \"value\": give the secret's value, which may be empty")
	}
	nbf, err := door.Instant("nbf", in.Attributes.NBF)
	if err != nil {
		return err
	}
	exp, err := door.Instant("exp", in.Attributes.EXP)
	if err != nil {
		return err
	}
	value := []byte(*in.Value)
	defer clear(value)
	item, err := h.Secrets.Set(r.HTTP.Context(), &r.Call, r.Params.Get("name"), secret.Input{Value: value, ContentType: in.ContentType,
		Tags: in.Tags, Enabled: in.Attributes.Enabled == nil || *in.Attributes.Enabled, NotBefore: nbf, Expires: exp})
	if err != nil {
		return err
	}
	h.bundle(r, &item, value)
	return nil
}

func (h *handler) getSecret(r *door.Request) error {
	sel, err := selector(r)
	if err != nil {
		return err
	}
	sel.Candidate = r.AcceptsCandidate()
	item, value, err := h.Secrets.Get(r.HTTP.Context(), &r.Call, sel, r.Value)
	r.Value = value
	if err != nil {
		return err
	}
	r.Rollout(item.Object, item.Version.ID)
	r.Candidate(item.Object, item.Version.ID)
	h.bundle(r, &item, value)
	return nil
}

func selector(r *door.Request) (object.Selector, error) {
	sel := object.Selector{Name: r.Params.Get("name")}
	if v := r.Params.Get("version"); v != "" {
		id, err := vault.ParseVersionID(v)
		if err != nil {
			return sel, err
		}
		sel.Version = id
	}
	return sel, nil
}

func (h *handler) updateSecret(r *door.Request) error {
	sel, err := selector(r)
	if err != nil {
		return err
	}
	var in updateInput
	if err := r.Decode(&in); err != nil {
		return err
	}
	ch := secret.Change{ContentType: in.ContentType, Tags: in.Tags, Enabled: in.Attributes.Enabled}
	if ch.NotBefore, err = optionalInstant("nbf", in.Attributes.NBF); err != nil {
		return err
	}
	if ch.Expires, err = optionalInstant("exp", in.Attributes.EXP); err != nil {
		return err
	}
	item, err := h.Secrets.Update(r.HTTP.Context(), &r.Call, sel, ch)
	if err != nil {
		return err
	}
	h.bundle(r, &item, nil)
	return nil
}

func optionalInstant(name string, seconds *int64) (*time.Time, error) {
	if seconds == nil {
		return nil, nil
	}
	t, err := door.Instant(name, seconds)
	return &t, err
}

func (h *handler) deleteSecret(r *door.Request) error {
	item, err := h.Secrets.Delete(r.HTTP.Context(), &r.Call, r.Params.Get("name"))
	if err != nil {
		return err
	}
	h.deletedBundle(r, &item)
	return nil
}

func (h *handler) getDeleted(r *door.Request) error {
	item, err := h.Secrets.GetDeleted(r.HTTP.Context(), &r.Call, r.Params.Get("name"))
	if err != nil {
		return err
	}
	h.deletedBundle(r, &item)
	return nil
}

func (h *handler) recoverSecret(r *door.Request) error {
	item, err := h.Secrets.Recover(r.HTTP.Context(), &r.Call, r.Params.Get("name"))
	if err != nil {
		return err
	}
	h.bundle(r, &item, nil)
	return nil
}

func (h *handler) purgeSecret(r *door.Request) error {
	if err := h.Secrets.Purge(r.HTTP.Context(), &r.Call, r.Params.Get("name")); err != nil {
		return err
	}
	r.Raw(http.StatusNoContent, nil)
	return nil
}

func (h *handler) encoder(r *door.Request) encoder {
	version, _ := parseVersion(r.Call.APIVersion) // prepare refused an unknown one
	return encoder{buf: r.Scratch[:0], version: version, base: r.Base, vault: r.Call.Vault.Vault}
}

func (h *handler) bundle(r *door.Request, item *object.Item, value []byte) {
	e := h.encoder(r)
	e.bundle(item, value)
	r.Scratch = e.buf
	r.Reply(http.StatusOK, e.buf)
}

func (h *handler) deletedBundle(r *door.Request, item *object.Item) {
	e := h.encoder(r)
	e.deletedBundle(item)
	r.Scratch = e.buf
	r.Reply(http.StatusOK, e.buf)
}
