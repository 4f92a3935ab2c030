package client_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keywright/keywright/client"
	"github.com/keywright/keywright/client/api"
	"github.com/keywright/keywright/client/keywrighttest"
)

func value(t *testing.T, s *keywrighttest.Server, name string, ttl time.Duration) *client.Value {
	t.Helper()
	v, err := client.NewValue(t.Context(), client.ValueConfig{Vault: s.Client().Vault(s.VaultName()), Name: name, TTL: ttl})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	return v
}

// eventually waits for what takes a moment.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

// holding is what the ledger knows of this process and a version.
func holding(t *testing.T, s *keywrighttest.Server, name, version string) *api.VersionHolder {
	t.Helper()
	list, err := s.Client().Vault(s.VaultName()).Holders(t.Context(), name, version, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i := range list.Items {
		if list.Items[i].Instance == client.ProcessInstance() {
			return &list.Items[i]
		}
	}
	return nil
}

func TestAValueFollowsItsSecret(t *testing.T) {
	s := keywrighttest.Start(t)
	first := s.SetSecret("db", "one")
	v := value(t, s, "db", time.Hour) // the stream alone is quick enough
	if c := v.Current(); c.Version != first || string(c.Bytes()) != "one" {
		t.Fatalf("the value is %v", c.Version)
	}
	eventually(t, "loaded is acknowledged", func() bool {
		h := holding(t, s, "db", first)
		return h != nil && h.Loaded != nil && h.PollSeconds > 3600
	})
	for n := range 3 {
		changed := v.Changed()
		next := s.SetSecret("db", fmt.Sprint(n))
		select {
		case <-changed:
		case <-time.After(time.Minute):
			t.Fatal("the change is not heard of")
		}
		if c := v.Current(); c.Version != next {
			t.Errorf("the value is %s, want %s", c.Version, next)
		}
	}
}

// TestAValueIsPolled needs no stream: its polls come more often than one could be opened again.
func TestAValueIsPolled(t *testing.T) {
	s := keywrighttest.Start(t)
	s.SetSecret("db", "one")
	v := value(t, s, "db", 200*time.Millisecond)
	next := s.SetSecret("db", "two")
	eventually(t, "the poll finds the version", func() bool { return v.Current().Version == next })
}

func TestUsedIsAcknowledgedWhenNobodySignsInWithAnotherVersion(t *testing.T) {
	s := keywrighttest.Start(t)
	first := s.SetSecret("db", "one")
	v := value(t, s, "db", time.Hour)
	slow := v.Begin()
	second := s.SetSecret("db", "two")
	eventually(t, "the new version is heard of", func() bool { return v.Current().Version == second })
	quick := v.Begin()
	quick.Succeeded()
	eventually(t, "loaded is acknowledged", func() bool { h := holding(t, s, "db", second); return h != nil && h.Loaded != nil })
	time.Sleep(time.Second) // a wrong "used" would be sent right behind it
	if h := holding(t, s, "db", second); h != nil && h.Used != nil {
		t.Error("used was acknowledged while an attempt with the old version was under way")
	}
	slow.Succeeded()
	slow.Failed() // too late to count
	eventually(t, "used is acknowledged", func() bool { h := holding(t, s, "db", second); return h != nil && h.Used != nil })
	if h := holding(t, s, "db", first); h == nil || h.State != api.Moved {
		t.Errorf("the holder of the old version is %+v", h)
	}
}

var errRefused = errors.New("wrong password")

func refused(err error) bool { return errors.Is(err, errRefused) }

// target takes some values for passwords.
type target struct {
	mu       sync.Mutex
	accepted []string
	asked    atomic.Int64
}

func (g *target) accept(values ...string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.accepted = values
}

func (g *target) login(_ context.Context, s *client.Secret) error {
	g.asked.Add(1)
	g.mu.Lock()
	defer g.mu.Unlock()
	if slices.Contains(g.accepted, string(s.Bytes())) {
		return nil
	}
	return errRefused
}

func TestARefusalAsksTheServerOnce(t *testing.T) {
	s := keywrighttest.Start(t)
	s.SetSecret("db", "one")
	v := value(t, s, "db", time.Hour)
	v.Close() // what it reads because it follows the secret is not counted
	var g target
	g.accept("two")
	reads := func() (n int) {
		for r, err := range s.Client().AuditRecords(t.Context(), client.AuditFilter{}) {
			if err != nil {
				t.Fatal(err)
			}
			if r.Operation == "SecretGet" {
				n++
			}
		}
		return n
	}
	// A target that cannot be reached is no reason to ask.
	before := reads()
	down := errors.New("connection refused")
	if err := v.SignIn(t.Context(), func(context.Context, *client.Secret) error { return down }, refused); !errors.Is(err, down) {
		t.Error(err)
	}
	if n := reads() - before; n != 0 {
		t.Errorf("an unreachable target made %d reads", n)
	}
	before = reads()
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if err := v.SignIn(t.Context(), g.login, refused); !errors.Is(err, errRefused) {
				t.Errorf("signing in with the old value: %v", err)
			}
		})
	}
	all.Wait()
	if n := reads() - before; n < 1 || n > 10 { // of the current version and the candidate, not one per refusal
		t.Errorf("50 refusals made %d reads", n)
	}
}

func TestARefusedVersionIsReplacedAtOnce(t *testing.T) {
	s := keywrighttest.Start(t)
	s.SetSecret("db", "one")
	v, err := client.NewValue(t.Context(), client.ValueConfig{Vault: s.Client().Vault(s.VaultName()), Name: "db", TTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	v.Close() // nothing but the refusal tells of the change
	var g target
	g.accept("two")
	s.SetSecret("db", "two")
	if err := v.SignIn(t.Context(), g.login, refused); err != nil || g.asked.Load() != 2 || string(v.Current().Bytes()) != "two" {
		t.Errorf("signing in: %v after %d attempts", err, g.asked.Load())
	}
}

func TestWatchTellsEveryChangeAndPolls(t *testing.T) {
	s := keywrighttest.Start(t)
	vault := s.Client().Vault(s.VaultName())
	s.SetSecret("a", "1")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	seen, polls := map[string]string{}, 0
	var a, b string
	for c, err := range vault.Watch(ctx, 100*time.Millisecond, "a", "b") {
		switch {
		case err != nil:
			t.Fatal(err)
		case c == nil:
			if polls++; polls == 2 {
				a, b = s.SetSecret("a", "2"), s.SetSecret("b", "1")
				s.SetSecret("other", "1")
			}
		default:
			seen[c.Name] = c.Version
		}
		if polls > 5 && seen["a"] == a && seen["b"] == b {
			break
		}
	}
	if ctx.Err() != nil || seen["other"] != "" {
		t.Errorf("the watch told %v and %d polls", seen, polls)
	}
}

func TestCredentialsAreReadFromValues(t *testing.T) {
	for text, want := range map[string]client.Credential{"plain": {Password: "plain"}, `{"username":"u","password":"p"}`: {User: "u", Password: "p"},
		`{"user":"u","password":"p","host":"h"}`: {User: "u", Password: "p"}, `{"password":"p"}`: {Password: "p"}, `{broken`: {Password: "{broken"}} {
		value := api.Text(text)
		if got, err := client.ParseCredential(&client.Secret{Value: &value}); err != nil || got != want {
			t.Errorf("%q is read as user %q: %v", text, got.User, err)
		}
	}
	for _, text := range []string{"", `{"username":"u"}`} {
		value := api.Text(text)
		if got, err := client.ParseCredential(&client.Secret{Value: &value}); err == nil || got != (client.Credential{}) {
			t.Errorf("%q is read as a credential", text)
		}
	}
	if c := (client.Credential{User: "u", Password: "hidden"}); fmt.Sprintf("%v %+v %#v %s", c, c, c, c) != "u [redacted] u [redacted] u [redacted] u [redacted]" {
		t.Errorf("a credential prints as %v", c)
	}
	if c := (client.Credential{}).Or("u"); c.User != "u" {
		t.Error("the user of the configuration is not taken")
	}
}
