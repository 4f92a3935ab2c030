// Generate writes what is derived from the configuration's types: the reference page and the commented example. It is run by go generate in
// internal/config.
package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/config"
)

// Where the results go, from internal/config.
const (
	source  = "file.go"
	page    = "../../docs/operations/configuration.md"
	example = "../../deploy/keywright.yaml"
)

// The marks between which the page is generated.
const (
	begin = "<!-- generated from internal/config: begin -->\n"
	end   = "<!-- generated from internal/config: end -->\n"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func run() error {
	docs, err := comments(source)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	head, rest, ok := strings.Cut(string(text), begin)
	_, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		return fmt.Errorf("%s lacks the marks of the generated part", page)
	}
	r := &reference{docs: docs}
	r.section(reflect.TypeFor[config.File](), "", "")
	if err := os.WriteFile(page, []byte(head+begin+r.b.String()+end+tail), 0o644); err != nil {
		return err
	}
	x := &sample{docs: docs}
	x.b.WriteString("# The configuration of a Keywright server. What is commented out shows the default, or an example where there is none.\n")
	x.section(reflect.TypeFor[config.File](), 0, false)
	return os.WriteFile(example, []byte(x.b.String()), 0o644)
}

// comments finds the comment of every field, by the names of type and field, and of every type.
func comments(path string) (map[string]string, error) {
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
	if err != nil {
		return nil, err
	}
	docs := map[string]string{}
	for _, d := range file.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok {
			continue
		}
		for _, spec := range g.Specs {
			t, ok := spec.(*ast.TypeSpec)
			if !ok {
				continue
			}
			s, ok := t.Type.(*ast.StructType)
			if !ok {
				continue
			}
			for _, f := range s.Fields.List {
				text := strings.Join(strings.Fields(f.Doc.Text()), " ")
				if text == "" {
					return nil, fmt.Errorf("%s.%s has no comment", t.Name.Name, f.Names[0].Name)
				}
				docs[t.Name.Name+"."+f.Names[0].Name] = text
			}
		}
	}
	return docs, nil
}

// plain is the type below pointers and lists.
func plain(t reflect.Type) (inner reflect.Type, list bool) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		list = list || t.Kind() == reflect.Slice
		t = t.Elem()
	}
	return t, list
}

// section reports whether a type has keys of its own.
func section(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && strings.HasSuffix(t.PkgPath(), "internal/config")
}

// reference is the page's list of all keys.
type reference struct {
	docs map[string]string
	b    strings.Builder
}

func (r *reference) section(t reflect.Type, key, about string) {
	title := "The file"
	if key != "" {
		title = "`" + key + "`"
	}
	r.b.WriteString("\n## " + title + "\n\n")
	if about != "" {
		r.b.WriteString(about + "\n\n")
	}
	r.b.WriteString("| key | value | default | meaning |\n|---|---|---|---|\n")
	type below struct {
		t          reflect.Type
		key, about string
	}
	var later []below
	for i := range t.NumField() {
		f := t.Field(i)
		name, doc := f.Tag.Get("yaml"), r.docs[t.Name()+"."+f.Name]
		inner, list := plain(f.Type)
		kind := describe(inner, f.Tag)
		if list {
			kind = "list of " + kind
		}
		usual := "none"
		if d := f.Tag.Get("default"); d != "" {
			usual = "`" + d + "`"
		} else if f.Tag.Get("required") != "" {
			usual = "required"
		}
		if section(inner) {
			path := strings.TrimPrefix(key+"."+name, ".")
			if f.Type.Kind() == reflect.Struct && usual == "none" {
				usual = ""
			}
			link := strings.ReplaceAll(strings.ToLower(path), ".", "")
			kind = "[keys](#" + link + ")"
			if list {
				kind = "list of " + kind
			}
			later = append(later, below{inner, path, doc})
		}
		fmt.Fprintf(&r.b, "| `%s` | %s | %s | %s |\n", name, kind, usual, doc)
	}
	for _, l := range later {
		r.section(l.t, l.key, l.about)
	}
}

// describe says what a value looks like.
func describe(t reflect.Type, tag reflect.StructTag) string {
	bounds := ""
	least, most := tag.Get("min"), tag.Get("max")
	switch {
	case least != "" && most != "":
		bounds = ", " + least + " to " + most
	case least != "" && least != "0" && least != "0s":
		bounds = ", at least " + least
	}
	switch t {
	case reflect.TypeFor[config.Path]():
		return "path"
	case reflect.TypeFor[config.SecretFile]():
		return "path of a secret file"
	case reflect.TypeFor[config.Address]():
		return "`HOST:PORT`"
	case reflect.TypeFor[config.Name]():
		return "DNS name"
	case reflect.TypeFor[config.URL]():
		return "URL (`" + strings.ReplaceAll(tag.Get("schemes"), ",", "`, `") + "`)"
	case reflect.TypeFor[config.Bytes]():
		return "size" + bounds
	case reflect.TypeFor[time.Duration]():
		return "duration" + bounds
	}
	if words := tag.Get("oneof"); words != "" {
		return "`" + strings.ReplaceAll(words, ",", "`, `") + "`"
	}
	switch t.Kind() {
	case reflect.Bool:
		return "`true`, `false`"
	case reflect.Int, reflect.Float64:
		return "number" + bounds
	case reflect.Struct:
		return "network"
	}
	return "text"
}

// sample is the commented example: a file that works as it stands, in which everything else is commented out.
type sample struct {
	docs map[string]string
	b    strings.Builder
}

// stands are the keys that are not required and stand in the example all the same, because it would not work without them.
var stands = map[string]bool{"listeners": true, "public": true, "seal": true, "keyFiles": true}

func (x *sample) section(t reflect.Type, depth int, off bool) {
	for i := range t.NumField() {
		f := t.Field(i)
		name := f.Tag.Get("yaml")
		inner, list := plain(f.Type)
		if depth == 0 {
			x.b.WriteString("\n")
		}
		x.comment(depth, x.docs[t.Name()+"."+f.Name])
		hidden := off || f.Tag.Get("required") == "" && !stands[name]
		value := f.Tag.Get("default")
		if value == "" {
			value = f.Tag.Get("example")
		}
		switch {
		case section(inner):
			x.line(depth, hidden, name+":")
			if list {
				x.item(inner, depth+1, hidden)
			} else {
				x.section(inner, depth+1, hidden)
			}
		case list:
			x.line(depth, hidden, name+": ["+quote(value, inner)+"]")
		default:
			x.line(depth, hidden, name+": "+quote(value, inner))
		}
	}
}

// item is one member of a list of sections.
func (x *sample) item(t reflect.Type, depth int, off bool) {
	for i := range t.NumField() {
		f := t.Field(i)
		x.comment(depth+1, x.docs[t.Name()+"."+f.Name])
		value := f.Tag.Get("example")
		inner, _ := plain(f.Type)
		mark := "  "
		if i == 0 {
			mark = "- "
		}
		x.line(depth, off, mark+f.Tag.Get("yaml")+": "+quote(value, inner))
	}
}

func (x *sample) comment(depth int, text string) {
	const width = 110
	line := strings.Repeat("  ", depth) + "#"
	for word := range strings.FieldsSeq(text) {
		if len(line)+1+len(word) > width {
			x.b.WriteString(line + "\n")
			line = strings.Repeat("  ", depth) + "#"
		}
		line += " " + word
	}
	x.b.WriteString(line + "\n")
}

func (x *sample) line(depth int, off bool, text string) {
	if off {
		x.b.WriteString(strings.Repeat("  ", depth) + "#" + text + "\n")
		return
	}
	x.b.WriteString(strings.Repeat("  ", depth) + text + "\n")
}

// quote puts text in quotes that YAML would read as something else.
func quote(value string, t reflect.Type) string {
	if t.Kind() == reflect.String && (value == "" || strings.ContainsAny(value[:1], "0123456789[")) {
		return `"` + value + `"`
	}
	return value
}
