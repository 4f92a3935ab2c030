package azure

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/key"
	"github.com/keywright/keywright/internal/object"
	"github.com/keywright/keywright/internal/vault"
)

func FuzzString(f *testing.F) {
	for _, s := range []string{"", "plain", "\"\\/\b\f\n\r\t\x00\x1f\x7f", "é\u2028\u2029\U0001F511", "\xff\xfe", "a\xc3", "\xed\xa0\x80", "<>&"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := appendString([]byte("before"), s)
		if again := appendString([]byte("before"), []byte(s)); !bytes.Equal(got, again) {
			t.Fatalf("%q as bytes is %q, as text %q", s, again, got)
		}
		got = bytes.TrimPrefix(got, []byte("before"))
		var back, want string
		if err := json.Unmarshal(got, &back); err != nil {
			t.Fatalf("%q became %q: %v", s, got, err)
		}
		reference, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(reference, &want); err != nil || back != want || utf8.ValidString(s) && back != s {
			t.Errorf("%q came back as %q; encoding/json: %q", s, back, want)
		}
	})
}

var noon = time.Date(2026, 11, 22, 12, 0, 0, 999, time.UTC)

func item() *object.Item {
	return &object.Item{
		Object: &vault.Object{Name: "Db", Deleted: &vault.Deletion{At: noon, PurgeAt: noon.AddDate(0, 0, 90)}},
		Version: &vault.Version{ID: "0123456789abcdef0123456789abcdef", ContentType: "text/\"plain\"", Tags: map[string]string{"b": "2", "a": "<1>"}, Previous: "fedcba9876543210fedcba9876543210",
			Attributes: vault.Attributes{Enabled: true, NotBefore: noon, Expires: noon.Add(time.Hour), Created: noon, Updated: noon.Add(time.Minute)}},
	}
}

func TestGoldenBodies(t *testing.T) {
	const (
		id         = `"id":"https://demo.v:8443/secrets/Db/0123456789abcdef0123456789abcdef","contentType":"text/\"plain\"","attributes":{"enabled":true,"nbf":1795348800,"exp":1795352400,"created":1795348800,"updated":1795348860,"recoveryLevel":"Recoverable+Purgeable"`
		tags       = `},"tags":{"a":"<1>","b":"2"}`
		days       = `,"recoverableDays":90`
		previous   = `,"previousVersion":"fedcba9876543210fedcba9876543210"`
		withoutDay = `{"value":"x\n",` + id + tags
	)
	tests := map[string]string{"2016-10-01": withoutDay + `}`, "7.0": withoutDay + `}`}
	for _, v := range []string{"7.1", "7.2", "7.3", "7.4-preview.1", "7.4", "7.5", "7.6-preview.2", "7.6"} {
		tests[v] = `{"value":"x\n",` + id + days + tags + `}`
	}
	for _, v := range []string{"2025-07-01", "2026-04-01"} {
		tests[v] = tests["7.6"] // previousVersion is of certificates' secrets only
	}
	if len(tests) != len(apiVersions) {
		t.Errorf("%d versions have a golden body, %d exist", len(tests), len(apiVersions))
	}
	for v, want := range tests {
		rank, err := parseVersion(v)
		if err != nil {
			t.Fatal(err)
		}
		e := encoder{version: rank, base: "https://demo.v:8443", vault: &vault.Vault{RetentionDays: 90}}
		e.bundle(item(), []byte("x\n"))
		if got := string(e.buf); got != want {
			t.Errorf("%s: got\n%s\nwant\n%s", v, got, want)
		}
	}
	managed := item()
	managed.Object.Managed = true
	e := encoder{version: v2025, base: "https://demo.v:8443", vault: &vault.Vault{RetentionDays: 90}}
	e.bundle(managed, nil)
	kid := `,"kid":"https://demo.v:8443/keys/Db/0123456789abcdef0123456789abcdef"`
	if want := `{` + id + days + tags + kid + `,"managed":true` + previous + `}`; string(e.buf) != want {
		t.Errorf("of a certificate: got\n%s\nwant\n%s", e.buf, want)
	}
	e = encoder{version: v76, base: "https://demo.v:8443", vault: &vault.Vault{RetentionDays: 90}}
	e.deletedBundle(item())
	if want := `{"recoveryId":"https://demo.v:8443/deletedsecrets/Db","deletedDate":1795348800,"scheduledPurgeDate":1803124800,` + id + days + tags + `}`; string(e.buf) != want {
		t.Errorf("deleted: got\n%s\nwant\n%s", e.buf, want)
	}
}

func TestEverythingUnsetIsLeftOut(t *testing.T) {
	e := encoder{version: v2026, base: "https://v", vault: &vault.Vault{RetentionDays: 7, PurgeProtection: true}}
	e.bundle(&object.Item{Object: &vault.Object{Name: "a", Managed: true}, Version: &vault.Version{ID: "v", Attributes: vault.Attributes{Created: noon, Updated: noon}}}, []byte{})
	want := `{"value":"","id":"https://v/secrets/a/v","attributes":{"enabled":false,"created":1795348800,"updated":1795348800,"recoveryLevel":"CustomizedRecoverable","recoverableDays":7},"kid":"https://v/keys/a/v","managed":true}`
	if string(e.buf) != want {
		t.Errorf("got\n%s\nwant\n%s", e.buf, want)
	}
}

func TestRecoveryLevels(t *testing.T) {
	for _, tt := range []struct {
		days      int
		protected bool
		want      string
	}{{90, false, "Recoverable+Purgeable"}, {90, true, "Recoverable"}, {7, false, "CustomizedRecoverable+Purgeable"}, {89, true, "CustomizedRecoverable"}} {
		if got := door.RecoveryLevel(&vault.Vault{RetentionDays: tt.days, PurgeProtection: tt.protected}); got != tt.want {
			t.Errorf("%+v: %s", tt, got)
		}
	}
}

func TestEveryKindHasAnAnswer(t *testing.T) {
	for _, k := range fault.Kinds() {
		w, ok := wireErrors[k]
		if !ok || w.status < 400 || w.code == "" {
			t.Errorf("%v has the answer %+v", k, w)
		}
	}
	for _, tt := range []struct {
		err   *fault.Error
		want  int
		code  string
		inner string
	}{
		{fault.New(fault.NotFound, "m").Because("SecretNotFound"), 404, "SecretNotFound", ""},
		{fault.New(fault.NotFound, "m").Because(door.UnknownPath), 404, "NotFound", ""},
		{fault.New(fault.Invalid, "m").Because(door.UnknownMethod), 405, "MethodNotAllowed", ""},
		{fault.New(fault.Forbidden, "m").Because("ForbiddenByRbac"), 403, "Forbidden", "ForbiddenByRbac"},
		{fault.New(fault.Forbidden, "m").Because("SecretDisabled"), 403, "Forbidden", "SecretDisabled"},
		{fault.New(fault.Conflict, "m").Because("ObjectIsDeletedButRecoverable"), 409, "Conflict", "ObjectIsDeletedButRecoverable"},
		{fault.New(fault.Invalid, "m").Because("ValueTooLarge"), 400, "BadParameter", ""},
		{fault.New(fault.Throttled, "m").After(1500 * time.Millisecond), 429, "Throttled", ""},
	} {
		d, err := door.New(door.Config{Name: "t", Routes: []door.Route{{Method: "GET", Pattern: "/", Operation: "T", Serve: func(*door.Request) error { return tt.err }}},
			Clock: fixed{}, Logger: discard, Prepare: func(*door.Request) error { return nil }, Fail: fail})
		if err != nil {
			t.Fatal(err)
		}
		w := httptest.NewRecorder()
		d.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		var body errorBody
		if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
			t.Fatal(err)
		}
		inner := ""
		if body.Error.Inner != nil {
			inner = body.Error.Inner.Code
		}
		if w.Code != tt.want || body.Error.Code != tt.code || inner != tt.inner || body.Error.Message != "m" || status(tt.err) != tt.want {
			t.Errorf("%+v: %d %s", tt.err, w.Code, w.Body)
		}
		if retry := w.Result().Header.Get("Retry-After"); tt.err.RetryAfter > 0 && retry != "2" {
			t.Errorf("Retry-After is %q", retry)
		}
	}
}

func FuzzAPIVersion(f *testing.F) {
	for v := range apiVersions {
		f.Add(v)
	}
	f.Add("7.4-PREVIEW.1")
	f.Fuzz(func(t *testing.T, s string) {
		v, err := parseVersion(s)
		if (err == nil) != (v != 0) || err != nil && !fault.Is(err, fault.Invalid) {
			t.Errorf("%q: %d, %v", s, v, err)
		}
	})
}

func FuzzPage(f *testing.F) {
	f.Add("maxresults=5&$skiptoken=YQ")
	f.Add("maxresults=26")
	f.Add("%24skiptoken=!")
	f.Fuzz(func(t *testing.T, query string) {
		r := &door.Request{HTTP: &http.Request{URL: &url.URL{RawQuery: query}}}
		p, err := page(r)
		if err != nil {
			if !fault.Is(err, fault.Invalid) {
				t.Errorf("%q: %v", query, err)
			}
			return
		}
		if p.Limit < 1 || p.Limit > maxResults || p.After != "" && vault.CheckObjectName(p.After) != nil {
			t.Errorf("%q: %+v", query, p)
		}
		if p.After != "" {
			again, err := page(&door.Request{HTTP: &http.Request{URL: &url.URL{RawQuery: "$skiptoken=" + base64.RawURLEncoding.EncodeToString([]byte(p.After))}}})
			if err != nil || again.After != p.After {
				t.Errorf("%q: its token is not read again: %v", query, err)
			}
		}
	})
}

func TestOnlyHardwareIsShownAsHardware(t *testing.T) {
	for want, f := range map[string]key.Facts{"0": {HSM: true, Token: "soft"}, "1": {HSM: true, Token: "hsm", Hardware: true}} {
		if got := hsmPlatform(&f); got != want {
			t.Errorf("hsmPlatform of %+v is %s", f, got)
		}
	}
}
