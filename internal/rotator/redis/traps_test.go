package redis_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/e2e/redistest"
	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/rotator/rotatortest"
)

func fresh(c rotator.Credential) rotator.Credential {
	c.Value = rotatortest.Value(rotator.DefaultValue)
	return c
}

func plan(s rotator.Strategy, current, next rotator.Credential) rotator.Plan {
	return rotator.Plan{Strategy: s, Accounts: []string{next.Account}, Current: &current, Next: next}
}

func (w world) with(t *testing.T, members map[string]any) *rotator.Target {
	t.Helper()
	target, all := w.target(t, w.addresses()), map[string]any{}
	if err := json.Unmarshal(target.Config, &all); err != nil {
		t.Fatal(err)
	}
	for k, v := range members {
		all[k] = v
	}
	text, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	target.Config = text
	return target
}

func wantClass(t *testing.T, err error, class rotator.Class, word string) {
	t.Helper()
	if err == nil || rotator.ClassOf(err) != class || !strings.Contains(err.Error(), word) {
		t.Errorf("got %v (class %v), want class %v and %q", err, rotator.ClassOf(err), class, word)
	}
}

func (w world) accepts(t *testing.T, c rotator.Credential, want bool) {
	t.Helper()
	for _, a := range w.addresses() {
		if got, err := w.login(t.Context(), a, c); err != nil || got != want {
			t.Errorf("a login of %q: %v, %v, want %v", c.Account, got, err, want)
		}
	}
}

// A password that was set is there after a power cut, and one that was revoked is not, wherever users are kept.
func TestPasswordsOutliveRestarts(t *testing.T) {
	for name, c := range map[string]struct {
		config redistest.Config
		name   string
	}{
		"a user file":            {redistest.Config{}, hostileName},
		"the configuration file": {redistest.Config{Keeping: redistest.ConfigFile}, "app"},
		"a sentinel":             {redistest.Config{Sentinel: true}, "app"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			node := redistest.Run(t, c.config)
			w := deployment(node)
			w.hostile, w.rules = c.name, []any{"+ping"} // a sentinel has few commands
			old := w.make(t, 1)[0]
			next, r, target := fresh(old), newRotator(t), w.with(t, nil)
			if _, err := r.Preflight(t.Context(), target, plan(rotator.Dual, old, next)); err != nil {
				t.Fatal(err)
			}
			for _, step := range []struct {
				do  func() error
				old bool
			}{
				{func() error { return r.Set(t.Context(), target, rotator.Change{Credential: next, Keep: &old}) }, true},
				{func() error { return r.Revoke(t.Context(), target, rotator.Change{Credential: old, Keep: &next}) }, false},
			} {
				if err := step.do(); err != nil {
					t.Fatal(err)
				}
				if err := node.Restart(t.Context()); err != nil {
					t.Fatal(err)
				}
				w.accepts(t, next, true)
				w.accepts(t, old, step.old)
			}
		})
	}
}

// The engine died between the change and its saving: the probe that it sends afterwards saves.
func TestProbeMakesTheChangeLasting(t *testing.T) {
	node := redistest.Run(t, redistest.Config{})
	w, r := deployment(node), newRotator(t)
	old := w.make(t, 1)[0]
	w.everywhere(t, "ACL", "SAVE")
	next := fresh(old)
	w.everywhere(t, "ACL", "SETUSER", old.Account, ">"+string(next.Value))
	logins, err := r.Probe(t.Context(), w.with(t, nil), next)
	if err != nil || logins.Verdict() != rotator.Accepted {
		t.Fatalf("%+v, %v", logins, err)
	}
	if err := node.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.accepts(t, next, true)
}

func TestServerThatKeepsUsersNowhere(t *testing.T) {
	w, r := deployment(redistest.Run(t, redistest.Config{Keeping: redistest.Nowhere})), newRotator(t)
	old := w.make(t, 1)[0]
	next := fresh(old)
	_, err := r.Preflight(t.Context(), w.with(t, nil), plan(rotator.Dual, old, next))
	wantClass(t, err, rotator.Misconfigured, "ephemeral")
	wantClass(t, r.Set(t.Context(), w.with(t, nil), rotator.Change{Credential: next, Keep: &old}), rotator.Misconfigured, "restart")
	w.accepts(t, next, false)
	ephemeral := w.with(t, map[string]any{"ephemeral": true})
	if _, err := r.Preflight(t.Context(), ephemeral, plan(rotator.Dual, old, next)); err != nil {
		t.Fatal(err)
	}
	if err := r.Set(t.Context(), ephemeral, rotator.Change{Credential: next, Keep: &old}); err != nil {
		t.Fatal(err)
	}
	if logins, err := r.Probe(t.Context(), ephemeral, next); err != nil || logins.Verdict() != rotator.Accepted {
		t.Errorf("%+v, %v", logins, err)
	}
}

func TestTraps(t *testing.T) {
	node := redistest.Run(t, redistest.Config{})
	w, r := deployment(node), newRotator(t)

	t.Run("users that cannot be saved", func(t *testing.T) {
		old := w.make(t, 1)[0]
		next := fresh(old)
		// A directory in the place of the file: the server cannot rename its new one to it.
		for _, err := range []error{os.Rename(node.ACLPath(), node.ACLPath()+".aside"), os.Mkdir(node.ACLPath(), 0o700)} {
			if err != nil {
				t.Fatal(err)
			}
		}
		err := r.Set(t.Context(), w.with(t, nil), rotator.Change{Credential: next, Keep: &old})
		wantClass(t, err, rotator.NotApplied, "cannot save")
		w.accepts(t, next, false)
		w.accepts(t, old, true)
		if logins, err := r.Probe(t.Context(), w.with(t, nil), old); err != nil || logins.Verdict() != rotator.Unknown {
			t.Errorf("a probe that cannot save: %+v, %v", logins, err)
		}
		for _, err := range []error{os.Remove(node.ACLPath()), os.Rename(node.ACLPath()+".aside", node.ACLPath())} {
			if err != nil {
				t.Fatal(err)
			}
		}
	})
	t.Run("a user that takes any password", func(t *testing.T) {
		c := w.make(t, 1)[0]
		w.everywhere(t, "ACL", "SETUSER", c.Account, "nopass")
		_, err := r.Preflight(t.Context(), w.with(t, nil), plan(rotator.Single, c, fresh(c)))
		wantClass(t, err, rotator.Misconfigured, "nopass")
		wantClass(t, r.Set(t.Context(), w.with(t, nil), rotator.Change{Credential: fresh(c)}), rotator.Misconfigured, "nopass")
		if logins, err := r.Probe(t.Context(), w.with(t, nil), fresh(c)); err != nil || logins.Verdict() != rotator.Unknown {
			t.Errorf("a login that any password gets: %+v, %v", logins, err)
		}
	})
	t.Run("the user default", func(t *testing.T) {
		c := fresh(rotator.Credential{Account: "default"})
		wantClass(t, r.Set(t.Context(), w.with(t, nil), rotator.Change{Credential: c}), rotator.Misconfigured, "allowDefault")
		w.everywhere(t, "ACL", "SETUSER", "default", "resetpass", "off", "+ping")
		if err := r.Set(t.Context(), w.with(t, map[string]any{"allowDefault": true}), rotator.Change{Credential: c}); err != nil {
			t.Fatal(err)
		}
		w.accepts(t, c, true)
		w.everywhere(t, "ACL", "SETUSER", "default", "resetpass", "off")
	})
	t.Run("a second password that nobody knows", func(t *testing.T) {
		c := w.make(t, 1)[0]
		w.everywhere(t, "ACL", "SETUSER", c.Account, ">somebody-elses")
		_, err := r.Preflight(t.Context(), w.with(t, nil), plan(rotator.Dual, c, fresh(c)))
		wantClass(t, err, rotator.Misconfigured, "another password")
	})
	t.Run("an administrator who may not do it all", func(t *testing.T) {
		c := w.make(t, 1)[0]
		target := w.with(t, nil)
		target.Admin = rotator.Credential{Account: "half", Value: redact.Bytes("half-1")}
		w.everywhere(t, "ACL", "SETUSER", "half", "reset", "on", ">half-1", "+@all", "-acl|save")
		_, err := r.Preflight(t.Context(), target, plan(rotator.Dual, c, fresh(c)))
		wantClass(t, err, rotator.Denied, "SAVE")
		next := fresh(c)
		wantClass(t, r.Set(t.Context(), target, rotator.Change{Credential: next, Keep: &c}), rotator.Denied, "may not save")
		w.accepts(t, next, false)
	})
	t.Run("the rights in the manual are enough", func(t *testing.T) {
		c := w.make(t, 1)[0]
		target := w.with(t, nil)
		target.Admin = rotator.Credential{Account: "keywright", Value: redact.Bytes("keywright-1")}
		w.everywhere(t, append([]any{"ACL", "SETUSER", "keywright", "reset", "on", ">keywright-1"}, manualRights(t)...)...)
		next := fresh(c)
		report, err := r.Preflight(t.Context(), target, plan(rotator.Dual, c, next))
		if err != nil || strings.Contains(fmt.Sprint(report.Warnings), "in advance") {
			t.Fatalf("%+v, %v", report, err)
		}
		if err := r.Set(t.Context(), target, rotator.Change{Credential: next, Keep: &c}); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Terminate(t.Context(), target, c.Account); err != nil {
			t.Error(err)
		}
	})
	t.Run("another change going on", func(t *testing.T) {
		c := w.make(t, 1)[0]
		holder := node.Client(redistest.Admin, node.Password)
		defer holder.Close()
		conn := holder.Conn()
		defer conn.Close()
		if err := conn.ClientSetName(t.Context(), lockName(c.Account)).Err(); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		wantClass(t, r.Set(ctx, w.with(t, nil), rotator.Change{Credential: fresh(c)}), rotator.Busy, "another change")
		w.accepts(t, c, true)
	})
	t.Run("a cancelled call", func(t *testing.T) {
		c := w.make(t, 1)[0]
		proxy := rotatortest.StartProxy(t, node.Address())
		fault := proxy.Fail(rotatortest.HoldRequest, 2)
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-fault.Hit(); cancel() }()
		begin := time.Now()
		err := r.Set(ctx, w.with(t, map[string]any{"endpoints": []string{proxy.Address()}}), rotator.Change{Credential: fresh(c)})
		if err == nil || time.Since(begin) > 20*time.Second {
			t.Errorf("after %v: %v", time.Since(begin), err)
		}
	})
	t.Run("a server without TLS", func(t *testing.T) {
		c := w.make(t, 1)[0]
		if err := r.Set(t.Context(), w.with(t, map[string]any{"plaintext": false}), rotator.Change{Credential: fresh(c)}); err == nil {
			t.Error("a change without TLS succeeded")
		}
		w.accepts(t, c, true)
	})
}

// A name that would break the file is refused before the server writes it and cannot start any more.
func TestNamesThatBreakTheConfigurationFile(t *testing.T) {
	w, r := deployment(redistest.Run(t, redistest.Config{Keeping: redistest.ConfigFile})), newRotator(t)
	c := w.make(t, 1)[0]
	wantClass(t, r.Set(t.Context(), w.with(t, nil), rotator.Change{Credential: fresh(c)}), rotator.Misconfigured, "aclfile")
	w.accepts(t, c, true)
}

// Nodes that no endpoint names would keep the old password.
func TestUnnamedReplicas(t *testing.T) {
	primary := redistest.Run(t, redistest.Config{})
	redistest.Run(t, redistest.Config{ReplicaOf: primary})
	w, r := deployment(primary), newRotator(t)
	c := w.make(t, 1)[0]
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		report, err := r.Preflight(t.Context(), w.with(t, nil), plan(rotator.Dual, c, fresh(c)))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(fmt.Sprint(report.Warnings), "1 replicas") {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("no warning: %v", report.Warnings)
		}
	}
}
