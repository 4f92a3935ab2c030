package oauth

import (
	"testing"

	"github.com/keywright/keywright/internal/fault"
)

func TestEveryKindHasAnAnswer(t *testing.T) {
	kinds := fault.Kinds()
	if len(kinds) == 0 {
		t.Fatal("no kinds")
	}
	for _, k := range kinds {
		if w := kindErrors[k]; w.status < 400 || w.code == "" || w.number == 0 {
			t.Errorf("kind %s has no answer", k)
		}
	}
}

func FuzzForm(f *testing.F) {
	f.Add("application/x-www-form-urlencoded", "grant_type=client_credentials&scope=https%3A%2F%2Fvault.test%2F.default+openid")
	f.Add("", "scope=a://b/c&scope=")
	f.Fuzz(func(t *testing.T, kind, body string) {
		form, err := parseForm(kind, []byte(body))
		if err != nil {
			if form != nil || !fault.Is(err, fault.Invalid) {
				t.Errorf("got %v, %v", form, err)
			}
			return
		}
		if len(form) > maxFields {
			t.Errorf("%d fields", len(form))
		}
		if r, err := form.resource(); err != nil && r != "" {
			t.Errorf("got %q and %v", r, err)
		}
	})
}
