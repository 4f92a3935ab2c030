package server

import (
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// await polls until it holds, for what happens in the server's own time.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("still waiting for: %s", what)
		}
	}
}

func TestConnectionsBeyondTheLimitWait(t *testing.T) {
	inner, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var counts connections
	l := counts.limit(inner, 1)
	dial := func() {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
	}
	dial()
	dial()
	first, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	var ended atomic.Bool
	second := make(chan net.Conn)
	go func() {
		c, err := l.Accept()
		if err != nil || !ended.Load() {
			t.Errorf("the second connection: %v, with the first one ended: %t", err, ended.Load())
		}
		second <- c
	}()
	await(t, "somebody to wait", func() bool { return counts.waits.Load() == 1 })
	if n := counts.open.Load(); n != 1 {
		t.Errorf("%d connections are open, want 1", n)
	}
	ended.Store(true)
	first.Close()
	first.Close() // a second time gives nothing back
	c := <-second

	closed := make(chan error)
	go func() {
		_, err := l.Accept()
		closed <- err
	}()
	await(t, "the third to wait", func() bool { return counts.waits.Load() == 2 })
	l.Close()
	if err := <-closed; err == nil {
		t.Error("a closed listener accepted")
	}
	c.Close()
	if n := counts.open.Load(); n != 0 {
		t.Errorf("%d connections are open at the end", n)
	}
}

// TestConnectionsAreCounted asks a server that takes few connections more often than it takes at once.
func TestConnectionsAreCounted(t *testing.T) {
	d := startDevWith(t, DevConfig{Config: Config{Dir: t.TempDir(), Limits: Limits{MaxConnections: 2}}})
	for range 5 {
		d.azure(t).do("GET", "/secrets?api-version=7.6", "", "Connection", "close")
		d.httpClient(t).CloseIdleConnections()
	}
	if text := d.scrape(t); !strings.Contains(text, "keywright_open_connections ") || !strings.Contains(text, "keywright_connection_waits_total ") {
		t.Error("the metrics do not tell of connections")
	}
}

// TestBodiesTogetherAreBounded has callers send bodies all at once and hold back the last byte.
func TestBodiesTogetherAreBounded(t *testing.T) {
	const most, size, holders = 1_100_000, 240 << 10, 4
	d := startDevWith(t, DevConfig{Config: Config{Dir: t.TempDir(), Limits: Limits{MaxBodyMemory: most, MaxSecretBytes: 1000, MaxBackupBytes: 1000}}})
	azure := d.azure(t)
	body := `{"value":"v"}` + strings.Repeat(" ", size-13)
	statuses := make(chan int, holders)
	var writers []*io.PipeWriter
	for range holders {
		reader, writer := io.Pipe()
		writers = append(writers, writer)
		r, err := http.NewRequestWithContext(t.Context(), "PUT", "https://"+d.address()+"/secrets/held?api-version=7.6", reader)
		if err != nil {
			t.Fatal(err)
		}
		r.ContentLength = size
		r.Header.Set("Authorization", azure.bearer)
		go func() {
			answer, err := azure.client.Do(r)
			if err != nil {
				t.Error(err)
				statuses <- 0
				return
			}
			answer.Body.Close()
			statuses <- answer.StatusCode
		}()
		if _, err := writer.Write([]byte(body[:size-1])); err != nil {
			t.Fatal(err)
		}
	}
	await(t, "the bodies to arrive", func() bool { return d.core.bodies.held.Load() == holders*(size-1) })
	answer, text := azure.do("PUT", "/secrets/one?api-version=7.6", body)
	if answer.StatusCode != http.StatusTooManyRequests || answer.Header.Get("Retry-After") != "1" || !strings.Contains(text, "in a moment") {
		t.Errorf("one body too many was answered with %d, Retry-After %q: %s", answer.StatusCode, answer.Header.Get("Retry-After"), text)
	}
	if answer, _ := azure.do("GET", "/secrets?api-version=7.6", ""); answer.StatusCode != 200 {
		t.Errorf("a request without a body was answered with %d", answer.StatusCode)
	}
	if text := d.scrape(t); !strings.Contains(text, `keywright_throttled_requests_total{limit="bodies"} 1`) ||
		!strings.Contains(text, "keywright_request_body_bytes 9") {
		t.Error("the metrics do not tell of the bodies")
	}
	for _, w := range writers {
		if _, err := w.Write([]byte(" ")); err != nil {
			t.Error(err)
		}
		w.Close()
		if status := <-statuses; status != 200 {
			t.Errorf("a body that was held back was answered with %d", status)
		}
	}
	if answer, text := azure.do("PUT", "/secrets/one?api-version=7.6", body); answer.StatusCode != 200 {
		t.Errorf("with room again: %d %s", answer.StatusCode, text)
	}
	await(t, "all to be given back", func() bool { return d.core.bodies.held.Load() == 0 })
}
