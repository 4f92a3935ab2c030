package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/store/sqlite"
	"github.com/keywright/keywright/internal/vault"
)

// Sizes of what a set writes, in bytes: a sealed value with its wrapped key, a sealed audit record, and the data of an event.
const (
	sealedBytes  = 157
	wrappedBytes = 61
	auditBytes   = 420
	eventBytes   = 150
)

// setter makes the very transactions that sets of known secrets make, without what is around them.
type setter struct {
	store  *sqlite.Store
	vault  vault.ID
	key    string
	names  []string
	known  []atomic.Pointer[vault.Object]
	sealed []byte
	event  []byte
}

func newSetter(s *sqlite.Store, secrets int) (*setter, error) {
	now := time.Now()
	t := &setter{store: s, vault: vault.NewID(now), key: string(vault.NewID(now)), known: make([]atomic.Pointer[vault.Object], secrets), sealed: make([]byte, auditBytes)}
	for i := range secrets {
		t.names = append(t.names, fmt.Sprintf("secret-%05d", i))
	}
	rand.Read(t.sealed)
	t.event = fmt.Appendf(nil, "%q", bytes.Repeat([]byte{'e'}, eventBytes))
	return t, s.Update(context.Background(), store.NewOp(now), func(tx store.Tx) error {
		return tx.PutWrappedKey(context.Background(), &store.WrappedKey{ID: t.key, Purpose: store.VaultKey, Owner: string(t.vault), Wrapped: t.sealed[:wrappedBytes], Created: now, Updated: now})
	})
}

// set stores one more version of a secret.
func (t *setter) set(i int) error {
	for {
		err := t.over(i, t.known[i].Load())
		if e := fault.As(err); e == nil || e.Reason != store.StaleRevision {
			return err
		}
		t.known[i].Store(nil) // somebody else was faster
	}
}

// over stores a version over what is known of the secret; nil is read.
func (t *setter) over(i int, object *vault.Object) error {
	ctx, op := context.Background(), store.NewOp(time.Now())
	ver := &vault.Version{ID: vault.NewVersionID(op.At), Attributes: vault.Attributes{Enabled: true, Created: op.At, Updated: op.At},
		Value: vault.Envelope{Key: t.key, WrappedKey: t.sealed[:wrappedBytes], Ciphertext: t.sealed[:sealedBytes]}}
	err := t.store.Update(ctx, op, func(tx store.Tx) (err error) {
		if object == nil {
			if object, err = tx.Object(ctx, t.vault, vault.Secret, t.names[i]); fault.Is(err, fault.NotFound) {
				object = &vault.Object{ID: vault.NewObjectID(op.At), Vault: t.vault, Kind: vault.Secret, Name: t.names[i], Created: op.At}
			} else if err != nil {
				return err
			}
		}
		if there, err := tx.HasWrappedKey(ctx, t.key); err != nil || !there {
			return errors.Join(err, errors.New("the key is gone"))
		}
		if _, err := tx.Policy(ctx, object.ID); !fault.Is(err, fault.NotFound) {
			return errors.Join(err, errors.New("there is a policy"))
		}
		ver.Object, ver.Previous = object.ID, object.Current
		object = object.Promote(ver.ID)
		tx.Audit(t.sealed)
		tx.Emit(store.Event{ID: string(ver.ID), Type: "Microsoft.KeyVault.SecretNewVersionCreated", Vault: t.vault, Subject: t.names[i], At: op.At, Data: t.event})
		return errors.Join(tx.AddVersion(ctx, ver), tx.PutObject(ctx, object))
	})
	if err == nil {
		object.Revision++ // as it is stored
		t.known[i].Store(object)
	}
	return err
}

// runTransactions is the floor of a durable set: the store transaction that a set makes, by so many writers, in a process
// that does nothing else.
func runTransactions(o *options) (err error) {
	s, err := sqlite.Open(sqlite.Config{Dir: filepath.Join(o.dir, "transactions")})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	t, err := newSetter(s, o.secrets)
	if err != nil {
		return err
	}
	if err := each(64, func(w int, _ *atomic.Bool) error {
		for i := w; i < o.secrets; i += 64 {
			if err := t.set(i); err != nil {
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
			if err := t.set((n * 31) % o.secrets); err != nil {
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
