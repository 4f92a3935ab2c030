package server

import (
	"crypto/fips140"
	"encoding/json"
	"testing"

	"github.com/keywright/keywright/client/api"
	"github.com/keywright/keywright/internal/audit"
)

func TestStatusTellsHowTheServerIsConfigured(t *testing.T) {
	d := startDevWith(t, DevConfig{Config: Config{Dir: t.TempDir(), Region: "northwest", Durability: audit.Fsync}})
	answer, body := d.native(t).do("GET", "/api/v1/status", "")
	var s api.Status
	if err := json.Unmarshal([]byte(body), &s); err != nil || answer.StatusCode != 200 {
		t.Fatal(answer.Status, body)
	}
	if s.Region != "northwest" || s.Audit.Durability != "fsync" || s.Seal != "keyfile" || s.FIPS != fips140.Enabled() {
		t.Errorf("the status is %+v", s)
	}
}
