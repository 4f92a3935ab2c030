package azure

import (
	"net/http"

	"github.com/keywright/keywright/internal/admission"
	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/cryptokey"
	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/door/keyjson"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/key"
)

const (
	// maxKeyBody bounds the body that makes, imports or changes a key, in bytes: tags, a release policy and the JWK of the largest key.
	maxKeyBody = 256 << 10
	// maxUseBody bounds the body of a use of a key, in bytes. A key encrypts little; what is longer is encrypted under a key of its own.
	maxUseBody = 128 << 10
)

// keyRoutes has every key operation of the Key Vault REST API.
func (h *handler) keyRoutes() []door.Route {
	use := func(verb, operation string, action authz.Action, input any, summary string, serve func(*door.Request) error) door.Route {
		return door.Route{Method: "POST", Pattern: "/keys/{name}/{version?}/" + verb, Operation: operation, Class: admission.Use, Action: action.String(), MaxBody: maxUseBody, Input: input,
			Summary: summary, Serve: serve}
	}
	return []door.Route{
		{Method: "POST", Pattern: "/keys/{name}/create", Operation: "KeyCreate", Action: authz.KeyCreate.String(), MaxBody: maxKeyBody, Input: createKeyInput{},
			Summary: "Makes a key, or a new version of one.", Serve: h.createKey},
		{Method: "PUT", Pattern: "/keys/{name}", Operation: "KeyImport", Action: authz.KeyImport.String(), MaxBody: maxKeyBody, Input: importKeyInput{},
			Summary: "Stores a key that was made elsewhere.", Serve: h.importKey},
		{Method: "GET", Pattern: "/keys/{name}/{version?}", Operation: "KeyGet", Class: admission.Read, Action: authz.KeyGet.String(),
			Summary: "Shows the public half of a key, or of one version.", Serve: h.getKey},
		{Method: "GET", Pattern: "/keys/{name}/{version?}/attestation", Operation: "KeyGetAttestation", Action: authz.KeyGet.String(),
			Summary: "Shows a key with the attestation of its hardware, of which a key in software has none.", Serve: h.getKeyAttestation},
		{Method: "PATCH", Pattern: "/keys/{name}/{version?}", Operation: "KeyUpdate", Action: authz.KeyUpdate.String(), MaxBody: maxKeyBody, Input: updateKeyInput{},
			Summary: "Changes the attributes of the current version, or of one version.", Serve: h.updateKey},
		{Method: "DELETE", Pattern: "/keys/{name}", Operation: "KeyDelete", Action: authz.KeyDelete.String(),
			Summary: "Soft-deletes a key with all its versions.", Serve: h.deleteKey},
		{Method: "GET", Pattern: "/keys", Operation: "KeyList", Action: authz.KeyList.String(), Query: pageParams,
			Summary: "Lists keys.", Serve: h.listKeys},
		{Method: "GET", Pattern: "/keys/{name}/versions", Operation: "KeyListVersions", Action: authz.KeyList.String(), Query: pageParams,
			Summary: "Lists the versions of a key.", Serve: h.listKeyVersions},
		{Method: "POST", Pattern: "/keys/{name}/backup", Operation: "KeyBackup", Action: authz.KeyBackup.String(),
			Summary: "Returns a key with all its versions as a sealed blob.", Serve: func(r *door.Request) error { return backUp(r, h.Keys.Backup) }},
		{Method: "POST", Pattern: "/keys/restore", Operation: "KeyRestore", Action: authz.KeyRestore.String(), MaxBody: h.Keys.MaxBackupBytes, Input: blob{},
			Admit:   func(r *door.Request) error { return h.Keys.AdmitRestore(r.HTTP.Context(), &r.Call) },
			Summary: "Brings a key back from a blob.", Serve: h.restoreKey},
		{Method: "GET", Pattern: "/deletedkeys", Operation: "KeyListDeleted", Action: authz.KeyList.String(), Query: pageParams,
			Summary: "Lists the deleted keys that can be recovered.", Serve: h.listDeletedKeys},
		{Method: "GET", Pattern: "/deletedkeys/{name}", Operation: "KeyGetDeleted", Action: authz.KeyGet.String(),
			Summary: "Shows a deleted key.", Serve: h.getDeletedKey},
		{Method: "POST", Pattern: "/deletedkeys/{name}/recover", Operation: "KeyRecover", Action: authz.KeyRecover.String(),
			Summary: "Brings a deleted key back.", Serve: h.recoverKey},
		{Method: "DELETE", Pattern: "/deletedkeys/{name}", Operation: "KeyPurge", Action: authz.KeyPurge.String(), Success: http.StatusNoContent,
			Summary: "Destroys a deleted key for good.", Serve: h.purgeKey},
		{Method: "POST", Pattern: "/keys/{name}/rotate", Operation: "KeyRotate", Action: authz.KeyRotate.String(),
			Summary: "Makes a new version of a key, of the same kind.", Serve: h.rotateKey},
		{Method: "GET", Pattern: "/keys/{name}/rotationpolicy", Operation: "KeyRotationPolicyGet", Action: authz.KeyRotationPolicyRead.String(),
			Summary: "Shows when a key is rotated.", Serve: h.getRotationPolicy},
		{Method: "PUT", Pattern: "/keys/{name}/rotationpolicy", Operation: "KeyRotationPolicySet", Action: authz.KeyRotationPolicyWrite.String(), MaxBody: maxKeyBody, Input: keyjson.RotationPolicy{},
			Summary: "Says when a key is rotated, and when its expiry is told of.", Serve: h.setRotationPolicy},
		use("encrypt", "KeyEncrypt", authz.KeyEncryptPublic, concealInput{}, "Encrypts a value with a key.", h.conceal(h.Keys.Encrypt)),
		use("wrapkey", "KeyWrap", authz.KeyWrapPublic, concealInput{}, "Encrypts a key with a key.", h.conceal(h.Keys.WrapKey)),
		use("decrypt", "KeyDecrypt", authz.KeyDecrypt, concealInput{}, "Decrypts a value with a key.", h.reveal(h.Keys.Decrypt)),
		use("unwrapkey", "KeyUnwrap", authz.KeyUnwrap, concealInput{}, "Decrypts a wrapped key with a key.", h.reveal(h.Keys.UnwrapKey)),
		use("sign", "KeySign", authz.KeySign, signInput{}, "Signs a digest with a key.", h.sign),
		use("verify", "KeyVerify", authz.KeyVerifyPublic, verifyInput{}, "Verifies the signature of a digest.", h.verify),
		use("release", "KeyRelease", authz.KeyRelease, releaseInput{}, "Releases an exportable key to who is attested.", h.releaseKey),
		{Method: "POST", Pattern: "/rng", Operation: "KeyGetRandomBytes", Class: admission.Use, Action: authz.KeyRandom.String(), MaxBody: maxUseBody, Input: randomInput{},
			Summary: "Returns random bytes.", Serve: h.random},
	}
}

// keyAttributesInput are the attributes of a key that a caller may set.
type keyAttributesInput struct {
	attributesInput
	Exportable *bool `json:"exportable,omitempty"`
}

type releasePolicyBody struct {
	ContentType string   `json:"contentType,omitempty"`
	Data        unpadded `json:"data"`
	Immutable   bool     `json:"immutable,omitempty"`
}

func (b *releasePolicyBody) policy() *key.ReleasePolicy {
	if b == nil {
		return nil
	}
	if b.ContentType == "" {
		b.ContentType = key.ReleasePolicyType
	}
	return &key.ReleasePolicy{ContentType: b.ContentType, Data: b.Data, Immutable: b.Immutable}
}

type createKeyInput struct {
	Kty        string             `json:"kty"`
	Size       int                `json:"key_size,omitempty"`
	Exponent   int                `json:"public_exponent,omitempty"`
	Ops        []string           `json:"key_ops,omitempty"`
	Curve      string             `json:"crv,omitempty"`
	Attributes keyAttributesInput `json:"attributes,omitempty"`
	Tags       map[string]string  `json:"tags,omitempty"`
	Release    *releasePolicyBody `json:"release_policy,omitempty"`
}

type importKeyInput struct {
	Key        *cryptokey.JWK     `json:"key"`
	HSM        bool               `json:"Hsm,omitempty"`
	Attributes keyAttributesInput `json:"attributes,omitempty"`
	Tags       map[string]string  `json:"tags,omitempty"`
	Release    *releasePolicyBody `json:"release_policy,omitempty"`
}

type updateKeyInput struct {
	Ops        []string           `json:"key_ops,omitempty"`
	Attributes keyAttributesInput `json:"attributes,omitempty"`
	Tags       map[string]string  `json:"tags,omitempty"`
	Release    *releasePolicyBody `json:"release_policy,omitempty"`
}

// input is what new versions have in common.
func (a *keyAttributesInput) input(tags map[string]string, release *releasePolicyBody) (in key.Input, err error) {
	in = key.Input{Tags: tags, Enabled: a.Enabled == nil || *a.Enabled, Exportable: a.Exportable != nil && *a.Exportable, Release: release.policy()}
	if in.NotBefore, err = door.Instant("nbf", a.NBF); err != nil {
		return in, err
	}
	in.Expires, err = door.Instant("exp", a.EXP)
	return in, err
}

func (h *handler) createKey(r *door.Request) error {
	var body createKeyInput
	if err := r.Decode(&body); err != nil {
		return err
	}
	if body.Kty == "" {
		return fault.New(fault.Invalid, "the request body has no member \"kty\": name the type of the key, such as RSA or EC")
	}
	in, err := body.Attributes.input(body.Tags, body.Release)
	if err != nil {
		return err
	}
	if len(body.Ops) > 0 {
		in.Ops = body.Ops
	}
	item, err := h.Keys.Create(r.HTTP.Context(), &r.Call, r.Params.Get("name"),
		key.Spec{Kty: body.Kty, Bits: body.Size, Curve: body.Curve, Exponent: body.Exponent}, in)
	return h.keyAnswer(r, &item, err)
}

func (h *handler) importKey(r *door.Request) error {
	var body importKeyInput
	err := r.Decode(&body)
	if body.Key != nil {
		defer body.Key.Zero()
	}
	if err != nil {
		return err
	}
	if body.Key == nil {
		return fault.New(fault.Invalid, "the request body has no member \"key\": give the key as a JSON Web Key")
	}
	in, err := body.Attributes.input(body.Tags, body.Release)
	if err != nil {
		return err
	}
	item, err := h.Keys.Import(r.HTTP.Context(), &r.Call, r.Params.Get("name"), body.Key, body.HSM, in)
	return h.keyAnswer(r, &item, err)
}

func (h *handler) getKey(r *door.Request) error { return h.describeKey(r, false) }

func (h *handler) getKeyAttestation(r *door.Request) error { return h.describeKey(r, true) }

func (h *handler) describeKey(r *door.Request, attestation bool) error {
	sel, err := selector(r)
	if err != nil {
		return err
	}
	item, err := h.Keys.Get(r.HTTP.Context(), &r.Call, sel)
	if err != nil {
		return err
	}
	return h.keyBundle(r, &item, keyShape{attestation: attestation})
}

func (h *handler) updateKey(r *door.Request) error {
	sel, err := selector(r)
	if err != nil {
		return err
	}
	var body updateKeyInput
	if err := r.Decode(&body); err != nil {
		return err
	}
	ch := key.Change{Ops: body.Ops, Tags: body.Tags, Enabled: body.Attributes.Enabled, Exportable: body.Attributes.Exportable, Release: body.Release.policy()}
	if ch.NotBefore, err = optionalInstant("nbf", body.Attributes.NBF); err != nil {
		return err
	}
	if ch.Expires, err = optionalInstant("exp", body.Attributes.EXP); err != nil {
		return err
	}
	item, err := h.Keys.Update(r.HTTP.Context(), &r.Call, sel, ch)
	return h.keyAnswer(r, &item, err)
}

func (h *handler) deleteKey(r *door.Request) error {
	item, err := h.Keys.Delete(r.HTTP.Context(), &r.Call, r.Params.Get("name"))
	if err != nil {
		return err
	}
	return h.keyBundle(r, &item, keyShape{deleted: true})
}

func (h *handler) getDeletedKey(r *door.Request) error {
	item, err := h.Keys.GetDeleted(r.HTTP.Context(), &r.Call, r.Params.Get("name"))
	if err != nil {
		return err
	}
	return h.keyBundle(r, &item, keyShape{deleted: true})
}

func (h *handler) recoverKey(r *door.Request) error {
	item, err := h.Keys.Recover(r.HTTP.Context(), &r.Call, r.Params.Get("name"))
	return h.keyAnswer(r, &item, err)
}

func (h *handler) purgeKey(r *door.Request) error {
	if err := h.Keys.Purge(r.HTTP.Context(), &r.Call, r.Params.Get("name")); err != nil {
		return err
	}
	r.Raw(http.StatusNoContent, nil)
	return nil
}

func (h *handler) restoreKey(r *door.Request) error {
	b, err := backupOf(r)
	if err != nil {
		return err
	}
	item, err := h.Keys.Restore(r.HTTP.Context(), &r.Call, b)
	return h.keyAnswer(r, &item, err)
}

func (h *handler) rotateKey(r *door.Request) error {
	item, err := h.Keys.Rotate(r.HTTP.Context(), &r.Call, r.Params.Get("name"))
	return h.keyAnswer(r, &item, err)
}

func (h *handler) listKeys(r *door.Request) error {
	return h.answerList(r, "/keys", h.Keys.List, (*encoder).keyItem)
}

func (h *handler) listDeletedKeys(r *door.Request) error {
	return h.answerList(r, "/deletedkeys", h.Keys.ListDeleted, (*encoder).deletedKeyItem)
}

func (h *handler) listKeyVersions(r *door.Request) error {
	return h.answerVersions(r, keys, h.Keys.Versions, (*encoder).keyVersionItem)
}
