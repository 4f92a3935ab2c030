package door

import (
	"net/url"
	"slices"
	"strings"
	"testing"
)

func nothing(*Request) error { return nil }

func table(lines ...string) []Route {
	var routes []Route
	for _, line := range lines {
		method, pattern, _ := strings.Cut(line, " ")
		routes = append(routes, Route{Method: method, Pattern: pattern, Operation: line, Serve: nothing})
	}
	return routes
}

func newMux(t testing.TB, lines ...string) *Mux {
	t.Helper()
	m, err := NewMux(table(lines...))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// vaultLike has every kind of pattern that the doors use.
var vaultLike = []string{
	"GET /secrets", "PUT /secrets/{name}", "GET /secrets/{name}/{version?}", "PATCH /secrets/{name}/{version?}", "DELETE /secrets/{name}",
	"GET /secrets/{name}/versions", "POST /secrets/{name}/backup", "POST /secrets/restore", "POST /keys/{name}/{version?}/sign",
	"GET /certificates/{name}/pending", "GET /certificates/issuers", "GET /certificates/issuers/{issuer}", "GET /files/{path*}", "GET /",
}

func TestMatch(t *testing.T) {
	m := newMux(t, vaultLike...)
	tests := []struct {
		name, method, path string
		// want is the route's method and pattern, then its parameters; for none, the allowed methods after a dash.
		want string
	}{
		{"literal", "GET", "/secrets", "GET /secrets"},
		{"trailing slash of a listing", "GET", "/secrets/", "GET /secrets"},
		{"two trailing slashes of a listing", "GET", "/secrets//", "-"},
		{"root", "GET", "/", "GET /"},
		{"no path", "GET", "", "GET /"},
		{"optional is absent", "GET", "/secrets/a", "GET /secrets/{name}/{version?} name=a"},
		{"optional is empty", "GET", "/secrets/a/", "GET /secrets/{name}/{version?} name=a"},
		{"optional is empty and the path ends in a slash", "GET", "/secrets/a//", "GET /secrets/{name}/{version?} name=a"},
		{"optional is there", "GET", "/secrets/a/b", "GET /secrets/{name}/{version?} name=a version=b"},
		{"optional is there, trailing slash", "GET", "/secrets/a/b/", "GET /secrets/{name}/{version?} name=a version=b"},
		{"too long", "GET", "/secrets/a/b/c", "-"},
		{"required is empty", "DELETE", "/secrets/", "-GET"},
		{"required is empty in the middle", "POST", "/secrets//backup", "-"},
		{"trailing slash of a name", "PUT", "/secrets/a/", "PUT /secrets/{name} name=a"},
		{"literal before parameter", "GET", "/secrets/a/versions", "GET /secrets/{name}/versions name=a"},
		{"literal of another method leaves the parameter", "PUT", "/secrets/restore", "PUT /secrets/{name} name=restore"},
		{"literals without regard to case", "GET", "/SECRETS/Db/VERSIONS", "GET /secrets/{name}/versions name=Db"},
		{"verb behind an absent version", "POST", "/keys/k/sign", "POST /keys/{name}/{version?}/sign name=k"},
		{"verb behind an empty version", "POST", "/keys/k//sign", "POST /keys/{name}/{version?}/sign name=k"},
		{"verb behind a version", "POST", "/keys/k/v/sign", "POST /keys/{name}/{version?}/sign name=k version=v"},
		{"escaped slash stays in its segment", "GET", "/secrets/a%2Fb", "GET /secrets/{name}/{version?} name=a/b"},
		{"escaped letters", "GET", "/secrets/%61", "GET /secrets/{name}/{version?} name=a"},
		{"dots are not resolved", "GET", "/secrets/../secrets", "GET /secrets/{name}/{version?} name=.. version=secrets"},
		{"double slash at the front", "GET", "//secrets", "-"},
		{"rest", "GET", "/files/a/b/c.css", "GET /files/{path*} path=a/b/c.css"},
		{"rest is decoded like any other", "GET", "/files/a%2Fb/%63", "GET /files/{path*} path=a/b/c"},
		{"empty rest", "GET", "/files/", "GET /files/{path*}"},
		{"unknown method", "BREW", "/secrets/a", "-DELETE,GET,PATCH,PUT"},
		{"unknown path", "GET", "/storage", "-"},
	}
	for _, tt := range tests {
		if got := describe(m, tt.method, tt.path); got != tt.want {
			t.Errorf("%s: %s %s is %q; want %q", tt.name, tt.method, tt.path, got, tt.want)
		}
	}
}

func describe(m *Mux, method, path string) string {
	u := &url.URL{Path: path}
	if plain, err := url.PathUnescape(path); err == nil && plain != path {
		u.Path, u.RawPath = plain, path
	}
	var p Params
	r, allowed := m.Match(method, u, &p)
	if r == nil {
		return "-" + strings.Join(allowed, ",")
	}
	got := r.Method + " " + r.Pattern
	for _, name := range r.params {
		if v := p.Get(name); v != "" {
			got += " " + name + "=" + v
		}
	}
	if p.Get("no such parameter") != "" {
		return "an unknown parameter has a value"
	}
	return got
}

func TestAmbiguousTablesAreRefused(t *testing.T) {
	tests := []struct {
		name  string
		lines []string
	}{
		{"the same twice", []string{"GET /a", "GET /a"}},
		{"the same but for case", []string{"GET /a", "GET /A"}},
		{"the same but for names", []string{"GET /a/{x}", "GET /a/{y}"}},
		{"optional beside absent", []string{"GET /a/{x?}", "GET /a"}},
		{"optional beside required", []string{"GET /a/{x?}", "GET /a/{x}"}},
		{"verb behind optional beside verb", []string{"POST /a/{x?}/sign", "POST /a/sign"}},
		{"two rests", []string{"GET /a/{x*}", "GET /a/{y*}"}},
		{"optional before a parameter", []string{"GET /a/{x?}/{y}"}},
		{"rest in the middle", []string{"GET /a/{x*}/b"}},
		{"too many parameters", []string{"GET /{a}/{b}/{c}/{d}/{e}/{f}/{g}"}},
		{"no slash at the front", []string{"GET a"}},
	}
	for _, tt := range tests {
		if _, err := NewMux(table(tt.lines...)); err == nil {
			t.Errorf("%s: %q is accepted", tt.name, tt.lines)
		}
	}
	for _, r := range []Route{{Method: "GET", Pattern: "/a", Operation: "x"}, {Method: "GET", Pattern: "/a", Serve: nothing}} {
		if _, err := NewMux([]Route{r}); err == nil {
			t.Errorf("%+v is accepted", r)
		}
	}
	if _, err := NewMux(table("GET /a", "PUT /a", "GET /a/{x}", "GET /a/{x}/b", "GET /{p}/b")); err != nil {
		t.Errorf("a clear table is refused: %v", err)
	}
}

// oracle matches as the patterns' definition says, without a tree: each pattern in each of its spellings against the
// segments of the path. It returns the patterns that match the path, the most literal one first.
func oracle(method, path string) (patterns []string) {
	type found struct{ pattern, rank string }
	var all []found
	segments := strings.Split(strings.TrimPrefix(path, "/"), "/")
	for _, line := range vaultLike {
		m, pattern, _ := strings.Cut(line, " ")
		if m != method {
			continue
		}
		best := ""
		for _, spelling := range spellings(strings.Split(pattern[1:], "/")) {
			for _, have := range [][]string{segments, shortened(segments)} {
				if rank, ok := fits(spelling, have); ok && (best == "" || rank < best) {
					best = rank
				}
			}
		}
		if best != "" {
			all = append(all, found{pattern, best})
		}
	}
	slices.SortStableFunc(all, func(a, b found) int { return strings.Compare(a.rank, b.rank) })
	for _, f := range all {
		patterns = append(patterns, f.pattern)
	}
	return patterns
}

// shortened drops the empty segment behind a trailing slash.
func shortened(segments []string) []string {
	if n := len(segments) - 1; n > 0 && segments[n] == "" {
		return segments[:n]
	}
	return segments
}

func spellings(pattern []string) [][]string {
	for i, s := range pattern {
		if strings.HasSuffix(s, "?}") {
			without := slices.Concat(pattern[:i:i], pattern[i+1:])
			with := slices.Clone(pattern)
			with[i] = "{or-empty}"
			return append(spellings(without), spellings(with)...)
		}
	}
	return [][]string{pattern}
}

// fits reports whether the segments fit, and ranks how: a literal is "0", a parameter "1", a rest "2".
func fits(pattern, segments []string) (rank string, ok bool) {
	for i, p := range pattern {
		if strings.HasSuffix(p, "*}") {
			return rank + "2", len(segments) > i
		}
		if i >= len(segments) {
			return "", false
		}
		switch {
		case strings.EqualFold(p, segments[i]):
			rank += "0"
		case p == "{or-empty}", strings.HasPrefix(p, "{") && segments[i] != "":
			rank += "1"
		default:
			return "", false
		}
	}
	return rank, len(pattern) == len(segments)
}

func FuzzMatch(f *testing.F) {
	m := newMux(f, vaultLike...)
	for _, path := range []string{"/secrets", "/secrets/a/", "/keys/k//sign", "/certificates/issuers/pending", "/files/a/b", "//", "/secrets/a%2Fb"} {
		f.Add("GET", path)
		f.Add("POST", path)
	}
	f.Fuzz(func(t *testing.T, method, path string) {
		var p Params
		u := &url.URL{Path: path}
		r, allowed := m.Match(method, u, &p)
		again, _ := m.Match(method, u, new(Params))
		if r != again {
			t.Fatalf("%s %q is matched in two ways", method, path)
		}
		if strings.ContainsFunc(path, func(r rune) bool { return r >= 0x80 }) {
			return // the oracle folds more letters than the tree
		}
		want := oracle(method, path)
		switch {
		case r == nil && len(want) > 0:
			t.Fatalf("%s %q is not found; want %q", method, path, want)
		case r != nil && (len(want) == 0 || r.Pattern != want[0]):
			t.Fatalf("%s %q is %q; want %q", method, path, r.Pattern, want)
		case r != nil && len(allowed) > 0:
			t.Fatalf("%s %q has a route and other methods %q", method, path, allowed)
		}
		for _, a := range allowed {
			if r, _ := m.Match(a, u, new(Params)); r == nil {
				t.Fatalf("%q is said to take %s and does not", path, a)
			}
		}
		if !slices.IsSorted(allowed) {
			t.Fatalf("allowed methods in disorder: %q", allowed)
		}
	})
}
