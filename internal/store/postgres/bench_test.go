package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keywright/keywright/e2e/pgtest"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/store/postgres"
	"github.com/keywright/keywright/internal/vault"
)

// What a set writes besides the value: sizes as the services make them.
const (
	benchObjects = 1000
	valueBytes   = 400
	auditBytes   = 400
	eventBytes   = 300
)

// benchStore opens a store with a number of objects on a server that syncs its disk.
func benchStore(b *testing.B) (*postgres.Store, []*vault.Object) {
	b.Helper()
	db, err := pgtest.Start(b.Context(), pgtest.Config{Settings: []string{"fsync = on", "full_page_writes = on", "shared_buffers = 256MB"}})
	if errors.Is(err, pgtest.ErrMissing) && os.Getenv("CI") != "true" {
		b.Skip("SKIPPED: ", err)
	}
	if err != nil {
		b.Fatal(err)
	}
	s := open(b, postgres.Config{DSN: db.AdminDSN()})
	b.Cleanup(func() {
		s.Close()
		db.Stop()
	})
	now := time.Now()
	in := vault.NewID(now)
	objects := make([]*vault.Object, benchObjects)
	if err := s.Update(b.Context(), store.NewOp(now), func(tx store.Tx) error {
		for i := range objects {
			objects[i] = &vault.Object{ID: vault.NewObjectID(now), Vault: in, Kind: vault.Secret, Name: fmt.Sprintf("secret-%d", i), Created: now}
			v := benchVersion(objects[i], now)
			objects[i].Current = v.ID
			if err := errors.Join(tx.PutObject(b.Context(), objects[i]), tx.AddVersion(b.Context(), v)); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		b.Fatal(err)
	}
	return s, objects
}

func benchVersion(o *vault.Object, now time.Time) *vault.Version {
	return &vault.Version{ID: vault.NewVersionID(now), Object: o.ID, Attributes: vault.Attributes{Enabled: true, Created: now, Updated: now},
		Value: vault.Envelope{Key: "0123456789abcdef0123456789abcdef", WrappedKey: make([]byte, 60), Ciphertext: make([]byte, valueBytes)}}
}

// BenchmarkSet is the transaction of a secret's set: a version, its object, the audit record and an event.
func BenchmarkSet(b *testing.B) {
	s, objects := benchStore(b)
	audit, event := make([]byte, auditBytes), make([]byte, eventBytes)
	ctx := context.Background()
	for _, writers := range []int{1, 64} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			concurrently(b, writers, func(i int64) error {
				now := time.Now()
				o := objects[i*7919%benchObjects]
				v := benchVersion(o, now)
				return s.Update(ctx, store.NewOp(now), func(tx store.Tx) error {
					read, err := tx.Object(ctx, o.Vault, o.Kind, o.Name)
					if err != nil {
						return err
					}
					if err := tx.AddVersion(ctx, v); err != nil {
						return err
					}
					tx.Audit(audit)
					tx.Emit(store.Event{ID: string(v.ID), Type: "SecretNewVersionCreated", Vault: o.Vault, Subject: o.Name, At: now, Data: event})
					return tx.PutObject(ctx, read.Promote(v.ID))
				})
			})
		})
	}
}

// BenchmarkGet is what a cache miss costs: an object by name and its current version.
func BenchmarkGet(b *testing.B) {
	s, objects := benchStore(b)
	ctx := context.Background()
	for _, readers := range []int{1, 16} {
		b.Run(fmt.Sprintf("readers=%d", readers), func(b *testing.B) {
			concurrently(b, readers, func(i int64) error {
				o := objects[i*7919%benchObjects]
				return s.View(ctx, func(tx store.Tx) error {
					read, err := tx.Object(ctx, o.Vault, o.Kind, o.Name)
					if err != nil {
						return err
					}
					_, err = tx.Version(ctx, read.ID, read.Current)
					return err
				})
			})
		})
	}
}

// concurrently runs fn b.N times in n goroutines and reports how often a second.
func concurrently(b *testing.B, n int, fn func(i int64) error) {
	b.ReportAllocs()
	b.ResetTimer()
	var next atomic.Int64
	var group sync.WaitGroup
	for range n {
		group.Go(func() {
			for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
				if err := fn(i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
}
