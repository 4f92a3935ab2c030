package ledger

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"path/filepath"
	"testing"

	"github.com/keywright/keywright/internal/audit"
	"github.com/keywright/keywright/internal/audit/disk/disktest"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/store/sqlite"
	"github.com/keywright/keywright/internal/vault"
)

// BenchmarkProject takes in records of reads, by the time of one. "again" are the reads of a thousand consumers that hold the version already, which is what a
// busy server writes; "new" are those of consumers that nobody has seen before, each of which costs a row; "moved" are those of 64 principals that
// read 10,000 objects, here and there, whose versions are all new.
func BenchmarkProject(b *testing.B) {
	b.Run("again", func(b *testing.B) { project(b, 1000, consumer) })
	b.Run("new", func(b *testing.B) { project(b, 1<<30, consumer) })
	b.Run("moved", func(b *testing.B) { project(b, 1<<30, moved) })
}

// consumer is the read of one version by the nth consumer.
func consumer(n int) *audit.Record {
	r := get(v1, "", 0)
	if n%2 == 0 {
		r.Instance = fmt.Sprint("pod-", n)
	}
	r.ClientAddress = netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)})
	return r
}

// moved is the nth read of a version that its reader did not have before.
func moved(n int) *audit.Record {
	const objects, principals = 10_000, 64
	object := n * 7919 % objects
	r := get(vault.VersionID(fmt.Sprintf("%032x", n+1)), "", 0)
	r.ObjectName, r.Caller.PrincipalID = fmt.Sprintf("secret-%05d", object), fmt.Sprintf("principal-%02d", object%principals)
	return r
}

func project(b *testing.B, consumers int, read func(n int) *audit.Record) {
	w := &world{TB: b, ctx: context.Background(), dir: b.TempDir(), durability: audit.OS, disk: disktest.New(1), clock: clock.NewManual(t0)}
	var err error
	w.store, err = sqlite.Open(sqlite.Config{Dir: filepath.Join(w.dir, "store")})
	w.must(err)
	defer w.store.Close()
	w.openLog()
	defer w.log.Stop()
	l, err := New(w.ctx, Config{Store: w.store, Log: w.log, Node: "node", Durability: w.durability, Clock: w.clock, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	w.must(err)
	takeAll := func() {
		w.must(w.log.Sync(w.ctx))
		for target := w.log.State().Synced; l.tail.Next() < target; {
			w.must(l.read(w.ctx))
			w.must(l.commit(w.ctx, false))
		}
	}
	record := func(i int) *audit.Record {
		r := read(i % consumers)
		r.Time = at(1 + i*40/max(b.N, 1))
		r.CorrelationID, r.UserAgent = fmt.Sprint(i), "azsdk-go-azsecrets/v1.4.0 (go1.26; linux)"
		return r
	}
	if consumers < 1<<20 {
		for i := range consumers {
			w.add(record(i))
		}
		takeAll()
	}
	const chunk = 20_000 // of the log, which is in memory here
	b.ReportAllocs()
	b.ResetTimer()
	for done := 0; done < b.N; {
		b.StopTimer()
		for range min(chunk, b.N-done) {
			w.add(record(done))
			done++
		}
		b.StartTimer()
		takeAll()
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
}
