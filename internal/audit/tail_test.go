package audit

import (
	"context"
	"errors"
	"reflect"
	"testing"

	"github.com/keywright/keywright/internal/audit/disk/disktest"
	"github.com/keywright/keywright/internal/fault"
)

// lent is a record as a tail shows it.
func lent(r *Record) Record {
	c := *r
	c.Node, c.VaultName, c.Caller.AppID, c.Caller.UPN, c.Scope = "", "", "", "", ""
	c.Reason, c.CorrelationID, c.ClientRequestID, c.APIVersion, c.UserAgent, c.Path = "", "", "", "", "", ""
	return c
}

func TestTailShowsWhatFollowShows(t *testing.T) {
	cfg := testConfig(t, disktest.New(1))
	l := mustOpen(t, cfg)
	fill(t, l, 0, 100)
	if err := l.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	cfg.Sealer.(*gcm).shred("tenant-b")
	var want []Record
	stop := errors.New("enough")
	err := l.Follow(t.Context(), 0, func(i int64, r *Record) error {
		want = append(want, lent(r))
		if i == 99 {
			return stop
		}
		return nil
	})
	if !errors.Is(err, stop) {
		t.Fatal(err)
	}
	tail, err := l.Tail(0)
	if err != nil {
		t.Fatal(err)
	}
	var got []Record
	for failed := false; tail.Next() < 100; {
		err := tail.Read(t.Context(), 7, func(r *Record) error {
			if r.Index == 40 && !failed {
				failed = true
				return stop
			}
			got = append(got, *r)
			return nil
		})
		if err != nil && !errors.Is(err, stop) {
			t.Fatal(err)
		}
	}
	if len(got) != len(want) {
		t.Fatalf("the tail showed %d records, want %d", len(got), len(want))
	}
	for i := range got {
		if !reflect.DeepEqual(got[i], want[i]) {
			t.Fatalf("record %d:\n%+v\n%+v", i, got[i], want[i])
		}
	}
}

func TestTailWaits(t *testing.T) {
	l := mustOpen(t, testConfig(t, disktest.New(1)))
	fill(t, l, 0, 3)
	if err := l.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Tail(4); !fault.Is(err, fault.Conflict) {
		t.Errorf("a tail of records that are not there: %v", err)
	}
	tail, err := l.Tail(3)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := tail.Wait(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Wait = %v", err)
	}
	done := make(chan error)
	go func() { done <- tail.Wait(t.Context()) }()
	fill(t, l, 3, 4)
	if err := l.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	n := 0
	if err := tail.Read(t.Context(), 10, func(*Record) error { n++; return nil }); err != nil || n != 1 || tail.Next() != 4 {
		t.Errorf("read %d records to %d: %v", n, tail.Next(), err)
	}
}

func TestNamesAreForgotten(t *testing.T) {
	n := names{all: make(map[string]string)}
	for i := range 3 * maxNames {
		want := NewID().String()
		if got := n.str([]byte(want)); got != want {
			t.Fatalf("%d: %q became %q", i, want, got)
		}
		if len(n.all) > maxNames {
			t.Fatalf("%d names are kept", len(n.all))
		}
	}
	if n.str(nil) != "" {
		t.Error("an empty text became another")
	}
}

func BenchmarkTail(b *testing.B) {
	cfg := testConfig(b, disktest.New(1))
	cfg.SegmentBytes, cfg.ReserveBytes = 4<<20, 4<<20
	l := mustOpen(b, cfg)
	fill(b, l, 0, 5000)
	if err := l.Sync(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for n := 0; n < b.N; {
		tail, err := l.Tail(0)
		if err != nil {
			b.Fatal(err)
		}
		if err := tail.Read(b.Context(), int64(b.N-n), func(*Record) error { n++; return nil }); err != nil {
			b.Fatal(err)
		}
	}
}
