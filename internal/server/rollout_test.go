package server

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/keywright/keywright/internal/rotation"
)

// spreading is a development server whose secret db follows a real pair of accounts, and a rotation of it under way.
type spreading struct {
	*Dev
	database
	azure, api *caller
	run        *rotation.Run
	first      string
}

func newSpreading(t *testing.T, rollout string) *spreading {
	t.Helper()
	s := &spreading{database: startDatabase(t)}
	s.Dev = startDevWith(t, DevConfig{Config: Config{Dir: t.TempDir(), Rotation: quickRotation(), EventLoopback: true}})
	s.azure, s.api = s.Dev.azure(t), s.native(t)
	s.azure.put("pg-admin", `{"username":"keeper","password":"keeper"}`)
	s.azure.put("db", `{"username":"app_a","password":"first"}`)
	_, _, s.first = s.azure.login("db", "canary")
	policy, mistakes := rotation.ParsePolicy([]byte(s.policy(`,"grace":"50ms","rollout":` + rollout)))
	if mistakes != nil {
		t.Fatal(mistakes)
	}
	if err := s.core.rotation.SetPolicy(t.Context(), s.call(t), "db", policy); err != nil {
		t.Fatal(err)
	}
	var err error
	if s.run, err = s.core.rotation.Run(t.Context(), s.call(t), "db", rotation.Start{Cause: rotation.OnDemand}); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *spreading) state(t *testing.T) rotation.State {
	t.Helper()
	r, err := s.core.rotation.GetRun(t.Context(), s.call(t), s.run.ID)
	if err != nil {
		t.Fatal(err)
	}
	if r.State == rotation.Stuck {
		t.Fatalf("the run is stuck: %s %+v", r.Reason, r.LastError)
	}
	return r.State
}

// A candidate goes to the region that the first ring names, and to everyone when the canary there has proved that it uses it.
func TestRolloutFollowsWhatConsumersProve(t *testing.T) {
	s := newSpreading(t, `{"rings":[{"name":"canary","regions":["north"],"gate":{"usedPercent":100,"probe":true}}],"probe":"`+healthy(t, new(atomic.Bool))+`"}`)
	north := func() (version string) {
		_, _, version = s.azure.login("db", "canary", "X-Keywright-Region", "north")
		return version
	}
	elsewhere := func() (version string) { _, _, version = s.azure.login("db", "other"); return version }

	eventually(t, "the candidate in the north", func() bool { return north() != s.first })
	candidate := north()
	if got := elsewhere(); got != s.first {
		t.Errorf("elsewhere has version %s during the rollout, want the one before", got)
	}
	user, password, _ := s.azure.login("db", "canary", "X-Keywright-Region", "north")
	if !s.accepts(t, user, password) {
		t.Error("the candidate does not log in")
	}
	if got := s.state(t); got != rotation.Rollout {
		t.Fatalf("the run is in the state %s before anybody proved anything", got)
	}
	if answer, text := s.api.do("POST", "/api/v1/vaults/demo/secrets/db/versions/"+candidate+"/acks", `{"level":"used"}`, "X-Keywright-Instance", "canary"); answer.StatusCode != http.StatusNoContent {
		t.Fatal(answer.Status, text)
	}
	eventually(t, "the end of the rollout", func() bool { return s.state(t) == rotation.Done })
	if got := elsewhere(); got != candidate {
		t.Errorf("after the rollout elsewhere has version %s, want the candidate", got)
	}
}

// An application that does badly with the candidate takes it back, without anybody's help.
func TestRolloutReturnsByItself(t *testing.T) {
	var ill atomic.Bool
	s := newSpreading(t, `{"rings":[{"name":"canary","regions":["north"],"gate":{"usedPercent":100}}],"return":{"probes":2},"probe":"`+healthy(t, &ill)+`"}`)
	north := func() (version string) {
		_, _, version = s.azure.login("db", "canary", "X-Keywright-Region", "north")
		return version
	}
	eventually(t, "the candidate in the north", func() bool { return north() != s.first })
	ill.Store(true)
	eventually(t, "the return", func() bool { return s.state(t) == rotation.Aborted })
	user, password, version := s.azure.login("db", "canary", "X-Keywright-Region", "north")
	if version != s.first || !s.accepts(t, user, password) {
		t.Errorf("after the return the canary has %s in version %s", user, version)
	}
}

// healthy is the URL of an application's health, which is bad while ill.
func healthy(t *testing.T, ill *atomic.Bool) string {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if ill.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}
