package server

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/time/rate"

	"github.com/keywright/keywright/client/api"
	"github.com/keywright/keywright/internal/guard"
)

// until429 sends requests until one is refused for their rate, and returns its answer.
func (c *caller) until429(path string, most int, headers ...string) *http.Response {
	c.t.Helper()
	for range most {
		answer, body := c.do("GET", path, "", headers...)
		if answer.StatusCode == http.StatusTooManyRequests {
			if !strings.Contains(body, "more requests") {
				c.t.Errorf("the refusal says %s", body)
			}
			return answer
		}
	}
	c.t.Fatalf("%d requests to %s were all answered", most, path)
	return nil
}

func TestTooManyRequestsAreRefusedForAWhile(t *testing.T) {
	for name, c := range map[string]struct {
		limits guard.Limits
		want   string
	}{
		"of a principal": {guard.Limits{PerCaller: 0.5, Burst: 10}, `keywright_throttled_requests_total{limit="principal"}`},
		"to a vault":     {guard.Limits{PerVault: 0.5, Burst: 10}, `keywright_throttled_requests_total{limit="vault"}`},
	} {
		t.Run(name, func(t *testing.T) {
			d := startDevWith(t, DevConfig{Config: Config{Dir: t.TempDir(), Limits: Limits{Limits: c.limits}}})
			answer := d.azure(t).until429("/secrets/none?api-version=7.6", 7)
			if wait, err := strconv.Atoi(answer.Header.Get("Retry-After")); err != nil || wait != 2 {
				t.Errorf("Retry-After is %q, want the 2 seconds in which one request is free", answer.Header.Get("Retry-After"))
			}
			if !strings.Contains(d.scrape(t), c.want) {
				t.Errorf("the metrics lack %s", c.want)
			}
		})
	}
}

// TestTokensOfAPrincipalShareItsRate asks at all doors, with a token for each.
func TestTokensOfAPrincipalShareItsRate(t *testing.T) {
	d := startDevWith(t, DevConfig{Config: Config{Dir: t.TempDir(), Limits: Limits{Limits: guard.Limits{PerCaller: 0.01, Burst: 500}}}})
	d.azure(t).until429("/secrets/none?api-version=7.6", 6)
	d.azure(t).until429("/secrets/none?api-version=7.6", 1)
	d.native(t).until429("/api/v1/status", 1)
	d.native(t).until429("/api/v1/vaults/demo/secrets", 1)
	arm := d.native(t)
	arm.until429("/subscriptions?api-version=2022-12-01", 1)
	arm.until429("/v1.0/users", 1)
}

func TestSizesAreBounded(t *testing.T) {
	const most = 100 << 10
	d := startDevWith(t, DevConfig{Config: Config{Dir: t.TempDir(), Limits: Limits{MaxSecretBytes: most, MaxVersions: 2, MaxBackupBytes: 1000,
		Limits: guard.Limits{PerCaller: 1000, PerVault: 2000, Burst: 3}}}})
	azure, native := d.azure(t), d.native(t)
	set := func(value string) int {
		answer, _ := azure.do("PUT", "/secrets/one?api-version=7.6", `{"value":"`+value+`"}`)
		return answer.StatusCode
	}
	escaped := strings.Repeat(`\u0001`, most)
	for _, c := range []struct {
		what string
		got  int
		want int
	}{
		{"the largest value, all of it escaped", set(escaped), 200},
		{"a value that is too large", set(escaped + "x"), 400},
		{"a body that is too large", set(strings.Repeat("x", 8*most)), 413},
		{"the second version", set("2"), 200},
		{"the third version", set("3"), 403},
	} {
		if c.got != c.want {
			t.Errorf("%s was answered with %d, want %d", c.what, c.got, c.want)
		}
	}
	if answer, _ := azure.do("POST", "/secrets/restore?api-version=7.6", strings.Repeat("x", 1001)); answer.StatusCode != 413 {
		t.Errorf("a restore that is too large was answered with %d", answer.StatusCode)
	}
	var status api.Status
	if _, body := native.do("GET", "/api/v1/status", ""); json.Unmarshal([]byte(body), &status) != nil {
		t.Fatal(body)
	}
	if want := (api.Limits{MaxSecretBytes: most, MaxVersions: 2, MaxBackupBytes: 1000, RequestsPerPrincipal: 1000, RequestsPerVault: 2000, Burst: 3,
		MaxConnections: DefaultMaxConnections, MaxBodyMemory: DefaultMaxBodyMemory}); status.Limits != want {
		t.Errorf("the status shows %+v, want %+v", status.Limits, want)
	}
}

func TestLimitsAreChecked(t *testing.T) {
	for _, l := range []Limits{{MaxSecretBytes: -1}, {MaxSecretBytes: mostSecretBytes + 1}, {MaxVersions: -1}, {MaxBackupBytes: -1},
		{MaxConnections: -1}, {MaxBodyMemory: -1}, {MaxBodyMemory: 1 << 20}, {MaxBodyMemory: 1 << 20, MaxBackupBytes: 2 << 20},
		{Limits: guard.Limits{PerCaller: -1}}, {Limits: guard.Limits{PerVault: rate.Limit(-1)}}, {Limits: guard.Limits{Burst: -1}}} {
		if err := (&Config{Dir: t.TempDir(), Limits: l}).complete(); err == nil {
			t.Errorf("%+v was taken", l)
		}
	}
}

// Whoever sends slowly, reads slowly or does nothing holds a connection for a time only.
func TestEveryListenerBoundsItsConnections(t *testing.T) {
	d := startDev(t, t.TempDir())
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.servers) == 0 {
		t.Fatal("there is no listener")
	}
	for _, s := range d.servers {
		if s.ReadHeaderTimeout <= 0 || s.ReadTimeout <= 0 || s.WriteTimeout <= s.ReadTimeout || s.IdleTimeout <= 0 || s.MaxHeaderBytes <= 0 {
			t.Errorf("the listener has the bounds %s, %s, %s, %s and %d bytes", s.ReadHeaderTimeout, s.ReadTimeout, s.WriteTimeout, s.IdleTimeout, s.MaxHeaderBytes)
		}
	}
}
