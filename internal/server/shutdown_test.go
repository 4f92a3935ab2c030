package server

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// longDrain is more than any machine needs for an end at which nobody is waited for: what takes half of it waits.
const longDrain = 2 * time.Minute

// startToEnd starts a server that the test itself ends. Requests under way may go on for drain then, or as long as usual.
func startToEnd(t *testing.T, drain time.Duration) *Dev {
	t.Helper()
	d, err := StartDev(t.Context(), DevConfig{Listen: "127.0.0.1:0", Config: Config{Dir: t.TempDir(), Drain: drain, AuditReserveBytes: 1 << 20, AuditSegmentBytes: 1 << 20}})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestNobodyWhoIsSilentHoldsUpTheEnd has connections in every state in which no request is under way: just opened, in the midst of the
// handshake, behind it, and idle between two requests.
func TestNobodyWhoIsSilentHoldsUpTheEnd(t *testing.T) {
	d := startToEnd(t, longDrain)
	dial := func(address string) net.Conn {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	shake := func() *tls.Conn {
		c := tls.Client(dial(d.address()), &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // whom it speaks to is not what this is about
		if err := c.Handshake(); err != nil {
			t.Fatal(err)
		}
		return c
	}
	for _, l := range d.listeners {
		dial(l.Addr().String())
	}
	if _, err := dial(d.address()).Write([]byte{22, 3, 1}); err != nil {
		t.Fatal(err)
	}
	shake()
	idle := shake()
	fmt.Fprintf(idle, "GET /healthz HTTP/1.1\r\nHost: %s\r\n\r\n", d.address())
	answer, err := http.ReadResponse(bufio.NewReader(idle), nil)
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, answer.Body)
	began := time.Now()
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took >= longDrain/2 {
		t.Errorf("the end took %s: somebody silent was waited for", took)
	}
}

// TestTheEndIsAnnounced has a load balancer look at a server that was told to end: it is told so, requests go on being answered, on connections that close behind their
// answers, and only then nobody listens any more.
func TestTheEndIsAnnounced(t *testing.T) {
	d, err := StartDev(t.Context(), DevConfig{Listen: "127.0.0.1:0", Config: Config{Dir: t.TempDir(), AuditReserveBytes: 1 << 20, AuditSegmentBytes: 1 << 20, Announce: time.Hour}})
	if err != nil {
		t.Fatal(err)
	}
	client := d.httpClient(t)
	ask := func(path string) (status int, closes bool, body string) {
		t.Helper()
		answer, err := client.Get("https://" + d.address() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return answer.StatusCode, answer.Close, string(text)
	}
	if status, closes, body := ask("/readyz"); status != http.StatusOK || closes {
		t.Fatalf("before the end: %d, closing %v, %s", status, closes, body)
	}
	ended := make(chan error, 1)
	go func() { ended <- d.Close() }()
	for !d.core.leaving.Load() {
		time.Sleep(time.Millisecond)
	}
	for range 20 {
		if status, closes, body := ask("/readyz"); status != http.StatusServiceUnavailable || !closes || !strings.Contains(body, "about to end") {
			t.Fatalf("while it ends: %d, closing %v, %s", status, closes, body)
		}
		if status, closes, _ := ask("/healthz"); status != http.StatusOK || !closes {
			t.Fatalf("a request while it ends: %d, closing %v", status, closes)
		}
	}
	select {
	case err := <-ended:
		t.Fatalf("it ended before its announcement was over: %v", err)
	default:
	}
	// A listener that fails has nobody left to tell.
	d.listeners[0].Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := client.Get("https://" + d.address() + "/healthz"); err == nil {
		t.Error("it answers after its end")
	}
}

// TestTheEndIsBounded lets everything hang that is closed: what obeys its bound and what does not.
func TestTheEndIsBounded(t *testing.T) {
	if closeTimeout >= 5*time.Second || drainTimeout >= closeTimeout {
		t.Errorf("an end takes %s, %s of it for requests under way: both have to fit into five seconds", closeTimeout, drainTimeout)
	}
	for name, hang := range map[string]func(ctx context.Context, release chan struct{}){
		"to the bound":    func(ctx context.Context, _ chan struct{}) { <-ctx.Done() },
		"beyond measure":  func(_ context.Context, release chan struct{}) { <-release },
		"one by one, all": func(ctx context.Context, release chan struct{}) { <-ctx.Done(); <-release },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := startToEnd(t, 0)
			release, closed := make(chan struct{}), make(chan struct{})
			d.core.closers = append([]func(context.Context) error{func(context.Context) error { close(closed); return nil }}, d.core.closers...)
			for range 3 {
				d.core.onShutdown(func(ctx context.Context) error { hang(ctx, release); return nil })
			}
			began := time.Now()
			err := d.Close()
			took := time.Since(began)
			close(release)
			<-closed
			// Far above the bound, for a busy machine, and far below forever.
			if took > 4*closeTimeout {
				t.Errorf("the end took %s", took)
			}
			if name != "to the bound" && (err == nil || !strings.Contains(err.Error(), "did not end in order")) {
				t.Errorf("an end that hangs was told as %v", err)
			}
		})
	}
}
