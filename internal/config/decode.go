package config

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// decoder reads a document into a File and gathers the mistakes.
type decoder struct {
	// dir is where relative paths start.
	dir      string
	problems []Problem
	// lines has the line of each key that is there, by its path.
	lines map[string]int
}

// wrong notes a mistake about a setting. One that is not there is noted at the line of what it would stand in.
func (d *decoder) wrong(key, format string, args ...any) {
	line := 0
	for at := key; at != "" && line == 0; {
		line = d.lines[at]
		at = at[:max(strings.LastIndexAny(at, ".["), 0)]
	}
	d.problems = append(d.problems, Problem{Line: line, Key: key, Text: fmt.Sprintf(format, args...)})
}

// told reports whether something is wrong with a setting, or with what stands below it.
func (d *decoder) told(key string) bool {
	for _, p := range d.problems {
		if rest, ok := strings.CutPrefix(p.Key, key); ok && (rest == "" || rest[0] == '.' || rest[0] == '[') {
			return true
		}
	}
	return false
}

// document parses the text. A text that is not YAML has one mistake: what stands behind it cannot be judged.
func (d *decoder) document(text []byte, f *File) {
	var doc yaml.Node
	reader := yaml.NewDecoder(strings.NewReader(string(text)))
	err := reader.Decode(&doc)
	switch {
	case errors.Is(err, io.EOF):
		d.wrong("", "it is empty: begin with the example of the reference")
		return
	case err != nil:
		d.syntax(err)
		return
	}
	if err := reader.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		d.wrong("", "it has more than one document: remove the line ---")
	}
	d.value(doc.Content[0], reflect.ValueOf(f).Elem(), "", "")
}

// syntax takes the line out of an error of the YAML library.
func (d *decoder) syntax(err error) {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	p := Problem{Text: "it is not YAML: " + text}
	if rest, ok := strings.CutPrefix(text, "line "); ok {
		if number, what, ok := strings.Cut(rest, ": "); ok {
			p.Line, _ = strconv.Atoi(number)
			p.Text = "it is not YAML: " + what
		}
	}
	d.problems = append(d.problems, p)
}

// value reads a node into v.
func (d *decoder) value(n *yaml.Node, v reflect.Value, key string, tag reflect.StructTag) {
	if d.lines[key] == 0 {
		d.lines[key] = n.Line
	}
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		d.wrong(key, "anchors and aliases are not taken: write the value here")
	case n.Tag != "" && n.Style&yaml.TaggedStyle != 0:
		d.wrong(key, "the tag %s is not taken: write the value alone", n.Tag)
	case n.Kind == yaml.ScalarNode && n.Tag == "!!null":
		d.wrong(key, "it has no value: write one, or remove the key")
	case v.Kind() == reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		d.value(n, v.Elem(), key, tag)
	case v.Kind() == reflect.Struct && scalars[v.Type()] == nil:
		d.section(n, v, key)
	case v.Kind() == reflect.Slice:
		d.list(n, v, key, tag)
	case n.Kind != yaml.ScalarNode:
		d.wrong(key, "it takes one value and not %s", kindName(n))
	default:
		d.scalar(n, v, key, tag)
	}
}

func kindName(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "keys of its own"
	case yaml.SequenceNode:
		return "a list"
	}
	return "one value"
}

// section reads a mapping into a struct.
func (d *decoder) section(n *yaml.Node, v reflect.Value, key string) {
	fields := fieldsOf(v.Type())
	if n.Kind != yaml.MappingNode {
		d.wrong(key, "it takes keys of its own and not %s: write one of %s below it", kindName(n), strings.Join(namesOf(fields), ", "))
		return
	}
	// meant are keys whose names were mistyped: that they are missing is the same mistake.
	seen, meant := map[string]int{}, map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, value := n.Content[i], n.Content[i+1]
		path := join(key, name.Value)
		f, ok := find(fields, name.Value)
		switch {
		case name.Kind != yaml.ScalarNode || !ok:
			d.problems = append(d.problems, Problem{Line: name.Line, Key: path, Text: "there is no such key: " + suggest(name.Value, fields)})
			meant[closest(name.Value, fields)] = true
			continue
		case seen[name.Value] != 0:
			d.problems = append(d.problems, Problem{Line: name.Line, Key: path, Text: fmt.Sprintf("it stands in line %d already: remove one of the two", seen[name.Value])})
			continue
		}
		seen[name.Value] = name.Line
		d.lines[path] = name.Line
		d.value(value, v.Field(f.index), path, f.tag)
	}
	for _, f := range fields {
		if seen[f.name] == 0 && !(meant[f.name] && f.tag.Get("required") != "") {
			d.missing(v.Field(f.index), join(key, f.name), f.tag)
		}
	}
}

// missing gives a field its default, or says that it has to be there.
func (d *decoder) missing(v reflect.Value, key string, tag reflect.StructTag) {
	text, has := tag.Lookup("default")
	switch {
	case tag.Get("required") != "":
		d.wrong(key, "it is missing: add it%s", like(tag))
	case has:
		// A default is the program's own: what is wrong with it is told like a mistake of the file, and found by a test.
		d.set(text, v, key, tag)
	case v.Kind() == reflect.Struct && scalars[v.Type()] == nil:
		for _, f := range fieldsOf(v.Type()) {
			d.missing(v.Field(f.index), join(key, f.name), f.tag)
		}
	}
}

func like(tag reflect.StructTag) string {
	if e := tag.Get("example"); e != "" {
		return ", such as " + e
	}
	return ""
}

func (d *decoder) list(n *yaml.Node, v reflect.Value, key string, tag reflect.StructTag) {
	if n.Kind != yaml.SequenceNode {
		d.wrong(key, "it takes a list and not %s: write each member on a line of its own, behind a hyphen", kindName(n))
		return
	}
	if len(n.Content) == 0 && tag.Get("required") != "" {
		d.wrong(key, "the list is empty: add a member%s", like(tag))
	}
	v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
	for i, m := range n.Content {
		d.value(m, v.Index(i), key+"["+strconv.Itoa(i)+"]", tag)
	}
}

// scalar reads one value. YAML guesses types from how a value looks: a guess that does not fit is told, not bent.
func (d *decoder) scalar(n *yaml.Node, v reflect.Value, key string, tag reflect.StructTag) {
	text := n.Value
	guess := n.ShortTag()
	want := "!!str"
	switch v.Kind() {
	case reflect.Bool:
		if guess != "!!bool" || text != "true" && text != "false" {
			d.wrong(key, "%q is neither true nor false: write one of the two", text)
			return
		}
		want = guess
	case reflect.Int, reflect.Float64:
		if guess == "!!int" || guess == "!!float" && v.Kind() == reflect.Float64 {
			want = guess
		}
	case reflect.Int64: // sizes may be plain numbers, durations not
		if v.Type() == reflect.TypeFor[Bytes]() && guess == "!!int" {
			want = guess
		}
		if v.Type() != reflect.TypeFor[Bytes]() {
			guess = "!!str" // a number without a unit is told as one
		}
	}
	if guess != want {
		if want == "!!str" && v.Kind() == reflect.String {
			d.wrong(key, "YAML reads %s as something else than text: put it in quotes", text)
		} else {
			d.wrong(key, "%q is not a number: write digits", text)
		}
		return
	}
	if guess == "!!str" && (v.Kind() == reflect.Int || v.Kind() == reflect.Float64) {
		d.wrong(key, "%q is not a number: write digits without quotes", text)
		return
	}
	d.set(text, v, key, tag)
}

// set reads a text by the type of v and checks the bounds.
func (d *decoder) set(text string, v reflect.Value, key string, tag reflect.StructTag) {
	if read := scalars[v.Type()]; read != nil {
		value, wrong := read(d, text, tag)
		if wrong != "" {
			d.wrong(key, "%s", wrong)
			return
		}
		v.Set(reflect.ValueOf(value).Convert(v.Type()))
		d.bounds(v, key, tag)
		return
	}
	switch v.Kind() {
	case reflect.String:
		if words := tag.Get("oneof"); words != "" && !contains(words, text) {
			d.wrong(key, "%q is not one of %s", text, strings.ReplaceAll(words, ",", ", "))
			return
		}
		if text == "" {
			d.wrong(key, "it is empty: write a value%s, or remove the key", like(tag))
			return
		}
		v.SetString(text)
	case reflect.Bool:
		v.SetBool(text == "true")
	case reflect.Int:
		i, err := strconv.ParseInt(text, 10, 0)
		if err != nil {
			d.wrong(key, "%q is not a whole number in digits", text)
			return
		}
		v.SetInt(i)
	case reflect.Float64:
		f, err := strconv.ParseFloat(text, 64)
		if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
			d.wrong(key, "%q is not a number: write digits", text)
			return
		}
		v.SetFloat(f)
	default:
		panic("no way to read a " + v.Type().String())
	}
	d.bounds(v, key, tag)
}

// bounds checks min and max, which are written like the value.
func (d *decoder) bounds(v reflect.Value, key string, tag reflect.StructTag) {
	for _, b := range []struct {
		name, text, word string
		sign             int
	}{{"min", tag.Get("min"), "less", -1}, {"max", tag.Get("max"), "more", 1}} {
		if b.text == "" {
			continue
		}
		limit := reflect.New(v.Type()).Elem()
		plain := &decoder{dir: d.dir, lines: map[string]int{}}
		plain.set(b.text, limit, key, "")
		if compare(v, limit) == b.sign {
			d.wrong(key, "it is %s than %s: write %s or %s", b.word, b.text, b.text, map[string]string{"min": "more", "max": "less"}[b.name])
		}
	}
}

func compare(a, b reflect.Value) int {
	if a.Kind() == reflect.Float64 {
		return cmp.Compare(a.Float(), b.Float())
	}
	return cmp.Compare(a.Int(), b.Int())
}

func contains(words, word string) bool {
	for w := range strings.SplitSeq(words, ",") {
		if w == word {
			return true
		}
	}
	return false
}

func join(key, name string) string {
	if key == "" {
		return name
	}
	return key + "." + name
}
