package native

import (
	"context"
	"encoding/pem"
	"net/http"

	"github.com/keywright/keywright/client/api"
	"github.com/keywright/keywright/internal/admission"
	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/cryptokey"
	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/key"
	"github.com/keywright/keywright/internal/object"
)

func (h *handler) keyRoutes() []door.Route {
	const live, gone = root + "/vaults/{vault}/keys", root + "/vaults/{vault}/deleted-keys"
	version := selectorParams[:1]
	use := func(verb, operation string, action authz.Action, summary string, serve func(*door.Request) error) door.Route {
		return door.Route{Method: "POST", Pattern: live + "/{name}/" + verb, Operation: operation, Class: admission.Use, Action: action.String(), MaxBody: maxLargeBody, Query: version,
			Input: api.UseKey{}, Output: api.KeyResult{}, Summary: summary, Serve: serve}
	}
	return []door.Route{
		{Method: "GET", Pattern: live, Operation: "KeyList", Action: authz.KeyList.String(), Query: pageParams, Output: api.KeyList{},
			Summary: "Lists the keys of a vault with their current versions.", Serve: h.listKeys(h.Keys.List)},
		{Method: "POST", Pattern: live + "/{name}", Operation: "KeyCreate", Action: authz.KeyCreate.String(), MaxBody: maxLargeBody, Input: api.CreateKey{}, Output: api.Key{},
			Summary: "Makes a key, or a new version of one.", Serve: h.createKey},
		{Method: "PUT", Pattern: live + "/{name}", Operation: "KeyImport", Action: authz.KeyImport.String(), MaxBody: maxLargeBody, Input: api.ImportKey{}, Output: api.Key{},
			Summary: "Stores a key that was made elsewhere.", Serve: h.importKey},
		{Method: "GET", Pattern: live + "/{name}", Operation: "KeyGet", Class: admission.Read, Action: authz.KeyGet.String(), Query: version, Output: api.Key{},
			Summary: "Shows the public half of a key.", Serve: h.getKey},
		{Method: "PATCH", Pattern: live + "/{name}", Operation: "KeyUpdate", Action: authz.KeyUpdate.String(), MaxBody: maxSmallBody, Query: version,
			Input: api.UpdateKey{}, Output: api.Key{}, Summary: "Changes what is known about a version.", Serve: h.updateKey},
		{Method: "DELETE", Pattern: live + "/{name}", Operation: "KeyDelete", Action: authz.KeyDelete.String(), Output: api.Key{},
			Summary: "Soft-deletes a key with all of its versions.", Serve: moveItem(h.Keys.Delete, wireKey)},
		{Method: "GET", Pattern: live + "/{name}/versions", Operation: "KeyListVersions", Action: authz.KeyList.String(), Query: pageParams, Output: api.KeyList{},
			Summary: "Lists the versions of a key, oldest first.", Serve: h.listKeyVersions},
		{Method: "POST", Pattern: live + "/{name}/backup", Operation: "KeyBackup", Action: authz.KeyBackup.String(), Output: api.KeyBackup{},
			Summary: "Returns a sealed copy of a key with all of its versions.", Serve: backupOf(h.Keys.Backup, func(blob []byte) api.KeyBackup { return api.KeyBackup{Blob: blob} })},
		{Method: "POST", Pattern: root + "/vaults/{vault}/restore-key", Operation: "KeyRestore", Action: authz.KeyRestore.String(), MaxBody: h.Keys.MaxBackupBytes,
			Admit: admit(h.Keys.AdmitRestore),
			Input: api.KeyBackup{}, Output: api.Key{}, Summary: "Brings a key back from its backup.", Serve: h.restoreKey},
		{Method: "GET", Pattern: gone, Operation: "KeyListDeleted", Action: authz.KeyList.String(), Query: pageParams, Output: api.KeyList{},
			Summary: "Lists the deleted keys of a vault.", Serve: h.listKeys(h.Keys.ListDeleted)},
		{Method: "GET", Pattern: gone + "/{name}", Operation: "KeyGetDeleted", Action: authz.KeyGet.String(), Output: api.Key{},
			Summary: "Shows a deleted key.", Serve: moveItem(h.Keys.GetDeleted, wireKey)},
		{Method: "POST", Pattern: gone + "/{name}/recover", Operation: "KeyRecover", Action: authz.KeyRecover.String(), Output: api.Key{},
			Summary: "Brings a deleted key back.", Serve: moveItem(h.Keys.Recover, wireKey)},
		{Method: "GET", Pattern: gone + "/{name}/backups", Operation: "KeyBackups", Action: authz.KeyPurge.String(), Output: api.Recoverable{},
			Summary: "Tells until when backups can bring a deleted key back, were it purged.", Serve: backupsOf(h.Keys.Backups)},
		{Method: "DELETE", Pattern: gone + "/{name}", Operation: "KeyPurge", Action: authz.KeyPurge.String(), Success: http.StatusNoContent,
			Summary: "Destroys a deleted key for good.", Serve: purge(h.Keys.Purge)},
		{Method: "POST", Pattern: live + "/{name}/rotate", Operation: "KeyRotate", Action: authz.KeyRotate.String(), Output: api.Key{},
			Summary: "Makes a new version of a key, of the same kind.", Serve: moveItem(h.Keys.Rotate, wireKey)},
		{Method: "GET", Pattern: live + "/{name}/rotation-policy", Operation: "KeyRotationPolicyGet", Action: authz.KeyRotationPolicyRead.String(), Output: api.KeyPolicy{},
			Summary: "Shows when a key is rotated.", Serve: h.getKeyPolicy},
		{Method: "PUT", Pattern: live + "/{name}/rotation-policy", Operation: "KeyRotationPolicySet", Action: authz.KeyRotationPolicyWrite.String(), MaxBody: maxSmallBody,
			Input: api.KeyPolicy{}, Output: api.KeyPolicy{}, Summary: "Says when a key is rotated.", Serve: h.setKeyPolicy},
		use("encrypt", "KeyEncrypt", authz.KeyEncryptPublic, "Encrypts a value with a key.", h.conceal(h.Keys.Encrypt)),
		use("wrap", "KeyWrap", authz.KeyWrapPublic, "Encrypts a key with a key.", h.conceal(h.Keys.WrapKey)),
		use("decrypt", "KeyDecrypt", authz.KeyDecrypt, "Decrypts a value with a key.", h.reveal(h.Keys.Decrypt)),
		use("unwrap", "KeyUnwrap", authz.KeyUnwrap, "Decrypts a wrapped key with a key.", h.reveal(h.Keys.UnwrapKey)),
		use("sign", "KeySign", authz.KeySign, "Signs a digest with a key.", h.signWithKey),
		{Method: "POST", Pattern: live + "/{name}/verify", Operation: "KeyVerify", Class: admission.Use, Action: authz.KeyVerifyPublic.String(), MaxBody: maxLargeBody, Query: version,
			Input: api.VerifyKey{}, Output: api.KeyVerdict{}, Summary: "Verifies the signature of a digest.", Serve: h.verifyWithKey},
	}
}

// keyInput is what new versions have in common. The purpose is a tag.
func keyInput(in *api.KeyAttributes) (key.Input, error) {
	tags := in.Tags
	if in.Purpose != "" {
		if tags[key.PurposeTag] != "" {
			return key.Input{}, fault.New(fault.Invalid, "the purpose stands in the request twice: leave the tag %s out", key.PurposeTag)
		}
		tags = map[string]string{key.PurposeTag: in.Purpose}
		for k, v := range in.Tags {
			tags[k] = v
		}
	}
	return key.Input{Ops: in.Operations, Tags: tags, Enabled: in.Enabled == nil || *in.Enabled, NotBefore: instant(in.NotBefore), Expires: instant(in.Expires)}, nil
}

func (h *handler) createKey(r *door.Request) error {
	var body api.CreateKey
	if err := r.Decode(&body); err != nil {
		return err
	}
	in, err := keyInput(&body.KeyAttributes)
	if err != nil {
		return err
	}
	item, err := h.Keys.Create(r.HTTP.Context(), &r.Call, r.Params.Get("name"), key.Spec{Kty: body.Type, Bits: body.Bits, Curve: body.Curve, Exponent: body.Exponent}, in)
	return answerItem(r, &item, wireKey, err)
}

func (h *handler) importKey(r *door.Request) error {
	var body api.ImportKey
	err := r.Decode(&body)
	defer clear(body.PKCS8)
	defer clear(body.JWK)
	if err != nil {
		return err
	}
	if (body.PKCS8 == nil) == (body.JWK == nil) {
		return fault.New(fault.Invalid, "the request needs exactly one of \"pkcs8\" and \"jwk\"")
	}
	in, err := keyInput(&body.KeyAttributes)
	if err != nil {
		return err
	}
	var item key.Item
	if body.PKCS8 != nil {
		item, err = h.Keys.ImportPKCS8(r.HTTP.Context(), &r.Call, r.Params.Get("name"), body.PKCS8, body.HSM, in)
		return answerItem(r, &item, wireKey, err)
	}
	jwk, err := cryptokey.ParseJWK(body.JWK)
	if err != nil {
		return err
	}
	item, err = h.Keys.Import(r.HTTP.Context(), &r.Call, r.Params.Get("name"), &jwk, body.HSM, in)
	return answerItem(r, &item, wireKey, err)
}

func (h *handler) getKey(r *door.Request) error {
	sel, err := selector(r)
	if err != nil {
		return err
	}
	item, err := h.Keys.Get(r.HTTP.Context(), &r.Call, sel)
	return answerItem(r, &item, wireKey, err)
}

func (h *handler) updateKey(r *door.Request) error {
	sel, err := selector(r)
	if err != nil {
		return err
	}
	var in api.UpdateKey
	if err := r.Decode(&in); err != nil {
		return err
	}
	ch := key.Change{Ops: in.Operations, Tags: in.Tags, Enabled: in.Enabled}
	if ch.NotBefore, err = replaced("notBefore", in.NotBefore, in.ClearNotBefore); err != nil {
		return err
	}
	if ch.Expires, err = replaced("expires", in.Expires, in.ClearExpires); err != nil {
		return err
	}
	item, err := h.Keys.Update(r.HTTP.Context(), &r.Call, sel, ch)
	return answerItem(r, &item, wireKey, err)
}

func (h *handler) restoreKey(r *door.Request) error {
	var in api.KeyBackup
	if err := r.Decode(&in); err != nil {
		return err
	}
	item, err := h.Keys.Restore(r.HTTP.Context(), &r.Call, in.Blob)
	return answerItem(r, &item, wireKey, err)
}

// listKeys answers with a page of what the service lists.
func (h *handler) listKeys(list lister) func(*door.Request) error {
	return func(r *door.Request) error {
		items, following, err := pageOf(r, list, wireKey)
		if err != nil {
			return err
		}
		return r.JSON(http.StatusOK, api.KeyList{Items: items, Next: following})
	}
}

func (h *handler) listKeyVersions(r *door.Request) error {
	return h.listKeys(versionsOf(r, h.Keys.Versions))(r)
}

// wireKey is a key as the API shows it.
func wireKey(r *door.Request, item *object.Item) (*api.Key, error) {
	o, v := item.Object, item.Version
	k := &api.Key{Vault: r.Call.Vault.Vault.Name, Name: o.Name, Managed: o.Managed}
	if o.Deleted != nil {
		k.Deleted, k.PurgeAt = &o.Deleted.At, &o.Deleted.PurgeAt
	}
	if v == nil {
		return k, nil
	}
	facts, err := key.Describe(v)
	if err != nil {
		return k, err
	}
	k.Version, k.Type, k.Bits, k.Curve = string(v.ID), facts.Kty(), facts.Bits, facts.Public.Crv+facts.Public.Alg
	k.Operations, k.Purpose, k.Exportable = facts.Ops.Words(), v.Tags[key.PurposeTag], facts.Exportable
	k.Token, k.Hardware = facts.Token, facts.Hardware
	k.Tags, k.Enabled, k.NotBefore, k.Expires = v.Tags, v.Attributes.Enabled, optional(v.Attributes.NotBefore), optional(v.Attributes.Expires)
	k.Created, k.Updated, k.Previous, k.Current = v.Attributes.Created, v.Attributes.Updated, string(v.Previous), o.Current == v.ID
	k.PublicKey, err = publicPEM(facts)
	return k, err
}

func publicPEM(f *key.Facts) (string, error) {
	if f.Public.Kty == string(cryptokey.Oct) {
		return "", nil
	}
	public, err := f.Public.PublicKey()
	if err != nil {
		return "", err
	}
	der, err := public.SPKI()
	if err != nil {
		return "", err
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})), nil
}

func (h *handler) getKeyPolicy(r *door.Request) error {
	_, p, err := h.Keys.Policy(r.HTTP.Context(), &r.Call, r.Params.Get("name"))
	if err != nil {
		return err
	}
	return r.JSON(http.StatusOK, wireKeyPolicy(&p))
}

func (h *handler) setKeyPolicy(r *door.Request) error {
	var in api.KeyPolicy
	if err := r.Decode(&in); err != nil {
		return err
	}
	p, err := keyPolicy(&in)
	if err != nil {
		return err
	}
	if _, p, err = h.Keys.SetPolicy(r.HTTP.Context(), &r.Call, r.Params.Get("name"), p); err != nil {
		return err
	}
	return r.JSON(http.StatusOK, wireKeyPolicy(&p))
}

func keyPolicy(in *api.KeyPolicy) (p key.Policy, err error) {
	var rotate, notify key.Trigger
	for _, f := range []struct {
		text string
		into *key.Period
	}{{in.RotateAfter, &rotate.AfterCreate}, {in.RotateBefore, &rotate.BeforeExpiry}, {in.NotifyBefore, &notify.BeforeExpiry}, {in.ExpireAfter, &p.Expiry}} {
		if f.text == "" {
			continue
		}
		if *f.into, err = key.ParsePeriod(f.text); err != nil {
			return p, err
		}
	}
	if rotate != (key.Trigger{}) {
		p.Rotate = &rotate
	}
	if notify != (key.Trigger{}) {
		p.Notify = &notify
	}
	return p, nil
}

func wireKeyPolicy(p *key.Policy) api.KeyPolicy {
	out := api.KeyPolicy{ExpireAfter: p.Expiry.String(), Created: optional(p.Created), Updated: optional(p.Updated)}
	if p.Rotate != nil {
		out.RotateAfter, out.RotateBefore = p.Rotate.AfterCreate.String(), p.Rotate.BeforeExpiry.String()
	}
	if p.Notify != nil {
		out.NotifyBefore = p.Notify.BeforeExpiry.String()
	}
	return out
}

type (
	concealer func(context.Context, *guard.Call, object.Selector, cryptokey.Algorithm, cryptokey.Input) (object.Item, cryptokey.Output, error)
	revealer  func(context.Context, *guard.Call, object.Selector, cryptokey.Algorithm, cryptokey.Input) (object.Item, []byte, error)
)

// useOf reads which key is to be used, and for what.
func useOf(r *door.Request) (sel object.Selector, in api.UseKey, err error) {
	if sel, err = selector(r); err != nil {
		return sel, in, err
	}
	if err = r.Decode(&in); err == nil && in.Value == nil {
		err = fault.New(fault.Invalid, "the request has no member \"value\": give it in base64")
	}
	return sel, in, err
}

func engineInput(in *api.UseKey) cryptokey.Input {
	return cryptokey.Input{Value: in.Value, IV: in.IV, AAD: in.AAD, Tag: in.Tag}
}

func (h *handler) conceal(with concealer) func(*door.Request) error {
	return func(r *door.Request) error {
		sel, in, err := useOf(r)
		defer clear(in.Value)
		if err != nil {
			return err
		}
		item, out, err := with(r.HTTP.Context(), &r.Call, sel, cryptokey.Algorithm(in.Algorithm), engineInput(&in))
		if err != nil {
			return err
		}
		return r.JSON(http.StatusOK, keyResult(&item, &out))
	}
}

func (h *handler) reveal(with revealer) func(*door.Request) error {
	return func(r *door.Request) error {
		sel, in, err := useOf(r)
		if err != nil {
			return err
		}
		item, plain, err := with(r.HTTP.Context(), &r.Call, sel, cryptokey.Algorithm(in.Algorithm), engineInput(&in))
		defer clear(plain)
		if err != nil {
			return err
		}
		return r.JSON(http.StatusOK, keyResult(&item, &cryptokey.Output{Value: plain}))
	}
}

func (h *handler) signWithKey(r *door.Request) error {
	sel, in, err := useOf(r)
	if err != nil {
		return err
	}
	item, signature, err := h.Keys.Sign(r.HTTP.Context(), &r.Call, sel, cryptokey.Algorithm(in.Algorithm), in.Value)
	if err != nil {
		return err
	}
	return r.JSON(http.StatusOK, keyResult(&item, &cryptokey.Output{Value: signature}))
}

func keyResult(item *object.Item, out *cryptokey.Output) api.KeyResult {
	return api.KeyResult{Name: item.Object.Name, Version: string(item.Version.ID), Value: out.Value, IV: out.IV, AAD: out.AAD, Tag: out.Tag}
}

func (h *handler) verifyWithKey(r *door.Request) error {
	sel, err := selector(r)
	if err != nil {
		return err
	}
	var in api.VerifyKey
	if err := r.Decode(&in); err != nil {
		return err
	}
	item, valid, err := h.Keys.Verify(r.HTTP.Context(), &r.Call, sel, cryptokey.Algorithm(in.Algorithm), in.Digest, in.Signature)
	if err != nil {
		return err
	}
	return r.JSON(http.StatusOK, api.KeyVerdict{Name: item.Object.Name, Version: string(item.Version.ID), Valid: valid})
}
