package rotationtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/guard/guardtest"
	"github.com/keywright/keywright/internal/rollout"
	"github.com/keywright/keywright/internal/rotation"
	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/secret"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// world is one installation for all cases of a subject.
type world struct {
	*guardtest.World
	subject  *Subject
	secrets  *secret.Service
	caller   *guard.Caller
	approver *guard.Caller
	evidence *evidence
	log      logged
	next     atomic.Int64
}

const adminName = "administrator"

func newWorld(t *testing.T, s *Subject) *world {
	w := &world{World: guardtest.New(t, guardtest.Options{Clock: clock.System{}}), subject: s, evidence: &evidence{held: make(map[string]bool), look: make(map[string]func())}}
	var err error
	w.secrets, err = secret.New(secret.Config{Guard: w.Guard, Store: w.Store, Keys: w.Keys, Clock: w.Clock})
	must(t, err)
	w.Watch(w.secrets.Changed)
	w.caller, w.approver = w.Caller(authz.VaultAdministrator), w.Caller(authz.VaultAdministrator, authz.KeywrightApprover)
	if !s.Admin.IsZero() {
		value, err := json.Marshal(map[string]string{"username": s.Admin.Account, "password": string(s.Admin.Value.Reveal())})
		must(t, err)
		_, err = w.secrets.Set(w.Ctx, w.Call(w.caller), adminName, secret.Input{Value: value, Enabled: true})
		must(t, err)
	}
	return w
}

// engine is a worker with an identity of its own.
func (w *world) engine(r rotator.Rotator, fail func(rotation.Point) error) *rotation.Engine {
	e, err := rotation.New(rotation.Config{Store: w.Store, Guard: w.Guard, Secrets: w.secrets, Rotators: []rotator.Rotator{r}, Evidence: w.evidence, Rings: open{},
		Clock: w.Clock, Logger: slog.New(slog.NewTextHandler(&w.log, nil)), Node: vault.NewGUID(), Pace: w.subject.pace(), Leasing: w.subject.leasing(), Failpoint: fail})
	must(w.T, err)
	return e
}

// openRuns are those of a secret.
func (w *world) openRuns(o vault.ObjectID) (list []*rotation.Run, err error) {
	err = w.Store.View(w.Ctx, func(tx store.Tx) error {
		list = nil
		for _, k := range []store.RunKind{store.RotationRun, store.RevocationRun} {
			s, err := tx.OpenRun(w.Ctx, o, k)
			if fault.Is(err, fault.NotFound) {
				continue
			}
			if err != nil {
				return err
			}
			r, err := rotation.ReadRun(s)
			if err != nil {
				return err
			}
			list = append(list, r)
		}
		return nil
	})
	return list, err
}

func (w *world) run(id store.RunID) (r *rotation.Run, err error) {
	err = w.Store.View(w.Ctx, func(tx store.Tx) error {
		s, err := tx.Run(w.Ctx, id)
		if err == nil {
			r, err = rotation.ReadRun(s)
		}
		return err
	})
	return r, err
}

// evidence is a ledger in which each secret's old version is held, or is not.
type evidence struct {
	mu   sync.Mutex
	held map[string]bool
	look map[string]func()
}

// Verdict implements rotation.Evidence.
func (e *evidence) Verdict(_ context.Context, o rotation.Subject, _, _ vault.VersionID, _ time.Time, _ *rotation.Policy) (rotation.Verdict, error) {
	e.mu.Lock()
	look, held := e.look[o.NameKey], e.held[o.NameKey]
	e.mu.Unlock()
	if look != nil {
		look()
	}
	if held {
		return rotation.Verdict{Waiting: []rotation.Holder{{Principal: "laggard"}}}, nil
	}
	return rotation.Verdict{Safe: true}, nil
}

// Seen implements rotation.Evidence.
func (*evidence) Seen(context.Context, rotation.Subject, vault.VersionID, []rotator.Session, time.Time) error {
	return nil
}

func (e *evidence) hold(name string, held bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.held[name] = held
}

// open are rings whose gates always hold.
type open struct{}

// Observe implements rotation.Rings.
func (open) Observe(_ context.Context, _ rotation.Subject, r rollout.Rollout, _ string) (rollout.Observations, error) {
	return rollout.Observations{Ring: r.Opened - 1, Known: true}, nil
}

// CheckProbe implements rotation.Rings.
func (open) CheckProbe(string) error { return nil }

// logged is what all workers log.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) has(value []byte) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Contains(l.text.Bytes(), value)
}

// credentialOf reads a version's value as the policies of this package write it.
func credentialOf(p *rotation.Policy, value []byte) (rotator.Credential, error) {
	if p.Format.Kind == rotation.Raw {
		return rotator.Credential{Account: p.Accounts[0], Value: bytes.Clone(value)}, nil
	}
	var v struct{ Username, Password string }
	if json.Unmarshal(value, &v) != nil || v.Password == "" {
		return rotator.Credential{}, errors.New("a value that is no credential")
	}
	return rotator.Credential{Account: v.Username, Value: []byte(v.Password)}, nil
}

func valueOf(p *rotation.Policy, c rotator.Credential) []byte {
	if p.Format.Kind == rotation.Raw {
		return bytes.Clone(c.Value)
	}
	return []byte(fmt.Sprintf(`{"username":%q,"password":%q}`, c.Account, c.Value.Reveal()))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
