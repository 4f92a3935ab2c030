package azure

import (
	"encoding/json"
	"net/http"
	"net/url"
	"testing"

	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/key"
	"github.com/keywright/keywright/internal/object"
	"github.com/keywright/keywright/internal/vault"
)

// What was to stand behind a certificate that was given up has no version, and is shown all the same.
func TestObjectWithoutVersion(t *testing.T) {
	it := &object.Item{Object: &vault.Object{Name: "web", Managed: true, Deleted: &vault.Deletion{At: noon, PurgeAt: noon.AddDate(0, 0, 90)}}}
	for name, c := range map[string]struct {
		write func(e *encoder)
		want  string
	}{
		"secret":         {func(e *encoder) { e.bundle(it, nil) }, `{"id":"https://v/secrets/web"}`},
		"deleted secret": {func(e *encoder) { e.deletedBundle(it) }, `{"recoveryId":"https://v/deletedsecrets/web","deletedDate":1795348800,"scheduledPurgeDate":1803124800,"id":"https://v/secrets/web"}`},
		"key":            {func(e *encoder) { e.keyBundle(it, &key.Facts{}, keyShape{}) }, `{"key":{"kid":"https://v/keys/web"}}`},
		"deleted key": {func(e *encoder) { e.keyBundle(it, &key.Facts{}, keyShape{deleted: true}) },
			`{"recoveryId":"https://v/deletedkeys/web","deletedDate":1795348800,"scheduledPurgeDate":1803124800,"key":{"kid":"https://v/keys/web"}}`},
	} {
		e := encoder{version: v2026, base: "https://v", vault: &vault.Vault{RetentionDays: 90}}
		c.write(&e)
		if string(e.buf) != c.want || !json.Valid(e.buf) {
			t.Errorf("%s: got\n%s\nwant\n%s", name, e.buf, c.want)
		}
	}
}

// The next page lists what this one does.
func TestNextLinkKeepsTheListing(t *testing.T) {
	r := &door.Request{Base: "https://v", Call: guard.Call{APIVersion: "7.6"}}
	for path, pending := range map[string]string{"/certificates": "", "/certificates?includePending=true": "true"} {
		u, err := url.Parse(nextLink(r, path, object.Page{Limit: 7}, "web"))
		if err != nil {
			t.Fatal(err)
		}
		q := u.Query()
		if u.Path != "/certificates" || q.Get("includePending") != pending || q.Get("api-version") != "7.6" {
			t.Errorf("%s is followed by %s", path, u)
		}
		p, err := page(&door.Request{HTTP: &http.Request{URL: u}})
		if err != nil || p.After != "web" || p.Limit != 7 {
			t.Errorf("%s is read as %+v, %v", u, p, err)
		}
	}
}
