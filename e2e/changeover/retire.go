package changeover

import (
	"context"
	"testing"
	"time"

	"github.com/keywright/keywright/client"
	"github.com/keywright/keywright/client/keywrighttest"
)

// Leaves changes the credential once under a pool whose connections would live for ever, and waits until none has the old one any more. The target shows
// who is signed in.
func Leaves(t *testing.T, target Target, pool Pool) {
	t.Helper()
	s := keywrighttest.Start(t)
	set := func(n int) string {
		t.Helper()
		value, err := target.Widen(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		return s.SetSecret(secretName, value)
	}
	set(0)
	v, err := client.NewValue(t.Context(), client.ValueConfig{Vault: s.Client().Vault(s.VaultName()), Name: secretName, TTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	var l load
	stop := l.start(pool(v))
	defer stop()
	wait(t, "the pool has connections", func() (bool, error) {
		n, err := target.(Sessions).Sessions(context.Background(), 0)
		return n > 1, err
	})
	version := set(1)
	wait(t, "the new version is heard of", func() (bool, error) { return v.Current().Version == version, nil })
	gone(t, target, 0)
	stop()
	if n := l.failed.Load(); n > 0 {
		t.Errorf("%d operations failed, the first with: %v", n, *l.first.Load())
	}
}
