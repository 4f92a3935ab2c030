package audit

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/keywright/keywright/internal/audit/disk"
	"github.com/keywright/keywright/internal/audit/disk/disktest"
	"github.com/keywright/keywright/internal/fault"
)

// gcm seals with AES-256-GCM under a key per tenant, as the keyring does.
type gcm struct {
	mu   sync.RWMutex
	keys map[string]cipher.AEAD
}

func newGCM(t testing.TB, tenants ...string) *gcm {
	g := &gcm{keys: map[string]cipher.AEAD{}}
	for i, tenant := range append(tenants, "") {
		block, err := aes.NewCipher(bytes.Repeat([]byte{byte(i + 1)}, 32))
		if err != nil {
			t.Fatal(err)
		}
		if g.keys[tenant], err = cipher.NewGCMWithRandomNonce(block); err != nil {
			t.Fatal(err)
		}
	}
	return g
}

func (g *gcm) key(tenant string) (cipher.AEAD, error) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if k := g.keys[tenant]; k != nil {
		return k, nil
	}
	return nil, fault.New(fault.Gone, "the key of tenant %s is destroyed", tenant)
}

func (g *gcm) SealAudit(dst []byte, tenant string, plaintext, additional []byte) ([]byte, error) {
	k, err := g.key(tenant)
	if err != nil {
		return nil, err
	}
	return k.Seal(dst, nil, plaintext, additional), nil
}

func (g *gcm) OpenAudit(dst []byte, tenant string, sealed, additional []byte) ([]byte, error) {
	k, err := g.key(tenant)
	if err != nil {
		return nil, err
	}
	return k.Open(dst, nil, sealed, additional)
}

func (g *gcm) shred(tenant string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.keys, tenant)
}

const testOrigin = "keywright.test/node-1"

var (
	testSigner   note.Signer
	testVerifier note.Verifier
)

func TestMain(m *testing.M) {
	skey, vkey, err := note.GenerateKey(bytes.NewReader(bytes.Repeat([]byte{7}, 64)), "node-1")
	if err == nil {
		testSigner, err = note.NewSigner(skey)
	}
	if err == nil {
		testVerifier, err = note.NewVerifier(vkey)
	}
	if err != nil {
		panic(err)
	}
	if dir := os.Getenv("KEYWRIGHT_AUDIT_CHILD"); dir != "" {
		child(dir)
		return
	}
	os.Exit(m.Run())
}

func testConfig(t testing.TB, d disk.FS) Config {
	return Config{Disk: d, Node: "node-1", Origin: testOrigin, Signer: testSigner, Verifier: testVerifier,
		Sealer: newGCM(t, "tenant-a", "tenant-b"), SegmentBytes: 16 << 10, ReserveBytes: 16 << 10,
		OnError: func(err error) { t.Log("behind the log:", err) }}
}

func mustOpen(t testing.TB, cfg Config) *Log {
	t.Helper()
	l, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Stop)
	return l
}

var epoch = time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)

// sample returns the i-th record of a history: one second apart, two tenants, some denials.
func sample(i int) *Record {
	r := &Record{Time: epoch.Add(time.Duration(i) * time.Second), ID: ID{15: byte(i), 14: byte(i >> 8), 0: 1}, Node: "node-1",
		Tenant: []string{"tenant-a", "tenant-b"}[i%2], VaultID: fmt.Sprint("v", i%3), VaultName: fmt.Sprint("vault-", i%3),
		Door: "azure", Action: "Microsoft.KeyVault/vaults/secrets/getSecret/action",
		Caller:        Caller{PrincipalID: fmt.Sprint("p", i%5), AppID: "app", UPN: "ada@example.org", Kind: "user", Tenant: "home"},
		ClientAddress: netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), Instance: "pod-1", ObjectKind: "secret",
		ObjectName: fmt.Sprint("name-", i%7), Version: "0123456789abcdef0123456789abcdef", Outcome: Allowed, Status: 200,
		CorrelationID: fmt.Sprint("c", i), ClientRequestID: "r", APIVersion: "7.6", UserAgent: "azsdk-go", Path: "/secrets/name",
		Duration: 1234 * time.Microsecond, Operation: "SecretGet", Scope: "/subscriptions/s/resourceGroups/g",
		Detail: "because"}
	if i%10 == 9 {
		r.Outcome, r.Reason, r.Status = Denied, "ForbiddenByRbac", 403
	}
	return r
}

func fill(t testing.TB, l *Log, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		if err := l.Append(context.Background(), sample(i)); err != nil {
			t.Fatal(err)
		}
	}
}

func collect(t testing.TB, l *Log, f Filter) []*Record {
	t.Helper()
	var got []*Record
	for r, err := range l.Query(t.Context(), f) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, r)
	}
	return got
}

func verify(t testing.TB, d disk.FS, external []byte) Report {
	t.Helper()
	report, err := Verify(t.Context(), d, VerifyOptions{Origin: testOrigin, Verifiers: note.VerifierList(testVerifier), Checkpoints: kept(external)})
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func TestLogLife(t *testing.T) {
	for _, durability := range []Durability{OS, Fsync} {
		t.Run(durability.String(), func(t *testing.T) {
			cfg := testConfig(t, nil)
			cfg.Dir, cfg.Durability, cfg.CheckpointInterval = t.TempDir(), durability, time.Millisecond
			handed := make(chan []byte, 100)
			cfg.Sinks = []CheckpointSink{func(_ context.Context, signed []byte) error { handed <- signed; return nil }}
			for round := range 3 {
				l := mustOpen(t, cfg)
				if err := l.Start(t.Context()); err != nil {
					t.Fatal(err)
				}
				fill(t, l, round*200, (round+1)*200)
				if err := l.Sync(t.Context()); err != nil {
					t.Fatal(err)
				}
				<-handed
				l.Stop()
				l.Stop()
				if err := l.Append(t.Context(), sample(0)); !fault.Is(err, fault.Unavailable) {
					t.Fatalf("append after Stop: %v", err)
				}
			}
			d, err := disk.ReadDir(cfg.Dir)
			if err != nil {
				t.Fatal(err)
			}
			var last []byte
			for len(handed) > 0 {
				last = <-handed
			}
			if report := verify(t, d, last); !report.OK() || report.Records != 600 || report.Proven != 600 {
				t.Fatalf("%+v", report)
			}
		})
	}
}

func TestAppendFillsInAndAllocatesNothing(t *testing.T) {
	cfg := testConfig(t, nil)
	cfg.Dir, cfg.SegmentBytes, cfg.ReserveBytes = t.TempDir(), 64<<20, -1
	l := mustOpen(t, cfg)
	if err := l.Append(t.Context(), &Record{Action: "SecretGet", Outcome: Allowed}); err != nil {
		t.Fatal(err)
	}
	got := collect(t, l, Filter{})
	if len(got) != 1 || got[0].ID == (ID{}) || got[0].Node != "node-1" || time.Since(got[0].Time) > time.Minute {
		t.Fatalf("%+v", got[0])
	}
	r := sample(1)
	if n := testing.AllocsPerRun(1000, func() {
		if err := l.Append(context.Background(), r); err != nil {
			t.Fatal(err)
		}
	}); n > 0.5 { // the pool may be emptied by a collection
		t.Errorf("%v allocations per append", n)
	}
	if err := l.Append(t.Context(), &Record{Action: "SecretGet"}); err == nil {
		t.Error("a record without an outcome was taken")
	}
}

func BenchmarkAppend(b *testing.B) {
	cfg := testConfig(b, nil)
	cfg.Dir, cfg.SegmentBytes, cfg.ReserveBytes = b.TempDir(), 0, 256<<20
	l := mustOpen(b, cfg)
	if err := l.Start(context.Background()); err != nil {
		b.Fatal(err)
	}
	r := sample(1)
	b.ReportAllocs()
	for b.Loop() {
		if err := l.Append(context.Background(), r); err != nil {
			b.Fatal(err)
		}
	}
}

func TestShreddedTenantStaysVerifiable(t *testing.T) {
	d := disktest.New(1)
	cfg := testConfig(t, d)
	l := mustOpen(t, cfg)
	fill(t, l, 0, 10)
	cfg.Sealer.(*gcm).shred("tenant-a")
	got := collect(t, l, Filter{})
	if len(got) != 10 {
		t.Fatalf("%d records", len(got))
	}
	for i, r := range got {
		shredded := i%2 == 0
		if r.Shredded != shredded || shredded && (r.Action != "" || r.Tenant != "tenant-a" || !r.Time.Equal(sample(i).Time)) {
			t.Errorf("record %d: %+v", i, r)
		}
	}
	if n := len(collect(t, l, Filter{Operation: "SecretGet"})); n != 5 {
		t.Errorf("%d records have the action, want those of the other tenant", n)
	}
	l.Stop()
	if report := verify(t, d, nil); !report.OK() || report.Proven != 10 {
		t.Fatalf("%+v", report)
	}
}

func TestFrameOpensNowhereElse(t *testing.T) {
	g := newGCM(t, "tenant-a", "tenant-b")
	frame, err := Seal(nil, g, sample(0))
	if err != nil {
		t.Fatal(err)
	}
	for i := range frame {
		changed := bytes.Clone(frame)
		changed[i] ^= 1
		if e, err := parseEnvelope(changed); err == nil {
			if r, err := open(g, e, 0); err == nil && !r.Shredded {
				t.Fatalf("byte %d was changed and the record opened", i)
			}
		}
	}
}

func TestFollowSeesEachRecordOnce(t *testing.T) {
	d := disktest.New(3)
	l := mustOpen(t, testConfig(t, d))
	next := int64(0)
	follow := func(n int64) {
		t.Helper()
		ctx, cancel := context.WithCancel(t.Context())
		err := l.Follow(ctx, next, func(index int64, r *Record) error {
			if index != next || r.Index != index || r.CorrelationID != fmt.Sprint("c", index) {
				t.Fatalf("record %d (%s) came instead of %d", index, r.CorrelationID, next)
			}
			if next++; next == n {
				cancel()
			}
			return nil
		})
		if ctx.Err() == nil || next != n {
			t.Fatalf("%d records were seen, want %d: %v", next, n, err)
		}
		cancel()
	}
	fill(t, l, 0, 100)
	if err := l.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	fill(t, l, 100, 120) // not durable: a power loss may take them, so the follower does not see them
	follow(100)
	d = d.PowerLoss()
	l2 := mustOpen(t, testConfig(t, d))
	l = l2
	fill(t, l, int(l.State().Records), 150)
	if err := l.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	follow(150)
	if err := l.Follow(t.Context(), 151, nil); !fault.Is(err, fault.Conflict) {
		t.Fatalf("following beyond the end: %v", err)
	}
}

func TestQuery(t *testing.T) {
	d := disktest.New(1)
	l := mustOpen(t, testConfig(t, d))
	const n = 1500
	fill(t, l, 0, n)
	if err := l.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.writeIndexes()
	if d.Bytes(indexName(0)) == nil {
		t.Fatal("no index was kept")
	}
	cases := map[string]struct {
		filter Filter
		match  func(i int) bool
	}{
		"all":         {Filter{}, func(int) bool { return true }},
		"time":        {Filter{From: epoch.Add(300 * time.Second), To: epoch.Add(310 * time.Second)}, func(i int) bool { return i >= 300 && i < 310 }},
		"tenant":      {Filter{Tenant: "tenant-b"}, func(i int) bool { return i%2 == 1 }},
		"vault":       {Filter{VaultID: "v1"}, func(i int) bool { return i%3 == 1 }},
		"vault name":  {Filter{VaultName: "vault-2"}, func(i int) bool { return i%3 == 2 }},
		"principal":   {Filter{PrincipalID: "p4"}, func(i int) bool { return i%5 == 4 }},
		"object":      {Filter{ObjectKind: "secret", ObjectName: "name-3"}, func(i int) bool { return i%7 == 3 }},
		"action":      {Filter{Action: "SecretSet"}, func(int) bool { return false }},
		"outcome":     {Filter{Outcome: Denied}, func(i int) bool { return i%10 == 9 }},
		"correlation": {Filter{CorrelationID: "c777"}, func(i int) bool { return i == 777 }},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var want []int64
			for i := range n {
				if c.match(i) {
					want = append(want, int64(i))
				}
			}
			for _, newest := range []bool{false, true} {
				f := c.filter
				f.NewestFirst, f.Limit = newest, 400
				var got []int64
				for page := 0; ; page++ { // by pages
					records := collect(t, l, f)
					for _, r := range records {
						got = append(got, r.Index)
					}
					if len(records) < f.Limit {
						break
					}
					f.Cursor = records[len(records)-1].Cursor()
				}
				for i, index := range got {
					expect := i
					if newest {
						expect = len(want) - 1 - i
					}
					if len(got) != len(want) || index != want[expect] {
						t.Fatalf("newest first %v: %d records, want %d; number %d is record %d", newest, len(got), len(want), i, index)
					}
				}
				if len(got) != len(want) {
					t.Fatalf("%d records, want %d", len(got), len(want))
				}
			}
		})
	}
	for _, err := range l.Query(t.Context(), Filter{Cursor: "x"}) {
		if !fault.Is(err, fault.Invalid) {
			t.Errorf("a false cursor: %v", err)
		}
	}
	opened := &counting{Sealer: l.cfg.Sealer}
	l.cfg.Sealer = opened
	if got := collect(t, l, Filter{From: epoch.Add(300 * time.Second), To: epoch.Add(302 * time.Second)}); len(got) != 2 || opened.n != 2 {
		t.Errorf("%d records, %d bodies were opened", len(got), opened.n)
	}
}

type counting struct {
	Sealer
	n int
}

func (c *counting) OpenAudit(dst []byte, tenant string, sealed, additional []byte) ([]byte, error) {
	c.n++
	return c.Sealer.OpenAudit(dst, tenant, sealed, additional)
}

func TestNewIDIsRandom(t *testing.T) {
	if a, b := NewID(), NewID(); a == b {
		t.Fatal("two ids are equal")
	}
}

// TestEverythingAtOnce appends, queries, follows and signs concurrently; the race detector watches.
func TestEverythingAtOnce(t *testing.T) {
	for _, durability := range []Durability{OS, Fsync} {
		t.Run(durability.String(), func(t *testing.T) {
			cfg := testConfig(t, nil)
			cfg.Dir, cfg.Durability = t.TempDir(), durability
			cfg.SyncInterval, cfg.CheckpointInterval = time.Millisecond, time.Millisecond
			l := mustOpen(t, cfg)
			if err := l.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			const workers, each = 4, 100
			var work sync.WaitGroup
			for w := range workers {
				work.Go(func() {
					for i := range each {
						if err := l.Append(context.Background(), sample(w*each+i)); err != nil {
							t.Error(err)
						}
					}
				})
			}
			work.Go(func() {
				for range 5 {
					for _, err := range l.Query(context.Background(), Filter{NewestFirst: true, Limit: 50}) {
						if err != nil {
							t.Error(err)
						}
					}
					l.State()
					l.LatestCheckpoint()
				}
			})
			seen := map[string]bool{}
			ctx, cancel := context.WithCancel(t.Context())
			err := l.Follow(ctx, 0, func(_ int64, r *Record) error {
				if seen[r.CorrelationID] = true; len(seen) == workers*each {
					cancel()
				}
				return nil
			})
			if ctx.Err() == nil {
				t.Fatal(err)
			}
			cancel()
			work.Wait()
			l.Stop()
			report, err := VerifyDir(t.Context(), cfg.Dir, VerifyOptions{Origin: testOrigin, Verifiers: note.VerifierList(testVerifier)})
			if err != nil || !report.OK() || report.Proven != workers*each {
				t.Fatalf("%+v, %v", report, err)
			}
		})
	}
}

// kept is a list of the one checkpoint, if there is one.
func kept(signed []byte) [][]byte {
	if signed == nil {
		return nil
	}
	return [][]byte{signed}
}
