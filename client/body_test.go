package client

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// TestABodyIsWipedUnderTheTransport sends more than a connection takes at once to a server that refuses without reading: the transport is still sending when
// the call returns.
func TestABodyIsWipedUnderTheTransport(t *testing.T) {
	c, n := fake(t, problem(http.StatusRequestEntityTooLarge, TooLarge))
	value := bytes.Repeat([]byte("0123456789abcdef"), 1<<19)
	for range 5 {
		if _, err := c.Vault("v").Set(t.Context(), "s", value); err != nil && KindOf(err) != "" && KindOf(err) != TooLarge {
			t.Errorf("got %v", err)
		}
	}
	if n.Load() == 0 {
		t.Error("the server was asked nothing")
	}
}

func TestAWipedBodyIsEmpty(t *testing.T) {
	b := &body{text: []byte("a value")}
	kept := b.text
	r := httptest.NewRequest(http.MethodPut, "/", nil)
	b.attach(r)
	if r.ContentLength != 7 {
		t.Errorf("its length is %d", r.ContentLength)
	}
	for range 2 { // as on a connection that broke
		again, err := r.GetBody()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(again); err != nil || string(got) != "a value" {
			t.Errorf("got %q, %v", got, err)
		}
	}
	b.wipe()
	if got, err := io.ReadAll(r.Body); err != nil || len(got) != 0 || !bytes.Equal(kept, make([]byte, 7)) {
		t.Errorf("behind the wipe %q is read and %q is in memory, %v", got, kept, err)
	}
}

// TestALongAnswerIsNotCutOff: the bound of ordinary calls does not count for what is as long as a log.
func TestALongAnswerIsNotCutOff(t *testing.T) {
	const bound = 50 * time.Millisecond
	over := make(chan struct{}) // closed when the ordinary call is over
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) // else the server takes the next request's beginning for an end
		io.WriteString(w, `{"ok":true,`)
		w.(http.Flusher).Flush()
		if r.URL.Path == "/api/v1/status" {
			<-over
		} else {
			time.Sleep(3 * bound)
		}
		io.WriteString(w, `"records":1}`)
	}))
	t.Cleanup(s.Close)
	h := s.Client()
	h.Timeout = bound
	c, err := New(Config{URL: s.URL, HTTP: h})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := c.ExportAudit(t.Context(), AuditFilter{}, "azure", &out); err != nil || out.String() != `{"ok":true,"records":1}` {
		t.Errorf("the export is %q, %v", out.String(), err)
	}
	if r, err := c.VerifyAudit(t.Context(), ""); err != nil || !r.OK {
		t.Errorf("the proof is %+v, %v", r, err)
	}
	// Only the bound ends this one; a client without one would wait for the context's end.
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err = c.Status(ctx)
	close(over)
	if err == nil || ctx.Err() != nil {
		t.Errorf("an ordinary call is not bounded: %v", err)
	}
}
