package native

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keywright/keywright/client/api"
	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/version"
)

// The parts of an OpenAPI document (OpenAPI Specification 3.1.0) that the API needs.
type (
	document struct {
		OpenAPI    string                           `json:"openapi"`
		Info       map[string]string                `json:"info"`
		Security   []map[string][]string            `json:"security"`
		Paths      map[string]map[string]*operation `json:"paths"`
		Components map[string]map[string]any        `json:"components"`
	}
	operation struct {
		ID          string                 `json:"operationId"`
		Summary     string                 `json:"summary"`
		Description string                 `json:"description,omitempty"`
		Tags        []string               `json:"tags,omitempty"`
		Servers     []server               `json:"servers,omitempty"`
		Security    *[]map[string][]string `json:"security,omitempty"`
		Parameters  []parameter            `json:"parameters,omitempty"`
		RequestBody *body                  `json:"requestBody,omitempty"`
		Responses   map[string]*response   `json:"responses"`
	}
	server struct {
		URL         string              `json:"url"`
		Description string              `json:"description,omitempty"`
		Variables   map[string]variable `json:"variables,omitempty"`
	}
	variable struct {
		Default     string `json:"default"`
		Description string `json:"description,omitempty"`
	}
	parameter struct {
		Name        string  `json:"name"`
		In          string  `json:"in"`
		Required    bool    `json:"required"`
		Description string  `json:"description,omitempty"`
		Schema      *schema `json:"schema"`
	}
	body struct {
		Required bool               `json:"required"`
		Content  map[string]content `json:"content"`
	}
	content struct {
		Schema *schema `json:"schema"`
	}
	response struct {
		Ref         string             `json:"$ref,omitempty"`
		Description string             `json:"description,omitempty"`
		Content     map[string]content `json:"content,omitempty"`
	}
	schema struct {
		Ref                  string             `json:"$ref,omitempty"`
		Type                 string             `json:"type,omitempty"`
		Format               string             `json:"format,omitempty"`
		ContentEncoding      string             `json:"contentEncoding,omitempty"`
		Items                *schema            `json:"items,omitempty"`
		Properties           map[string]*schema `json:"properties,omitempty"`
		Required             []string           `json:"required,omitempty"`
		AdditionalProperties *schema            `json:"additionalProperties,omitempty"`
		Enum                 []string           `json:"enum,omitempty"`
	}
)

const jsonType = "application/json"

// describe makes the document of the routes, and of the doors beside them.
func describe(routes []door.Route, beside []Described) ([]byte, error) {
	s := &schemas{all: make(map[string]any)}
	problem := content{s.of(reflect.TypeFor[api.Problem]())}
	d := document{OpenAPI: "3.1.0", Info: map[string]string{"title": "Keywright", "version": version.String(),
		"description": "Keywright's native API. Errors are problem details (RFC 9457) with a kind, a reason and the request's correlation id."},
		Security: []map[string][]string{{"bearer": {}}}, Paths: make(map[string]map[string]*operation)}
	responses := make(map[string]any)
	for kind, w := range wireErrors {
		responses[responseName(w)] = &response{Description: w.title + " (kind: " + kind.String() + ").", Content: map[string]content{api.ProblemContentType: problem}}
	}
	d.Components = map[string]map[string]any{"schemas": s.all, "responses": responses,
		"securitySchemes": {"bearer": map[string]string{"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}}}
	for i := range routes {
		if err := d.add(&routes[i], describeRoute(&routes[i], s)); err != nil {
			return nil, err
		}
	}
	for i := range beside {
		if err := d.addBeside(&beside[i]); err != nil {
			return nil, err
		}
	}
	return json.Marshal(d)
}

func (d *document) add(r *door.Route, o *operation) error {
	if d.Paths[r.Pattern] == nil {
		d.Paths[r.Pattern] = make(map[string]*operation)
	}
	method := strings.ToLower(r.Method)
	if d.Paths[r.Pattern][method] != nil {
		return fmt.Errorf("two operations are at %s %s, which one description cannot say", r.Method, r.Pattern)
	}
	d.Paths[r.Pattern][method] = o
	return nil
}

func responseName(w wireError) string { return strings.ReplaceAll(w.title, " ", "") }

func describeRoute(r *door.Route, s *schemas) *operation {
	o := &operation{ID: r.Operation, Summary: r.Summary, Responses: make(map[string]*response)}
	if r.Public {
		o.Security = &[]map[string][]string{}
	} else {
		o.Description = "Any signed-in caller."
		if r.Action != "" {
			o.Description = "Needs the action " + r.Action + "."
		}
	}
	if rest, ok := strings.CutPrefix(r.Pattern, root+"/"); ok {
		tag, _, _ := strings.Cut(rest, "/")
		o.Tags = []string{tag}
	}
	for _, segment := range strings.Split(r.Pattern, "/") {
		if name, ok := strings.CutPrefix(segment, "{"); ok {
			o.Parameters = append(o.Parameters, parameter{Name: strings.TrimSuffix(name, "}"), In: "path", Required: true, Schema: &schema{Type: "string"}})
		}
	}
	for _, p := range r.Query {
		o.Parameters = append(o.Parameters, parameter{Name: p.Name, In: "query", Required: p.Required, Description: p.Summary, Schema: &schema{Type: "string"}})
	}
	if r.Input != nil {
		o.RequestBody = &body{Required: true, Content: map[string]content{jsonType: {s.of(reflect.TypeOf(r.Input))}}}
	}
	o.success(r, s)
	for _, w := range wireErrors {
		o.Responses[strconv.Itoa(w.status)] = &response{Ref: "#/components/responses/" + responseName(w)}
	}
	return o
}

func (o *operation) success(r *door.Route, s *schemas) {
	switch {
	case r.Output != nil:
		o.Responses["200"] = &response{Description: "Done.", Content: map[string]content{cmp.Or(r.Media, jsonType): {s.of(reflect.TypeOf(r.Output))}}}
	case r.Method == http.MethodGet:
		o.Responses["200"] = &response{Description: "The document."}
	default:
		o.Responses["204"] = &response{Description: "Done."}
	}
}

// schemas collects the named types that bodies are made of.
type schemas struct {
	all map[string]any
	// prefix keeps the types of other doors apart from the API's own.
	prefix string
}

// of returns the schema of a type: a reference for a struct, whose fields are described once.
func (s *schemas) of(t reflect.Type) *schema {
	switch {
	case t.Kind() == reflect.Pointer:
		return s.of(t.Elem())
	case t == reflect.TypeFor[time.Time]():
		return &schema{Type: "string", Format: "date-time"}
	case t == reflect.TypeFor[api.Kind]():
		return kindSchema()
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8:
		return &schema{Type: "string", ContentEncoding: "base64"}
	}
	switch t.Kind() {
	case reflect.Interface:
		return &schema{} // any JSON value
	case reflect.String:
		return &schema{Type: "string"}
	case reflect.Bool:
		return &schema{Type: "boolean"}
	case reflect.Float64:
		return &schema{Type: "number"}
	case reflect.Int, reflect.Int64, reflect.Uint64:
		return &schema{Type: "integer"}
	case reflect.Slice:
		return &schema{Type: "array", Items: s.of(t.Elem())}
	case reflect.Map:
		return &schema{Type: "object", AdditionalProperties: s.of(t.Elem())}
	case reflect.Struct:
		return s.object(t)
	}
	panic("the API has a body of type " + t.String() + ", which cannot be described")
}

func kindSchema() *schema {
	out := &schema{Type: "string"}
	for _, w := range wireErrors {
		out.Enum = append(out.Enum, string(w.kind))
	}
	slices.Sort(out.Enum)
	return out
}

func (s *schemas) object(t reflect.Type) *schema {
	name := s.typeName(t)
	ref := &schema{Ref: "#/components/schemas/" + name}
	if s.all[name] != nil {
		return ref
	}
	out := &schema{Type: "object", Properties: make(map[string]*schema)}
	s.all[name] = out // before its fields: a type may hold itself
	for _, f := range reflect.VisibleFields(t) {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous || name == "" || name == "-" {
			continue
		}
		out.Properties[name] = s.of(f.Type)
		if !strings.Contains(options, "omit") {
			out.Required = append(out.Required, name)
		}
	}
	return ref
}

func (h *handler) serveOpenAPI(r *door.Request) error {
	r.Reply(http.StatusOK, h.openAPI)
	return nil
}
