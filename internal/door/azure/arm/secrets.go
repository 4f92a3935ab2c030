package arm

import (
	"net/http"
	"time"

	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/secret"
	"github.com/keywright/keywright/internal/tenancy"
)

type secretBody struct {
	ID         string            `json:"id"`
	Name       string            `json:"name"`
	Type       string            `json:"type"`
	Location   string            `json:"location"`
	Tags       map[string]string `json:"tags"`
	Properties secretProperties  `json:"properties"`
}

// secretProperties has no value: it can be written, and never read, through Resource Manager.
type secretProperties struct {
	ContentType          string           `json:"contentType,omitempty"`
	Attributes           secretAttributes `json:"attributes"`
	SecretURI            string           `json:"secretUri"`
	SecretURIWithVersion string           `json:"secretUriWithVersion"`
}

// secretAttributes holds instants as Unix seconds.
type secretAttributes struct {
	Enabled *bool  `json:"enabled"`
	NBF     *int64 `json:"nbf,omitempty"`
	EXP     *int64 `json:"exp,omitempty"`
	Created *int64 `json:"created,omitempty"`
	Updated *int64 `json:"updated,omitempty"`
}

// open makes the vault of the path the call's. The caller must be allowed to see the vault.
func (h *handler) open(r *door.Request) error {
	v, err := h.Tenancy.Vault(r.HTTP.Context(), &r.Call, vaultRef(r))
	if err != nil {
		return err
	}
	view, err := h.Guard.View(r.HTTP.Context(), v.Name)
	if err == nil && view.Vault.ID != v.ID {
		err = fault.New(fault.NotFound, "the vault %q was replaced meanwhile: try again", v.Name).Because(tenancy.ResourceNotFound)
	}
	r.Call.Vault = view
	return err
}

func (h *handler) secretBody(v *guard.View, it *secret.Item, host string) secretBody {
	a := &it.Version.Attributes
	uri := h.VaultURL(v.Vault.Name, host) + "secrets/" + it.Object.Name
	return secretBody{ID: v.Vault.Scope() + "/secrets/" + it.Object.Name, Name: it.Object.Name, Type: "Microsoft.KeyVault/vaults/secrets", Location: v.Vault.Location,
		Tags: notNil(it.Version.Tags), Properties: secretProperties{ContentType: it.Version.ContentType, SecretURI: uri, SecretURIWithVersion: uri + "/" + string(it.Version.ID),
			Attributes: secretAttributes{&a.Enabled, seconds(a.NotBefore), seconds(a.Expires), seconds(a.Created), seconds(a.Updated)}}}
}

func seconds(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	s := t.Unix()
	return &s
}

func (h *handler) putSecret(r *door.Request) error {
	var in struct {
		Tags       map[string]string `json:"tags"`
		Properties struct {
			Value       *string          `json:"value"`
			ContentType string           `json:"contentType"`
			Attributes  secretAttributes `json:"attributes"`
		} `json:"properties"`
	}
	if err := r.Decode(&in); err != nil {
		return err
	}
	p := in.Properties
	if p.Value == nil {
		return fault.New(fault.Invalid, "the request body has no member \"properties.value\": give the secret's value, which may be empty")
	}
	nbf, err := door.Instant("nbf", p.Attributes.NBF)
	if err != nil {
		return err
	}
	exp, err := door.Instant("exp", p.Attributes.EXP)
	if err != nil {
		return err
	}
	if err := h.open(r); err != nil {
		return err
	}
	value := []byte(*p.Value)
	defer clear(value)
	it, err := h.Secrets.ManageSet(r.HTTP.Context(), &r.Call, r.Params.Get("object"), secret.Input{Value: value, ContentType: p.ContentType, Tags: in.Tags,
		Enabled: p.Attributes.Enabled == nil || *p.Attributes.Enabled, NotBefore: nbf, Expires: exp})
	if err != nil {
		return err
	}
	status := http.StatusOK
	if it.Version.Previous == "" {
		status = http.StatusCreated
	}
	return r.JSON(status, h.secretBody(r.Call.Vault, &it, r.HTTP.Host))
}

// patchSecret changes what the body names, and makes a new version when that is the value.
func (h *handler) patchSecret(r *door.Request) error {
	var in struct {
		Tags       map[string]string `json:"tags"`
		Properties struct {
			Value       *string          `json:"value"`
			ContentType *string          `json:"contentType"`
			Attributes  secretAttributes `json:"attributes"`
		} `json:"properties"`
	}
	if err := r.Decode(&in); err != nil {
		return err
	}
	p := in.Properties
	ch := secret.Change{Tags: in.Tags, ContentType: p.ContentType, Enabled: p.Attributes.Enabled}
	var err error
	if ch.NotBefore, err = given("nbf", p.Attributes.NBF); err != nil {
		return err
	}
	if ch.Expires, err = given("exp", p.Attributes.EXP); err != nil {
		return err
	}
	if err := h.open(r); err != nil {
		return err
	}
	var value []byte
	if p.Value != nil {
		value = append([]byte{}, *p.Value...) // the empty value is one
		defer clear(value)
	}
	it, err := h.Secrets.ManageUpdate(r.HTTP.Context(), &r.Call, r.Params.Get("object"), ch, value)
	if err != nil {
		return err
	}
	return r.JSON(http.StatusOK, h.secretBody(r.Call.Vault, &it, r.HTTP.Host))
}

// given reads an instant that may be left out.
func given(name string, seconds *int64) (*time.Time, error) {
	if seconds == nil {
		return nil, nil
	}
	t, err := door.Instant(name, seconds)
	return &t, err
}

func (h *handler) getSecret(r *door.Request) error {
	if err := h.open(r); err != nil {
		return err
	}
	it, err := h.Secrets.ManageGet(r.HTTP.Context(), &r.Call, r.Params.Get("object"))
	if err != nil {
		return err
	}
	return r.JSON(http.StatusOK, h.secretBody(r.Call.Vault, &it, r.HTTP.Host))
}

// defaultObjects is the largest page of listings of secrets and keys, and the page size when the client names none.
const defaultObjects = 100

func (h *handler) listSecrets(r *door.Request) error {
	p, err := page(r)
	if err != nil {
		return err
	}
	if p.Limit == 0 || p.Limit > defaultObjects {
		p.Limit = defaultObjects
	}
	if err := h.open(r); err != nil {
		return err
	}
	found, err := h.Secrets.ManageList(r.HTTP.Context(), &r.Call, secret.Page{After: p.After, Limit: p.Limit})
	if err != nil {
		return err
	}
	list := make([]secretBody, 0, len(found.Items))
	for i := range found.Items {
		if it := &found.Items[i]; it.Version != nil {
			list = append(list, h.secretBody(r.Call.Vault, it, r.HTTP.Host))
		}
	}
	return r.JSON(http.StatusOK, listBody{list, nextLink(r, found.Next)})
}
