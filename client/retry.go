package client

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/http"
	"time"
)

// Bounds of the pause between two tries. A server that asks for a longer one than maxAsked is not waited for.
const (
	firstPause = 100 * time.Millisecond
	maxPause   = 5 * time.Second
	maxAsked   = time.Minute
)

// again reports whether a failed call may be sent once more. A change that may have reached the server is not repeated: nobody
// knows whether it was made.
func again(method string, err error) bool {
	var dial *net.OpError
	if errors.As(err, &dial) && dial.Op == "dial" {
		return true
	}
	read := method == http.MethodGet
	var e *Error
	if !errors.As(err, &e) {
		var n net.Error
		return read && errors.As(err, &n) && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded)
	}
	switch {
	case e.RetryAfter > maxAsked:
		return false
	case e.Kind == Throttled:
		return true
	case e.Kind == Unavailable, e.Status == http.StatusBadGateway, e.Status == http.StatusGatewayTimeout:
		return read
	}
	return false
}

// wait pauses before the next try: as long as the server asks, else for a random time below a bound that doubles.
func wait(ctx context.Context, try int, e *Error) error {
	pause := min(maxPause, firstPause<<try)
	pause = pause/2 + rand.N(pause/2)
	if e != nil && e.RetryAfter > 0 {
		pause = e.RetryAfter
	}
	t := time.NewTimer(pause)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
