package event

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// waits is Event Grid's schedule: how long after each failed attempt the next one is due. The last one repeats.
var waits = []time.Duration{10 * time.Second, 30 * time.Second, time.Minute, 5 * time.Minute, 10 * time.Minute, 30 * time.Minute, time.Hour,
	3 * time.Hour, 6 * time.Hour, 12 * time.Hour}

// least are waits that a status asks for at least, from the table of the same page.
var least = map[int]time.Duration{http.StatusRequestTimeout: 2 * time.Minute, http.StatusServiceUnavailable: 30 * time.Second}

// wait returns the pause after so many failed attempts, the latest of which had the outcome. Jitter adds up to a tenth.
func (c *Config) wait(attempts int, o outcome) time.Duration {
	d := max(waits[min(attempts, len(waits))-1], least[o.status], o.after)
	return d + c.Jitter(d/10)
}

// outcome is how an attempt ended. status is 0 when there was no answer.
type outcome struct {
	status int
	name   string
	// after is what the endpoint asked to wait for.
	after time.Duration
}

func (o outcome) delivered() bool { return o.status >= 200 && o.status <= 204 }

// final reports whether another attempt would be in vain: Event Grid does not repeat these to webhooks.
func (o outcome) final() bool {
	switch o.status {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusRequestEntityTooLarge:
		return true
	}
	return false
}

// Reasons of dead letters, in Event Grid's words.
const (
	tooManyAttempts = "MaxDeliveryAttemptsExceeded"
	tooOld          = "TimeToLiveExceeded"
	undeliverable   = "UndeliverableDueToHttp"
)

// maxRetryAfter bounds what an endpoint may ask for.
const maxRetryAfter = time.Hour

func answered(r *http.Response) outcome {
	name := strings.NewReplacer(" ", "", "-", "", "'", "").Replace(http.StatusText(r.StatusCode))
	if name == "" {
		name = "Http" + strconv.Itoa(r.StatusCode)
	}
	o := outcome{status: r.StatusCode, name: name}
	// CloudEvents' web hooks let an endpoint that is too busy say for how long.
	if r.StatusCode == http.StatusTooManyRequests || r.StatusCode == http.StatusServiceUnavailable {
		if n, err := strconv.Atoi(r.Header.Get("Retry-After")); err == nil && n > 0 {
			o.after = min(time.Duration(min(n, 1<<20))*time.Second, maxRetryAfter)
		}
	}
	return o
}

// unanswered names what kept a request from an answer.
func unanswered(err error) outcome {
	var timeout net.Error
	var dns *net.DNSError
	switch {
	case errors.Is(err, errRefused):
		return outcome{name: "AddressRefused"}
	case errors.As(err, &dns):
		return outcome{name: "ResolutionError"}
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return outcome{name: "TimedOut"}
	}
	return outcome{name: "SocketError"}
}
