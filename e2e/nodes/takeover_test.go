package nodes_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/keywright/keywright/client/api"
)

// hasTurn reports whether the background work is this node's, by its metrics.
func (n *node) hasTurn() bool {
	answer, err := http.Get(n.env["KEYWRIGHT_METRICS_URL"])
	if err != nil {
		return false
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	return err == nil && strings.Contains(string(text), "\nkeywright_node_has_turn 1\n")
}

// TestTakeOver kills the node that does what one node at a time may do: another does it from then on. And a node that runs a rotation kills itself between the change at
// the target and its journal: another finishes the run, and what the secret holds logs in.
func TestTakeOver(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	ctx := t.Context()
	turns := func() (list []*node) {
		for _, n := range c.nodes {
			if n.process != nil && n.hasTurn() {
				list = append(list, n)
			}
		}
		return list
	}
	eventually(t, time.Minute, "one node has the turn", func() bool { return len(turns()) == 1 })
	first := turns()[0]
	first.kill()
	first.process = nil
	eventually(t, time.Minute, "another node takes over", func() bool { return len(turns()) == 1 })

	must(t, c.db.Exec(ctx, "CREATE DATABASE app", "CREATE ROLE app_owner NOLOGIN", "CREATE ROLE app_a LOGIN PASSWORD 'first' IN ROLE app_owner",
		"CREATE ROLE app_b LOGIN IN ROLE app_owner", "ALTER ROLE app_a IN DATABASE app SET role = app_owner", "ALTER ROLE app_b IN DATABASE app SET role = app_owner",
		"CREATE ROLE keeper LOGIN CREATEROLE PASSWORD 'keeper'", "GRANT pg_signal_backend, app_owner TO keeper"))
	left := slices.DeleteFunc(slices.Clone(c.nodes), func(n *node) bool { return n == first })
	vault := left[0].api().Vault("demo")
	_, err := vault.Set(ctx, "pg-admin", []byte(`{"username":"keeper","password":"keeper"}`))
	must(t, err)
	_, err = vault.Set(ctx, "app", []byte(`{"username":"app_a","password":"first"}`))
	must(t, err)
	_, err = vault.SetRotationPolicy(ctx, "app", json.RawMessage(fmt.Sprintf(`{"strategy":"alternating","rotator":"postgres",
		"target":{"endpoints":["127.0.0.1:%d"],"database":"app","ownerRole":"app_owner","tls":{"mode":"disable"}},
		"admin":{"name":"pg-admin"},"accounts":["app_a","app_b"],"format":{"kind":"json"}}`, c.db.Port)))
	must(t, err)
	must(t, os.WriteFile(c.killFile, []byte("after call of setting"), 0o600))
	run, err := vault.Rotate(ctx, "app", api.StartRotation{Cause: "on-demand"})
	must(t, err)
	died := func() *node {
		for _, n := range left {
			select {
			case <-n.process.Done():
				return n
			default:
			}
		}
		return nil
	}
	eventually(t, time.Minute, "the node that runs the rotation dies", func() bool { return died() != nil })
	dead := died()
	last := left[0]
	if last == dead {
		last = left[1]
	}
	native := last.api().Vault("demo")
	eventually(t, time.Minute, "another node finishes the run", func() bool {
		r, err := native.Rotation(ctx, run.ID)
		return err == nil && r.State == "done"
	})
	got, err := native.Get(ctx, "app")
	must(t, err)
	var login struct{ Username, Password string }
	must(t, json.Unmarshal([]byte(got.Value.Reveal()), &login))
	if login.Username != "app_b" {
		t.Errorf("the secret holds the login of %s after the rotation, want app_b", login.Username)
	}
	conn, err := pgx.Connect(ctx, c.db.DSN(login.Username, login.Password, "app"))
	if err != nil {
		t.Fatalf("what the secret holds does not log in: %v", err)
	}
	conn.Close(context.Background())
}
