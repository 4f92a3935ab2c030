package native

import (
	"net/http"
	"reflect"
	"strconv"
	"strings"

	"github.com/keywright/keywright/internal/door"
)

// addBeside describes another door: its operations name their own server, their ids begin with the door's name, and their errors
// are of its own shape.
func (d *document) addBeside(b *Described) error {
	s := &schemas{all: d.Components["schemas"], prefix: b.Name + "."}
	failure := b.Name + ".Error"
	text := &schema{Type: "string"}
	inner := &schema{Type: "object", Properties: map[string]*schema{"code": text, "message": text}, Required: []string{"code", "message"}}
	d.Components["responses"][failure] = &response{Description: "Refused, or failed; the status says which.", Content: map[string]content{
		jsonType: {&schema{Type: "object", Properties: map[string]*schema{"error": inner}, Required: []string{"error"}}}}}
	at := server{URL: b.URL, Description: b.Description}
	if strings.Contains(b.URL, "{vault}") {
		at.Variables = map[string]variable{"vault": {Default: "demo", Description: "The name of a vault."}}
	}
	ids := make(map[string]int)
	for i := range b.Routes {
		for n, r := range spelledOut(&b.Routes[i]) {
			o := describeRoute(&r, s)
			o.ID, o.Tags, o.Servers = b.Name+"."+o.ID, []string{b.Name}, []server{at}
			if n > 0 {
				o.ID += "Version" // one route, two paths, and every path has an id of its own
			}
			// Some operations stand at several paths, one for each form of a scope.
			if ids[o.ID]++; ids[o.ID] > 1 {
				o.ID += strconv.Itoa(ids[o.ID])
			}
			o.Responses = map[string]*response{"default": {Ref: "#/components/responses/" + failure}}
			o.succeed(&r)
			if err := d.add(&r, o); err != nil {
				return err
			}
		}
	}
	return nil
}

func (o *operation) succeed(r *door.Route) {
	done := &response{Description: "Done.", Content: map[string]content{jsonType: {&schema{Type: "object"}}}}
	if r.Success == http.StatusNoContent {
		done.Content = nil
	}
	status := http.StatusOK
	if r.Success > 0 {
		status = r.Success
	}
	o.Responses[strconv.Itoa(status)] = done
}

// spelledOut returns the route for each form of its path: OpenAPI has no parameter of a path that may be absent.
func spelledOut(r *door.Route) []door.Route {
	before, after, ok := strings.Cut(r.Pattern, "?}")
	if !ok {
		return []door.Route{*r}
	}
	short, long := *r, *r
	short.Pattern = before[:strings.LastIndexByte(before, '/')] + after
	long.Pattern = before + "}" + after
	return []door.Route{short, long}
}

// typeName is how a type is named among the document's schemas.
func (s *schemas) typeName(t reflect.Type) string { return s.prefix + t.Name() }
