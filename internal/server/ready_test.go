package server

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/keywright/keywright/client/api"
	"github.com/keywright/keywright/internal/fault"
)

func TestReadinessNamesWhatFails(t *testing.T) {
	d := startDev(t, t.TempDir())
	anyone := &caller{t: t, d: d, client: d.httpClient(t)}
	ask := func(path string, want int) api.Health {
		t.Helper()
		answer, body := anyone.do("GET", path, "")
		var h api.Health
		if err := json.Unmarshal([]byte(body), &h); err != nil || answer.StatusCode != want {
			t.Fatalf("%s was answered with %d and %s, %v; want %d", path, answer.StatusCode, body, err, want)
		}
		return h
	}
	// failing asks for readiness and returns what is wrong, by the check's name.
	failing := func(want int) map[string]string {
		t.Helper()
		wrong := map[string]string{}
		h := ask("/readyz", want)
		if len(h.Checks) != 4 {
			t.Fatalf("the checks are %+v", h.Checks)
		}
		for _, c := range h.Checks {
			if c.Status != api.HealthOK {
				wrong[c.Name] = c.Detail
			}
		}
		if (h.Status == api.HealthOK) != (len(wrong) == 0) {
			t.Errorf("the status is %s with %v", h.Status, wrong)
		}
		return wrong
	}
	if wrong := failing(http.StatusOK); len(wrong) > 0 {
		t.Errorf("a server that has just started lacks %v", wrong)
	}
	// An alarm is told, and makes nobody take the server out of service.
	alarm := d.core.storeAlarm
	d.core.storeAlarm = func() error { return fault.New(fault.Unavailable, "the disk failed") }
	if h := ask("/readyz", http.StatusOK); h.Checks[0].Detail != "the disk failed" || h.Checks[0].Status != api.HealthOK {
		t.Errorf("an alarm of the store is told as %+v", h.Checks)
	}
	var status api.Status
	if _, body := d.native(t).do("GET", "/api/v1/status", ""); json.Unmarshal([]byte(body), &status) != nil || status.Store != "the disk failed" {
		t.Errorf("the status tells it as %s", body)
	}
	if !strings.Contains(d.scrape(t), "keywright_store_alarm 1") {
		t.Error("the metrics do not tell of it")
	}
	d.core.storeAlarm = alarm
	failing(http.StatusOK)
	d.core.keys.Lock()
	if wrong := failing(http.StatusServiceUnavailable); len(wrong) != 1 || wrong["keyring"] == "" {
		t.Errorf("with a locked keyring these fail: %v", wrong)
	}
	if err := d.core.keys.Unlock(t.Context()); err != nil {
		t.Fatal(err)
	}
	failing(http.StatusOK)
	d.core.audit.log.Stop()
	if wrong := failing(http.StatusServiceUnavailable); len(wrong) != 1 || wrong["audit"] == "" {
		t.Errorf("without an audit log these fail: %v", wrong)
	}
	if h := ask("/healthz", http.StatusOK); h.Status != api.HealthOK || len(h.Checks) > 0 {
		t.Errorf("the process is up and answers %+v", h)
	}
	if err := d.core.store.Close(); err != nil {
		t.Fatal(err)
	}
	if wrong := failing(http.StatusServiceUnavailable); wrong["store"] == "" {
		t.Errorf("without a store these fail: %v", wrong)
	}
}
