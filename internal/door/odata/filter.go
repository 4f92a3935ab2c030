// Package odata reads the part of OData's $filter expressions (OData 4.01, part 2, section 5.1.1) that Azure's management
// clients send: comparisons with eq, a few functions, any over a collection, joined by and and or. Everything else is
// refused rather than left out, as a filter that is not understood would show too much.
package odata

import (
	"strings"

	"github.com/keywright/keywright/internal/fault"
)

// Clause is one condition.
type Clause struct {
	// Op is eq, any, or the name of a function in lower case.
	Op string
	// Field is what is compared; empty for functions without one.
	Field string
	Value string
}

// Filter is alternatives of conditions that hold together. The empty filter selects everything.
type Filter [][]Clause

// maxFilterBytes bounds a filter; clients send less than 200 bytes.
const maxFilterBytes = 2048

// Parse reads a filter. Errors are a fault.Invalid with reason InvalidFilter.
func Parse(s string) (Filter, error) {
	if strings.TrimSpace(s) == "" {
		return nil, nil
	}
	if len(s) > maxFilterBytes {
		return nil, invalid("it has more than %d bytes", maxFilterBytes)
	}
	p := parser{rest: s}
	var f Filter
	for {
		all, err := p.conjunction()
		if err != nil {
			return nil, err
		}
		f = append(f, all)
		if p.blank(); p.rest == "" {
			return f, nil
		}
		if !p.word("or") {
			return nil, invalid("expected \"and\", \"or\" or its end at byte %d", len(s)-len(p.rest))
		}
	}
}

func invalid(format string, args ...any) error {
	return fault.New(fault.Invalid, "the $filter cannot be understood: "+format, args...).Because("InvalidFilter")
}

type parser struct{ rest string }

func (p *parser) conjunction() (all []Clause, err error) {
	for {
		c, err := p.clause()
		if err != nil {
			return nil, err
		}
		if all = append(all, c); !p.word("and") {
			return all, nil
		}
	}
}

func (p *parser) clause() (Clause, error) {
	name := p.name()
	if name == "" {
		return Clause{}, invalid("expected a field or a function before %q", fault.Clip(p.rest))
	}
	switch {
	case p.symbol("("):
		return p.function(name)
	case p.symbol("/"):
		if !strings.EqualFold(p.name(), "any") || !p.symbol("(") {
			return Clause{}, invalid("only any is known of collections")
		}
		return p.anyOf(name)
	case p.word("eq"):
		v, err := p.value()
		return Clause{Op: "eq", Field: name, Value: v}, err
	}
	return Clause{}, invalid("only eq is known as a comparison of %q", fault.Clip(name))
}

// function reads what follows the opening parenthesis: nothing, a value, or a field and a value.
func (p *parser) function(name string) (c Clause, err error) {
	c.Op = strings.ToLower(name)
	if p.symbol(")") {
		return c, nil
	}
	if p.blank(); !strings.HasPrefix(p.rest, "'") {
		if c.Field = p.name(); c.Field == "" || !p.symbol(",") {
			return c, invalid("the function %q lacks a field and a comma", fault.Clip(name))
		}
	}
	if c.Value, err = p.quoted(); err == nil && !p.symbol(")") {
		err = invalid("the function %q lacks its closing parenthesis", fault.Clip(name))
	}
	return c, err
}

// anyOf reads VARIABLE:VARIABLE eq VALUE and the closing parenthesis.
func (p *parser) anyOf(field string) (Clause, error) {
	variable := p.name()
	if variable == "" || !p.symbol(":") || p.name() != variable || !p.word("eq") {
		return Clause{}, invalid("expected any(c:c eq 'VALUE') of %q", fault.Clip(field))
	}
	v, err := p.value()
	if err == nil && !p.symbol(")") {
		err = invalid("any lacks its closing parenthesis")
	}
	return Clause{Op: "any", Field: field, Value: v}, err
}

func (p *parser) blank() { p.rest = strings.TrimLeft(p.rest, " ") }

func (p *parser) symbol(s string) bool {
	p.blank()
	rest, ok := strings.CutPrefix(p.rest, s)
	if ok {
		p.rest = rest
	}
	return ok
}

// name reads letters, digits, underscores and periods.
func (p *parser) name() string {
	p.blank()
	n := 0
	for n < len(p.rest) && isName(p.rest[n]) {
		n++
	}
	name := p.rest[:n]
	p.rest = p.rest[n:]
	return name
}

func isName(c byte) bool {
	return c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' || c == '_' || c == '.'
}

// word reads a keyword, without regard to case, when it comes next.
func (p *parser) word(w string) bool {
	before := p.rest
	if strings.EqualFold(p.name(), w) {
		return true
	}
	p.rest = before
	return false
}

// value reads a quoted value, or a bare one such as true or a GUID.
func (p *parser) value() (string, error) {
	if p.blank(); strings.HasPrefix(p.rest, "'") {
		return p.quoted()
	}
	n := 0
	for n < len(p.rest) && (isName(p.rest[n]) || p.rest[n] == '-') {
		n++
	}
	if n == 0 {
		return "", invalid("a value is missing before %q", fault.Clip(p.rest))
	}
	v := p.rest[:n]
	p.rest = p.rest[n:]
	return v, nil
}

// quoted reads a value in single quotes; two of them within it stand for one.
func (p *parser) quoted() (string, error) {
	if !p.symbol("'") {
		return "", invalid("expected a value in single quotes before %q", fault.Clip(p.rest))
	}
	var v strings.Builder
	for {
		text, rest, ok := strings.Cut(p.rest, "'")
		if !ok {
			return "", invalid("a value lacks its closing quote")
		}
		v.WriteString(text)
		if p.rest = rest; !strings.HasPrefix(rest, "'") {
			return v.String(), nil
		}
		v.WriteByte('\'')
		p.rest = rest[1:]
	}
}

// String writes the filter so that Parse reads it again.
func (f Filter) String() string {
	alternatives := make([]string, len(f))
	for i, all := range f {
		clauses := make([]string, len(all))
		for j, c := range all {
			clauses[j] = c.String()
		}
		alternatives[i] = strings.Join(clauses, " and ")
	}
	return strings.Join(alternatives, " or ")
}

// String writes one condition.
func (c Clause) String() string {
	value := "'" + strings.ReplaceAll(c.Value, "'", "''") + "'"
	switch {
	case c.Op == "eq":
		return c.Field + " eq " + value
	case c.Op == "any":
		return c.Field + "/any(c:c eq " + value + ")"
	case c.Field != "":
		return c.Op + "(" + c.Field + "," + value + ")"
	case c.Value != "":
		return c.Op + "(" + value + ")"
	}
	return c.Op + "()"
}
