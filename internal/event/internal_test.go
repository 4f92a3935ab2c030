package event

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/store"
)

func TestAddresses(t *testing.T) {
	production := Network{}
	for _, s := range []string{"169.254.169.254", "169.254.1.1", "fe80::1", "fe80::1%eth0", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "fd00:ec2::254",
		"168.63.129.16", "100.100.100.200", "192.0.0.192", "0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255", "127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"} {
		if production.check(netip.MustParseAddr(s)) == nil {
			t.Errorf("%s may be reached", s)
		}
	}
	for _, s := range []string{"10.0.0.1", "192.168.1.1", "93.184.216.34", "2001:db8::1", "fd12::1", "100.64.0.1"} {
		if err := production.check(netip.MustParseAddr(s)); err != nil {
			t.Errorf("%s may not be reached: %v", s, err)
		}
	}
	allowed := Network{Loopback: true, Allow: []netip.Prefix{netip.MustParsePrefix("169.254.10.0/24")}}
	for s, want := range map[string]bool{"127.0.0.1": true, "::1": true, "169.254.10.5": true, "169.254.11.5": false, "169.254.169.254": false} {
		if got := allowed.check(netip.MustParseAddr(s)) == nil; got != want {
			t.Errorf("%s may be reached: %v, want %v", s, got, want)
		}
	}
}

func TestEndpoints(t *testing.T) {
	production, dev := Network{}, Network{Loopback: true}
	for _, s := range []string{"https://hooks.example/a?code=x", "https://10.1.2.3:8443/"} {
		if _, err := production.checkEndpoint(s); err != nil {
			t.Errorf("%s: %v", s, err)
		}
	}
	for _, s := range []string{"http://127.0.0.1:7071/api", "http://localhost:7071", "http://a.localhost/", "https://[::1]/"} {
		if _, err := dev.checkEndpoint(s); err != nil {
			t.Errorf("%s on a development server: %v", s, err)
		}
		if _, err := production.checkEndpoint(s); err == nil && !strings.HasPrefix(s, "https") {
			t.Errorf("%s was taken", s)
		}
	}
	for _, s := range []string{"", "hooks.example", "ftp://hooks.example/", "http://hooks.example/", "https://u:CANARY@hooks.example/", "https://hooks.example/#CANARY",
		"https:///path", "https:opaque", "https://169.254.169.254/?CANARY", "https://[fe80::1]/", "https://h/\x00?CANARY", "https://h/?" + strings.Repeat("CANARY", 400)} {
		_, err := dev.checkEndpoint(s)
		if !fault.Is(err, fault.Invalid) {
			t.Errorf("%.60q: %v, want an invalid", s, err)
		} else if strings.Contains(err.Error(), "CANARY") {
			t.Errorf("%v shows a secret", err)
		}
	}
}

func FuzzEndpoint(f *testing.F) {
	for _, s := range []string{"https://hooks.example/a?code=x", "http://127.0.0.1:7071/api", "https://[::1]/", "https://169.254.169.254/", "HTTP://x"} {
		f.Add(s)
	}
	n := Network{}
	f.Fuzz(func(t *testing.T, s string) {
		u, err := n.checkEndpoint(s)
		if err != nil {
			return
		}
		if u.Scheme != "https" || u.User != nil || u.Host == "" {
			t.Fatalf("%q was taken", s)
		}
		again, err := n.checkEndpoint(u.String())
		if err != nil || again.String() != u.String() {
			t.Fatalf("%q -> %q -> %v (%v)", s, u, again, err)
		}
	})
}

func TestFilters(t *testing.T) {
	e := &store.Event{Type: "Microsoft.KeyVault.SecretNearExpiry", Subject: "Db-Password"}
	for _, c := range []struct {
		filter Filter
		want   bool
	}{
		{Filter{}, true},
		{Filter{Types: []string{"x", "microsoft.keyvault.secretnearexpiry"}}, true},
		{Filter{Types: []string{"Microsoft.KeyVault.SecretExpired"}}, false},
		{Filter{SubjectBegins: "db-"}, true},
		{Filter{SubjectBegins: "web-"}, false},
		{Filter{SubjectEnds: "WORD"}, true},
		{Filter{SubjectEnds: "key"}, false},
		{Filter{SubjectBegins: "db-", SubjectEnds: "key"}, false},
	} {
		if got := c.filter.match(e); got != c.want {
			t.Errorf("%+v: %v, want %v", c.filter, got, c.want)
		}
	}
}

func TestWants(t *testing.T) {
	now := time.Now()
	e := &store.Event{Tenant: "t", Vault: "v"}
	for _, c := range []struct {
		sub  Subscription
		want bool
	}{
		{Subscription{Tenant: "t", State: Active, Since: now}, true},
		{Subscription{Tenant: "t", Vault: "v", State: Active, Since: now}, true},
		{Subscription{Tenant: "t", Vault: "w", State: Active, Since: now}, false},
		{Subscription{Tenant: "u", State: Active, Since: now}, false},
		{Subscription{Tenant: "t", State: Awaiting, Since: now}, false},
		{Subscription{Tenant: "t", State: Deleting, Since: now}, false},
		{Subscription{Tenant: "t", State: Active, Since: now.Add(1)}, false},
	} {
		if got := c.sub.wants(e, now); got != c.want {
			t.Errorf("%+v: %v, want %v", c.sub, got, c.want)
		}
	}
}

func TestSpecsThatAreWrong(t *testing.T) {
	c := &Config{}
	header := func(name, value string) func(*Spec) {
		return func(s *Spec) { s.Headers = map[string]redact.String{name: redact.String(value)} }
	}
	for about, spoil := range map[string]func(*Spec){
		"a name has":            func(s *Spec) { s.Name = "a b" },
		"the schema is":         func(s *Spec) { s.Schema = "x" },
		"1 to 30":               func(s *Spec) { s.MaxAttempts = 31 },
		"time to live":          func(s *Spec) { s.TTL = time.Second },
		"may be under way":      func(s *Spec) { s.Concurrency = 65 },
		"PEM bundle":            func(s *Spec) { s.CA = "x" },
		"types of events":       func(s *Spec) { s.Filter.Types = make([]string, 26) },
		"not the subscriber's":  header("host", "x"),
		"not the subscriber's ": header("Aeg-Event-Type", "x"),
		"names have":            header("a b", "x"),
		"no control characters": header("X-Key", "CANARY\r\nX-Other: y"),
		"scheme is https":       func(s *Spec) { s.Endpoint = "ftp://x" },
	} {
		s := Spec{Name: "shop", Endpoint: "https://hooks.example/?code=CANARY"}
		spoil(&s)
		_, _, err := c.check(&s)
		if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), strings.TrimSpace(about)) || strings.Contains(err.Error(), "CANARY") {
			t.Errorf("%v, want an invalid that tells of %q", err, about)
		}
	}
	sub, secret, err := c.check(&Spec{Name: "shop", Endpoint: "https://hooks.example/a?code=CANARY"})
	if err != nil || sub.Endpoint != "https://hooks.example/a" || secret.Query != "code=CANARY" || sub.TTL != 24*time.Hour || sub.MaxAttempts != 30 || sub.Schema != EventGrid {
		t.Errorf("%+v, %v", sub, err)
	}
}

func TestWaits(t *testing.T) {
	c := &Config{Jitter: func(time.Duration) time.Duration { return 0 }}
	for _, w := range []struct {
		attempts, status int
		after, want      time.Duration
	}{{1, 500, 0, 10 * time.Second}, {2, 500, 0, 30 * time.Second}, {9, 0, 0, 6 * time.Hour}, {10, 0, 0, 12 * time.Hour}, {29, 0, 0, 12 * time.Hour},
		{1, 408, 0, 2 * time.Minute}, {1, 503, 0, 30 * time.Second}, {1, 429, time.Minute, time.Minute}, {7, 429, time.Minute, time.Hour}} {
		if got := c.wait(w.attempts, outcome{status: w.status, after: w.after}); got != w.want {
			t.Errorf("after %d attempts and a %d: %s, want %s", w.attempts, w.status, got, w.want)
		}
	}
	c.Jitter = func(d time.Duration) time.Duration { return d }
	if got := c.wait(1, outcome{}); got != 11*time.Second {
		t.Errorf("with all of the jitter: %s, want 11s", got)
	}
}

func TestOutcomes(t *testing.T) {
	for status, want := range map[int]struct {
		name             string
		delivered, final bool
	}{200: {"OK", true, false}, 204: {"NoContent", true, false}, 205: {"ResetContent", false, false}, 302: {"Found", false, false}, 400: {"BadRequest", false, true},
		401: {"Unauthorized", false, true}, 403: {"Forbidden", false, true}, 404: {"NotFound", false, false}, 413: {"RequestEntityTooLarge", false, true},
		418: {"Imateapot", false, false}, 500: {"InternalServerError", false, false}, 799: {"Http799", false, false}} {
		o := answered(&http.Response{StatusCode: status})
		if o.name != want.name || o.delivered() != want.delivered || o.final() != want.final {
			t.Errorf("%d: %+v, delivered %v, final %v", status, o, o.delivered(), o.final())
		}
	}
	r := &http.Response{StatusCode: 429, Header: http.Header{"Retry-After": {"99999"}}}
	if o := answered(r); o.after != time.Hour {
		t.Errorf("the endpoint asked for %s", o.after)
	}
}

// A name that leads to an address that is refused must not get a connection, whatever was checked before.
func TestTheDialerChecksAddresses(t *testing.T) {
	reached := false
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }))
	defer server.Close()
	n := Network{}
	client, err := n.client("", 1)
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.Get(strings.Replace(server.URL, "127.0.0.1", "localhost", 1) + "/?code=CANARY")
	if err == nil || reached || unanswered(plain(err)).name != "AddressRefused" {
		t.Errorf("%v, reached %v", err, reached)
	}
	if strings.Contains(plain(err).Error(), "CANARY") {
		t.Errorf("%v shows the query", plain(err))
	}
}
