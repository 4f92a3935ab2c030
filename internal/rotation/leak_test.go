package rotation_test

import (
	"slices"
	"testing"

	"github.com/keywright/keywright/internal/rotation"
	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/secret"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// byHand makes a secret whose versions were all set by people, one beside the other, at a target that accepts all of them.
func (w *world) byHand(passwords ...string) (versions []vault.VersionID) {
	w.T.Helper()
	w.database("db", policyFor(rotator.Dual))
	_, first, v := w.read("db")
	versions = append(versions, v)
	for _, pass := range passwords {
		item, err := w.secrets.Set(w.Ctx, w.Call(w.caller), "db", secret.Input{Value: []byte(`{"host":"db.test","username":"app_a","password":"` + pass + `"}`), Enabled: true})
		must(w.T, err)
		versions = append(versions, item.Version.ID)
	}
	w.target.give("app_a", append(passwords, first)...)
	return versions
}

// An older version that leaked goes at once although the rotation that the leak starts gets stuck, and takes nobody else's along.
func TestAnOlderVersionLeaks(t *testing.T) {
	for _, c := range []struct {
		name string
		open func(w *world, versions []vault.VersionID) // what is under way when the leak is reported
	}{
		{"nothing is under way", func(*world, []vault.VersionID) {}},
		{"its revocation waits for a consumer", func(w *world, versions []vault.VersionID) { w.revoke(versions[0]) }},
		{"that of another waits for a consumer", func(w *world, versions []vault.VersionID) { w.revoke(versions[1]) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			versions := w.byHand("second-password", "third-password")
			for _, v := range versions[:2] {
				w.ledger.hold(v, "laggard")
			}
			w.target.before = func(verb string) error {
				if verb == "preflight" {
					return rotator.Fail(rotator.Denied, nil, "the administrator may not look")
				}
				return nil
			}
			s, call := w.service(w.engine), w.Call(w.caller)
			c.open(w, versions)
			w.start(w.engine)
			run, err := s.Run(w.Ctx, call, "db", rotation.Start{Cause: rotation.Leaked, Version: versions[0]})
			must(t, err)
			w.eventually("the end of what leaked", func() bool { return !w.run(run.ID).Incident.Until.IsZero() })
			w.retired("db", versions[0])
			w.eventually("that the rotation is stuck", func() bool { return w.run(run.ID).State == rotation.Stuck })
			if user, pass, _ := w.read("db"); !w.target.accepts(user, pass) || w.target.accepts("app_a", "first-password-of-db") {
				t.Error("the current value is refused, or what leaked is accepted")
			}
			for _, r := range w.runs(store.RunQuery{Open: true, Kind: store.RevocationRun}) {
				if r.Forced != "" || !slices.Equal(r.Old, versions[1:2]) || len(r.Waiting) == 0 && r.Looks > 0 {
					t.Errorf("the revocation of the other version is forced by %q, ends %v and waits for %v", r.Forced, r.Old, r.Waiting)
				}
			}
		})
	}
}

func (w *world) revoke(v vault.VersionID) {
	w.T.Helper()
	_, err := w.service(w.engine).Revoke(w.Ctx, w.Call(w.caller), "db", v, false, "")
	must(w.T, err)
}

// A revocation of an older version that an urgent rotation takes over still knows in whose account that version sits: the account never refuses everybody.
func TestUrgentRotationTakesOverARevocation(t *testing.T) {
	w := newWorld(t)
	versions := w.byHand("second-password", "third-password")
	w.ledger.hold(versions[0], "laggard")
	w.revoke(versions[0])
	w.target.after = func(verb string) error {
		w.target.mu.Lock()
		defer w.target.mu.Unlock()
		if verb == "revoke" && len(w.target.accounts["app_a"]) == 0 {
			t.Error("the account refuses everybody")
		}
		return nil
	}
	_, err := w.service(w.engine).Run(w.Ctx, w.Call(w.caller), "db", rotation.Start{Cause: rotation.Emergency})
	must(t, err)
	w.start(w.engine)
	w.eventually("the end of all runs", w.closed)
	w.retired("db", versions[0])
	w.sound("db")
}
