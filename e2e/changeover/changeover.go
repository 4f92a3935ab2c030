// Package changeover proves of a pool of connections that it changes from one credential to the next under load, without a failed operation, and that the
// server learns of each change: the old credential goes exactly when the server was told that the new one is in use.
package changeover

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keywright/keywright/client"
	"github.com/keywright/keywright/client/keywrighttest"
)

// Target is a system with an account whose credential is changed. Credentials are counted from 0.
type Target interface {
	// Widen makes the nth credential good beside the one before, and returns the value of its secret.
	Widen(ctx context.Context, n int) (string, error)
	// Narrow makes the nth credential bad for good.
	Narrow(ctx context.Context, n int) error
}

// Sessions is a Target that shows who is signed in.
type Sessions interface {
	// Sessions counts those of the nth credential.
	Sessions(ctx context.Context, n int) (int, error)
}

// Pool makes what is under test and returns one operation of it. The operation must take a credential's refusal for an error, and need a new sign-in often.
type Pool func(v *client.Value) (work func(context.Context) error)

// Size of a run.
const (
	workers = 16
	changes = 20
	// between is how many operations there are at least between two changes.
	between = 100
	// patience is how long one thing may take on a busy machine.
	patience = 30 * time.Second
)

// secretName is the secret's.
const secretName = "changing"

// load counts what workers do.
type load struct {
	done, failed atomic.Int64
	first        atomic.Pointer[error]
}

// Run changes the credential twenty times under sixteen workers.
func Run(t *testing.T, target Target, pool Pool) {
	t.Helper()
	ctx := t.Context()
	value, err := target.Widen(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	s := keywrighttest.Start(t)
	version := s.SetSecret(secretName, value)
	v, err := client.NewValue(ctx, client.ValueConfig{Vault: s.Client().Vault(s.VaultName()), Name: secretName, TTL: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	work := pool(v)
	var l load
	stop := l.start(work)
	defer stop()
	began := time.Now()
	l.await(t, s, version)
	for n := 1; n <= changes; n++ {
		if value, err = target.Widen(ctx, n); err != nil {
			t.Fatalf("change %d: %v", n, err)
		}
		version = s.SetSecret(secretName, value)
		l.await(t, s, version)
		gone(t, target, n-1)
		if err := target.Narrow(ctx, n-1); err != nil {
			t.Fatalf("change %d: %v", n, err)
		}
	}
	stop()
	if n := l.failed.Load(); n > 0 {
		t.Errorf("%d operations failed, the first with: %v", n, *l.first.Load())
	}
	t.Logf("%d operations, %d failed, over %d changes in %s", l.done.Load(), l.failed.Load(), changes, time.Since(began).Round(time.Millisecond))
}

func (l *load) start(work func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for ctx.Err() == nil {
				one, end := context.WithTimeout(context.WithoutCancel(ctx), patience)
				if err := work(one); err != nil {
					l.failed.Add(1)
					l.first.CompareAndSwap(nil, &err)
					time.Sleep(10 * time.Millisecond)
				}
				end()
				l.done.Add(1)
			}
		})
	}
	return sync.OnceFunc(func() { cancel(); all.Wait() })
}

// await waits until this process has acknowledged that it uses the version, and enough was done.
func (l *load) await(t *testing.T, s *keywrighttest.Server, version string) {
	t.Helper()
	enough := l.done.Load() + between
	wait(t, "the version is acknowledged as used", func() (bool, error) {
		list, err := s.Client().Vault(s.VaultName()).Holders(t.Context(), secretName, version, 0)
		if err != nil {
			return false, err
		}
		for _, h := range list.Items {
			if h.Instance == client.ProcessInstance() && h.Used != nil {
				return l.done.Load() >= enough, nil
			}
		}
		return false, nil
	})
}

// gone waits until the pool has no connection with the nth credential any more.
func gone(t *testing.T, target Target, n int) {
	t.Helper()
	shows, ok := target.(Sessions)
	if !ok {
		return
	}
	wait(t, "connections with the old credential go", func() (bool, error) {
		left, err := shows.Sessions(t.Context(), n)
		return left == 0, err
	})
}

func wait(t *testing.T, what string, is func() (bool, error)) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		ok, err := is()
		if ok {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("never within %s: %s (%v)", patience, what, errors.Join(err))
		}
	}
}
