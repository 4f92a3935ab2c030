package server

import (
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/keywright/keywright/internal/fault"
)

// DefaultMaxBodyMemory is how many bytes of request bodies the server holds at once: four restores of the largest backup, or a thousand
// of the largest requests to set a secret.
const DefaultMaxBodyMemory = 256 << 20

// bodyRetry is after how long a refused request may come again: most bodies are whole, and done with, within that.
const bodyRetry = time.Second

// bodies bounds what all requests together hold of their bodies. Each route bounds one body, but many callers can send theirs at the same
// time, and slowly. A body takes its share as it arrives: what somebody only announces costs nothing.
type bodies struct {
	most    int64
	held    atomic.Int64
	refused func()
}

// handler accounts for the bodies of requests until they are answered. Requests without a body pass untouched.
func (b *bodies) handler(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength == 0 || r.Body == nil || r.Body == http.NoBody {
			h.ServeHTTP(w, r)
			return
		}
		counted := &countedBody{ReadCloser: r.Body, bodies: b}
		defer counted.release()
		inner := *r // the server goes on with its own
		inner.Body = counted
		h.ServeHTTP(w, &inner)
	})
}

// countedBody is one body. Only its request's goroutine uses it.
type countedBody struct {
	io.ReadCloser
	bodies *bodies
	held   int64
}

// Read implements io.Reader. Beyond the bound it is a fault.Throttled.
func (c *countedBody) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.held += int64(n)
	if c.bodies.held.Add(int64(n)) > c.bodies.most {
		c.bodies.refused()
		return 0, fault.New(fault.Throttled, "the server holds as much of request bodies as it may: send the request again in a moment").
			Because("TooManyBodies").After(bodyRetry)
	}
	return n, err
}

func (c *countedBody) release() { c.bodies.held.Add(-c.held) }
