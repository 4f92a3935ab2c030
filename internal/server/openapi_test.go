package server

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/keywright/keywright/internal/door"
)

// TestTheDescriptionCoversEveryRoute compares the served document with the route tables of the doors that it is about, in both
// directions.
func TestTheDescriptionCoversEveryRoute(t *testing.T) {
	x := startTarget(t)
	var doc struct {
		Paths map[string]map[string]struct {
			OperationID, Summary string
			Tags                 []string
			Parameters           []struct{ Name, In string }
			Responses            map[string]any
			RequestBody          any
			Servers              []struct {
				URL       string
				Variables map[string]struct{ Default string }
			}
		}
		Components struct {
			Schemas map[string]struct{ Required []string }
		}
	}
	answer := x.send(http.MethodGet, "https://"+x.address()+"/openapi.json", "", "")
	if err := json.Unmarshal([]byte(answer.body), &doc); err != nil {
		t.Fatalf("%v: %s", err, answer.body)
	}
	ids := make(map[string]bool)
	left := 0
	for path, methods := range doc.Paths {
		for method, o := range methods {
			if left++; ids[o.OperationID] || o.OperationID == "" || o.Summary == "" {
				t.Errorf("%s %s: the id %q is missing or there twice, or the summary %q is missing", method, path, o.OperationID, o.Summary)
			}
			ids[o.OperationID] = true
			described := 0
			for _, p := range o.Parameters {
				if p.In == "path" && strings.Contains(path, "{"+p.Name+"}") {
					described++
				}
			}
			if n := strings.Count(path, "{"); n != described {
				t.Errorf("%s %s has %d parameters in its path and describes %d", method, path, n, described)
			}
		}
	}
	tables := x.mounted()
	for name, vaults := range map[string]bool{"native": false, "azure": true} {
		if len(tables[name]) == 0 {
			t.Fatalf("there is no door %s", name)
		}
		for _, r := range tables[name] {
			for _, path := range paths(r) {
				o, ok := doc.Paths[path][strings.ToLower(r.Method)]
				if left--; !ok {
					t.Errorf("%s: %s %s is not described", name, r.Method, path)
					continue
				}
				if (len(o.Servers) == 1) != vaults {
					t.Errorf("%s: %s %s is described at %v", name, r.Method, path, o.Servers)
				}
				if (o.RequestBody != nil) != (r.MaxBody > 0) {
					t.Errorf("%s: %s %s takes %d bytes and its body is %v", name, r.Method, path, r.MaxBody, o.RequestBody)
				}
				if !vaults {
					continue
				}
				if at := o.Servers[0]; at.URL != "https://{vault}."+x.names.suffix+x.names.port || at.Variables["vault"].Default == "" {
					t.Errorf("%s %s is described at %+v", r.Method, path, at)
				}
				if len(o.Tags) != 1 || o.Tags[0] != "azure" || o.Responses["default"] == nil || !strings.HasPrefix(o.OperationID, "azure."+r.Operation) {
					t.Errorf("%s %s is described as %+v", r.Method, path, o)
				}
			}
		}
	}
	if left != 0 {
		t.Errorf("%d more operations are described than there are", left)
	}
	if set := doc.Components.Schemas["azure.setInput"]; len(set.Required) != 1 || set.Required[0] != "value" {
		t.Errorf("what a new secret needs is %v", set.Required)
	}
}

// paths are the forms of a route's path: with a parameter that may be absent, and without it.
func paths(r door.Route) []string {
	before, after, ok := strings.Cut(r.Pattern, "?}")
	if !ok {
		return []string{r.Pattern}
	}
	return []string{before[:strings.LastIndexByte(before, '/')] + after, before + "}" + after}
}
