package clients_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
)

// maxValue is the largest value of a secret, in bytes.
const maxValue = 25 << 10

// values are what must come back as it was stored.
var values = map[string]string{
	"plain":      "correct horse battery staple",
	"empty":      "",
	"unicode":    "grüße, 世界 \U0001f511 e\u0301",
	"controls":   "\x00\x01\x1f\x7f\t\r\n\u2028\u2029",
	"quotes":     `"\/'` + "`" + `<&>`,
	"structured": `{"user":"app","port":5432,"tags":["a","b"],"nested":{"x":null}}`,
	"binary":     base64.StdEncoding.EncodeToString([]byte{0, 255, 128, 10, 13}),
	"pem":        "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA==\n-----END PRIVATE KEY-----\n",
	"largest":    strings.Repeat("0123456789abcdef", maxValue/16),
	"wide":       strings.Repeat("é", maxValue/2),
}

// walk goes through every operation on secrets with one client.
type walk struct {
	*testing.T
	client *azsecrets.Client
}

func (w walk) all(s *server) {
	for _, part := range []struct {
		name string
		run  func(walk)
	}{
		{"values", walk.values}, {"attributes", walk.attributes}, {"versions", walk.versions}, {"list", walk.list},
		{"delete and recover", walk.deletion}, {"purge", walk.purge}, {"backup and restore", walk.backup}, {"errors", walk.errors},
	} {
		w.Run(part.name, func(t *testing.T) { part.run(walk{t, w.client}) })
	}
}

func (w walk) set(name string, p azsecrets.SetSecretParameters) azsecrets.Secret {
	w.Helper()
	if p.Value == nil {
		p.Value = to.Ptr("value of " + name)
	}
	return must(w.client.SetSecret(w.Context(), name, p, nil))(w.T).Secret
}

func (w walk) get(name, version string) azsecrets.Secret {
	w.Helper()
	return must(w.client.GetSecret(w.Context(), name, version, nil))(w.T).Secret
}

func (w walk) values() {
	for name, value := range values {
		set := w.set("value-"+name, azsecrets.SetSecretParameters{Value: &value, ContentType: to.Ptr("text/plain; charset=utf-8")})
		for _, version := range []string{"", set.ID.Version()} {
			got := w.get("value-"+name, version)
			if *got.Value != value {
				w.Errorf("%s came back as %.60q", name, *got.Value)
			}
			if *got.ID != *set.ID || *got.ContentType != "text/plain; charset=utf-8" {
				w.Errorf("%s: got %s %s, set answered %s", name, *got.ID, *got.ContentType, *set.ID)
			}
		}
	}
	for _, tooLarge := range []string{strings.Repeat("x", maxValue+1), strings.Repeat("é", maxValue/2) + "x"} {
		_, err := w.client.SetSecret(w.Context(), "value-too-large", azsecrets.SetSecretParameters{Value: &tooLarge}, nil)
		wantError(w.T, err, 400, "BadParameter", "")
	}
}

func (w walk) attributes() {
	from, until := time.Unix(1700000000, 0), time.Unix(1800000000, 0)
	tags := map[string]*string{"owner": to.Ptr("shop"), "größe": to.Ptr("")}
	first := w.set("attributes", azsecrets.SetSecretParameters{ContentType: to.Ptr("application/json"), Tags: tags,
		SecretAttributes: &azsecrets.SecretAttributes{NotBefore: &from, Expires: &until, Enabled: to.Ptr(true)}})
	got := w.get("attributes", "")
	a := got.Attributes
	if !a.NotBefore.Equal(from) || !a.Expires.Equal(until) || !*a.Enabled || *a.RecoverableDays != 90 || *a.RecoveryLevel != "Recoverable+Purgeable" {
		w.Errorf("attributes: %s", dump(a))
	}
	if time.Since(*a.Created).Abs() > time.Minute || !a.Updated.Equal(*a.Created) {
		w.Errorf("instants: created %s, updated %s", a.Created, a.Updated)
	}
	if len(got.Tags) != 2 || *got.Tags["owner"] != "shop" || *got.Tags["größe"] != "" || dump(got) != dump(first) {
		w.Errorf("got\n%s, set answered\n%s", dump(got), dump(first))
	}

	changed := must(w.client.UpdateSecretProperties(w.Context(), "attributes", first.ID.Version(), azsecrets.UpdateSecretPropertiesParameters{
		Tags: map[string]*string{"team": to.Ptr("two")}}, nil))(w.T).Secret
	if changed.Value != nil || len(changed.Tags) != 1 || *changed.ContentType != "application/json" || !changed.Attributes.Expires.Equal(until) {
		w.Errorf("after an update of the tags: %s", dump(changed))
	}

	// A new version inherits nothing, and a disabled one is listed but not given.
	second := w.set("attributes", azsecrets.SetSecretParameters{SecretAttributes: &azsecrets.SecretAttributes{Enabled: to.Ptr(false)}})
	if second.ContentType != nil || len(second.Tags) != 0 || second.Attributes.Expires != nil || *second.Attributes.Enabled {
		w.Errorf("a new version has %s", dump(second))
	}
	_, err := w.client.GetSecret(w.Context(), "attributes", "", nil)
	wantError(w.T, err, 403, "Forbidden", "SecretDisabled")
	if w.get("attributes", first.ID.Version()).Value == nil {
		w.Error("the version before is gone")
	}
	// The empty version of an update means the latest.
	must(w.client.UpdateSecretProperties(w.Context(), "attributes", "", azsecrets.UpdateSecretPropertiesParameters{
		SecretAttributes: &azsecrets.SecretAttributes{Enabled: to.Ptr(true)}}, nil))(w.T)
	if got := w.get("attributes", ""); *got.ID != *second.ID {
		w.Errorf("the latest is %s, not %s", *got.ID, *second.ID)
	}
	past := time.Now().Add(-time.Hour).Truncate(time.Second)
	w.set("expired", azsecrets.SetSecretParameters{SecretAttributes: &azsecrets.SecretAttributes{Expires: &past}})
	w.get("expired", "")
	_, err = w.client.SetSecret(w.Context(), "attributes", azsecrets.SetSecretParameters{Value: to.Ptr("x"),
		SecretAttributes: &azsecrets.SecretAttributes{NotBefore: &until, Expires: &from}}, nil)
	wantError(w.T, err, 400, "BadParameter", "")
}

func (w walk) versions() {
	const count = 30
	want := map[string]string{}
	previous := ""
	for i := range count {
		v := w.set("versions", azsecrets.SetSecretParameters{Value: to.Ptr(fmt.Sprint("value ", i))})
		previous = v.ID.Version()
		want[previous] = *v.Value
	}
	var got []string
	pages := 0
	for pager := w.client.NewListSecretPropertiesVersionsPager("versions", nil); pager.More(); pages++ {
		for _, v := range must(pager.NextPage(w.Context()))(w.T).Value {
			got = append(got, v.ID.Version())
		}
	}
	if len(got) != count || pages < 2 || !slices.IsSorted(got) {
		w.Errorf("%d versions on %d pages: %v", len(got), pages, got)
	}
	for _, version := range got {
		if value := *w.get("versions", version).Value; value != want[version] {
			w.Errorf("version %s is %q, not %q", version, value, want[version])
		}
	}
	if w.get("versions", "").ID.Version() != previous {
		w.Error("the latest is not what was set last")
	}
}

func (w walk) list() {
	const count = 60
	for i := range count {
		w.set(fmt.Sprintf("list-%02d", i), azsecrets.SetSecretParameters{Tags: map[string]*string{"n": to.Ptr(fmt.Sprint(i))},
			SecretAttributes: &azsecrets.SecretAttributes{Enabled: to.Ptr(i%10 != 0)}})
	}
	var names []string
	pages := 0
	for pager := w.client.NewListSecretPropertiesPager(nil); pager.More(); pages++ {
		for _, p := range must(pager.NextPage(w.Context()))(w.T).Value {
			if p.ID.Version() != "" {
				w.Errorf("an entry has a version: %s", *p.ID)
			}
			if name := p.ID.Name(); strings.HasPrefix(name, "list-") {
				names = append(names, name)
				if disabled := strings.HasSuffix(name, "0"); *p.Attributes.Enabled == disabled {
					w.Errorf("%s: enabled is %t", name, *p.Attributes.Enabled)
				}
			}
		}
	}
	if len(names) != count || len(slices.Compact(slices.Clone(names))) != count || pages < 3 || !slices.IsSorted(names) {
		w.Errorf("%d names on %d pages: %v", len(names), pages, names)
	}
}

func (w walk) deletion() {
	first := w.set("deleted", azsecrets.SetSecretParameters{Tags: map[string]*string{"k": to.Ptr("v")}})
	second := w.set("deleted", azsecrets.SetSecretParameters{ContentType: to.Ptr("text/plain")})
	deleted := must(w.client.DeleteSecret(w.Context(), "deleted", nil))(w.T).DeletedSecret
	if deleted.RecoveryID == nil || deleted.DeletedDate == nil || deleted.Value != nil || *deleted.ID != *second.ID {
		w.Fatalf("delete answered %s", dump(deleted))
	}
	if kept := deleted.ScheduledPurgeDate.Sub(*deleted.DeletedDate); kept != 90*24*time.Hour {
		w.Errorf("it would be kept for %s", kept)
	}
	looked := must(w.client.GetDeletedSecret(w.Context(), "deleted", nil))(w.T).DeletedSecret
	if dump(looked) != dump(deleted) {
		w.Errorf("a look at it: %s, delete answered %s", dump(looked), dump(deleted))
	}
	if names := w.deletedNames(); !slices.Contains(names, "deleted") {
		w.Errorf("deleted secrets: %v", names)
	}
	for _, version := range []string{"", first.ID.Version()} {
		_, err := w.client.GetSecret(w.Context(), "deleted", version, nil)
		wantError(w.T, err, 404, "SecretNotFound", "")
	}
	_, err := w.client.SetSecret(w.Context(), "deleted", azsecrets.SetSecretParameters{Value: to.Ptr("x")}, nil)
	wantError(w.T, err, 409, "Conflict", "ObjectIsDeletedButRecoverable")

	back := must(w.client.RecoverDeletedSecret(w.Context(), "deleted", nil))(w.T).Secret
	if *back.ID != *second.ID {
		w.Errorf("recover answered %s, not %s", *back.ID, *second.ID)
	}
	if got := w.get("deleted", ""); dump(got) != dump(second) {
		w.Errorf("it came back as %s, was %s", dump(got), dump(second))
	}
	if got := w.get("deleted", first.ID.Version()); dump(got) != dump(first) {
		w.Errorf("its first version came back as %s, was %s", dump(got), dump(first))
	}
	_, err = w.client.GetDeletedSecret(w.Context(), "deleted", nil)
	wantError(w.T, err, 404, "SecretNotFound", "")
}

func (w walk) deletedNames() (names []string) {
	for pager := w.client.NewListDeletedSecretPropertiesPager(nil); pager.More(); {
		for _, p := range must(pager.NextPage(w.Context()))(w.T).Value {
			if p.RecoveryID == nil || p.DeletedDate == nil || p.ScheduledPurgeDate == nil {
				w.Errorf("an entry lacks its dates: %s", dump(p))
			}
			names = append(names, p.ID.Name())
		}
	}
	return names
}

func (w walk) purge() {
	w.set("purged", azsecrets.SetSecretParameters{})
	_, err := w.client.PurgeDeletedSecret(w.Context(), "purged", nil)
	wantError(w.T, err, 404, "SecretNotFound", "")
	must(w.client.DeleteSecret(w.Context(), "purged", nil))(w.T)
	must(w.client.PurgeDeletedSecret(w.Context(), "purged", nil))(w.T)
	_, err = w.client.GetDeletedSecret(w.Context(), "purged", nil)
	wantError(w.T, err, 404, "SecretNotFound", "")
	_, err = w.client.RecoverDeletedSecret(w.Context(), "purged", nil)
	wantError(w.T, err, 404, "SecretNotFound", "")
	w.set("purged", azsecrets.SetSecretParameters{Value: to.Ptr("the name is free again")})
}

func (w walk) backup() {
	var kept []azsecrets.Secret
	for i := range 3 {
		w.set("backup", azsecrets.SetSecretParameters{Value: to.Ptr(fmt.Sprint("value ", i)), Tags: map[string]*string{"i": to.Ptr(fmt.Sprint(i))}})
		kept = append(kept, w.get("backup", ""))
	}
	blob := must(w.client.BackupSecret(w.Context(), "backup", nil))(w.T).Value
	if len(blob) == 0 || strings.Contains(string(blob), "value 1") {
		w.Fatalf("a backup of %d bytes, perhaps in clear", len(blob))
	}
	_, err := w.client.RestoreSecret(w.Context(), azsecrets.RestoreSecretParameters{SecretBackup: blob}, nil)
	wantError(w.T, err, 409, "Conflict", "ObjectAlreadyExists")
	must(w.client.DeleteSecret(w.Context(), "backup", nil))(w.T)
	_, err = w.client.RestoreSecret(w.Context(), azsecrets.RestoreSecretParameters{SecretBackup: blob}, nil)
	wantError(w.T, err, 409, "Conflict", "ObjectIsDeletedButRecoverable")
	must(w.client.PurgeDeletedSecret(w.Context(), "backup", nil))(w.T)
	restored := must(w.client.RestoreSecret(w.Context(), azsecrets.RestoreSecretParameters{SecretBackup: blob}, nil))(w.T).Secret
	if *restored.ID != *kept[2].ID || restored.Value != nil {
		w.Errorf("restore answered %s", dump(restored))
	}
	for _, old := range kept {
		if got := w.get("backup", old.ID.Version()); dump(got) != dump(old) {
			w.Errorf("restored %s, was %s", dump(got), dump(old))
		}
	}
	blob[len(blob)/2] ^= 1
	for _, bad := range [][]byte{blob, []byte("not a backup"), {}} {
		_, err = w.client.RestoreSecret(w.Context(), azsecrets.RestoreSecretParameters{SecretBackup: bad}, nil)
		wantError(w.T, err, 400, "BadParameter", "")
	}
}

func (w walk) errors() {
	_, err := w.client.GetSecret(w.Context(), "nothing-here", "", nil)
	wantError(w.T, err, 404, "SecretNotFound", "")
	w.set("something-here", azsecrets.SetSecretParameters{})
	_, err = w.client.GetSecret(w.Context(), "something-here", "0123456789abcdef0123456789abcdef", nil)
	wantError(w.T, err, 404, "SecretNotFound", "")
	_, err = w.client.DeleteSecret(w.Context(), "nothing-here", nil)
	wantError(w.T, err, 404, "SecretNotFound", "")
	_, err = w.client.BackupSecret(w.Context(), "nothing-here", nil)
	wantError(w.T, err, 404, "SecretNotFound", "")
	_, err = w.client.UpdateSecretProperties(w.Context(), "nothing-here", "", azsecrets.UpdateSecretPropertiesParameters{}, nil)
	wantError(w.T, err, 404, "SecretNotFound", "")
	for _, name := range []string{"under_score", "dot.dot", "a b", "ümlaut", strings.Repeat("n", 128)} {
		_, err = w.client.SetSecret(w.Context(), name, azsecrets.SetSecretParameters{Value: to.Ptr("x")}, nil)
		wantError(w.T, err, 400, "BadParameter", "")
	}
	_, err = w.client.SetSecret(w.Context(), "no-value", azsecrets.SetSecretParameters{}, nil)
	wantError(w.T, err, 400, "BadParameter", "")
	tags := map[string]*string{}
	for i := range 16 {
		tags[fmt.Sprint(i)] = to.Ptr("x")
	}
	_, err = w.client.SetSecret(w.Context(), "tags", azsecrets.SetSecretParameters{Value: to.Ptr("x"), Tags: tags}, nil)
	wantError(w.T, err, 400, "BadParameter", "")
}

// wantError compares status and codes as the SDK and people's programs see them.
func wantError(t *testing.T, err error, status int, code, inner string) {
	t.Helper()
	var answer *azcore.ResponseError
	if !errors.As(err, &answer) {
		t.Errorf("got %v, want %d %s", err, status, code)
		return
	}
	var body struct {
		Error struct {
			Code, Message string
			Inner         struct{ Code string } `json:"innererror"`
		}
	}
	raw, readErr := io.ReadAll(answer.RawResponse.Body)
	if readErr != nil || json.Unmarshal(raw, &body) != nil || body.Error.Message == "" {
		t.Errorf("an error without a body that can be read: %v", err)
	}
	if answer.StatusCode != status || answer.ErrorCode != code || body.Error.Inner.Code != inner {
		t.Errorf("got %d %s/%s (%s), want %d %s/%s", answer.StatusCode, answer.ErrorCode, body.Error.Inner.Code, body.Error.Message, status, code, inner)
	}
}

func contains(err error, text string) bool { return err != nil && strings.Contains(err.Error(), text) }

// dump is v as JSON, for comparing and for messages; instants compare as they do on the wire.
func dump(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(raw)
}
