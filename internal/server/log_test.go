package server

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"
)

// lines keeps what is logged. It is safe for concurrent use.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

// about returns the lines with the message, by correlation id.
func (l *lines) about(t *testing.T, message string) map[string]map[string]any {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	found := map[string]map[string]any{}
	for line := range strings.Lines(l.b.String()) {
		var entry map[string]any
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if entry["msg"] == message {
			id, _ := entry["correlation"].(string)
			found[id] = entry
		}
	}
	return found
}

func TestRequestsAreLoggedWithoutWhatTheyCarry(t *testing.T) {
	var out lines
	d := startDevWith(t, DevConfig{Config: Config{Dir: t.TempDir(), Logger: slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))}})
	azure := d.azure(t)
	const canary = "canary7f3a"
	put, _ := azure.do("PUT", "/secrets/"+canary+"?api-version=7.6", `{"value":"`+canary+`"}`, "User-Agent", canary, "X-Ms-Client-Request-Id", canary)
	lost, _ := azure.do("GET", "/"+canary+"?api-version=7.6&q="+canary, "")
	broken, _ := azure.do("PUT", "/secrets/"+canary+"?api-version=7.6", `{"value":`+canary)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	requests := out.about(t, "request")
	entry := requests[put.Header.Get("X-Ms-Request-Id")]
	for key, want := range map[string]any{"level": "DEBUG", "door": "azure", "operation": "SecretSet", "status": 200.0, "vault": string(d.estate.Vault),
		"tenant": string(d.estate.Tenant), "principal": string(d.estate.App)} {
		if entry[key] != want {
			t.Errorf("the line's %s is %v, want %v", key, entry[key], want)
		}
	}
	if e := requests[lost.Header.Get("X-Ms-Request-Id")]; e["operation"] != "none" || e["status"] != 404.0 {
		t.Errorf("the request without a route is logged as %v", e)
	}
	if e := requests[broken.Header.Get("X-Ms-Request-Id")]; e["status"] != 400.0 {
		t.Errorf("the broken request is logged as %v", e)
	}
	if strings.Contains(out.b.String(), canary) {
		t.Error("the log tells a value, a name or a query")
	}
}

func TestSlowRequestsAreWarnedOf(t *testing.T) {
	for _, c := range []struct {
		slow time.Duration
		want bool
	}{{time.Nanosecond, true}, {time.Hour, false}, {-1, false}} {
		var out lines
		d := startDevWith(t, DevConfig{Config: Config{Dir: t.TempDir(), SlowRequest: c.slow,
			Logger: slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: slog.LevelWarn}))}})
		answer, _ := d.azure(t).do("GET", "/secrets/none?api-version=7.6", "")
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		entry := out.about(t, "slow request")[answer.Header.Get("X-Ms-Request-Id")]
		if got := entry["level"] == "WARN"; got != c.want {
			t.Errorf("with the bound %s: warned %v, want %v", c.slow, got, c.want)
		}
	}
}
