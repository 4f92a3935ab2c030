package rolejson_test

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/keywright/keywright/internal/door/rolejson"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/principal"
)

// What is shown of a role can be written back, and lists that are empty are no null.
func TestWhatIsShownCanBeWritten(t *testing.T) {
	role := &principal.Role{ID: "r", Name: "Reader of one", Description: "d", Permissions: []principal.Permission{{Actions: []string{"*/read"}, NotDataActions: []string{"x"}}, {}}}
	text, err := json.Marshal(rolejson.Of(role, "/id/r", "BuiltIn", []string{"/a"}))
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"id":"/id/r","name":"r","type":"Microsoft.Authorization/roleDefinitions","properties":{"roleName":"Reader of one","type":"CustomRole","description":"d",` +
		`"assignableScopes":["/a"],"permissions":[{"actions":["*/read"],"notActions":[],"dataActions":[],"notDataActions":["x"]},` +
		`{"actions":[],"notActions":[],"dataActions":[],"notDataActions":[]}]}}`
	if string(text) != want {
		t.Errorf("shown as\n%s\nwant\n%s", text, want)
	}
	var in rolejson.Input
	if err := json.Unmarshal(text, &in); err != nil {
		t.Fatal(err)
	}
	back, err := in.Role("r")
	if err != nil || back.Name != role.Name || back.Description != role.Description || back.AssignableScopes != nil || !reflect.DeepEqual(in.Properties.AssignableScopes, []string{"/a"}) {
		t.Errorf("read back as %+v, %v", back, err)
	}
	again := rolejson.Of(&back, "/id/r", "BuiltIn", in.Properties.AssignableScopes)
	if text2, err := json.Marshal(again); err != nil || string(text2) != want {
		t.Errorf("shown again as\n%s", text2)
	}
}

func TestBuiltInRolesAreNotWritten(t *testing.T) {
	if got := rolejson.Of(&principal.Role{BuiltIn: true}, "", "AKVBuiltInRole", nil).Properties; got.Type != "AKVBuiltInRole" || got.AssignableScopes == nil || got.Permissions == nil {
		t.Errorf("a built-in role is shown as %+v", got)
	}
	for kind, ok := range map[string]bool{"": true, "CustomRole": true, "customrole": true, "BuiltInRole": false, "AKVBuiltInRole": false} {
		var in rolejson.Input
		in.Properties.Type = kind
		if _, err := in.Role("r"); ok != (err == nil) || !ok && !fault.Is(err, fault.Invalid) {
			t.Errorf("the type %q: %v", kind, err)
		}
	}
}
