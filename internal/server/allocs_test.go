//go:build !race

package server

import (
	"net/http"
	"testing"
)

// The race detector makes pools forget, so allocations are counted without it; make test runs this in a pass of its own.
func TestAllocationsOfACachedRead(t *testing.T) {
	h, get := hotHandler(t)
	w := &sink{header: make(http.Header)}
	got := testing.AllocsPerRun(2000, func() {
		clear(w.header)
		h.ServeHTTP(w, get)
	})
	if w.status != http.StatusOK {
		t.Fatalf("the read was answered with %d", w.status)
	}
	// One is the request's own id; the other is the slack for what runs in the background.
	if got > 2 {
		t.Errorf("a cached read allocates %.1f times: 2 at most", got)
	}
}
