package ledger

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/keywright/keywright/internal/audit"
	"github.com/keywright/keywright/internal/audit/disk/disktest"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/store/sqlite"
	"github.com/keywright/keywright/internal/vault"
)

// sealer encrypts records as the keyring does, under one fixed key.
type sealer struct{ cipher.AEAD }

func newSealer() sealer {
	block, _ := aes.NewCipher(make([]byte, 32))
	a, _ := cipher.NewGCMWithRandomNonce(block)
	return sealer{a}
}

func (s sealer) SealAudit(dst []byte, _ string, plain, aad []byte) ([]byte, error) {
	return s.Seal(dst, nil, plain, aad), nil
}

func (s sealer) OpenAudit(dst []byte, _ string, sealed, aad []byte) ([]byte, error) {
	return s.Open(dst, nil, sealed, aad)
}

var noteKeys = sync.OnceValues(func() (note.Signer, note.Verifier) {
	private, public, err := note.GenerateKey(nil, "node")
	if err != nil {
		panic(err)
	}
	s, err := note.NewSigner(private)
	if err != nil {
		panic(err)
	}
	v, err := note.NewVerifier(public)
	if err != nil {
		panic(err)
	}
	return s, v
})

// world is a node: a store on disk, an audit log on a disk that can lose power, and the ledger of it.
type world struct {
	testing.TB
	ctx        context.Context
	dir, boot  string
	durability audit.Durability
	disk       *disktest.FS
	clock      *clock.Manual
	faults     sqlite.Faults
	store      *sqlite.Store
	log        *audit.Log
	*Ledger
	// edit changes the ledger's configuration.
	edit func(*Config)
}

func newWorld(t testing.TB, durability audit.Durability, edit func(*Config)) *world {
	w := &world{TB: t, ctx: context.Background(), dir: t.TempDir(), boot: "boot-1", durability: durability, disk: disktest.New(1), clock: clock.NewManual(t0), edit: edit}
	w.open()
	t.Cleanup(func() {
		w.drop()
		w.log.Stop()
	})
	return w
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) open() {
	w.Helper()
	var err error
	w.store, err = sqlite.Open(sqlite.Config{Dir: filepath.Join(w.dir, "store"), Faults: w.faults})
	w.must(err)
	w.openLog()
	config := Config{Store: w.store, Log: w.log, Node: "node", Durability: w.durability, Boot: w.boot, Clock: w.clock, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Pace: time.Millisecond}
	if w.edit != nil {
		w.edit(&config)
	}
	w.Ledger, err = New(w.ctx, config)
	w.must(err)
	w.must(w.Start(w.ctx))
}

func (w *world) openLog() {
	w.Helper()
	s, v := noteKeys()
	var err error
	w.log, err = audit.Open(audit.Config{Disk: w.disk, Node: "node", Origin: "node", Signer: s, Verifier: v, Sealer: newSealer(), Durability: w.durability,
		SegmentBytes: 1 << 20, ReserveBytes: -1, SyncInterval: 5 * time.Millisecond})
	w.must(err)
}

// drop ends the ledger and the store as a crash does: nothing is flushed.
func (w *world) drop() {
	w.lifecycle.Lock()
	defer w.lifecycle.Unlock()
	if !w.stopped {
		w.stopped = true
		w.cancel()
		w.running.Wait()
	}
	w.store.Close()
}

// crash ends the process; with power, the machine too.
func (w *world) crash(power bool) {
	w.Helper()
	w.drop()
	old := w.disk
	if power {
		w.disk, w.boot = old.PowerLoss(), w.boot+"x"
	} else {
		w.disk = old.Kill()
	}
	w.log.Stop()
	w.open()
}

// restart ends the process in order.
func (w *world) restart() {
	w.Helper()
	w.Stop()
	w.must(w.store.Close())
	w.log.Stop()
	w.open()
}

const tenant = vault.TenantID("11111111-1111-4111-8111-111111111111")

var thing = Object{Tenant: tenant, Vault: "v", Kind: vault.Secret, Name: "Db-Password"}

// get is the record of a read by an instance, at a second.
func get(v vault.VersionID, instance string, second int) *audit.Record {
	return &audit.Record{Time: at(second), Tenant: string(tenant), VaultID: "v", VaultName: "Shop", Door: "azure", Action: getSecret, Operation: "GetSecret",
		Caller: audit.Caller{PrincipalID: "p", Kind: "ServicePrincipal", Tenant: string(tenant)}, ClientAddress: netip.MustParseAddr("10.0.0.1"), Instance: instance,
		ObjectKind: "secret", ObjectName: "Db-Password", Version: string(v), Outcome: audit.Allowed, Status: 200, CorrelationID: "c", Path: "/secrets/Db-Password"}
}

func (w *world) add(list ...*audit.Record) {
	w.Helper()
	for _, r := range list {
		w.must(w.log.Append(w.ctx, r))
	}
}

func ack(v vault.VersionID, instance string, second int, a Ack) *audit.Record {
	r := get(v, instance, second)
	r.Operation, r.Detail = AckOperation, a.Detail()
	return r
}

// row reads a consumer's row after everything was taken in; nil when there is none.
func (w *world) row(v vault.VersionID, instance string) *Holding {
	w.Helper()
	w.must(w.CatchUp(w.ctx))
	list, err := w.rows(w.ctx, store.HoldingQuery{Vault: "v", Kind: vault.Secret, NameKey: "db-password", Version: v})
	w.must(err)
	for _, h := range list {
		if h.Instance == instance {
			return h
		}
	}
	return nil
}

// kept reads a row as the store has it.
func (w *world) kept(v vault.VersionID, instance string) (h *store.Holding) {
	w.Helper()
	w.must(w.store.View(w.ctx, func(tx store.Tx) (err error) {
		h, err = tx.Holding(w.ctx, thing.key(v, Consumer{Principal: "p", Instance: instance}))
		return err
	}))
	return h
}

func TestDeliveriesAreTakenIn(t *testing.T) {
	w := newWorld(t, audit.OS, nil)
	w.add(get(v1, "pod-7", 1), get(v1, "pod-7", 5), get(v1, "", 6), get(v2, "pod-7", 7))
	denied, failed, other, shown := get(v1, "pod-8", 8), get(v1, "pod-8", 8), get(v1, "pod-8", 8), get(v1, "pod-8", 8)
	denied.Outcome, failed.Outcome = audit.Denied, audit.Failed
	other.Action, shown.VaultID = "Microsoft.KeyVault/vaults/secrets/setSecret/action", ""
	backup := get("", "pod-7", 9)
	backup.Action = backupSecret
	w.add(denied, failed, other, shown, backup)
	if h := w.row(v1, "pod-7"); h == nil || !h.First.Equal(at(1)) || !h.Last.Equal(at(5)) || h.Weak || h.Tenant != tenant || h.Via[0] != "azure" || h.Address != "10.0.0.1" {
		t.Errorf("the row is %+v", h)
	}
	if h := w.row(v1, "@10.0.0.1"); h == nil || !h.Weak || !h.First.Equal(at(6)) {
		t.Errorf("the row of the undeclared one is %+v", h)
	}
	if w.row(v2, "pod-7") == nil || w.row(v1, "pod-8") != nil {
		t.Error("a delivery is missing, or something that was none is there")
	}
	copies, err := w.Copies(w.ctx, thing, "")
	w.must(err)
	if len(copies) != 4 || copies[0].Version != "" || copies[0].Via[0] != Sealed {
		t.Errorf("there are %d copies, the first by %v; want 4, the first a sealed backup", len(copies), copies[0].Via)
	}
	held, next, err := w.HeldBy(w.ctx, tenant, "p", nil, 3)
	w.must(err)
	more, end, err := w.HeldBy(w.ctx, tenant, "p", next, 3)
	w.must(err)
	if len(held) != 3 || len(more) != 1 || next == nil || end != nil {
		t.Errorf("the pages have %d and %d rows", len(held), len(more))
	}
	if stranger, _, err := w.HeldBy(w.ctx, "other", "p", nil, 0); err != nil || len(stranger) > 0 {
		t.Errorf("another tenant sees %d rows, %v", len(stranger), err)
	}
}

func TestRepeatedReadsCostNoTransaction(t *testing.T) {
	w := newWorld(t, audit.OS, nil)
	w.add(get(v1, "a", 1))
	w.row(v1, "a")
	for s := 2; s < 60; s++ {
		w.add(get(v1, "a", s))
	}
	if h := w.row(v1, "a"); !h.Last.Equal(at(59)) {
		t.Errorf("in memory it was delivered last at %v", h.Last)
	}
	if h := w.kept(v1, "a"); !h.Last.Equal(at(1)) {
		t.Errorf("the store was told of a repeated read: %v", h.Last)
	}
	w.add(get(v1, "a", 61))
	w.row(v1, "a")
	if h := w.kept(v1, "a"); !h.Last.Equal(at(61)) {
		t.Errorf("after a minute the store has %v", h.Last)
	}
	// Another version makes the order matter: the next read of the first is written at once.
	w.add(get(v1, "a", 62), get(v2, "a", 63))
	w.row(v2, "a")
	w.add(get(v1, "a", 64))
	w.row(v1, "a")
	if h := w.kept(v1, "a"); !h.Last.Equal(at(64)) {
		t.Errorf("the store has %v as the last delivery of the old version after the new one", h.Last)
	}
	// So does an acknowledgement.
	w.add(ack(v2, "a", 65, Ack{Level: Used}), get(v1, "a", 66))
	w.row(v1, "a")
	if h := w.kept(v1, "a"); !h.Last.Equal(at(66)) {
		t.Errorf("the store has %v as the last delivery of the old version after an acknowledgement", h.Last)
	}
	// A restart in order keeps what was exact.
	w.add(get(v1, "a", 70))
	w.row(v1, "a")
	w.restart()
	if h := w.row(v1, "a"); !h.Last.Equal(at(70)) {
		t.Errorf("after a restart in order it was delivered last at %v", h.Last)
	}
}

func TestAcknowledgementsAndClearances(t *testing.T) {
	w := newWorld(t, audit.Fsync, nil)
	clearing := get(v1, "desk", 9)
	clearing.Operation, clearing.Action = ClearOperation, "Microsoft.KeyVault/vaults/secrets/update/action"
	clearing.Detail = Clearance{Consumer{Principal: "p", Instance: "pod \"7\": x"}, "switched off"}.Detail()
	clearing.Caller.PrincipalID = "ada"
	pushed := get(v1, "deployer", 10)
	pushed.Operation, pushed.Detail = DeliverOperation, Copy{Pushed, "host:/etc/app"}.Detail()
	nonsense := get(v1, "pod-9", 11)
	nonsense.Operation, nonsense.Detail = AckOperation, "finished"
	w.add(get(v1, "pod \"7\": x", 1), ack(v1, "pod \"7\": x", 2, Ack{Level: Loaded}), ack(v1, "pod \"7\": x", 3, Ack{Level: Used, Poll: 30 * time.Second}), clearing, pushed, nonsense)
	h := w.row(v1, "pod \"7\": x")
	if !h.Loaded.Equal(at(3)) || !h.Used.Equal(at(3)) || h.Poll != 30*time.Second || !h.Cleared.Equal(at(9)) || h.By != "ada" || h.Why != "switched off" || h.Principal != "p" {
		t.Errorf("the row is %+v", h)
	}
	if h := w.row(v1, ">host:/etc/app"); h == nil || h.Via[0] != Pushed || h.Weak {
		t.Errorf("the pushed copy is %+v", h)
	}
	if w.row(v1, "pod-9") != nil {
		t.Error("an acknowledgement that says nothing made a row")
	}
}

func TestInstancesOfManagedIdentities(t *testing.T) {
	w := newWorld(t, audit.OS, nil)
	w.must(w.store.Update(w.ctx, store.NewOp(t0), func(tx store.Tx) error {
		if err := tx.PutTenant(w.ctx, &vault.Tenant{ID: tenant}); err != nil {
			return err
		}
		return tx.PutPrincipal(w.ctx, &principal.Principal{ID: "vm", Tenant: tenant, Kind: principal.ManagedIdentity, Name: "VM", Resource: "/Subscriptions/S/VM"})
	}))
	known, gone := get(v1, "", 1), get(v1, "", 2)
	known.Caller.PrincipalID, known.Caller.Kind = "vm", string(principal.ManagedIdentity)
	gone.Caller.PrincipalID, gone.Caller.Kind = "gone", string(principal.ManagedIdentity)
	w.add(known, gone)
	if h := w.row(v1, "/subscriptions/s/vm"); h == nil || h.Weak {
		t.Errorf("the row of the machine is %+v", h)
	}
	if h := w.row(v1, "@10.0.0.1"); h == nil || !h.Weak || h.Principal != "gone" {
		t.Errorf("the row of the identity that is gone is %+v", h)
	}
}

// TestCrashes ends the process again and again while reads go on, and makes commits fail in both ways: every delivery is there afterwards, first and last as
// the log tells them, the last one in the store not older than Coarse, and its order to what the consumer did otherwise exact.
func TestCrashes(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rnd := rand.New(rand.NewPCG(seed, 1))
			w := &world{TB: t, ctx: t.Context(), dir: t.TempDir(), boot: "boot", durability: audit.Durability(seed % 2), disk: disktest.New(seed), clock: clock.NewManual(t0)}
			var mu sync.Mutex
			fail := func(share int) func() error {
				return func() error {
					mu.Lock()
					defer mu.Unlock()
					if rnd.IntN(share) == 0 {
						return fmt.Errorf("the commit was made to fail")
					}
					return nil
				}
			}
			w.edit = func(c *Config) {
				c.MaxConsumers = 1 + int(seed)*10 // most are forgotten between their reads
				c.Linger = time.Duration(seed) * time.Millisecond
			}
			w.open()
			want := map[store.HoldingKey]*Holding{}
			second := 1
			for round := range 6 {
				for range 50 {
					mu.Lock()
					v, instance, jump, what, stored := []vault.VersionID{v1, v2, v3}[rnd.IntN(3)], fmt.Sprint("i", rnd.IntN(5)), rnd.IntN(20), rnd.IntN(6), rnd.IntN(4) == 0
					mu.Unlock()
					second += jump
					r := get(v, instance, second)
					f := row(v, instance, second, second)
					if what == 0 {
						r = ack(v, instance, second, Ack{Level: Used})
						f = row(v, instance, 0, 0, used(second))
					}
					f.NameKey = "db-password"
					w.add(r)
					if known := want[f.HoldingKey]; known != nil {
						known.join(f)
					} else {
						want[f.HoldingKey] = f
					}
					if stored {
						ctx, cancel := context.WithTimeout(w.ctx, 20*time.Millisecond)
						w.CatchUp(ctx) // which the store may not let it
						cancel()
					}
				}
				w.faults = sqlite.Faults{}
				if round%2 == 0 {
					w.faults = sqlite.Faults{BeforeCommit: fail(5), AfterCommit: fail(5)}
				}
				w.drop()
				w.disk = w.disk.Kill()
				w.log.Stop()
				for w.tryOpen() != nil {
				}
				if w.faults.BeforeCommit == nil {
					// The look is at the store alone, as a process takes it that starts after the crash.
					w.must(w.CatchUp(w.ctx))
					checkRows(t, w, want)
				}
			}
			w.drop()
			w.log.Stop()
		})
	}
}

// tryOpen opens the node, whose store may refuse at the moment.
func (w *world) tryOpen() (err error) {
	w.store, err = sqlite.Open(sqlite.Config{Dir: filepath.Join(w.dir, "store"), Faults: w.faults})
	w.must(err)
	w.openLog()
	config := Config{Store: w.store, Log: w.log, Node: "node", Durability: w.durability, Boot: w.boot, Clock: w.clock, Logger: slog.New(slog.DiscardHandler), Pace: time.Millisecond}
	w.edit(&config)
	if w.Ledger, err = New(w.ctx, config); err != nil {
		w.store.Close()
		w.log.Stop()
		return err
	}
	w.must(w.Start(w.ctx))
	return nil
}

func checkRows(t *testing.T, w *world, want map[store.HoldingKey]*Holding) {
	t.Helper()
	found := 0
	got := map[store.HoldingKey]*store.Holding{}
	w.must(w.store.View(w.ctx, func(tx store.Tx) error {
		rows, err := tx.Holdings(w.ctx, store.HoldingQuery{})
		for _, h := range rows {
			got[h.HoldingKey] = h
		}
		return err
	}))
	for k, f := range want {
		h := got[k]
		if h == nil {
			t.Errorf("the row of %s %s is missing", k.Version, k.Instance)
			continue
		}
		found++
		if !h.First.Equal(f.First) || !h.Used.Equal(f.Used) {
			t.Errorf("%s %s: first %v, used %v; want %v, %v", k.Version, k.Instance, h.First, h.Used, f.First, f.Used)
		}
		if h.Last.After(f.Last) || f.Last.Sub(h.Last) >= Coarse {
			t.Errorf("%s %s: last %v, in truth %v", k.Version, k.Instance, h.Last, f.Last)
		}
		// The order to what the same consumer did otherwise. Of two things at one instant nobody can tell.
		for other, o := range want {
			if other.Instance == k.Instance && (f.Last.After(o.Used) && h.Last.Before(o.Used) || f.Last.After(o.First) && h.Last.Before(o.First)) {
				t.Errorf("%s %s was delivered last at %v, and the store has %v: which is on the other side of what was done at %v or %v", k.Version, k.Instance, f.Last, h.Last, o.Used, o.First)
			}
		}
	}
	if len(got) != found || found == 0 {
		t.Errorf("the ledger has %d rows, want %d", len(got), len(want))
	}
}

func TestWhole(t *testing.T) {
	for _, c := range []struct {
		name       string
		durability audit.Durability
		end        func(*world)
		whole      bool
	}{
		{"a crash of the process", audit.OS, func(w *world) { w.crash(false) }, true},
		{"a power loss", audit.OS, func(w *world) { w.crash(true) }, false},
		{"a power loss when every record is durable", audit.Fsync, func(w *world) { w.crash(true) }, true},
		{"an end in order", audit.OS, func(w *world) { w.restart() }, true},
		{"an end in order and another start of the machine", audit.OS, func(w *world) { w.boot = "other"; w.restart() }, true},
		{"nobody knows whether the machine was started", audit.OS, func(w *world) { w.boot = ""; w.crash(false) }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, c.durability, nil)
			if !w.Whole().IsZero() {
				t.Fatal("a new ledger is not whole")
			}
			w.add(get(v1, "a", 1))
			w.clock.Advance(time.Hour)
			c.end(w)
			if got := w.Whole().IsZero(); got != c.whole {
				t.Errorf("it is whole since %v", w.Whole())
			}
			if !c.whole && !w.Whole().Equal(w.clock.Now()) {
				t.Errorf("it is whole since %v, want the start", w.Whole())
			}
			// What is not whole stays so over an end in order.
			was := w.Whole()
			w.clock.Advance(time.Hour)
			w.restart()
			if !w.Whole().Equal(was) {
				t.Errorf("after a restart in order it is whole since %v, before since %v", w.Whole(), was)
			}
			list, err := w.Restarted(w.ctx)
			if w.must(err); (len(list) == 0) != c.whole {
				t.Errorf("the restarts are %v", list)
			}
		})
	}
}

func TestALogThatWasReplacedIsReadAnew(t *testing.T) {
	w := newWorld(t, audit.OS, nil)
	w.add(get(v1, "a", 1), get(v1, "b", 2))
	w.row(v1, "a")
	w.Stop()
	w.must(w.store.Close())
	w.log.Stop()
	w.disk = disktest.New(2)
	w.open()
	if w.Whole().IsZero() {
		t.Error("a log that lost its records is whole")
	}
	w.add(get(v2, "a", 3))
	if w.row(v2, "a") == nil || w.row(v1, "a") == nil {
		t.Error("the new log is not followed, or what was known is forgotten")
	}
	w.restart()
	w.add(get(v2, "c", 4))
	if w.row(v2, "c") == nil {
		t.Error("after a restart the new log is not followed")
	}
}

func TestWaitEndsWithItsContext(t *testing.T) {
	w := newWorld(t, audit.OS, nil)
	ctx, cancel := context.WithTimeout(w.ctx, 20*time.Millisecond)
	defer cancel()
	if err := w.Wait(ctx, 99); !fault.Is(err, fault.Unavailable) {
		t.Errorf("Wait = %v", err)
	}
	if _, err := w.Ask(ctx, thing, Question{Old: v1, New: v2, Since: t0}); err == nil {
		t.Error("a ledger that cannot catch up answered")
	}
	w.add(get(v1, "a", 1))
	if n, _ := w.Lag(); n < 0 || n > 1 {
		t.Errorf("the lag is %d records", n)
	}
	w.row(v1, "a")
	if n, d := w.Lag(); n != 0 || d != 0 {
		t.Errorf("level with the log, the lag is %d records and %v", n, d)
	}
}

func TestAsk(t *testing.T) {
	w := newWorld(t, audit.OS, nil)
	policy := Policy{Grace: time.Minute}
	ask := func(old, replacing vault.VersionID, since int) Verdict {
		t.Helper()
		v, err := w.Ask(w.ctx, thing, Question{Policy: policy, Old: old, New: replacing, Since: at(since)})
		w.must(err)
		return v
	}
	w.add(get(v1, "a", 1), get(v1, "b", 2), get(v1, "", 3), get(v2, "a", 11), ack(v2, "a", 12, Ack{Level: Used}))
	w.clock.Advance(200 * time.Second)
	v := ask(v1, v2, 10)
	if v.Safe || len(v.Holders) != 3 || len(v.WaitingFor) != 2 || v.Holders[2].State != Moved {
		t.Fatalf("%+v", v)
	}
	// What the laggards do afterwards is known at once, without any wait by the caller.
	clearing := get(v1, "desk", 20)
	clearing.Operation, clearing.Detail = ClearOperation, Clearance{Consumer{Principal: "p", Instance: "@10.0.0.1"}, "it was me"}.Detail()
	w.add(get(v2, "b", 13), ack(v2, "b", 14, Ack{Level: Used}), clearing)
	if v := ask(v1, v2, 10); !v.Safe {
		t.Errorf("not safe: %s", v.Reason)
	}
	w.add(get(v1, "c", 21))
	if v := ask(v1, v2, 10); v.Safe || len(v.WaitingFor) != 1 || v.WaitingFor[0].Instance != "c" {
		t.Errorf("somebody who just read the old version is no obstacle: %+v", v)
	}
	// A return to a version whose id is smaller.
	if v := ask(v2, v1, 15); v.Safe || len(v.Holders) != 2 {
		t.Errorf("%d holders of the version that was taken back", len(v.Holders))
	}
	w.add(get(v1, "a", 31), ack(v1, "a", 32, Ack{Level: Used}))
	if v := ask(v2, v1, 15); len(v.WaitingFor) != 1 || v.WaitingFor[0].Instance != "b" {
		t.Errorf("%+v", v.WaitingFor)
	}
	safe, waiting, _, reason, err := w.Verdict(w.ctx, thing, v2, v1, at(15), policy)
	if safe || len(waiting) != 1 || reason == "" || err != nil {
		t.Errorf("Verdict = %t, %d, %q, %v", safe, len(waiting), reason, err)
	}
}

// TestSilenceCountsWhileTheServerHears: a consumer that could not poll because the server was away is not gone, nor one that polls another version.
func TestSilenceCountsWhileTheServerHears(t *testing.T) {
	w := newWorld(t, audit.OS, nil)
	state := func() State {
		t.Helper()
		v, err := w.Ask(w.ctx, thing, Question{Old: v2, New: v3, Since: at(10)})
		w.must(err)
		if len(v.Holders) != 1 {
			t.Fatalf("%d holders", len(v.Holders))
		}
		return v.Holders[0].State
	}
	w.add(get(v2, "a", 1), ack(v2, "a", 2, Ack{Level: Used, Poll: 10 * time.Second}))
	w.clock.Advance(500 * time.Second)
	if got := state(); got != Gone {
		t.Errorf("after many missed polls it is %s", got)
	}
	w.restart()
	if got := state(); got == Gone {
		t.Error("it is gone, although nobody could hear it")
	}
	w.clock.Advance(91 * time.Second)
	if got := state(); got != Gone {
		t.Errorf("after three missed polls since the start it is %s", got)
	}
	w.add(get(v1, "a", 590)) // by its id, which is smaller than that of the old version
	if got := state(); got == Gone {
		t.Error("it is gone, although it has just polled another version")
	}
}

func TestSeen(t *testing.T) {
	w := newWorld(t, audit.OS, nil)
	ten, eleven, twelve := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.11"), netip.MustParseAddr("10.0.0.12")
	shared := get(v1, "c", 2)
	shared.ClientAddress = eleven
	also := get(v1, "d", 3)
	also.ClientAddress = eleven
	w.add(get(v1, "a", 1), shared, also) // which the ledger need not have taken in yet
	w.must(w.Seen(w.ctx, Observation{Object: thing, Version: v1, At: at(50), Sessions: []Session{{Address: ten, Since: at(5)}, {Address: ten, Since: at(40)},
		{Address: eleven}, {Address: twelve}, {}}}))
	if h := w.row(v1, "a"); !h.Seen.Equal(at(50)) || !h.Login.Equal(at(40)) {
		t.Errorf("the session of the only one at its address: %+v", h)
	}
	if h := w.row(v1, "c"); !h.Seen.IsZero() {
		t.Error("a session was given to one of two at an address")
	}
	for _, instance := range []string{"@10.0.0.11", "@10.0.0.12", "@unknown"} {
		if h := w.row(v1, instance); h == nil || h.Principal != "" || !h.Seen.Equal(at(50)) || !h.Weak {
			t.Errorf("the session of somebody at %s: %+v", instance, h)
		}
	}
	if h := w.row(v1, ""); h == nil || h.Target == nil || h.Target.Open != 5 {
		t.Errorf("the target's row is %+v", h)
	}
	w.clock.Advance(60 * time.Second)
	v, err := w.Ask(w.ctx, thing, Question{Old: v1, New: v2, Since: at(10)})
	w.must(err)
	if len(v.WaitingFor) != 6 {
		t.Errorf("%d are waited for, want 6", len(v.WaitingFor))
	}
	// The count is exact also when there are more than anybody wants to read.
	var crowd []Session
	for i := range 300 {
		crowd = append(crowd, Session{Address: netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)})})
	}
	w.must(w.Seen(w.ctx, Observation{Object: thing, Version: v1, At: at(55), Sessions: crowd}))
	if h := w.row(v1, ""); h.Target.Open != 300 {
		t.Errorf("%d sessions were counted", h.Target.Open)
	}
	if err := w.Seen(w.ctx, Observation{}); err == nil {
		t.Error("an observation of nothing was taken")
	}
}

// TestRetiredCredentials: the use of a version that was revoked raises one alarm an hour and consumer, whether it was read, refused or seen at the target.
func TestRetiredCredentials(t *testing.T) {
	w := newWorld(t, audit.OS, nil)
	object := &vault.Object{ID: vault.NewObjectID(t0), Vault: "v", Kind: vault.Secret, Name: "Db-Password", Current: v2}
	w.must(w.store.Update(w.ctx, store.NewOp(t0), func(tx store.Tx) error {
		for v, s := range map[vault.VersionID]vault.VersionState{v1: vault.Retired, v2: vault.Active, v3: vault.Retiring} {
			if err := tx.AddVersion(w.ctx, &vault.Version{ID: v, Object: object.ID, State: s}); err != nil {
				return err
			}
		}
		return tx.PutObject(w.ctx, object)
	}))
	alarms := func() (list []RetiredUse) {
		t.Helper()
		w.must(w.CatchUp(w.ctx))
		w.must(w.store.View(w.ctx, func(tx store.Tx) error {
			commits, err := tx.Commits(w.ctx, 0, 0)
			for _, c := range commits {
				for _, e := range c.Events {
					var u RetiredUse
					if e.Type != RetiredUsed || len(e.ID) != 32 || e.Subject != "Db-Password" || json.Unmarshal(e.Data, &u) != nil {
						t.Errorf("a strange event: %+v", e)
					}
					list = append(list, u)
				}
			}
			return err
		}))
		return list
	}
	refusal := func(v vault.VersionID, instance string, second int) *audit.Record {
		r := get(v, instance, second)
		r.Outcome, r.Reason = audit.Failed, "SecretDisabled"
		return r
	}
	w.add(get(v2, "a", 1), get(v3, "a", 2), refusal(v2, "b", 3), refusal(v3, "b", 4))
	if got := alarms(); len(got) != 0 {
		t.Errorf("the use of versions that are not retired raised %+v", got)
	}
	w.add(refusal(v1, "b", 5), get(v1, "c", 6))
	if got := alarms(); len(got) != 2 || got[0].How != "refused" || got[0].Instance != "b" || got[1].How != "read" || got[1].Principal != "p" || got[1].Address != "10.0.0.1" {
		t.Errorf("the alarms are %+v", got)
	}
	w.add(refusal(v1, "b", 7), get(v1, "c", 800))
	if got := alarms(); len(got) != 2 {
		t.Errorf("within the hour there are %d alarms", len(got))
	}
	w.add(refusal(v1, "b", 3606), get(v1, "c", 3607))
	if got := alarms(); len(got) != 4 {
		t.Errorf("after the hour there are %d alarms", len(got))
	}
	w.must(w.Seen(w.ctx, Observation{Object: thing, Version: v1, At: at(4000), Sessions: []Session{{Address: netip.MustParseAddr("10.9.9.9")}}}))
	w.must(w.Seen(w.ctx, Observation{Object: thing, Version: v1, At: at(4010), Sessions: []Session{{Address: netip.MustParseAddr("10.9.9.9")}}}))
	if got := alarms(); len(got) != 5 || got[4].How != "session" || got[4].Instance != "@10.9.9.9" {
		t.Errorf("the alarms are %+v", got)
	}
	// Who was refused holds nothing.
	copies, err := w.Copies(w.ctx, thing, v1)
	w.must(err)
	if len(copies) != 2 {
		t.Errorf("%d consumers hold the retired version, want the one that read it and the one that was seen", len(copies))
	}
}

func FuzzDetails(f *testing.F) {
	f.Add("used")
	f.Add("loaded, polls every 30s")
	f.Add(Clearance{Consumer{Principal: "p", Instance: "a \"b\""}, "why: not"}.Detail())
	f.Add("push to host:/etc/x")
	f.Fuzz(func(t *testing.T, s string) {
		if a, err := ParseAck(s); err == nil && (a.Detail() != s || a.Check() != nil) {
			t.Errorf("%q is read as %+v, which is %q", s, a, a.Detail())
		}
		if c, err := ParseClearance(s); err == nil && (c.Detail() != s || c.Check() != nil) {
			t.Errorf("%q is read as %+v, which is %q", s, c, c.Detail())
		}
		if c, err := ParseCopy(s); err == nil && (c.Detail() != s || c.Check() != nil) {
			t.Errorf("%q is read as %+v, which is %q", s, c, c.Detail())
		}
	})
}

func TestForget(t *testing.T) {
	w := newWorld(t, audit.OS, nil)
	object := &vault.Object{ID: vault.NewObjectID(t0), Vault: "v", Kind: vault.Secret, Name: "Db-Password", Current: v2}
	w.must(w.store.Update(w.ctx, store.NewOp(t0), func(tx store.Tx) error {
		for v, s := range map[vault.VersionID]vault.VersionState{v1: vault.Retired, v2: vault.Active, v3: vault.Retired} {
			if err := tx.AddVersion(w.ctx, &vault.Version{ID: v, Object: object.ID, State: s}); err != nil {
				return err
			}
		}
		return tx.PutObject(w.ctx, object)
	}))
	const day = 24 * 3600
	purged, gone := get(v1, "a", 1), get(v1, "a", 100*day)
	purged.ObjectName, gone.ObjectName = "purged", "purged-lately"
	backup := get("", "a", 1)
	backup.Action = backupSecret
	w.add(get(v1, "a", 1), get(v1, "b", 2), get(v2, "a", 1), get(v3, "a", 1), get(v3, "b", 100*day), purged, gone, backup)
	w.row(v1, "a")
	w.clock.Advance(410 * 24 * time.Hour)
	n, err := w.Forget(w.ctx)
	w.must(err)
	// What the alarms of the retired versions left are rows of the same consumers.
	if n != 3 || w.row(v1, "a") != nil || w.row(v2, "a") == nil || w.row(v3, "a") == nil || w.row("", "a") == nil {
		t.Errorf("%d rows were forgotten, want the two of the retired version and the one of the purged secret", n)
	}
	if n, err = w.Forget(w.ctx); n != 0 || err != nil {
		t.Errorf("again %d rows were forgotten, %v", n, err)
	}
}
