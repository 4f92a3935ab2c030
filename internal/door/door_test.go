package door

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
)

const canary = "canary-5f1c0de"

// harness is a door with routes of a test, and its log.
type harness struct {
	*Door
	log bytes.Buffer
	// mu guards what follows.
	mu       sync.Mutex
	prepared int
	seen     []int
}

func newDoor(t testing.TB, routes ...Route) *harness {
	t.Helper()
	h := &harness{}
	c := Config{Name: "test", Routes: routes, Clock: clock.System{}, Logger: slog.New(slog.NewTextHandler(&h.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Prepare: func(r *Request) error {
			h.mu.Lock()
			h.prepared++
			h.mu.Unlock()
			r.Call.Correlation = "c0"
			if r.HTTP.Header.Get("Authorization") == "" {
				return fault.New(fault.Unauthenticated, "who are you?")
			}
			return nil
		},
		Fail: func(r *Request, e *fault.Error) { r.JSON(status(e), map[string]string{"message": e.Message}) },
		Observe: func(_ string, _ *Request, status int, _ time.Duration) {
			h.mu.Lock()
			h.seen = append(h.seen, status)
			h.mu.Unlock()
		}}
	var err error
	if h.Door, err = New(c); err != nil {
		t.Fatal(err)
	}
	return h
}

func status(e *fault.Error) int {
	switch e.Kind {
	case fault.Invalid:
		return 400
	case fault.Unauthenticated:
		return 401
	case fault.NotFound:
		return 404
	case fault.TooLarge:
		return 413
	case fault.Unavailable:
		return 503
	default:
		return 500
	}
}

func (h *harness) send(r *http.Request) *httptest.ResponseRecorder {
	if r.Header.Get("Authorization") == "" {
		r.Header.Set("Authorization", "me")
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func request(method, path, body string) *http.Request {
	return httptest.NewRequest(method, "https://h.example"+path, strings.NewReader(body))
}

func route(method, pattern string, maxBody int64, serve func(*Request) error) Route {
	return Route{Method: method, Pattern: pattern, Operation: "Test", MaxBody: maxBody, Serve: serve}
}

func TestNothingIsJudgedBeforeAuthentication(t *testing.T) {
	h := newDoor(t, route("PUT", "/a", 4, func(*Request) error { t.Error("served"); return nil }))
	for _, r := range []*http.Request{request("PUT", "/a", "longer than four"), request("GET", "/a", ""), request("GET", "/unknown", ""),
		request("PUT", "/a", "{")} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != 401 {
			t.Errorf("%s %s: %d", r.Method, r.URL.Path, w.Code)
		}
	}
	if h.prepared != 4 || len(h.seen) != 4 {
		t.Errorf("prepared %d, observed %d; want 4", h.prepared, len(h.seen))
	}
}

// slow is a body that must not be read.
type unread struct{ t *testing.T }

func (u unread) Read([]byte) (int, error) { u.t.Error("the body is read"); return 0, io.EOF }

func TestBodyLimits(t *testing.T) {
	var got string
	h := newDoor(t, route("PUT", "/a", 8, func(r *Request) error { got = string(r.Body()); r.Raw(204, nil); return nil }),
		route("GET", "/a", 0, func(r *Request) error { got = string(r.Body()); r.Raw(204, nil); return nil }))
	tests := []struct {
		name, method, body string
		chunked            bool
		status             int
		want               string
	}{
		{"up to the limit", "PUT", "12345678", false, 204, "12345678"},
		{"one more", "PUT", "123456789", false, 413, ""},
		{"one more, of unknown length", "PUT", "123456789", true, 413, ""},
		{"up to the limit, of unknown length", "PUT", "12345678", true, 204, "12345678"},
		{"ignored where none is taken", "GET", strings.Repeat("x", 99), false, 204, ""},
	}
	for _, tt := range tests {
		got = ""
		r := request(tt.method, "/a", tt.body)
		if tt.chunked {
			r.ContentLength = -1
		}
		if w := h.send(r); w.Code != tt.status || got != tt.want {
			t.Errorf("%s: %d, body %q", tt.name, w.Code, got)
		}
	}
	r := request("PUT", "/a", "")
	r.Body, r.ContentLength = io.NopCloser(unread{t}), 1<<40
	if w := h.send(r); w.Code != 413 {
		t.Errorf("a declared length over the limit: %d", w.Code)
	}
	r = request("PUT", "/a", "")
	r.Body, r.ContentLength = io.NopCloser(io.MultiReader(strings.NewReader(canary[:4]), errReader{})), -1
	if w := h.send(r); w.Code != 400 || strings.Contains(w.Body.String(), canary[:4]) {
		t.Errorf("a body that breaks off: %d %s", w.Code, w.Body)
	}
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

type input struct {
	Value *string           `json:"value"`
	Tags  map[string]string `json:"tags"`
	Count int64             `json:"count"`
	List  []string          `json:"list"`
	Raw   []byte            `json:"raw"`
	At    time.Time         `json:"at"`
	Deep  struct {
		On bool `json:"on"`
	} `json:"deep"`
}

func TestDecodeNeverRepeatsTheBody(t *testing.T) {
	h := newDoor(t, route("PUT", "/a", 1<<20, func(r *Request) error {
		var in input
		if err := r.Decode(&in); err != nil {
			return err
		}
		r.Raw(204, nil)
		return nil
	}))
	bad := []string{"", " \n", "{", `{"value":"` + canary, canary, `"` + canary + `"`, `["` + canary + `"]`, `{"value":"` + canary + `"} ` + canary,
		`{"value":"` + canary + `"}{}`, `{"value":{"` + canary + `":1}}`, `{"tags":{"` + canary + `":1}}`, `{"tags":"` + canary + `"}`,
		`{"count":"` + canary + `"}`, `{"count":1e999}`, `{"count":5.5}`, `{"count":99999999999999999999}`, `{"list":"` + canary + `"}`,
		`{"raw":"` + canary + `!"}`, `{"at":"` + canary + `"}`, `{"deep":{"on":"` + canary + `"}}`, `{"value":"` + canary + "\xff\"}",
		`{"value":"` + canary + "\n\"}", `{"value":"` + canary + `\x"}`, strings.Repeat("[", 100_000), strings.Repeat(`{"deep":`, 20_000), "\ufeff{}",
		`{"value":` + canary + `}`, "\x00"}
	for _, body := range bad {
		w := h.send(request("PUT", "/a", body))
		if w.Code != 400 || strings.Contains(w.Body.String(), canary) || strings.Contains(w.Body.String(), "door.") {
			t.Errorf("%.60q: %d %s", body, w.Code, w.Body)
		}
	}
	if strings.Contains(h.log.String(), canary) {
		t.Errorf("the log has the canary:\n%s", &h.log)
	}
	for _, body := range []string{`{}`, ` {"value":null,"unknown":[{}]} `, `{"value":""}`, "null"} {
		if w := h.send(request("PUT", "/a", body)); w.Code != 204 {
			t.Errorf("%q: %d %s", body, w.Code, w.Body)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, s := range []string{`{"value":"x","tags":{"a":"b"}}`, `{"count":1e9}`, `{"at":"2026-01-01T00:00:00Z"}`, `[`, `{"deep":{"on":1}}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		r := &Request{body: body}
		var in input
		err := r.Decode(&in)
		if err == nil {
			return
		}
		if !fault.Is(err, fault.Invalid) {
			t.Fatalf("%q: %v", body, err)
		}
		if fault.As(err).Err != nil {
			t.Fatalf("%q: the error carries a cause, which may quote the body: %v", body, err)
		}
	})
}

func TestMethodOverride(t *testing.T) {
	var served string
	serve := func(name string) func(*Request) error {
		return func(r *Request) error { served = name; r.Raw(204, nil); return nil }
	}
	h := newDoor(t, route("POST", "/a", 0, serve("post")), route("PATCH", "/a", 0, serve("patch")), route("GET", "/a", 0, serve("get")))
	tests := []struct {
		name, method string
		override     []string
		want         string
		status       int
	}{
		{"none", "POST", nil, "post", 204},
		{"patch", "POST", []string{"PATCH"}, "patch", 204},
		{"lower case", "POST", []string{"patch"}, "patch", 204},
		{"only POST stands in", "GET", []string{"PATCH"}, "get", 204},
		{"unknown", "POST", []string{"BREW"}, "", 400},
		{"two are none", "POST", []string{"PATCH", "GET"}, "post", 204},
		{"empty", "POST", []string{""}, "", 400},
	}
	for _, tt := range tests {
		served = ""
		r := request(tt.method, "/a", "")
		if tt.override != nil {
			r.Header["X-Http-Method"] = tt.override
		}
		if w := h.send(r); w.Code != tt.status || served != tt.want {
			t.Errorf("%s: %d, served %q", tt.name, w.Code, served)
		}
	}
	if w := h.send(request("DELETE", "/a", "")); w.Header().Get("Allow") != "GET, PATCH, POST" {
		t.Errorf("Allow is %q", w.Header().Get("Allow"))
	}
}

type shy struct{}

func (shy) Error() string  { return canary }
func (shy) String() string { return canary }

func TestPanicsTellNothing(t *testing.T) {
	for name, value := range map[string]any{"text": canary, "error": errors.New(canary), "stringer": shy{}, "fault": fault.New(fault.Invalid, canary)} {
		h := newDoor(t, route("GET", "/a", 0, func(*Request) error { panic(value) }))
		w := h.send(request("GET", "/a", ""))
		if w.Code != 500 || strings.Contains(w.Body.String(), canary) || !strings.Contains(w.Body.String(), "c0") {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
		if log := h.log.String(); strings.Contains(log, canary) || !strings.Contains(log, "request panicked") || !strings.Contains(log, "door_test.go") {
			t.Errorf("%s: the log says\n%s", name, log)
		}
		if len(h.seen) != 1 || h.seen[0] != 500 {
			t.Errorf("%s: observed %v", name, h.seen)
		}
	}
	h := newDoor(t, route("GET", "/a", 0, func(r *Request) error { _ = []byte(nil)[len(r.Body())]; return nil }))
	if w := h.send(request("GET", "/a", "")); w.Code != 500 || !strings.Contains(h.log.String(), "index out of range") {
		t.Errorf("%d; the log says\n%s", w.Code, &h.log)
	}
	h = newDoor(t, route("GET", "/a", 0, func(r *Request) error { r.Raw(200, []byte("half")); panic("late") }))
	if w := h.send(request("GET", "/a", "")); w.Code != 200 || w.Body.String() != "half" {
		t.Errorf("a panic behind the answer: %d %q", w.Code, w.Body)
	}
	h = newDoor(t, route("GET", "/a", 0, func(*Request) error { panic(http.ErrAbortHandler) }))
	defer func() {
		if v := recover(); v != http.ErrAbortHandler {
			t.Errorf("recovered %v", v)
		}
	}()
	h.send(request("GET", "/a", ""))
}

func TestErrorsWithoutAKindStayInTheLog(t *testing.T) {
	for name, err := range map[string]error{"plain": errors.New(canary), "internal": fault.New(fault.Internal, canary),
		"cause": fault.Wrap(errors.New(canary), fault.Unavailable, "later")} {
		h := newDoor(t, route("GET", "/a", 0, func(*Request) error { return err }))
		w := h.send(request("GET", "/a", ""))
		if w.Code < 500 || strings.Contains(w.Body.String(), canary) {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
		if !strings.Contains(h.log.String(), canary) {
			t.Errorf("%s: the operator learns nothing: %s", name, &h.log)
		}
	}
}

// TestBuffersAreClearedBetweenRequests looks, in each request, at everything that its buffers can reach.
func TestWhoHangsUpWakesNobody(t *testing.T) {
	for _, err := range []error{fmt.Errorf("waiting: %w", context.Canceled), fault.Wrap(context.Canceled, fault.Unavailable, "later")} {
		for _, hungUp := range []bool{false, true} {
			h := newDoor(t, route("GET", "/", 0, func(*Request) error { return err }))
			ctx, cancel := context.WithCancel(t.Context())
			if hungUp {
				cancel()
			}
			h.send(request("GET", "/", "").WithContext(ctx))
			cancel()
			if quiet := strings.Contains(h.log.String(), "level=DEBUG"); quiet != hungUp {
				t.Errorf("%v, hung up: %v: %s", err, hungUp, &h.log)
			}
		}
	}
}

func TestBuffersAreClearedBetweenRequests(t *testing.T) {
	dirty := func(r *Request) bool {
		for _, b := range [][]byte{r.Scratch, r.Value, r.body} {
			if bytes.Contains(b[:cap(b)], []byte(canary)) {
				return true
			}
		}
		return false
	}
	looks := route("GET", "/look", 0, func(r *Request) error {
		if dirty(r) {
			t.Errorf("a value of an earlier request is in a buffer")
		}
		if r.Call.Caller != nil || r.Call.Vault != nil || r.Base != "" || r.used != 0 || r.status != 0 || r.headers != [4]string{} {
			t.Errorf("something of an earlier request is left: %+v", r)
		}
		r.Raw(204, nil)
		return nil
	})
	fill := func(r *Request) {
		r.Value = append(r.Value, bytes.Repeat([]byte(canary), 50)...)
		r.Scratch = append(r.Scratch, bytes.Repeat([]byte(canary), 50)...)
		r.Base = "https://" + canary
		r.SetHeader("X-A", canary)
	}
	h := newDoor(t, looks,
		route("PUT", "/answer", 1<<20, func(r *Request) error { fill(r); r.Reply(200, r.Scratch); return nil }),
		route("PUT", "/json", 1<<20, func(r *Request) error { fill(r); return r.JSON(200, 1) }),
		route("PUT", "/fail", 1<<20, func(r *Request) error { fill(r); return fault.New(fault.Invalid, "no") }),
		route("PUT", "/panic", 1<<20, func(r *Request) error {
			r.Scratch = append(r.Scratch, bytes.Repeat([]byte(canary), 50)...)[:0]
			panic("now")
		}),
		route("PUT", "/large", 1<<20, func(r *Request) error {
			r.Scratch = append(r.Scratch, bytes.Repeat([]byte(canary), 20_000)...)
			r.Raw(204, nil)
			return nil
		}))
	for range 50 {
		for _, path := range []string{"/answer", "/json", "/fail", "/panic", "/large"} {
			h.send(request("PUT", path, canary))
			h.send(request("GET", "/look", ""))
		}
	}
}

func TestHeadersOfAnswersAreTheirOwn(t *testing.T) {
	h := newDoor(t, route("GET", "/{n}", 0, func(r *Request) error {
		for i := range 6 { // more than fit without an allocation
			r.SetHeader("X-"+string(rune('A'+i)), r.Params.Get("n"))
		}
		r.Raw(204, nil)
		return nil
	}))
	server := httptest.NewServer(h)
	defer server.Close()
	var group sync.WaitGroup
	for n := range 8 {
		group.Go(func() {
			want := string(rune('a' + n))
			for range 50 {
				r, _ := http.NewRequestWithContext(context.Background(), "GET", server.URL+"/"+want, nil)
				r.Header.Set("Authorization", "me")
				resp, err := server.Client().Do(r)
				if err != nil {
					t.Error(err)
					return
				}
				resp.Body.Close()
				for i := range 6 {
					if got := resp.Header.Get("X-" + string(rune('A'+i))); got != want {
						t.Errorf("header %d is %q; want %q", i, got, want)
					}
				}
			}
		})
	}
	group.Wait()
}

func TestQuery(t *testing.T) {
	tests := []struct{ query, name, want string }{
		{"api-version=7.4", "api-version", "7.4"},
		{"api%2Dversion=7.4", "api-version", "7.4"},
		{"api%2dversion=7%2E4", "api-version", "7.4"},
		{"a=1&a=2", "a", "1"},
		{"a", "a", ""},
		{"a=b=c", "a", "b=c"},
		{"a=x+y%20z", "a", "x y z"},
		{"&&a=1", "a", "1"},
		{"%zz=1&a=%zz", "a", "%zz"},
		{"A=1", "a", ""},
		{"", "a", ""},
	}
	for _, tt := range tests {
		r := &Request{HTTP: request("GET", "/", "")}
		r.HTTP.URL.RawQuery = tt.query
		if got := r.Query(tt.name); got != tt.want {
			t.Errorf("%q: %s is %q; want %q", tt.query, tt.name, got, tt.want)
		}
	}
}

func FuzzQuery(f *testing.F) {
	f.Add("api%2Dversion=7.4&x=y", "api-version")
	f.Fuzz(func(t *testing.T, query, name string) {
		r := &Request{HTTP: request("GET", "/", "")}
		r.HTTP.URL.RawQuery = query
		got := r.Query(name)
		if strings.Contains(query, ";") || name == "" {
			return // net/url refuses semicolons
		}
		if values := r.HTTP.URL.Query(); len(values[name]) > 0 && got != values[name][0] && !strings.Contains(query, "%") {
			t.Errorf("%q: %q is %q; net/url says %q", query, name, got, values[name])
		}
	})
}

func TestContentLengthAndHead(t *testing.T) {
	body := strings.Repeat("x", 5000)
	h := newDoor(t, route("GET", "/short", 0, func(r *Request) error { return r.JSON(200, "<>") }),
		route("GET", "/long", 0, func(r *Request) error { r.Reply(200, []byte(body)); return nil }),
		route("HEAD", "/long", 0, func(r *Request) error { r.Reply(200, []byte(body)); return nil }),
		route("GET", "/none", 0, func(r *Request) error { r.Raw(204, nil); return nil }))
	for _, tt := range []struct{ method, path, length, body string }{{"GET", "/short", "4", `"<>"`}, {"GET", "/short", "4", `"<>"`},
		{"GET", "/long", "5000", body}, {"HEAD", "/long", "5000", ""}, {"GET", "/none", "", ""}} {
		if w := h.send(request(tt.method, tt.path, "")); w.Header().Get("Content-Length") != tt.length || w.Body.String() != tt.body {
			t.Errorf("%s %s: length %q, body %.20q", tt.method, tt.path, w.Header().Get("Content-Length"), w.Body)
		}
	}
}

func TestConnectionAddress(t *testing.T) {
	for remote, want := range map[string]string{"192.0.2.1:80": "192.0.2.1", "[::ffff:192.0.2.1]:80": "192.0.2.1", "[2001:db8::1]:443": "2001:db8::1",
		"pipe": "invalid IP", "": "invalid IP"} {
		if got := ConnectionAddress(&http.Request{RemoteAddr: remote}); got.String() != want {
			t.Errorf("%q: %s; want %s", remote, got, want)
		}
	}
}

func TestIncompleteDoorsAreRefused(t *testing.T) {
	good := newDoor(t, route("GET", "/", 0, nothing)).Config
	for name, spoil := range map[string]func(*Config){"name": func(c *Config) { c.Name = "" }, "prepare": func(c *Config) { c.Prepare = nil },
		"fail": func(c *Config) { c.Fail = nil }, "clock": func(c *Config) { c.Clock = nil }, "logger": func(c *Config) { c.Logger = nil },
		"routes": func(c *Config) { c.Routes = table("GET /a", "GET /a") }} {
		c := good
		spoil(&c)
		if _, err := New(c); err == nil {
			t.Errorf("a door without a proper %s is accepted", name)
		}
	}
}

func TestWhoIsNotAdmittedSendsNoBody(t *testing.T) {
	restore := route("POST", "/restore", 100, func(*Request) error { t.Error("served"); return nil })
	restore.Admit = func(*Request) error { return fault.New(fault.Unavailable, "not you") }
	h := newDoor(t, restore)
	r := request("POST", "/restore", "")
	r.Body = io.NopCloser(unread{t})
	if w := h.send(r); w.Code != 503 {
		t.Errorf("answered %d", w.Code)
	}
}

// trickle is a body during which time passes.
type trickle struct {
	io.Reader
	during func()
}

func (b trickle) Read(p []byte) (int, error) {
	b.during()
	return b.Reader.Read(p)
}

type handClock struct{ now time.Time }

func (c *handClock) Now() time.Time { return c.now }

func TestWhoSendsABodySlowlyIsLookedAtAgain(t *testing.T) {
	for _, tt := range []struct {
		name     string
		takes    time.Duration
		revoked  bool
		prepared int
		want     int
	}{
		{"quick", time.Millisecond, false, 1, 204},
		{"slow", slowBody, false, 2, 204},
		{"slow, and revoked meanwhile", slowBody, true, 2, 401},
	} {
		t.Run(tt.name, func(t *testing.T) {
			hand := &handClock{time.Unix(1_800_000_000, 0)}
			h := newDoor(t, route("PUT", "/a", 100, func(r *Request) error {
				if tt.revoked {
					t.Error("served")
				}
				if tt.prepared == 2 && !r.Call.Started.Equal(hand.now) {
					t.Errorf("decided as of %s, although the body came at %s", r.Call.Started, hand.now)
				}
				r.Raw(204, nil)
				return nil
			}))
			h.Clock = hand
			r := request("PUT", "/a", "{}")
			once := sync.OnceFunc(func() {
				hand.now = hand.now.Add(tt.takes)
				if tt.revoked {
					r.Header.Del("Authorization")
				}
			})
			r.Body = io.NopCloser(trickle{strings.NewReader("{}"), once})
			if w := h.send(r); w.Code != tt.want || h.prepared != tt.prepared {
				t.Errorf("status %d, prepared %d times; want %d and %d", w.Code, h.prepared, tt.want, tt.prepared)
			}
		})
	}
}
