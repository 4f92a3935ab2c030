package cert_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/cert"
	"github.com/keywright/keywright/internal/issuer"
)

// broken is an issuer that fails in a way that nobody foresaw.
type broken struct{ issuer.Issuer }

func (broken) Describe() issuer.Description { return issuer.Description{Name: "broken"} }
func (broken) Begin(context.Context, issuer.Request) (issuer.Result, error) {
	return issuer.Result{}, errors.New("canary of the cause")
}

// An error without a kind ends neither the program nor the operation, and its words stay out of what callers see.
func TestUnforeseenErrorIsTriedAgain(t *testing.T) {
	w := newWorld(t)
	w.issuers["test"] = broken{}
	provider := "test"
	_, err := w.svc.SetIssuer(w.Ctx, w.call(), "ca", cert.SettingsChange{Provider: &provider})
	w.do(err)
	w.create("web", policy("ca"))
	w.now.Advance(time.Hour)
	_, err = w.svc.Due(w.Ctx)
	w.do(err)
	op := w.operation("web")
	if op.Status != cert.InProgress || op.Tries != 2 {
		t.Errorf("the operation: %+v", op)
	}
	if op.Details == "" || strings.Contains(op.Details+op.Message, "canary") {
		t.Errorf("it says %q %q", op.Details, op.Message)
	}
}
