package fault_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/keywright/keywright/internal/fault"
)

func TestKindTravelsThroughWrapping(t *testing.T) {
	inner := fault.New(fault.NotFound, "secret %q does not exist", "db").Because("SecretNotFound")
	err := fmt.Errorf("reading the current version: %w", inner)
	if got := fault.Of(err); got != fault.NotFound {
		t.Errorf("Of = %v, want %v", got, fault.NotFound)
	}
	if got := fault.As(err).Reason; got != "SecretNotFound" {
		t.Errorf("Reason = %q", got)
	}
}

func TestUnknownErrorsAreInternal(t *testing.T) {
	if got := fault.Of(errors.New("disk on fire")); got != fault.Internal {
		t.Errorf("Of = %v, want internal", got)
	}
	if fault.Is(nil, fault.Internal) {
		t.Error("a nil error has a kind")
	}
}

func TestWrapKeepsTheCauseForTheLog(t *testing.T) {
	cause := errors.New("no space left on device")
	err := fault.Wrap(cause, fault.Unavailable, "the store cannot take writes now")
	if !errors.Is(err, cause) {
		t.Error("the cause is lost")
	}
	if fault.As(err).Message != "the store cannot take writes now" {
		t.Errorf("Message = %q: the cause must not reach the caller", fault.As(err).Message)
	}
	if fault.Wrap(nil, fault.Internal, "x") != nil {
		t.Error("wrapping nil made an error")
	}
}

func TestEveryKindHasAName(t *testing.T) {
	for _, k := range fault.Kinds() {
		if strings.HasPrefix(k.String(), "kind(") || k.String() == "" {
			t.Errorf("kind %d has no name", k)
		}
	}
}
