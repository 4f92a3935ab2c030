package rotatortest

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/rotator"
)

// canaries are the values that the suite made: none may turn up in a text.
type canaries struct {
	mu     sync.Mutex
	values []string
}

func (c *canaries) add(v redact.Bytes) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.values = append(c.values, string(v.Reveal()))
}

// in returns in which form a value is in the text, or "".
func (c *canaries) in(text string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, v := range c.values {
		switch {
		case len(v) == 0:
		case strings.Contains(text, v):
			return "in clear"
		case strings.Contains(text, base64.StdEncoding.EncodeToString([]byte(v))):
			return "in base64"
		case strings.Contains(text, fmt.Sprintf("%x", v)):
			return "in hexadecimal"
		}
	}
	return ""
}

// watched calls the rotator and fails the test when an answer shows a value.
type watched struct {
	t       testing.TB
	rotator rotator.Rotator
	secrets *canaries
}

func (w *watched) clean(what, text string) {
	w.t.Helper()
	if form := w.secrets.in(text); form != "" {
		w.t.Errorf("%s shows a value %s", what, form)
	}
}

func (w *watched) cleanError(verb string, err error) {
	w.t.Helper()
	if err != nil {
		w.clean("the error of "+verb, fmt.Sprintf("%v %+v %q", err, err, err))
	}
}

func (w *watched) preflight(ctx context.Context, t *rotator.Target, p rotator.Plan) (*rotator.Report, error) {
	w.t.Helper()
	report, err := w.rotator.Preflight(ctx, t, p)
	w.cleanError("Preflight", err)
	if report != nil {
		text, _ := json.Marshal(report)
		w.clean("the report of Preflight", string(text))
	}
	return report, err
}

func (w *watched) set(ctx context.Context, t *rotator.Target, c rotator.Change) error {
	w.t.Helper()
	err := w.rotator.Set(ctx, t, c)
	w.cleanError("Set", err)
	return err
}

func (w *watched) revoke(ctx context.Context, t *rotator.Target, c rotator.Change) error {
	w.t.Helper()
	err := w.rotator.Revoke(ctx, t, c)
	w.cleanError("Revoke", err)
	return err
}

func (w *watched) probe(ctx context.Context, t *rotator.Target, c rotator.Credential) (rotator.Logins, error) {
	w.t.Helper()
	logins, err := w.rotator.Probe(ctx, t, c)
	w.cleanError("Probe", err)
	for _, l := range logins {
		w.clean("a login of Probe", l.Endpoint+" "+l.Identity+" "+l.Detail)
	}
	return logins, err
}

// within is a context of a test that ends after d.
func within(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}
