package redact_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/keywright/keywright/internal/redact"
)

func TestNothingThatPrintsShowsTheValue(t *testing.T) {
	const canary = "canary-5bd1"
	type holder struct {
		B redact.Bytes
		S redact.String
		P *redact.String
	}
	s := redact.String(canary)
	h := holder{B: redact.Bytes(canary), S: s, P: &s}

	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		fmt.Fprintf(&out, verb+"\n", h.B)
		fmt.Fprintf(&out, verb+"\n", h.S)
		fmt.Fprintf(&out, verb+"\n", h)
	}
	for _, logger := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(logger).Info("m", "b", h.B, "s", h.S, "h", h)
	}
	if err := json.NewEncoder(&out).Encode(h); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), canary) || strings.Contains(out.String(), "Y2FuYXJ5") || strings.Contains(out.String(), "99 97 110") {
		t.Errorf("a value was printed:\n%s", out.String())
	}
	if !strings.Contains(out.String(), "redacted") {
		t.Error("nothing was printed: the test proves nothing")
	}
	if string(h.B.Reveal()) != canary || h.S.Reveal() != canary {
		t.Error("Reveal does not return the value")
	}
}
