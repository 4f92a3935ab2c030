package rotation_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/client/api"
	"github.com/keywright/keywright/internal/rotation"
	"github.com/keywright/keywright/internal/rotator"
)

// deadly are the points at which a plain rotation is killed: around each call to the target, and around the journal entries that follow.
var deadly = []rotation.Point{"after call of setting", "before call of setting", "before commit of testing", "before commit of done", "after commit of done", "after call of revoking",
	"before call of revoking", "before commit of confirming"}

// inPlace: the old value goes when the new one is set, so that nothing is revoked.
var inPlace = []rotation.Point{"after call of setting", "before call of setting", "before commit of testing", "before commit of done", "after commit of done", "before commit of confirming"}

// TestKill kills the whole server with SIGKILL in the midst of a rotation, once for every rotator and strategy that the server has, and starts it again.
func TestKill(t *testing.T) {
	t.Parallel()
	for name, start := range systems {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			n := &node{t: t, look: 100 * time.Millisecond, lease: min(max(s.lease, 2*time.Second), leaseTTL)}
			n.init()
			if !s.admin.IsZero() {
				n.set("administrator", s.admin)
			}
			for _, strategy := range s.strategies {
				points := deadly
				if strategy == rotator.Single {
					points = inPlace
				}
				at := points[rand.IntN(len(points))]
				t.Run(string(strategy), func(t *testing.T) { killOnce(t, n, s, strategy, at) })
			}
		})
	}
}

func killOnce(t *testing.T, n *node, s *system, strategy rotator.Strategy, at rotation.Point) {
	p, first := s.accounts(t, strategy)
	if !s.admin.IsZero() {
		p.Admin = &rotation.Reference{Name: "administrator"}
	}
	name := "db-" + string(strategy)
	n.protect(name, p, first)
	if err := n.killAt(at); err != nil {
		t.Fatal(err)
	}
	if err := retry(t.Context(), func() error {
		_, err := n.vault.Rotate(t.Context(), name, api.StartRotation{Cause: "on-demand"})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	select {
	case <-n.process.Done():
	case <-time.After(time.Minute):
		t.Fatalf("the server did not come by %s", at)
	}
	killed := time.Now()
	n.start("")
	if err := retry(t.Context(), func() error {
		open, err := n.open(t.Context(), name)
		if err == nil && len(open) > 0 {
			err = fmt.Errorf("%s of %s stands in %s (%s)", open[0].Kind, name, open[0].State, open[0].Reason)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	took := time.Since(killed)
	got, err := n.vault.Get(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	current, err := credential(string(got.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	if string(current.Value) == string(first.Value) {
		t.Error("the value before is still current")
	}
	if ok, err := s.login(context.Background(), current); err != nil || !ok {
		t.Errorf("the current value does not log in (%v)", err)
	}
	if ok, err := s.login(context.Background(), first); err != nil || ok {
		t.Errorf("the value before logs in: %v (%v)", ok, err)
	}
	if most := n.lease + time.Minute; took > most {
		t.Errorf("all was over %v after the kill, want %v", took, most)
	}
	requireNoCanary(t, n, s, first, current)
	t.Logf("killed %s: over %v later", at, took.Round(time.Millisecond))
}

// requireNoCanary looks for values in what the server and the target wrote.
func requireNoCanary(t *testing.T, n *node, s *system, values ...rotator.Credential) {
	t.Helper()
	logs := map[string]func() (string, error){"the server's log": n.log.all}
	if s.logs != nil {
		logs["the target's log"] = s.logs
	}
	for name, read := range logs {
		text, err := read()
		if err != nil {
			t.Fatal(err)
		}
		for i, v := range values {
			// The first value was set by the test itself, in clear.
			if (i > 0 || name == "the server's log") && strings.Contains(text, string(v.Value.Reveal())) {
				t.Errorf("%s shows a value", name)
			}
		}
	}
}
