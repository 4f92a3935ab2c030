package native

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/keywright/keywright/client/api"
	"github.com/keywright/keywright/internal/rotation"
	"github.com/keywright/keywright/internal/rotator"
)

// members lists the JSON members of a struct, those of structs in it included, as paths.
func members(t reflect.Type, prefix string) (list []string) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return nil
	}
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		if name == "" || name == "-" {
			continue
		}
		list = append(list, prefix+name)
		list = append(list, members(t.Field(i).Type, prefix+name+".")...)
	}
	slices.Sort(list)
	return list
}

// TestThePolicyOfTheAPIIsThatOfTheEngine: a policy goes through the API by its JSON, so that both have to have the same members.
func TestThePolicyOfTheAPIIsThatOfTheEngine(t *testing.T) {
	for _, pair := range [][2]reflect.Type{
		{reflect.TypeFor[api.RotationPolicy](), reflect.TypeFor[rotation.Policy]()},
		{reflect.TypeFor[api.Rotator](), reflect.TypeFor[rotator.Description]()},
	} {
		shown, real := members(pair[0], ""), members(pair[1], "")
		if len(real) < 10 || !slices.Equal(shown, real) {
			t.Errorf("%s has %v,\n%s has %v", pair[0], shown, pair[1], real)
		}
	}
}
