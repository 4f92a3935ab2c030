package manual_test

import (
	"encoding/json"
	"testing"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/rotator/manual"
)

// It never claims to have changed or seen anything.
func TestClaimsNothing(t *testing.T) {
	r := manual.New()
	c := rotator.Credential{Account: "app", Value: redact.Bytes("a value of some length")}
	if r.Probes(nil) {
		t.Error("it says that it can try credentials")
	}
	if logins, err := r.Probe(t.Context(), &rotator.Target{}, c); err != nil || logins.Verdict() != rotator.Unknown {
		t.Errorf("%+v, %v", logins, err)
	}
	if err := r.Set(t.Context(), &rotator.Target{}, rotator.Change{Credential: c}); rotator.ClassOf(err) != rotator.Misconfigured {
		t.Errorf("Set: %v", err)
	}
	if _, err := r.Preflight(t.Context(), &rotator.Target{}, rotator.Plan{Strategy: rotator.Single}); rotator.ClassOf(err) != rotator.Misconfigured {
		t.Errorf("another strategy: %v", err)
	}
	if report, err := r.Preflight(t.Context(), &rotator.Target{}, rotator.Plan{Strategy: rotator.Manual}); err != nil || report.System == "" {
		t.Errorf("%+v, %v", report, err)
	}
}

func TestConfiguration(t *testing.T) {
	r := manual.New()
	for text, good := range map[string]bool{``: true, `{}`: true, `{"where":"the switch in room 4"}`: true, `{"were":"x"}`: false, `[]`: false} {
		if err := r.Check(json.RawMessage(text)); (err == nil) != good || err != nil && !fault.Is(err, fault.Invalid) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
