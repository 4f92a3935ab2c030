package native

import (
	"encoding/base64"
	"net/http"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/keywright/keywright/client/api"
	"github.com/keywright/keywright/internal/admission"
	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/secret"
	"github.com/keywright/keywright/internal/vault"
)

// Largest bodies that no setting changes, in bytes.
const (
	maxSmallBody = 64 << 10
	maxLargeBody = 256 << 10
)

// Bounds of a page.
const (
	defaultPage = 100
	maxPage     = 1000
)

var pageParams = []door.Param{{Name: "after", Summary: "Where the page begins: next of the page before."},
	{Name: "limit", Summary: "The most entries of the page, 1 to 1000; 100 when absent."}}

var selectorParams = []door.Param{{Name: "version", Summary: "The version, 32 hexadecimal digits; the current one when absent."},
	{Name: "label", Summary: "The label whose version is meant, such as previous."}}

func (h *handler) secretRoutes() []door.Route {
	const live, gone = root + "/vaults/{vault}/secrets", root + "/vaults/{vault}/deleted-secrets"
	return []door.Route{
		{Method: "GET", Pattern: live, Operation: "SecretList", Action: authz.SecretList.String(), Query: pageParams, Output: api.SecretList{},
			Summary: "Lists the secrets of a vault with their current versions, without values.", Serve: h.listSecrets(h.Secrets.List)},
		{Method: "PUT", Pattern: live + "/{name}", Operation: "SecretSet", Action: authz.SecretSet.String(), MaxBody: h.Secrets.MaxBodyBytes(),
			Input: api.SetSecret{}, Output: api.Secret{}, Summary: "Stores a value as the newest version of a secret.", Serve: h.setSecret},
		{Method: "GET", Pattern: live + "/{name}", Operation: "SecretGet", Class: admission.Read, Action: authz.SecretGet.String(), Query: selectorParams,
			Output: api.Secret{}, Summary: "Reads a secret with its value.", Serve: h.getSecret},
		{Method: "PATCH", Pattern: live + "/{name}", Operation: "SecretUpdate", Action: authz.SecretUpdate.String(), MaxBody: maxSmallBody,
			Query: selectorParams, Input: api.UpdateSecret{}, Output: api.Secret{}, Summary: "Changes what is known about a version, but not its value.",
			Serve: h.updateSecret},
		{Method: "DELETE", Pattern: live + "/{name}", Operation: "SecretDelete", Action: authz.SecretDelete.String(), Output: api.Secret{},
			Summary: "Soft-deletes a secret with all of its versions.", Serve: moveItem(h.Secrets.Delete, secretForm)},
		{Method: "GET", Pattern: live + "/{name}/versions", Operation: "SecretVersions", Action: authz.SecretList.String(), Query: pageParams,
			Output: api.SecretList{}, Summary: "Lists the versions of a secret, oldest first.", Serve: h.listSecretVersions},
		{Method: "POST", Pattern: live + "/{name}/backup", Operation: "SecretBackup", Action: authz.SecretBackup.String(), Output: api.SecretBackup{},
			Summary: "Returns a sealed copy of a secret with all of its versions.", Serve: backupOf(h.Secrets.Backup, func(blob []byte) api.SecretBackup { return api.SecretBackup{Blob: blob} })},
		{Method: "POST", Pattern: root + "/vaults/{vault}/restore-secret", Operation: "SecretRestore", Action: authz.SecretRestore.String(),
			MaxBody: h.Secrets.MaxBackupBytes, Admit: admit(h.Secrets.AdmitRestore), Input: api.SecretBackup{}, Output: api.Secret{}, Summary: "Brings a secret back from its backup.", Serve: h.restoreSecret},
		{Method: "GET", Pattern: gone, Operation: "SecretListDeleted", Action: authz.SecretList.String(), Query: pageParams, Output: api.SecretList{},
			Summary: "Lists the deleted secrets of a vault.", Serve: h.listSecrets(h.Secrets.ListDeleted)},
		{Method: "GET", Pattern: gone + "/{name}", Operation: "SecretGetDeleted", Action: authz.SecretGetDeleted.String(), Output: api.Secret{},
			Summary: "Shows a deleted secret.", Serve: moveItem(h.Secrets.GetDeleted, secretForm)},
		{Method: "POST", Pattern: gone + "/{name}/recover", Operation: "SecretRecover", Action: authz.SecretRecover.String(), Output: api.Secret{},
			Summary: "Brings a deleted secret back.", Serve: moveItem(h.Secrets.Recover, secretForm)},
		{Method: "GET", Pattern: gone + "/{name}/backups", Operation: "SecretBackups", Action: authz.SecretPurge.String(), Output: api.Recoverable{},
			Summary: "Tells until when backups can bring a deleted secret back, were it purged.", Serve: backupsOf(h.Secrets.Backups)},
		{Method: "DELETE", Pattern: gone + "/{name}", Operation: "SecretPurge", Action: authz.SecretPurge.String(), Success: http.StatusNoContent,
			Summary: "Destroys a deleted secret for good.", Serve: purge(h.Secrets.Purge)},
	}
}

// page reads where a listing begins and how long it is.
func page(r *door.Request) (after string, limit int, err error) {
	limit = defaultPage
	if text := r.Query("limit"); text != "" {
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > maxPage {
			return "", 0, fault.New(fault.Invalid, "the limit %q is not a number from 1 to %d", fault.Clip(text), maxPage)
		}
	}
	raw, err := base64.RawURLEncoding.DecodeString(r.Query("after"))
	if err != nil || !utf8.Valid(raw) {
		return "", 0, fault.New(fault.Invalid, "the parameter \"after\" is not from a page of this listing: leave it out to begin anew")
	}
	return string(raw), limit, nil
}

// next is what the following page takes for after.
func next(key string) string { return base64.RawURLEncoding.EncodeToString([]byte(key)) }

func selector(r *door.Request) (secret.Selector, error) {
	sel := secret.Selector{Name: r.Params.Get("name"), Label: vault.Label(r.Query("label"))}
	text := r.Query("version")
	if text == "" {
		return sel, nil
	}
	if sel.Label != "" {
		return sel, fault.New(fault.Invalid, "the request names both a version and a label: name one of them")
	}
	var err error
	sel.Version, err = vault.ParseVersionID(text)
	return sel, err
}

// givenValue returns the value of a request, which says it in one of two ways. The caller clears it.
func givenValue(text *api.Text, binary *api.Binary) ([]byte, error) {
	switch {
	case (text == nil) == (binary == nil):
		return nil, fault.New(fault.Invalid, "the request needs exactly one of \"value\" and \"valueBase64\"")
	case text != nil:
		return []byte(*text), nil
	}
	return *binary, nil
}

func (h *handler) setSecret(r *door.Request) error {
	var in api.SetSecret
	if err := r.Decode(&in); err != nil {
		return err
	}
	value, err := givenValue(in.Value, in.ValueBase64)
	if err != nil {
		return err
	}
	defer clear(value)
	item, err := h.Secrets.Set(r.HTTP.Context(), &r.Call, r.Params.Get("name"), secret.Input{Value: value, ContentType: in.ContentType, Tags: in.Tags,
		Enabled: in.Enabled == nil || *in.Enabled, NotBefore: instant(in.NotBefore), Expires: instant(in.Expires)})
	return answerItem(r, &item, secretForm, err)
}

func (h *handler) getSecret(r *door.Request) error {
	sel, err := selector(r)
	if err != nil {
		return err
	}
	item, value, err := h.Secrets.Get(r.HTTP.Context(), &r.Call, sel, nil)
	defer clear(value) // it may be there although its record could not be written
	if err != nil {
		return err
	}
	r.Rollout(item.Object, item.Version.ID)
	out := wireSecret(r, &item)
	if utf8.Valid(value) {
		text := api.Text(value)
		out.Value = &text
	} else {
		out.ValueBase64 = value
	}
	return r.JSON(http.StatusOK, out)
}

func (h *handler) updateSecret(r *door.Request) error {
	sel, err := selector(r)
	if err != nil {
		return err
	}
	var in api.UpdateSecret
	if err := r.Decode(&in); err != nil {
		return err
	}
	ch := secret.Change{ContentType: in.ContentType, Tags: in.Tags, Enabled: in.Enabled}
	if ch.NotBefore, err = replaced("notBefore", in.NotBefore, in.ClearNotBefore); err != nil {
		return err
	}
	if ch.Expires, err = replaced("expires", in.Expires, in.ClearExpires); err != nil {
		return err
	}
	item, err := h.Secrets.Update(r.HTTP.Context(), &r.Call, sel, ch)
	return answerItem(r, &item, secretForm, err)
}

// replaced is the instant that an update sets: none, a new one, or the zero instant to remove it.
func replaced(name string, to *time.Time, remove bool) (*time.Time, error) {
	if !remove {
		if to == nil {
			return nil, nil
		}
		t := instant(to)
		return &t, nil
	}
	if to != nil {
		return nil, fault.New(fault.Invalid, "the request both sets and clears %q: do one of them", name)
	}
	return &time.Time{}, nil
}

func (h *handler) restoreSecret(r *door.Request) error {
	var in api.SecretBackup
	if err := r.Decode(&in); err != nil {
		return err
	}
	item, err := h.Secrets.Restore(r.HTTP.Context(), &r.Call, in.Blob)
	return answerItem(r, &item, secretForm, err)
}

// listSecrets answers with a page of what the service lists.
func (h *handler) listSecrets(list lister) func(*door.Request) error {
	return func(r *door.Request) error {
		items, following, err := pageOf(r, list, secretForm)
		if err != nil {
			return err
		}
		return r.JSON(http.StatusOK, api.SecretList{Items: items, Next: following})
	}
}

func (h *handler) listSecretVersions(r *door.Request) error {
	return h.listSecrets(versionsOf(r, h.Secrets.Versions))(r)
}

// secretForm is wireSecret as answers to every kind of objects want it. A secret has nothing that could not be read.
func secretForm(r *door.Request, item *secret.Item) (*api.Secret, error) {
	return wireSecret(r, item), nil
}

// wireSecret is a secret without its value.
func wireSecret(r *door.Request, item *secret.Item) *api.Secret {
	o, v := item.Object, item.Version
	s := &api.Secret{Vault: r.Call.Vault.Vault.Name, Name: o.Name, Managed: o.Managed}
	if o.Deleted != nil {
		s.Deleted, s.PurgeAt = &o.Deleted.At, &o.Deleted.PurgeAt
	}
	if v == nil {
		return s
	}
	s.Version, s.ContentType, s.Tags, s.Enabled = string(v.ID), v.ContentType, v.Tags, v.Attributes.Enabled
	s.NotBefore, s.Expires = optional(v.Attributes.NotBefore), optional(v.Attributes.Expires)
	s.Created, s.Updated, s.Previous = v.Attributes.Created, v.Attributes.Updated, string(v.Previous)
	if o.Current == v.ID {
		s.Labels = append(s.Labels, string(vault.Current))
	}
	for label, id := range o.Labels {
		if id == v.ID {
			s.Labels = append(s.Labels, string(label))
		}
	}
	slices.Sort(s.Labels)
	return s
}

func optional(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// instant is an instant as the model keeps it.
func instant(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.UTC().Truncate(time.Microsecond)
}
