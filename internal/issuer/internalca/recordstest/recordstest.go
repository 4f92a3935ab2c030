// Package recordstest is the conformance suite of internalca.Records, and Memory, an implementation for tests that passes it.
package recordstest

import (
	"context"
	"iter"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/issuer"
	"github.com/keywright/keywright/internal/issuer/internalca"
)

// Memory forgets everything with the process. Its zero value is ready.
type Memory struct {
	mu      sync.Mutex
	records []internalca.Record
	number  int64
}

var _ internalca.Records = (*Memory)(nil)

// Add keeps a record.
func (m *Memory) Add(_ context.Context, r internalca.Record) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if slices.ContainsFunc(m.records, func(o internalca.Record) bool { return o.Serial == r.Serial || o.RequestID == r.RequestID }) {
		return fault.New(fault.Conflict, "the record is there already")
	}
	m.records = append(m.records, r)
	return nil
}

// BySerial finds a record.
func (m *Memory) BySerial(_ context.Context, serial string) (internalca.Record, error) {
	return m.find(func(r internalca.Record) bool { return r.Serial == serial })
}

// ByRequest finds a record.
func (m *Memory) ByRequest(_ context.Context, id string) (internalca.Record, error) {
	return m.find(func(r internalca.Record) bool { return r.RequestID == id })
}

func (m *Memory) find(is func(internalca.Record) bool) (internalca.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if i := slices.IndexFunc(m.records, is); i >= 0 {
		return m.records[i], nil
	}
	return internalca.Record{}, fault.New(fault.NotFound, "there is no such record")
}

// Revoke marks a record.
func (m *Memory) Revoke(_ context.Context, serial string, revocation internalca.Revocation) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := slices.IndexFunc(m.records, func(r internalca.Record) bool { return r.Serial == serial })
	if i < 0 {
		return fault.New(fault.NotFound, "there is no such record")
	}
	if m.records[i].Revoked == nil {
		m.records[i].Revoked = &revocation
	}
	return nil
}

// Revoked goes over what is marked.
func (m *Memory) Revoked(_ context.Context, endAfter time.Time) iter.Seq2[internalca.Record, error] {
	m.mu.Lock()
	defer m.mu.Unlock()
	records := slices.Clone(m.records)
	return func(yield func(internalca.Record, error) bool) {
		for _, r := range records {
			if r.Revoked != nil && r.NotAfter.After(endAfter) && !yield(r, nil) {
				return
			}
		}
	}
}

// NextCRLNumber counts.
func (m *Memory) NextCRLNumber(context.Context) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.number++
	return m.number, nil
}

// Run checks each promise of internalca.Records; open returns empty ones.
func Run(t *testing.T, open func(*testing.T) internalca.Records) {
	end := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	record := func(serial, request string) internalca.Record {
		return internalca.Record{Serial: serial, RequestID: request, Profile: "server", DER: []byte("der of " + serial), NotAfter: end}
	}
	t.Run("Finds", func(t *testing.T) {
		r, ctx := open(t), t.Context()
		if err := r.Add(ctx, record("1f", "one")); err != nil {
			t.Fatal(err)
		}
		for name, find := range map[string]func() (internalca.Record, error){
			"serial": func() (internalca.Record, error) { return r.BySerial(ctx, "1f") }, "request": func() (internalca.Record, error) { return r.ByRequest(ctx, "one") },
		} {
			got, err := find()
			if err != nil || got.Serial != "1f" || got.RequestID != "one" || got.Profile != "server" || string(got.DER) != "der of 1f" || !got.NotAfter.Equal(end) || got.Revoked != nil {
				t.Errorf("by %s: %+v, %v", name, got, err)
			}
		}
		if _, err := r.BySerial(ctx, "2f"); !fault.Is(err, fault.NotFound) {
			t.Error(err)
		}
		if _, err := r.ByRequest(ctx, "two"); !fault.Is(err, fault.NotFound) {
			t.Error(err)
		}
		for _, again := range []internalca.Record{record("1f", "two"), record("2f", "one")} {
			if err := r.Add(ctx, again); !fault.Is(err, fault.Conflict) {
				t.Errorf("adding %s for %s: %v", again.Serial, again.RequestID, err)
			}
		}
	})
	t.Run("Revokes", func(t *testing.T) {
		r, ctx, at := open(t), t.Context(), end.Add(-time.Hour)
		for _, serial := range []string{"1", "2", "3"} {
			if err := r.Add(ctx, record(serial, "request "+serial)); err != nil {
				t.Fatal(err)
			}
		}
		for i, reason := range []issuer.Reason{issuer.KeyCompromise, issuer.Superseded} {
			if err := r.Revoke(ctx, "2", internalca.Revocation{At: at.Add(time.Duration(i) * time.Minute), Reason: reason}); err != nil {
				t.Fatal(err)
			}
		}
		got, err := r.BySerial(ctx, "2")
		if err != nil || got.Revoked == nil || got.Revoked.Reason != issuer.KeyCompromise || !got.Revoked.At.Equal(at) {
			t.Errorf("the first mark counts, and this is %+v, %v", got.Revoked, err)
		}
		if err := r.Revoke(ctx, "4", internalca.Revocation{At: at}); !fault.Is(err, fault.NotFound) {
			t.Error(err)
		}
		for after, want := range map[time.Time]int{end.Add(-time.Second): 1, end: 0} {
			n := 0
			for record, err := range r.Revoked(ctx, after) {
				if n++; err != nil || record.Serial != "2" {
					t.Errorf("%+v, %v", record, err)
				}
			}
			if n != want {
				t.Errorf("%d records end after %v, want %d", n, after, want)
			}
		}
	})
	t.Run("Numbers", func(t *testing.T) {
		r := open(t)
		var wg sync.WaitGroup
		numbers := make([]int64, 20)
		for i := range numbers {
			wg.Go(func() {
				n, err := r.NextCRLNumber(t.Context())
				if err != nil {
					t.Error(err)
				}
				numbers[i] = n
			})
		}
		wg.Wait()
		slices.Sort(numbers)
		if len(slices.Compact(numbers)) != 20 || numbers[0] < 1 {
			t.Errorf("numbers repeat: %v", numbers)
		}
	})
}
