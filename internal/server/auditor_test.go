package server

import (
	"net/netip"
	"testing"

	"github.com/keywright/keywright/internal/audit"
	"github.com/keywright/keywright/internal/identity"
)

// Beyond the guessing limits anybody can send as many sign-ins as the network carries.
func TestThrottledSignInsAreCounted(t *testing.T) {
	d := startDevWith(t, DevConfig{Config: Config{Dir: t.TempDir()}})
	a := d.core.audit
	for range 20 {
		if err := a.SignIn(t.Context(), identity.SignInEvent{At: d.core.clock.Now(), Flow: identity.FlowSecret, Subject: "guess",
			Address: netip.MustParseAddr("192.0.2.9"), Reason: identity.TooManyAttempts}); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.aggregator.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	var records, count uint64
	for r, err := range a.log.Query(t.Context(), audit.Filter{Outcome: audit.Denied}) {
		if err != nil {
			t.Fatal(err)
		}
		if r.Reason == string(identity.TooManyAttempts) {
			records, count = records+1, count+r.Count
		}
	}
	if records != 1 || count != 20 {
		t.Errorf("20 sign-ins left %d records that count %d", records, count)
	}
}
