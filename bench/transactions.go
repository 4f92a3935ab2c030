package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/store/sqlite"
	"github.com/keywright/keywright/internal/vault"
)

// Sizes of what a set writes, in bytes: a sealed value with its wrapped key, and a sealed audit record.
const (
	sealedBytes  = 156
	wrappedBytes = 60
	auditBytes   = 420
)

// runTransactions is the floor of a durable set: the store transaction that a set makes, by so many writers, in a process
// that does nothing else.
func runTransactions(o *options) (err error) {
	s, err := sqlite.Open(sqlite.Config{Dir: filepath.Join(o.dir, "transactions")})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	now := time.Now()
	v := vault.NewID(now)
	objects := make([]string, o.secrets)
	for i := range objects {
		objects[i] = fmt.Sprintf("secret-%05d", i)
	}
	blob := make([]byte, auditBytes)
	rand.Read(blob)
	set := func(name string) error {
		op := store.NewOp(time.Now())
		ver := &vault.Version{ID: vault.NewVersionID(op.At), Attributes: vault.Attributes{Enabled: true, Created: op.At, Updated: op.At},
			Value: vault.Envelope{Key: string(v), WrappedKey: blob[:wrappedBytes], Ciphertext: blob[:sealedBytes]}}
		fresh := vault.NewObjectID(op.At)
		return s.Update(context.Background(), op, func(tx store.Tx) error {
			ctx := context.Background()
			object, err := tx.Object(ctx, v, vault.Secret, name)
			if err != nil {
				object = &vault.Object{ID: fresh, Vault: v, Kind: vault.Secret, Name: name, Created: op.At}
			}
			ver.Object = object.ID
			tx.Audit(blob)
			tx.Emit(store.Event{ID: string(ver.ID), Type: "Microsoft.KeyVault.SecretNewVersionCreated", Vault: v, Subject: name, At: op.At, Data: []byte("{}")})
			return errors.Join(tx.AddVersion(ctx, ver), tx.PutObject(ctx, object.Promote(ver.ID)))
		})
	}
	if err := each(64, func(w int, _ *atomic.Bool) error {
		for i := w; i < len(objects); i += 64 {
			if err := set(objects[i]); err != nil {
				return err
			}
		}
		return nil
	}, 0); err != nil {
		return err
	}
	var total atomic.Int64
	before, start := selfCPU(), time.Now()
	err = each(64, func(w int, stop *atomic.Bool) error {
		for n := w; !stop.Load(); n += 64 {
			if err := set(objects[(n*31)%len(objects)]); err != nil {
				return err
			}
			total.Add(1)
		}
		return nil
	}, o.duration)
	n := float64(total.Load())
	fmt.Printf("transactions %.0f %.2f\n", n/time.Since(start).Seconds(), float64((selfCPU()-before).Microseconds())/n)
	return err
}

// each runs f in so many goroutines and tells them to stop after d; with d of 0 they stop by themselves.
func each(workers int, f func(worker int, stop *atomic.Bool) error, d time.Duration) error {
	var stop atomic.Bool
	errs := make([]error, workers)
	var all sync.WaitGroup
	for w := range workers {
		all.Go(func() { errs[w] = f(w, &stop) })
	}
	if d > 0 {
		time.Sleep(d)
		stop.Store(true)
	}
	all.Wait()
	return errors.Join(errs...)
}

// selfCPU is the CPU time that this process has spent (getrusage(2)).
func selfCPU() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
