package rotation_test

import (
	"testing"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/rotation"
	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/secret"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// ended waits for the end of a run of the secret.
func (w *world) ended(kind store.RunKind, n int) {
	w.T.Helper()
	w.eventually(string(kind), func() bool {
		done := 0
		for _, r := range w.runs(store.RunQuery{Kind: kind}) {
			if r.State == rotation.Done {
				done++
			}
		}
		return done == n
	})
}

func refused(t *testing.T, err error, kind fault.Kind, reason fault.Reason) {
	t.Helper()
	if e := fault.As(err); e == nil || e.Kind != kind || e.Reason != reason {
		t.Errorf("the error is %v, want %s %s", err, kind, reason)
	}
}

// A version is revoked when nobody needs it, or when somebody says why it goes anyway; the current one never is.
func TestVersionsAreRevokedByHand(t *testing.T) {
	w := newWorld(t)
	w.database("db", policyFor(rotator.Dual))
	_, old, oldVersion := w.read("db")
	w.ledger.hold(oldVersion, "somebody")
	s, call := w.service(w.engine), w.Call(w.caller)
	if _, err := s.Revoke(w.Ctx, call, "db", oldVersion, true, "because"); true {
		refused(t, err, fault.Conflict, "VersionCurrent")
	}
	w.start(w.engine)
	w.rotate("db")
	w.ended(store.RotationRun, 1)
	_, err := s.Revoke(w.Ctx, call, "db", vault.NewVersionID(time.Now()), false, "")
	refused(t, err, fault.NotFound, "VersionNotFound")
	_, err = s.Revoke(w.Ctx, call, "db", oldVersion, true, "")
	refused(t, err, fault.Invalid, "")
	reader := w.Call(w.Caller(authz.SecretsUser))
	if _, err := s.Revoke(w.Ctx, reader, "db", oldVersion, true, "because"); !fault.Is(err, fault.Forbidden) {
		t.Errorf("a reader revoked a version: %v", err)
	}

	open, err := s.Revoke(w.Ctx, call, "db", oldVersion, false, "")
	must(t, err)
	if open.Kind != store.RevocationRun || len(w.runs(store.RunQuery{Kind: store.RevocationRun})) != 1 {
		t.Fatalf("it was not the revocation that is open already: %+v", open)
	}
	time.Sleep(50 * time.Millisecond)
	if !w.target.accepts("app_a", old) {
		t.Fatal("the old value was revoked under a consumer, and nobody forced it")
	}
	forced, err := s.Revoke(w.Ctx, call, "db", oldVersion, true, "because")
	must(t, err)
	if forced.ID != open.ID || len(forced.Orders) != 1 || forced.Orders[0].Note != "because" {
		t.Fatalf("the revocation was not forced: %+v", forced)
	}
	w.ended(store.RevocationRun, 1)
	if w.target.accepts("app_a", old) {
		t.Error("the target still accepts what was revoked")
	}
	_, err = s.Revoke(w.Ctx, call, "db", oldVersion, false, "")
	refused(t, err, fault.Conflict, "VersionRevoked")
}

// A version that another write replaced has no revocation of its own: one is opened.
func TestARevocationIsOpenedForAReplacedVersion(t *testing.T) {
	w := newWorld(t)
	w.database("db", policyFor(rotator.Dual))
	_, old, oldVersion := w.read("db")
	w.target.give("app_a", old, "by-hand")
	_, err := w.secrets.Set(w.Ctx, w.Call(w.caller), "db", secret.Input{Value: []byte(`{"username":"app_a","password":"by-hand"}`), Enabled: true})
	must(t, err)
	r, err := w.service(w.engine).Revoke(w.Ctx, w.Call(w.caller), "db", oldVersion, false, "")
	must(t, err)
	if r.Kind != store.RevocationRun || len(r.Old) != 1 || r.Old[0] != oldVersion {
		t.Fatalf("the revocation is %+v", r)
	}
	w.start(w.engine)
	w.ended(store.RevocationRun, 1)
	if w.target.accepts("app_a", old) || !w.target.accepts("app_a", "by-hand") {
		t.Error("the wrong one was revoked")
	}
}

// Whoever follows a run hears of its next step at once, and of its end without waiting.
func TestFollowing(t *testing.T) {
	w := newWorld(t)
	w.database("db", policyFor(rotator.Dual))
	r := w.rotate("db")
	s := w.service(w.engine)
	began := time.Now()
	same, err := s.Follow(w.Ctx, w.Call(w.caller), r.ID, w.run(r.ID).Revision, 150*time.Millisecond)
	must(t, err)
	if same.State != rotation.Queued || time.Since(began) < 150*time.Millisecond {
		t.Errorf("after %s the run is told to be %s, and nobody drove it", time.Since(began), same.State)
	}
	w.start(w.engine)
	next, err := s.Follow(w.Ctx, w.Call(w.caller), r.ID, same.Revision, time.Minute)
	must(t, err)
	if next.Revision == same.Revision {
		t.Error("the run went on, and whoever followed was not told")
	}
	w.ended(store.RotationRun, 1)
	last := w.run(r.ID)
	began = time.Now()
	_, err = s.Follow(w.Ctx, w.Call(w.caller), r.ID, last.Revision, time.Minute)
	must(t, err)
	if time.Since(began) > 10*time.Second {
		t.Error("the end of a run was waited for after it had ended")
	}
	stranger := w.Call(w.Caller())
	for _, id := range []store.RunID{r.ID, "00000000000000000000000000000000"} {
		if _, err := s.Follow(w.Ctx, stranger, id, 0, time.Second); !fault.Is(err, fault.Forbidden) {
			t.Errorf("a stranger asked for the run %s and was told %v", id, err)
		}
	}
}

// The report of ages has every secret, and says which is too old.
func TestAges(t *testing.T) {
	w := newWorld(t)
	p := policyFor(rotator.Dual)
	p.MaxAge = d(time.Nanosecond)
	w.database("db", p)
	_, err := w.secrets.Set(w.Ctx, w.Call(w.caller), "alone", secret.Input{Value: []byte("x"), Enabled: true})
	must(t, err)
	s := w.service(w.engine)
	first, next, err := s.Ages(w.Ctx, w.Call(w.caller), "", 1)
	must(t, err)
	second, _, err := s.Ages(w.Ctx, w.Call(w.caller), next, 10)
	must(t, err)
	if len(first) != 1 || len(second) != 1 || first[0].Name != "alone" || second[0].Name != "db" {
		t.Fatalf("the pages are %+v and %+v", first, second)
	}
	if now := time.Now(); first[0].Over(now) || first[0].Policy || !second[0].Over(now) || !second[0].Policy || second[0].Limit != time.Nanosecond {
		t.Errorf("the ages are %+v and %+v", first[0], second[0])
	}
}
