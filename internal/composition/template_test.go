package composition

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/keywright/keywright/internal/fault"
)

func TestRender(t *testing.T) {
	values := map[string][]byte{"user": []byte("app"), "password": []byte("p@ss/w:rd é"), "db": []byte(`{"host":"db.test","port":5432,"tls":true,"list":[1],"none":null}`)}
	for _, c := range []struct{ template, want, problem string }{
		{"{{user}}", "app", ""},
		{"postgres://{{user}}:{{password|url}}@{{db.host}}:{{ DB.port }}/x?tls={{db.tls}}", "postgres://app:p%40ss%2Fw%3Ard%20%C3%A9@db.test:5432/x?tls=true", ""},
		{"{{password}}", "p@ss/w:rd é", ""},
		{"{{nobody}}", "", "nobody"},
		{"{{user.name}}", "", "no JSON object"},
		{"{{db.user}}", "", "no member"},
		{"{{db.list}}", "", "neither"},
		{"{{db.none}}", "", "neither"},
	} {
		parsed, err := Parse(c.template)
		if err != nil {
			t.Fatal(err)
		}
		got, err := parsed.Render(values)
		if string(got) != c.want || (err == nil) != (c.problem == "") || err != nil && !strings.Contains(err.Error(), c.problem) {
			t.Errorf("%s: %q, %v", c.template, got, err)
		}
	}
}

func TestParts(t *testing.T) {
	parsed, err := Parse("{{b.x}} {{A}} {{b.y}}")
	if err != nil || !slices.Equal(parsed.Parts(), []string{"a", "b"}) {
		t.Error(parsed.Parts(), err)
	}
}

func TestTemplatesThatAreNone(t *testing.T) {
	many := strings.Builder{}
	for i := range MaxParts + 1 {
		many.WriteString("{{s" + strings.Repeat("x", i+1) + "}}")
	}
	for _, text := range []string{"", "no place", "{{", "{{user", "{{}}", "{{a b}}", "{{a.}}", "{{a|sql}}", "{{a_b}}", many.String(), strings.Repeat("x", MaxTemplateBytes) + "{{a}}"} {
		if parsed, err := Parse(text); !fault.Is(err, fault.Invalid) || parsed != nil {
			t.Errorf("%.40q: %v, %v", text, parsed, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("postgres://{{user}}:{{password|url}}@{{db.host}}/x", "p@ss")
	f.Add("{{a|url}}{{", "x")
	f.Fuzz(func(t *testing.T, text, value string) {
		parsed, err := Parse(text)
		if err != nil {
			if parsed != nil {
				t.Error("a template came with an error")
			}
			return
		}
		again, err := Parse(parsed.String())
		if err != nil || again.String() != parsed.String() || !slices.Equal(again.Parts(), parsed.Parts()) {
			t.Fatalf("%q is written as %q and read as %v, %v", text, parsed, again, err)
		}
		values := map[string][]byte{}
		for _, name := range parsed.Parts() {
			values[name] = []byte(value)
		}
		one, err1 := parsed.Render(values)
		two, err2 := again.Render(values)
		if !bytes.Equal(one, two) || (err1 == nil) != (err2 == nil) {
			t.Errorf("%q renders in two ways", text)
		}
	})
}
