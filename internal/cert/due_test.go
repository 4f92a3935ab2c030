package cert_test

import (
	"context"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/cert"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/issuer"
	"github.com/keywright/keywright/internal/vault"
)

// A vault that is deleted when a renewal is due, and recovered, renews it soon.
func TestRenewalSurvivesDeletionOfVault(t *testing.T) {
	w := newWorld(t)
	w.create("web", policy("Self", func(p *cert.Policy) {
		p.X509.Months, p.Actions = 3, []cert.Action{{DaysBefore: 30, Do: cert.AutoRenew}}
	}))
	first, _, _ := w.get("web")
	w.now.Advance(63 * day)
	w.EditVault(func(v *vault.Vault) { v.Deleted = &vault.Deletion{At: w.now.Now(), PurgeAt: w.now.Now().Add(90 * day)} })
	w.due()
	w.now.Advance(day)
	w.due()
	w.EditVault(func(v *vault.Vault) { v.Deleted = nil })
	if it, _, _ := w.get("web"); it.Version.ID != first.Version.ID {
		t.Fatal("renewed while the vault was deleted")
	}
	w.now.Advance(time.Hour)
	w.due()
	if it, _, _ := w.get("web"); it.Version.ID == first.Version.ID {
		t.Error("not renewed within an hour of the vault's recovery")
	}
}

// An operation waits while its certificate is deleted, and goes on with it.
func TestOperationSurvivesDeletion(t *testing.T) {
	w := newWorld(t)
	a := w.newAuthority(pending(time.Minute))
	a.steps = append(a.steps, a.issue)
	w.create("web", policy("slow"))
	w.due()
	_, _, err := w.svc.Delete(w.Ctx, w.call(), "web")
	w.do(err)
	w.now.Advance(day)
	w.due()
	if len(a.calls) != 1 {
		t.Errorf("the authority was asked %d times; want once, before the deletion", len(a.calls))
	}
	_, _, err = w.svc.Recover(w.Ctx, w.call(), "web")
	w.do(err)
	select {
	case <-w.svc.Woken():
	default:
		t.Error("nobody was woken")
	}
	w.due()
	if op := w.operation("web"); op.Status != cert.Completed {
		t.Errorf("the operation is %s: %s", op.Status, op.Details)
	}

	// A person is not asked again.
	w.create("mine", policy("Unknown"))
	w.due()
	_, _, err = w.svc.Delete(w.Ctx, w.call(), "mine")
	w.do(err)
	_, _, err = w.svc.Recover(w.Ctx, w.call(), "mine")
	w.do(err)
	n, err := w.svc.Due(w.Ctx)
	w.do(err)
	if op := w.operation("mine"); n != 0 || op.Status != cert.InProgress {
		t.Errorf("%d looks at an operation that waits for a person; it is %s", n, op.Status)
	}
}

// An authority that does not answer keeps nobody waiting who has another one.
func TestSilentIssuerKeepsNobodyWaiting(t *testing.T) {
	w := newWorld(t)
	silent := w.newAuthority()
	answers := make(chan struct{})
	silent.steps = []step{func(context.Context, issuer.Request) (issuer.Result, error) {
		<-answers
		return issuer.Result{}, fault.New(fault.Unavailable, "the authority was away")
	}}
	w.create("first", policy("slow"))
	quick := w.newAuthority()
	quick.steps = []step{quick.issue}
	w.issuers["slow"], w.issuers["quick"] = silent, quick
	provider := "quick"
	_, err := w.svc.SetIssuer(w.Ctx, w.call(), "quick", cert.SettingsChange{Provider: &provider})
	w.do(err)
	w.create("second", policy("quick"))
	done := make(chan error, 1)
	go func() {
		_, err := w.svc.Due(w.Ctx)
		done <- err
	}()
	for deadline := time.Now().Add(time.Minute); w.operation("second").Status != cert.Completed; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Error("the second certificate waits for the issuer of the first")
			break
		}
	}
	if op := w.operation("first"); op.Status != cert.InProgress || op.Tries != 0 {
		t.Errorf("the first is %s after %d tries", op.Status, op.Tries)
	}
	close(answers)
	w.do(<-done)
	if op := w.operation("first"); op.Tries != 1 {
		t.Errorf("the first was tried %d times", op.Tries)
	}
}
