package arm

import (
	"encoding/base64"
	"net/http"
	"strings"

	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/door/keyjson"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/key"
	"github.com/keywright/keywright/internal/vault"
)

type keyBody struct {
	ID         string            `json:"id"`
	Name       string            `json:"name"`
	Type       string            `json:"type"`
	Location   string            `json:"location"`
	Tags       map[string]string `json:"tags"`
	Properties keyProperties     `json:"properties"`
}

// keyProperties are what the management plane says of a key, in its own spelling of the members. The public half is not among them.
type keyProperties struct {
	Attributes     keyAttributes           `json:"attributes"`
	Kty            string                  `json:"kty"`
	Ops            []string                `json:"keyOps"`
	Size           int                     `json:"keySize,omitempty"`
	Curve          string                  `json:"curveName,omitempty"`
	URI            string                  `json:"keyUri"`
	URIWithVersion string                  `json:"keyUriWithVersion"`
	Release        *releasePolicy          `json:"release_policy,omitempty"`
	Rotation       *keyjson.RotationPolicy `json:"rotationPolicy,omitempty"`
}

type keyAttributes struct {
	secretAttributes
	Exportable    *bool  `json:"exportable,omitempty"`
	RecoveryLevel string `json:"recoveryLevel,omitempty"`
}

// releasePolicy holds the policy in base64url.
type releasePolicy struct {
	ContentType string `json:"contentType,omitempty"`
	Data        string `json:"data"`
}

func (b *releasePolicy) policy() (*key.ReleasePolicy, error) {
	if b == nil {
		return nil, nil
	}
	data, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(b.Data, "="))
	if err != nil {
		return nil, fault.New(fault.Invalid, "the property \"release_policy.data\" is not base64url: encode the policy so")
	}
	if b.ContentType == "" {
		b.ContentType = key.ReleasePolicyType
	}
	return &key.ReleasePolicy{ContentType: b.ContentType, Data: data}, nil
}

// keyBody describes a key, or with a version one of its versions. The rotation policy is left out of listings.
func (h *handler) keyBody(v *guard.View, it *key.Item, p *key.Policy, version bool, host string) (keyBody, error) {
	f, err := key.Describe(it.Version)
	if err != nil {
		return keyBody{}, err
	}
	a := &it.Version.Attributes
	uri := h.VaultURL(v.Vault.Name, host) + "keys/" + it.Object.Name
	b := keyBody{ID: v.Vault.Scope() + "/keys/" + it.Object.Name, Name: it.Object.Name, Type: "Microsoft.KeyVault/vaults/keys", Location: v.Vault.Location,
		Tags: notNil(it.Version.Tags), Properties: keyProperties{Kty: f.Kty(), Ops: f.Ops.Words(), Size: f.Bits, Curve: f.Public.Crv, URI: uri,
			URIWithVersion: uri + "/" + string(it.Version.ID), Attributes: keyAttributes{Exportable: &f.Exportable, RecoveryLevel: door.RecoveryLevel(v.Vault),
				secretAttributes: secretAttributes{&a.Enabled, seconds(a.NotBefore), seconds(a.Expires), seconds(a.Created), seconds(a.Updated)}}}}
	if f.Release != nil {
		b.Properties.Release = &releasePolicy{f.Release.ContentType, base64.RawURLEncoding.EncodeToString(f.Release.Data)}
	}
	if p != nil {
		body := keyjson.Of(p)
		b.Properties.Rotation = &body
	}
	if version {
		b.ID, b.Name, b.Type = b.ID+"/versions/"+string(it.Version.ID), string(it.Version.ID), b.Type+"/versions"
	}
	return b, nil
}

type keyInput struct {
	Tags       map[string]string `json:"tags"`
	Properties struct {
		Attributes keyAttributes           `json:"attributes"`
		Kty        string                  `json:"kty"`
		Ops        []string                `json:"keyOps"`
		Size       int                     `json:"keySize"`
		Curve      string                  `json:"curveName"`
		Release    *releasePolicy          `json:"release_policy"`
		Rotation   *keyjson.RotationPolicy `json:"rotationPolicy"`
	} `json:"properties"`
}

func (in *keyInput) input() (out key.Input, policy *key.Policy, err error) {
	p := &in.Properties
	a := &p.Attributes
	out = key.Input{Tags: in.Tags, Enabled: a.Enabled == nil || *a.Enabled, Exportable: a.Exportable != nil && *a.Exportable}
	if len(p.Ops) > 0 {
		out.Ops = p.Ops
	}
	if out.NotBefore, err = door.Instant("nbf", a.NBF); err != nil {
		return out, nil, err
	}
	if out.Expires, err = door.Instant("exp", a.EXP); err != nil {
		return out, nil, err
	}
	if out.Release, err = p.Release.policy(); err != nil || p.Rotation == nil {
		return out, nil, err
	}
	rotation, err := p.Rotation.Policy()
	return out, &rotation, err
}

// putKey makes a key. One that exists is answered as it is: this API neither changes a key nor gives it a version.
func (h *handler) putKey(r *door.Request) error {
	var in keyInput
	if err := r.Decode(&in); err != nil {
		return err
	}
	if in.Properties.Kty == "" {
		return fault.New(fault.Invalid, "the request body has no member \"properties.kty\": name the type of the key, such as RSA or EC")
	}
	input, policy, err := in.input()
	if err != nil {
		return err
	}
	if err := h.open(r); err != nil {
		return err
	}
	p := &in.Properties
	it, rotation, _, err := h.Keys.ManageCreate(r.HTTP.Context(), &r.Call, r.Params.Get("object"), key.Spec{Kty: p.Kty, Bits: p.Size, Curve: p.Curve}, input, policy)
	if err != nil {
		return err
	}
	return h.answerKey(r, &it, &rotation, false)
}

func (h *handler) answerKey(r *door.Request, it *key.Item, p *key.Policy, version bool) error {
	body, err := h.keyBody(r.Call.Vault, it, p, version, r.HTTP.Host)
	if err != nil {
		return err
	}
	return r.JSON(http.StatusOK, body)
}

func (h *handler) getKey(r *door.Request) error {
	sel := key.Selector{Name: r.Params.Get("object")}
	version := r.Params.Get("version")
	if version != "" {
		var err error
		if sel.Version, err = vault.ParseVersionID(version); err != nil {
			return err
		}
	}
	if err := h.open(r); err != nil {
		return err
	}
	it, rotation, err := h.Keys.ManageGet(r.HTTP.Context(), &r.Call, sel)
	if err != nil {
		return err
	}
	return h.answerKey(r, &it, &rotation, version != "")
}

func (h *handler) listKeys(r *door.Request) error {
	return h.answerKeys(r, false, func(p key.Page) (key.Listing, error) { return h.Keys.ManageList(r.HTTP.Context(), &r.Call, p) })
}

func (h *handler) listKeyVersions(r *door.Request) error {
	return h.answerKeys(r, true, func(p key.Page) (key.Listing, error) {
		return h.Keys.ManageVersions(r.HTTP.Context(), &r.Call, r.Params.Get("object"), p)
	})
}

func (h *handler) answerKeys(r *door.Request, versions bool, find func(key.Page) (key.Listing, error)) error {
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
	found, err := find(key.Page{After: p.After, Limit: p.Limit})
	if err != nil {
		return err
	}
	list := make([]keyBody, 0, len(found.Items))
	for i := range found.Items {
		it := &found.Items[i]
		if it.Version == nil {
			continue
		}
		body, err := h.keyBody(r.Call.Vault, it, nil, versions, r.HTTP.Host)
		if err != nil {
			return err
		}
		list = append(list, body)
	}
	return r.JSON(http.StatusOK, listBody{list, nextLink(r, found.Next)})
}
