package door

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/keywright/keywright/internal/admission"
)

// maxParams bounds the parameters of one pattern.
const maxParams = 6

// Route is one endpoint, as data: everything that must hold for it stands here, so that tests and documents made from
// the tables cannot forget one.
type Route struct {
	// Method is the HTTP method.
	Method string
	// Pattern is a path of literals and {parameters}. A {parameter?} may be empty or absent. {parameter*} takes the rest of the path and
	// stands last.
	Pattern string
	// Operation names the endpoint in audit records, metrics and documents, such as SecretGet.
	Operation string
	// Action is what the service asks the authorisation engine for, such as an Azure data action; empty for a public route.
	Action string
	// Public routes are served without authentication.
	Public bool
	// Class says when the request gives way to others on a server that has too much to do. Where it is unset, what changes something is a write, a
	// stream of events exempt, and all else a query.
	Class admission.Class
	// MaxBody is the largest body in bytes; 0 means that a body is ignored.
	MaxBody int64
	// Admit, when set, decides before the body is read whether the caller may send one. It is for endpoints that take large bodies:
	// without it everybody with a token can make the server hold them. The service authorises the work itself all the same.
	Admit func(*Request) error
	// Success is the status of the answer when all goes well; 0 means 200. Audit records, which are written before the answer, have it
	// from here.
	Success int
	// Summary is one sentence for documents.
	Summary string
	// Input and Output are zero values of the bodies' types, for documents; nil when there is none.
	Input, Output any
	// Media is the media type of the answer, for documents; application/json when empty. For EventStream, Output is what each event holds.
	Media string
	// Query lists the query parameters that the endpoint reads, for documents.
	Query []Param
	// Serve answers the request or returns an error, which the door's table turns into an answer.
	Serve func(*Request) error

	params []string
}

// class is that of a route which does not say it.
func (r *Route) class() admission.Class {
	switch {
	case r.Class != admission.Unset:
		return r.Class
	case r.Media == EventStream:
		return admission.Exempt
	case r.Method == http.MethodGet || r.Method == http.MethodHead:
		return admission.Query
	}
	return admission.Write
}

// Varies is the Success of a route whose answers have several statuses: its audit records tell none.
const Varies = -1

// Param describes a query parameter.
type Param struct {
	Name, Summary string
	Required      bool
}

// Mux finds the route of a request.
type Mux struct {
	root node
}

type node struct {
	literals map[string]*node
	param    *node
	// empty says that the parameter below may be an empty segment.
	empty  bool
	rest   map[string]*Route
	routes map[string]*Route
}

// NewMux builds a matcher. It refuses two routes that answer the same request.
func NewMux(routes []Route) (*Mux, error) {
	m := &Mux{}
	for i := range routes {
		r := &routes[i]
		if err := m.add(r); err != nil {
			return nil, fmt.Errorf("route %s %s: %w", r.Method, r.Pattern, err)
		}
	}
	return m, nil
}

func (m *Mux) add(r *Route) error {
	if r.Serve == nil || r.Operation == "" || !strings.HasPrefix(r.Pattern, "/") {
		return fmt.Errorf("needs Serve, Operation and a pattern that begins with a slash")
	}
	segments := strings.Split(r.Pattern[1:], "/")
	r.params = nil
	for _, s := range segments {
		if name, _, ok := parameter(s); ok {
			r.params = append(r.params, name)
		}
	}
	for i, s := range segments[:len(segments)-1] {
		_, mark, _ := parameter(s)
		if _, _, next := parameter(segments[i+1]); mark == '*' || mark == '?' && next {
			return fmt.Errorf("has %s in a place where it would be ambiguous", s)
		}
	}
	if len(r.params) > maxParams {
		return fmt.Errorf("has more than %d parameters", maxParams)
	}
	return m.root.add(r, segments)
}

// parameter takes a pattern segment apart: its name and its mark, which is '?', '*' or 0.
func parameter(segment string) (name string, mark byte, ok bool) {
	if !strings.HasPrefix(segment, "{") || !strings.HasSuffix(segment, "}") {
		return "", 0, false
	}
	name = segment[1 : len(segment)-1]
	if n := len(name) - 1; n >= 0 && (name[n] == '?' || name[n] == '*') {
		return name[:n], name[n], true
	}
	return name, 0, true
}

func (n *node) add(r *Route, segments []string) error {
	if len(segments) == 0 {
		return put(&n.routes, r)
	}
	_, mark, isParam := parameter(segments[0])
	switch {
	case !isParam:
		key := strings.ToLower(segments[0])
		if n.literals == nil {
			n.literals = make(map[string]*node)
		}
		if n.literals[key] == nil {
			n.literals[key] = &node{}
		}
		return n.literals[key].add(r, segments[1:])
	case mark == '*':
		return put(&n.rest, r)
	case mark == '?':
		if err := n.add(r, segments[1:]); err != nil {
			return err
		}
		n.empty = true
	}
	if n.param == nil {
		n.param = &node{}
	}
	return n.param.add(r, segments[1:])
}

func put(routes *map[string]*Route, r *Route) error {
	if *routes == nil {
		*routes = make(map[string]*Route)
	}
	if other := (*routes)[r.Method]; other != nil {
		return fmt.Errorf("answers the same requests as %s", other.Pattern)
	}
	(*routes)[r.Method] = r
	return nil
}

// Params are the values of a route's parameters, by position.
type Params struct {
	names  []string
	values [maxParams]string
}

// Get returns the value of the named parameter, or the empty string.
func (p *Params) Get(name string) string {
	if i := slices.Index(p.names, name); i >= 0 {
		return p.values[i]
	}
	return ""
}

// Match finds the route for a method and path. Without one, allowed lists the methods that the path has; it is empty for
// an unknown path.
func (m *Mux) Match(method string, u *url.URL, params *Params) (route *Route, allowed []string) {
	path, escaped := u.Path, false
	if u.RawPath != "" {
		path, escaped = u.RawPath, true
	}
	s := search{method: method, escaped: escaped, values: &params.values}
	route = s.walk(&m.root, strings.TrimPrefix(path, "/"), 0)
	if route == nil {
		slices.Sort(s.allowed)
		return nil, slices.Compact(s.allowed)
	}
	params.names = route.params
	return route, nil
}

type search struct {
	method  string
	escaped bool
	values  *[maxParams]string
	allowed []string
}

// walk finds the route for the rest of a path below n. depth counts the parameters that are bound so far. A literal
// is tried before a parameter, and a path that ends early may still match a route with a trailing slash.
func (s *search) walk(n *node, rest string, depth int) *Route {
	segment, tail, more := strings.Cut(rest, "/")
	if child := n.literals[lower(segment)]; child != nil {
		if r := s.step(child, tail, more, depth); r != nil {
			return r
		}
	}
	if n.param != nil && depth < maxParams && (segment != "" || n.empty) {
		if value, ok := s.value(segment); ok {
			s.values[depth] = value
			if r := s.step(n.param, tail, more, depth+1); r != nil {
				return r
			}
		}
	}
	if len(n.rest) > 0 && depth < maxParams {
		if value, ok := s.value(rest); ok {
			s.values[depth] = value
			return s.pick(n.rest)
		}
	}
	return nil
}

// value is what a piece of the path says once it is decoded.
func (s *search) value(piece string) (string, bool) {
	if !s.escaped {
		return piece, true
	}
	v, err := url.PathUnescape(piece)
	return v, err == nil
}

func (s *search) step(n *node, tail string, more bool, depth int) *Route {
	if more {
		if r := s.walk(n, tail, depth); r != nil {
			return r
		}
		if tail != "" {
			return nil
		}
		// The path ends in a slash that no parameter took.
	}
	for i := depth; i < maxParams; i++ {
		s.values[i] = ""
	}
	return s.pick(n.routes)
}

func (s *search) pick(routes map[string]*Route) *Route {
	if r := routes[s.method]; r != nil {
		return r
	}
	for method := range routes {
		s.allowed = append(s.allowed, method)
	}
	return nil
}

// lower returns s in lower case and allocates only where it has to.
func lower(s string) string {
	for i := range len(s) {
		if c := s[i]; c >= 'A' && c <= 'Z' || c >= 0x80 {
			return strings.ToLower(s)
		}
	}
	return s
}
