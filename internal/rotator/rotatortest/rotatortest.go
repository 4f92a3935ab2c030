package rotatortest

import (
	"testing"

	"github.com/keywright/keywright/internal/rotator"
)

// Run proves every promise of the port against the subject's system.
func Run(t *testing.T, subject Subject) {
	s := &suite{Subject: subject, rules: subject.Rotator.Describe().Value, secrets: &canaries{}}
	if len(s.Strategies) == 0 {
		t.Fatal("the subject names no strategy")
	}
	for promise, why := range s.Exceptions {
		t.Logf("exception: %s: %s", promise, why)
	}
	t.Run("description", s.description)
	t.Run("configuration", s.configuration)
	for _, strategy := range s.Strategies {
		t.Run(string(strategy), func(t *testing.T) {
			switch strategy {
			case rotator.Dynamic:
				s.dynamic(t)
			case rotator.TwoKey, rotator.NKeys:
				s.creating(t, strategy)
			default:
				s.strategy(t, strategy)
			}
		})
	}
	t.Run("probe", s.probing)
	t.Run("sessions", s.sessions)
	// Last: whatever happened above may have been logged.
	t.Run("log", s.logged)
}

// strategy runs the cases that every strategy has to pass.
func (s *suite) strategy(t *testing.T, strategy rotator.Strategy) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, rotator.Strategy)
	}{
		{"preflight", s.preflight},
		{"preflight refuses", s.preflightRefuses},
		{"whole path", s.wholePath},
		{"every verb twice", s.twice},
		{"crash between verbs", s.crash},
		{"refusals", s.refusals},
		{"lost replies", s.lostReplies},
		{"cut requests", s.cutRequests},
		{"late requests", s.lateRequests},
		{"target down", s.down},
		{"cancelled", s.cancelled},
		{"concurrent changes", s.concurrent},
		{"sessions survive", s.survive},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, strategy) })
	}
}

// logged looks for values in the system's log.
func (s *suite) logged(t *testing.T) {
	s.skip(t, s.Log == nil, "log")
	text := s.Log(t)
	if text == "" {
		t.Fatal("the log is empty: the subject looks in the wrong place")
	}
	if len(s.secrets.values) == 0 {
		t.Fatal("the suite made no values")
	}
	if form := s.secrets.in(text); form != "" {
		t.Errorf("the target's log shows a value %s", form)
	}
}
