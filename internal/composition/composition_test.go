package composition_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/composition"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/guard/guardtest"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/secret"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

type world struct {
	*guardtest.World
	secrets *secret.Service
	svc     *composition.Service
	caller  *guard.Caller
	log     bytes.Buffer
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{World: guardtest.New(t, guardtest.Options{Clock: clock.System{}})}
	var err error
	w.secrets, err = secret.New(secret.Config{Guard: w.Guard, Store: w.Store, Keys: w.Keys, Clock: w.Clock,
		Pack: func(ctx context.Context, tx store.Tx, o *vault.Object) ([]byte, error) { return w.svc.Pack(ctx, tx, o) },
		Unpack: func(ctx context.Context, tx store.Tx, v *vault.Vault, o *vault.Object, packed []byte) error {
			return w.svc.Unpack(ctx, tx, v, o, packed)
		},
		Admit: func(ctx context.Context, call *guard.Call, packed []byte) error {
			return w.svc.Admit(ctx, call, packed)
		}})
	w.must(err)
	w.Watch(w.secrets.Changed)
	w.svc = w.service()
	w.caller = w.Caller(authz.VaultAdministrator)
	return w
}

func (w *world) must(err error) {
	w.T.Helper()
	if err != nil {
		w.T.Fatal(err)
	}
}

// service is what a process has: another one knows nothing but what is stored.
func (w *world) service() *composition.Service {
	s, err := composition.New(composition.Config{Guard: w.Guard, Store: w.Store, Secrets: w.secrets, Clock: w.Clock, Logger: slog.New(slog.NewTextHandler(&w.log, nil))})
	w.must(err)
	return s
}

func (w *world) set(name, value string) vault.VersionID {
	w.T.Helper()
	item, err := w.secrets.Set(w.Ctx, w.Call(w.caller), name, secret.Input{Value: []byte(value), Enabled: true})
	w.must(err)
	return item.Version.ID
}

func (w *world) read(name string) (string, vault.VersionID) {
	w.T.Helper()
	item, value, err := w.secrets.Get(w.Ctx, w.Call(w.caller), secret.Selector{Name: name}, nil)
	w.must(err)
	return string(value), item.Version.ID
}

func (w *world) compose(name, template string) error {
	_, err := w.svc.Set(w.Ctx, w.Call(w.caller), name, template)
	return err
}

// A composed secret follows its parts, through others that are composed too, and a process that comes later finds what it missed.
func TestComposedSecretsFollowTheirParts(t *testing.T) {
	w := newWorld(t)
	w.set("user", "app")
	w.set("db", `{"password":"o/ne"}`)
	w.must(w.compose("url", "postgres://{{user}}:{{db.password|url}}@db.test"))
	w.must(w.compose("env", "DATABASE={{url}}\n"))
	if got, _ := w.read("env"); got != "DATABASE=postgres://app:o%2Fne@db.test\n" {
		t.Fatalf("env is %q", got)
	}
	_, before := w.read("url")
	w.must(w.service().Sweep(w.Ctx))
	if _, v := w.read("url"); v != before {
		t.Error("a value was made anew whose parts had not changed")
	}
	part := w.set("db", `{"password":"two"}`) // nobody follows: as after a crash
	for range 2 {
		w.must(w.service().Sweep(w.Ctx)) // one for each link of the chain, in whatever order
	}
	if got, _ := w.read("env"); got != "DATABASE=postgres://app:two@db.test\n" {
		t.Errorf("env is %q", got)
	}
	c, err := w.svc.Get(w.Ctx, w.Call(w.caller), "url")
	w.must(err)
	if _, v := w.read("url"); len(c.Made) != 2 || c.Made[1].Version != v || c.Made[1].Parts["db"] != part {
		t.Errorf("the values were made of %+v", c.Made)
	}
	uses, err := w.svc.Uses(w.Ctx, w.Vault.ID, "db", part)
	w.must(err)
	if len(uses) != 1 || uses[0].Name != "url" || uses[0].Replacing != "" {
		t.Errorf("the part is used in %+v", uses)
	}
	w.must(w.svc.Delete(w.Ctx, w.Call(w.caller), "url"))
	w.set("user", "other")
	w.must(w.svc.Sweep(w.Ctx))
	if got, _ := w.read("url"); !strings.Contains(got, "app") {
		t.Errorf("a secret without a template follows: %q", got)
	}
}

// A part that changes often does not hide who may still hold an old version of another: values that are not remembered in detail count as made of it.
func TestWhatIsForgottenMayBeUsed(t *testing.T) {
	w := newWorld(t)
	before := w.set("user", "old")
	time.Sleep(2 * time.Millisecond) // ids tell the millisecond
	user := w.set("user", "app")
	w.set("password", "0")
	w.must(w.compose("url", "{{user}}:{{password}}"))
	_, first := w.read("url")
	for i := range 40 {
		w.set("password", fmt.Sprint(i+1))
		w.must(w.svc.Sweep(w.Ctx))
	}
	_, newest := w.read("url")
	uses, err := w.svc.Uses(w.Ctx, w.Vault.ID, "user", user)
	w.must(err)
	if len(uses) != 41 || uses[0].Version != first || uses[0].Replacing != newest || uses[40].Version != newest || uses[40].Replacing != "" {
		t.Errorf("%d values may be made of the user's version, from %+v to %+v", len(uses), uses[0], uses[len(uses)-1])
	}
	if uses, err := w.svc.Uses(w.Ctx, w.Vault.ID, "user", before); err != nil || len(uses) != 9 {
		t.Errorf("%d values may be made of what the user was before, %v: want those 9 of which nothing is remembered", len(uses), err)
	}
	latest := w.set("user", "new")
	w.must(w.svc.Sweep(w.Ctx))
	if uses, err := w.svc.Uses(w.Ctx, w.Vault.ID, "user", latest); err != nil || len(uses) != 1 {
		t.Errorf("the newest version is in %d values, %v", len(uses), err)
	}
}

func TestFollowerHearsOfCommits(t *testing.T) {
	w := newWorld(t)
	w.Watch(w.svc.Changed)
	w.svc.Start(w.Ctx)
	t.Cleanup(w.svc.Stop)
	w.set("user", "app")
	w.must(w.compose("url", "x://{{user}}"))
	w.set("user", "other")
	for end := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		if got, _ := w.read("url"); got == "x://other" {
			return
		}
		if time.Now().After(end) {
			t.Fatal("the value does not follow")
		}
	}
}

func TestRingsAreRefused(t *testing.T) {
	w := newWorld(t)
	w.set("a", "1")
	w.must(w.compose("b", "{{a}}"))
	w.must(w.compose("c", "{{b}}"))
	for _, template := range []string{"{{c}}", "{{A}}"} {
		err := w.compose("a", template)
		if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "a <- ") {
			t.Errorf("%s: %v", template, err)
		}
	}
	if got, _ := w.read("a"); got != "1" {
		t.Errorf("the refused template left %q", got)
	}
}

// Whoever reads the composed secret reads its parts, so who composes it must be allowed to.
func TestWhoSetsATemplateMustReadItsParts(t *testing.T) {
	w := newWorld(t)
	w.set("mine", "1")
	w.set("theirs", "2")
	half := w.Caller()
	w.Grant(half, authz.SecretsOfficer, func(g *principal.Grant) { g.Scope = w.Vault.Scope() + "/secrets/mine" })
	w.Grant(half, authz.SecretsOfficer, func(g *principal.Grant) { g.Scope = w.Vault.Scope() + "/secrets/out" })
	if _, err := w.svc.Set(w.Ctx, w.Call(half), "out", "{{mine}}"); err != nil {
		t.Error(err)
	}
	if _, err := w.svc.Set(w.Ctx, w.Call(half), "out", "{{mine}}{{theirs}}"); !fault.Is(err, fault.Forbidden) {
		t.Errorf("a part that the caller may not read: %v", err)
	}
}

// A part that cannot be filled in any more leaves the last value, and says so.
func TestProblemsAreShown(t *testing.T) {
	w := newWorld(t)
	w.set("db", `{"password":"CANARY"}`)
	w.must(w.compose("url", "x:{{db.password}}"))
	w.set("db", `{"passwort":"CANARY"}`)
	if err := w.svc.Sweep(w.Ctx); err == nil {
		t.Error("nothing was wrong")
	}
	c, err := w.svc.Get(w.Ctx, w.Call(w.caller), "url")
	w.must(err)
	if got, _ := w.read("url"); got != "x:CANARY" || !strings.Contains(c.Problem, "no member") || strings.Contains(c.Problem+w.log.String(), "CANARY") {
		t.Errorf("the value is %q, the problem %q", got, c.Problem)
	}
	w.set("db", `{"password":"good"}`)
	w.must(w.svc.Sweep(w.Ctx))
	c, err = w.svc.Get(w.Ctx, w.Call(w.caller), "url")
	w.must(err)
	if got, _ := w.read("url"); got != "x:good" || c.Problem != "" {
		t.Errorf("the value is %q, the problem %q", got, c.Problem)
	}
}

// The value and its template are one change: where the one cannot be stored, the other is not.
func TestTemplateAndValueAreOneCommit(t *testing.T) {
	w := newWorld(t)
	w.set("user", "app")
	before := len(w.Changes())
	w.must(w.compose("url", "postgres://{{user}}@db.test"))
	if n := len(w.Changes()) - before; n != 1 {
		t.Errorf("setting a template made %d commits with a record, want 1", n)
	}
}
