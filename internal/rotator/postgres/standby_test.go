package postgres_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/e2e/pgtest"
	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/rotator/postgres"
)

func standby(t *testing.T) *pgtest.Server {
	t.Helper()
	s, err := running(t).Standby(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 20 s", what)
		}
	}
}

func TestStandbyThatLags(t *testing.T) {
	r, second := postgres.New(), standby(t)
	here, there := endpoint(running(t)), endpoint(second)
	old := roles(t, 1)[0]
	next := old
	next.Value = []byte("theNextValueOfTheRole")
	target := &rotator.Target{Config: configuration(t, here, there), Admin: superuser(t)}
	plan := rotator.Plan{Strategy: rotator.Single, Accounts: []string{old.Account}, Next: next}
	verdict := func(c rotator.Credential) rotator.Verdict {
		t.Helper()
		logins, err := r.Probe(t.Context(), target, c)
		if err != nil {
			t.Fatal(err)
		}
		return logins.Verdict()
	}
	await(t, "the standby has the role", func() bool { return verdict(old) == rotator.Accepted })
	report, err := r.Preflight(t.Context(), target, plan)
	if err != nil {
		t.Fatal(err)
	}

	if err := second.Exec(t.Context(), "SELECT pg_wal_replay_pause()"); err != nil {
		t.Fatal(err)
	}
	if err := r.Set(t.Context(), target, rotator.Change{Credential: next}); err != nil {
		t.Fatal(err)
	}
	logins, err := r.Probe(t.Context(), target, next)
	if err != nil || logins.Verdict() != rotator.Unknown || logins[0].Verdict != rotator.Accepted || !strings.Contains(logins[1].Detail, "lags") {
		t.Errorf("while the standby lags: %+v, %v; want unknown, with the reason", logins, err)
	}
	if got := verdict(old); got != rotator.Unknown {
		t.Errorf("the old password, which the standby still takes, is %v", got)
	}
	plan.Current = &next
	if _, err := r.Preflight(t.Context(), target, plan); rotator.ClassOf(err) != rotator.NotApplied {
		t.Errorf("a preflight while the standby lags: %v", err)
	}
	if err := second.Exec(t.Context(), "SELECT pg_wal_replay_resume()"); err != nil {
		t.Fatal(err)
	}
	await(t, "the standby has caught up", func() bool { return verdict(next) == rotator.Accepted })
	if got := verdict(old); got != rotator.Rejected {
		t.Errorf("the old password is %v in the end", got)
	}
	logins, _ = r.Probe(t.Context(), target, next)
	for _, l := range logins {
		if l.Identity != report.Identities[old.Account] {
			t.Errorf("at %s the login is %q, want %q: a standby has its primary's identity", l.Endpoint, l.Identity, report.Identities[old.Account])
		}
	}

	t.Run("the standby first", func(t *testing.T) {
		turned := &rotator.Target{Config: configuration(t, there, here), Admin: superuser(t)}
		if _, err := r.Preflight(t.Context(), turned, plan); rotator.ClassOf(err) != rotator.Misconfigured {
			t.Errorf("Preflight: %v", err)
		}
		if err := r.Set(t.Context(), turned, rotator.Change{Credential: next}); rotator.ClassOf(err) != rotator.Misconfigured {
			t.Errorf("Set: %v", err)
		}
	})
	t.Run("sessions on both", func(t *testing.T) {
		for _, e := range []string{here, there} {
			conn, err := connect(t.Context(), e, "app", next)
			if err != nil {
				t.Fatal(err)
			}
			defer held{conn}.Close()
		}
		found, err := r.Sessions(t.Context(), target, next.Account)
		at := func(e string) bool {
			return slices.ContainsFunc(found, func(s rotator.Session) bool { return s.Endpoint == e })
		}
		if err != nil || len(found) != 2 || !at(here) || !at(there) {
			t.Errorf("Sessions: %+v, %v", found, err)
		}
		if n, err := r.Terminate(t.Context(), target, next.Account); n != 2 || err != nil {
			t.Errorf("Terminate: %d, %v", n, err)
		}
	})
}

// The server acknowledges before it has written anything, as it is told; the rotator must ask for more.
func TestAcknowledgedSurvivesACrash(t *testing.T) {
	if ask(t, "SELECT reset_val FROM pg_settings WHERE name = 'synchronous_commit'") != "off" {
		t.Fatal("the server's own setting must be off")
	}
	r := postgres.New()
	c := roles(t, 1)[0]
	c.Value = []byte("acknowledgedAndKept")
	target := &rotator.Target{Config: configuration(t, endpoint(running(t))), Admin: superuser(t)}
	if err := r.Set(t.Context(), target, rotator.Change{Credential: c}); err != nil {
		t.Fatal(err)
	}
	crash(t)
	if ok, err := login(t.Context(), endpoint(running(t)), c); !ok {
		t.Errorf("after a crash the password that was acknowledged is not accepted: %v", err)
	}
}

func crash(t *testing.T) {
	t.Helper()
	root.Lock()
	defer root.Unlock()
	if err := running(t).Crash(t.Context()); err != nil {
		t.Fatal(err)
	}
	root.conn = nil
}
