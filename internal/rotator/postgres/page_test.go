package postgres_test

import (
	"context"
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/rotator/postgres"
)

// What the page for operators tells them to do suffices, without a warning, for a pair.
func TestPageSuffices(t *testing.T) {
	text, err := os.ReadFile("../../../docs/rotators/postgresql.md")
	if err != nil {
		t.Fatal(err)
	}
	block := func(language string) string {
		found := regexp.MustCompile("(?s)```"+language+"\n(.*?)```").FindAllStringSubmatch(string(text), -1)
		if len(found) != 1 {
			t.Fatalf("the page has %d blocks of %s, want 1", len(found), language)
		}
		return found[0][1]
	}
	for _, statement := range strings.Split(strings.TrimSpace(block("sql")), ";\n") {
		run(t, statement)
	}
	run(t, "ALTER ROLE shop_a PASSWORD 'first'", "ALTER ROLE keywright PASSWORD 'admin'")

	r := postgres.New()
	if err := r.Check(json.RawMessage(block("json"))); err != nil {
		t.Fatal(err)
	}
	var members map[string]any
	if err := json.Unmarshal([]byte(block("json")), &members); err != nil {
		t.Fatal(err)
	}
	for _, m := range r.Describe().Config {
		if _, ok := members[m.Name]; !ok || !strings.Contains(string(text), "| `"+m.Name+"` |") {
			t.Errorf("the page does not explain %s", m.Name)
		}
	}
	members["endpoints"], members["tls"] = []string{endpoint(running(t))}, map[string]string{"mode": "disable"}
	config, err := json.Marshal(members)
	if err != nil {
		t.Fatal(err)
	}
	at := &rotator.Target{Config: config, Admin: rotator.Credential{Account: "keywright", Value: redact.Bytes("admin")}}
	a := rotator.Credential{Account: "shop_a", Value: redact.Bytes("first")}
	b := rotator.Credential{Account: "shop_b", Value: redact.Bytes("theOtherOfThePair")}
	plan := pair(a, b)
	plan.Current = &a
	report, err := r.Preflight(t.Context(), at, plan)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range report.Warnings {
		if !strings.Contains(w, "fsync") { // the test's server
			t.Errorf("a warning: %s", w)
		}
	}
	if err := r.Set(t.Context(), at, rotator.Change{Credential: b}); err != nil {
		t.Fatal(err)
	}
	conn, err := connect(t.Context(), endpoint(running(t)), "shop", b)
	if err != nil {
		t.Fatal(err)
	}
	defer held{conn}.Close()
	var acts string
	if err := conn.QueryRow(context.WithoutCancel(t.Context()), "SELECT session_user || ' as ' || current_user").Scan(&acts); err != nil || acts != "shop_b as shop_owner" {
		t.Errorf("the session is %q, %v", acts, err)
	}
	found, err := r.Sessions(t.Context(), at, "shop_b")
	if err != nil || len(found) != 1 || found[0].Since.IsZero() || found[0].Address == "" {
		t.Errorf("Sessions: %+v, %v", found, err)
	}
	if n, err := r.Terminate(t.Context(), at, "shop_b"); n != 1 || err != nil {
		t.Errorf("Terminate: %d, %v", n, err)
	}
}
