package sqlite_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/store/sqlite"
	"github.com/keywright/keywright/internal/vault"
)

// What a set writes besides the value: sizes as the services make them.
const (
	benchObjects = 10_000
	valueBytes   = 400
	auditBytes   = 400
	eventBytes   = 300
)

// benchStore opens a store with a number of objects, each with one version.
func benchStore(b *testing.B) (*sqlite.Store, *meter, []*vault.Object) {
	dir := b.TempDir()
	s, err := sqlite.Open(sqlite.Config{Dir: dir})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	now := time.Now()
	in := vault.NewID(now)
	objects := make([]*vault.Object, benchObjects)
	err = s.Update(b.Context(), store.NewOp(now), func(tx store.Tx) error {
		for i := range objects {
			o := &vault.Object{ID: vault.NewObjectID(now), Vault: in, Kind: vault.Secret, Name: fmt.Sprintf("secret-%d", i), Created: now}
			v := benchVersion(o, now)
			o.Current = v.ID
			if err := tx.PutObject(b.Context(), o); err != nil {
				return err
			}
			if err := tx.AddVersion(b.Context(), v); err != nil {
				return err
			}
			objects[i] = o
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	return s, newMeter(b, s, dir), objects
}

func benchVersion(o *vault.Object, now time.Time) *vault.Version {
	return &vault.Version{
		ID: vault.NewVersionID(now), Object: o.ID,
		Attributes: vault.Attributes{Enabled: true, Created: now, Updated: now},
		Value:      vault.Envelope{Key: "0123456789abcdef0123456789abcdef", WrappedKey: make([]byte, 60), Ciphertext: make([]byte, valueBytes)},
	}
}

// BenchmarkSet is the transaction of a secret's set: a version, its object, the audit record and an event.
func BenchmarkSet(b *testing.B) {
	for _, writers := range []int{1, 64} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			s, m, objects := benchStore(b)
			audit, event := make([]byte, auditBytes), make([]byte, eventBytes)
			set := func(i int64) error {
				now := time.Now()
				o := objects[i*7919%benchObjects]
				v := benchVersion(o, now)
				return s.Update(context.Background(), store.NewOp(now), func(tx store.Tx) error {
					read, err := tx.Object(context.Background(), o.Vault, o.Kind, o.Name)
					if err != nil {
						return err
					}
					if err := tx.AddVersion(context.Background(), v); err != nil {
						return err
					}
					tx.Audit(audit)
					tx.Emit(store.Event{ID: string(v.ID), Type: "SecretNewVersionCreated", Vault: o.Vault, Subject: o.Name, At: now, Data: event})
					return tx.PutObject(context.Background(), read.Promote(v.ID))
				})
			}
			concurrently(b, m, writers, set)
		})
	}
}

// BenchmarkGet is what a cache miss costs: an object by name and its current version.
func BenchmarkGet(b *testing.B) {
	for _, readers := range []int{1, 16} {
		b.Run(fmt.Sprintf("readers=%d", readers), func(b *testing.B) {
			s, m, objects := benchStore(b)
			get := func(i int64) error {
				o := objects[i*7919%benchObjects]
				return s.View(context.Background(), func(tx store.Tx) error {
					read, err := tx.Object(context.Background(), o.Vault, o.Kind, o.Name)
					if err != nil {
						return err
					}
					_, err = tx.Version(context.Background(), read.ID, read.Current)
					return err
				})
			}
			concurrently(b, m, readers, get)
		})
	}
}

// concurrently runs fn b.N times in n goroutines and reports how often a second.
func concurrently(b *testing.B, m *meter, n int, fn func(i int64) error) {
	b.ReportAllocs()
	b.ResetTimer()
	m.start()
	var next atomic.Int64
	done := make(chan error, n)
	for range n {
		go func() {
			for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
				if err := fn(i); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for range n {
		if err := <-done; err != nil {
			b.Error(err)
		}
	}
	b.StopTimer()
	m.report()
}
