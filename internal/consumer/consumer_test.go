package consumer

import (
	"context"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/keywright/keywright/internal/audit"
	"github.com/keywright/keywright/internal/audit/disk/disktest"
	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/guard/guardtest"
	"github.com/keywright/keywright/internal/ledger"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/secret"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// auditor writes to a real log, so that the ledger has something to follow.
type auditor struct {
	*audit.Log
	sealer audit.Sealer
}

func (a auditor) Seal(r *audit.Record) ([]byte, error) {
	r.Node = "node"
	return audit.Seal(nil, a.sealer, r)
}
func (auditor) Unauthenticated(audit.Refusal) {}

// world is an installation with secrets, a ledger and this service.
type world struct {
	*guardtest.World
	log     *audit.Log
	ledger  *ledger.Ledger
	secrets *secret.Service
	*Service
	policy ledger.Policy
}

func newWorld(t *testing.T) *world {
	w := &world{World: guardtest.New(t, guardtest.Options{})}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	private, public, err := note.GenerateKey(nil, "node")
	must(err)
	signer, err := note.NewSigner(private)
	must(err)
	verifier, err := note.NewVerifier(public)
	must(err)
	w.log, err = audit.Open(audit.Config{Disk: disktest.New(1), Node: "node", Origin: "node", Signer: signer, Verifier: verifier, Sealer: w.Keys, SegmentBytes: 1 << 20,
		ReserveBytes: -1, SyncInterval: 5 * time.Millisecond})
	must(err)
	t.Cleanup(w.log.Stop)
	g, err := guard.New(guard.Config{Store: w.Store, Audit: auditor{w.log, w.Keys}, Clock: w.Clock, Logger: slog.New(slog.DiscardHandler)})
	must(err)
	w.Watch(g.Changed)
	w.ledger, err = ledger.New(t.Context(), ledger.Config{Store: w.Store, Log: w.log, Node: "node", Boot: "boot", Clock: w.Clock, Logger: slog.New(slog.DiscardHandler)})
	must(err)
	must(w.ledger.Start(context.Background()))
	t.Cleanup(w.ledger.Stop)
	w.secrets, err = secret.New(secret.Config{Guard: g, Store: w.Store, Keys: w.Keys, Clock: w.Clock})
	must(err)
	w.Watch(w.secrets.Changed)
	w.Service, err = New(Config{Guard: g, Store: w.Store, Ledger: w.ledger,
		Policy: func(context.Context, ledger.Object) (ledger.Policy, time.Time, error) {
			return w.policy, time.Time{}, nil
		}})
	must(err)
	return w
}

func (w *world) set(c *guard.Caller) vault.VersionID {
	w.T.Helper()
	item, err := w.secrets.Set(w.Ctx, w.Call(c), "Db-Password", secret.Input{Value: []byte("v"), Enabled: true})
	if err != nil {
		w.T.Fatal(err)
	}
	return item.Version.ID
}

// call is a request of an instance; one that declares nothing comes from its address.
func (w *world) call(c *guard.Caller, instance string) *guard.Call {
	call := w.Call(c)
	call.Instance = instance
	return call
}

func (w *world) read(c *guard.Caller, instance string) {
	w.T.Helper()
	if _, _, err := w.secrets.Get(w.Ctx, w.call(c, instance), secret.Selector{Name: "db-password"}, nil); err != nil {
		w.T.Fatal(err)
	}
}

func TestAStoryOfConsumers(t *testing.T) {
	w := newWorld(t)
	officer, user := w.Caller(authz.SecretsOfficer), w.Caller(authz.SecretsUser)
	old := w.set(officer)
	w.read(user, "pod-1")
	w.read(user, "pod-2")
	w.read(user, "")
	used := ledger.Ack{Level: ledger.Used, Poll: time.Minute}
	ack := func(instance string, v vault.VersionID) error {
		return w.Ack(w.Ctx, w.call(user, instance), "db-password", v, used)
	}
	if err := ack("pod-1", old); err != nil {
		t.Fatal(err)
	}
	err := ack("pod-9", old)
	if e := fault.As(err); e == nil || e.Kind != fault.Conflict || e.Reason != NotDelivered {
		t.Errorf("acknowledging what was never delivered: %v", err)
	}
	if err := ack("pod-1", vault.NewVersionID(w.Clock.Now())); !fault.Is(err, fault.Conflict) {
		t.Errorf("acknowledging a version that does not exist: %v", err)
	}
	if err := w.Ack(w.Ctx, w.call(user, "pod-1"), "db-password", old, ledger.Ack{Level: "seen"}); !fault.Is(err, fault.Invalid) {
		t.Errorf("a level that is none: %v", err)
	}
	h, err := w.Holders(w.Ctx, w.Call(officer), "DB-password", "")
	if err != nil || h.Version.ID != old || h.Safe || len(h.Verdict.Holders) != 3 || len(h.WaitingFor) != 3 {
		t.Fatalf("of the current version: %+v, %v", h, err)
	}

	current := w.set(officer)
	w.read(user, "pod-1")
	if err := ack("pod-1", current); err != nil {
		t.Fatal(err)
	}
	waiting := func() string {
		t.Helper()
		h, err := w.Holders(w.Ctx, w.Call(officer), "db-password", old)
		if err != nil {
			t.Fatal(err)
		}
		var list []string
		for _, x := range h.WaitingFor {
			list = append(list, x.Instance)
		}
		return strings.Join(list, " ")
	}
	if got := waiting(); got != "@192.0.2.7 pod-2" {
		t.Errorf("waited for are %s", got)
	}
	clear := func(c *guard.Caller, instance, why string) error {
		return w.Clear(w.Ctx, w.Call(c), "db-password", old, ledger.Clearance{Consumer: ledger.Consumer{Principal: user.Principal, Instance: instance}, Why: why})
	}
	if err := clear(officer, "pod-2", "it was scaled away"); err != nil {
		t.Fatal(err)
	}
	if err := clear(officer, "pod-3", "there is none"); !fault.Is(err, fault.NotFound) {
		t.Errorf("clearing nobody: %v", err)
	}
	if err := clear(officer, "pod-2", " "); !fault.Is(err, fault.Invalid) {
		t.Errorf("clearing without a reason: %v", err)
	}
	if err := clear(user, "pod-2", "I say so"); !fault.Is(err, fault.Forbidden) {
		t.Errorf("clearing without the right: %v", err)
	}
	if got := waiting(); got != "@192.0.2.7" {
		t.Errorf("after the clearance waited for are %s", got)
	}
	if _, err := w.Holders(w.Ctx, w.Call(user), "db-password", old); !fault.Is(err, fault.Forbidden) {
		t.Errorf("a reader sees the holders: %v", err)
	}
	if _, err := w.Holders(w.Ctx, w.Call(officer), "db-password", "x"); !fault.Is(err, fault.NotFound) {
		t.Errorf("a version that does not exist: %v", err)
	}
	if _, err := w.Holders(w.Ctx, w.Call(officer), "none", ""); !fault.Is(err, fault.NotFound) {
		t.Errorf("a secret that does not exist: %v", err)
	}

	// Copies outside of the doors count like consumers.
	push := ledger.Copy{How: ledger.Pushed, Place: "host:/etc/app"}
	if err := w.Deliver(w.Ctx, w.Call(user), "db-password", old, push); err != nil {
		t.Fatal(err)
	}
	if err := w.Deliver(w.Ctx, w.Call(user), "db-password", "none", push); !fault.Is(err, fault.NotFound) {
		t.Errorf("a copy of a version that does not exist: %v", err)
	}
	if got := waiting(); got != "@192.0.2.7 >host:/etc/app" && got != ">host:/etc/app @192.0.2.7" {
		t.Errorf("with the copy waited for are %s", got)
	}
}

func TestWhatAPrincipalEverHeld(t *testing.T) {
	w := newWorld(t)
	officer, user, watcher := w.Caller(authz.SecretsOfficer), w.Caller(authz.SecretsUser), w.Caller()
	w.Grant(watcher, authz.KeywrightAuditor, func(g *principal.Grant) { g.Scope = "/" })
	for range 3 {
		w.set(officer)
		w.read(user, "pod-1")
	}
	outside := func(c *guard.Caller) *guard.Call {
		return &guard.Call{Caller: c, Address: netip.MustParseAddr("192.0.2.7"), Door: "test", Operation: "PrincipalHoldings", Started: w.Clock.Now()}
	}
	var all []Held
	var after *store.HoldingPlace
	for {
		page, next, err := w.HeldBy(w.Ctx, outside(watcher), user.Principal, after, 2)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, page...)
		if after = next; next == nil {
			break
		}
	}
	if len(all) != 3 || all[0].VaultName != guardtest.VaultName || all[0].Version >= all[1].Version {
		t.Errorf("%+v", all)
	}
	if _, _, err := w.HeldBy(w.Ctx, outside(user), user.Principal, nil, 2); !fault.Is(err, fault.Forbidden) {
		t.Errorf("without the right: %v", err)
	}
	if _, _, err := w.HeldBy(w.Ctx, outside(watcher), "nobody", nil, 2); !fault.Is(err, fault.NotFound) {
		t.Errorf("of nobody: %v", err)
	}
}

func TestConfigIsChecked(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("a service of nothing was made")
	}
}
