package server

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/rotation"
	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// TestRotationsAskTheLedger reads through the vault's door, as unmodified clients do, and asks what the rotation engine asks.
func TestRotationsAskTheLedger(t *testing.T) {
	d := startDev(t, t.TempDir())
	azure, native := d.azure(t), d.native(t)
	set := func() vault.VersionID {
		t.Helper()
		answer, body := azure.do("PUT", "/secrets/held?api-version=7.6", `{"value":"v"}`)
		var in struct{ ID string }
		if answer.StatusCode != http.StatusOK || json.Unmarshal([]byte(body), &in) != nil {
			t.Fatalf("%d %s", answer.StatusCode, body)
		}
		return vault.VersionID(in.ID[strings.LastIndexByte(in.ID, '/')+1:])
	}
	read := func(instance string) {
		t.Helper()
		if answer, body := azure.do("GET", "/secrets/held?api-version=7.6", "", "X-Keywright-Instance", instance); answer.StatusCode != http.StatusOK {
			t.Fatalf("%d %s", answer.StatusCode, body)
		}
	}
	old := set()
	read("pod-1")
	replacing := set()
	var o rotation.Subject
	if err := d.core.store.View(t.Context(), func(tx store.Tx) error {
		v, err := tx.VaultByName(t.Context(), devVault)
		if err == nil {
			o = rotation.Subject{Tenant: v.Tenant, Vault: v.ID, NameKey: "held"}
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	e := evidence{d.core.ledger}
	verdict := func() rotation.Verdict {
		t.Helper()
		v, err := e.Verdict(t.Context(), o, old, replacing, d.core.clock.Now().Add(-time.Second), &rotation.Policy{})
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	if v := verdict(); v.Safe || len(v.Waiting) != 1 || v.Waiting[0].Instance != "pod-1" || v.Waiting[0].Why == "" || v.Waiting[0].Last.IsZero() {
		t.Fatalf("before it moved: %+v", v)
	}
	read("pod-1")
	answer, body := native.do("POST", "/api/v1/vaults/"+devVault+"/secrets/held/versions/"+string(replacing)+"/acks", `{"level":"used"}`, "X-Keywright-Instance", "pod-1")
	if answer.StatusCode != http.StatusNoContent {
		t.Fatalf("%d %s", answer.StatusCode, body)
	}
	if v := verdict(); !v.Safe || !v.Whole.IsZero() {
		t.Fatalf("after it moved: %+v", v)
	}
	now := d.core.clock.Now()
	if err := e.Seen(t.Context(), o, old, []rotator.Session{{Address: "10.1.2.3"}, {Address: "a-host"}}, now); err != nil {
		t.Fatal(err)
	}
	if v := verdict(); v.Safe || len(v.Waiting) != 2 {
		t.Fatalf("with sessions at the target: %+v", v)
	}
}

// TestLedgerGoesOnAfterARestart: what was delivered by one process is known by the next, and a server that ended in order misses nothing.
func TestLedgerGoesOnAfterARestart(t *testing.T) {
	dir := t.TempDir()
	d := startDev(t, dir)
	azure := d.azure(t)
	if answer, body := azure.do("PUT", "/secrets/held?api-version=7.6", `{"value":"v"}`); answer.StatusCode != http.StatusOK {
		t.Fatalf("%d %s", answer.StatusCode, body)
	}
	azure.do("GET", "/secrets/held?api-version=7.6", "", "X-Keywright-Instance", "pod-1")
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d = startDev(t, dir)
	answer, body := d.native(t).do("GET", "/api/v1/vaults/"+devVault+"/secrets/held/versions/current/holders", "")
	if answer.StatusCode != http.StatusOK || !strings.Contains(body, `"instance":"pod-1"`) {
		t.Errorf("%d %s", answer.StatusCode, body)
	}
	if whole := d.core.ledger.Whole(); !whole.IsZero() {
		t.Errorf("after an end in order the ledger is whole only since %v", whole)
	}
	if n, s := d.core.ledgerLag(); n > 10 || s > 5 {
		t.Errorf("the lag is %v records, %v s", n, s)
	}
}
