package rotator_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/rotator"
)

func TestLoginsProveOnlyWhatAllEndpointsAgreeOn(t *testing.T) {
	a, r, u := rotator.Login{Verdict: rotator.Accepted}, rotator.Login{Verdict: rotator.Rejected}, rotator.Login{}
	for _, c := range []struct {
		logins rotator.Logins
		want   rotator.Verdict
	}{
		{nil, rotator.Unknown},
		{rotator.Logins{a}, rotator.Accepted},
		{rotator.Logins{r, r}, rotator.Rejected},
		{rotator.Logins{a, r}, rotator.Unknown},
		{rotator.Logins{a, u}, rotator.Unknown},
		{rotator.Logins{u, u}, rotator.Unknown},
	} {
		if got := c.logins.Verdict(); got != c.want {
			t.Errorf("%v: %v, want %v", c.logins, got, c.want)
		}
	}
}

func TestUnknownErrorsAreDoubt(t *testing.T) {
	if got := rotator.ClassOf(errors.New("connection reset")); got != rotator.Doubt {
		t.Errorf("a plain error is %v", got)
	}
	wrapped := fmt.Errorf("setting: %w", rotator.Fail(rotator.Denied, nil, "no right"))
	if got := rotator.ClassOf(wrapped); got != rotator.Denied {
		t.Errorf("a wrapped error is %v", got)
	}
}

func TestDecodeRefusesWhatItDoesNotKnow(t *testing.T) {
	type config struct {
		Host string `json:"host"`
	}
	var c config
	if err := rotator.Decode("x", nil, &c); err != nil {
		t.Errorf("an absent configuration: %v", err)
	}
	for _, bad := range []string{`{"hots":"a"}`, `{"host":"a"} {}`, `[]`, `{"host":1}`} {
		if err := rotator.Decode("x", json.RawMessage(bad), &c); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v, want an invalid configuration", bad, err)
		}
	}
}
