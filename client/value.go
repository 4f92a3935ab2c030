package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/keywright/keywright/client/api"
)

// ValueConfig makes a Value. Vault and Name are required.
type ValueConfig struct {
	Vault *Vault
	Name  string
	// TTL is how long a value is believed without asking; DefaultTTL when zero. It should be at most a third of the time for which an old
	// version stays valid.
	TTL time.Duration
	// Logger takes what cannot be told to a caller; nil drops it. It gets no value.
	Logger *slog.Logger
}

// Value keeps the current version of a secret at hand. It hears of a new one from the vault's stream and by polling, and acknowledges to the server which
// one it loaded and, after a sign-in, uses. What it has it keeps through an outage of the server. It is safe for concurrent use.
type Value struct {
	config ValueConfig
	vault  *Vault
	flight singleflight.Group
	acks   *acks
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu      sync.Mutex
	current *Secret
	changed chan struct{} // closed and replaced when current is
	// ahead is the version that was current when its candidate was adopted, because the target refused it already.
	ahead string
	// open counts the attempts to sign in that are under way, by version; good holds the versions with which one succeeded.
	open map[string]int
	good map[string]bool
	// Until quiet nothing is asked because of the refusal of a version that did not change; quietFor is how long the next silence is.
	quiet    time.Time
	quietFor time.Duration
}

// NewValue reads the secret and keeps it current until Close. The vault's client should declare an instance; where it does not, this process is one.
func NewValue(ctx context.Context, c ValueConfig) (*Value, error) {
	if c.Vault == nil || c.Name == "" {
		return nil, errors.New("a value needs a vault and the name of a secret")
	}
	if c.TTL <= 0 {
		c.TTL = DefaultTTL
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	own := *c.Vault
	own.c = own.c.declared()
	v := &Value{config: c, vault: &own, changed: make(chan struct{}), open: make(map[string]int), good: make(map[string]bool)}
	first, err := own.Get(ctx, c.Name)
	if err != nil {
		return nil, fmt.Errorf("reading the secret %s for the first time: %w", c.Name, err)
	}
	v.current = first
	run, cancel := context.WithCancel(context.Background())
	v.cancel = cancel
	v.acks = newAcks(&own, c.Name, c.TTL, c.Logger)
	v.done.Go(func() { v.acks.run(run) })
	v.acks.add(first.Version, api.Loaded)
	v.done.Go(func() { v.follow(run) })
	return v, nil
}

// Close ends the watch and waits for it. The value that it had stays.
func (v *Value) Close() {
	v.cancel()
	v.done.Wait()
}

// Current returns the version to sign in with. It is never nil, and is not to be changed.
func (v *Value) Current() *Secret {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.current
}

// Changed returns a channel that is closed when Current returns another version.
func (v *Value) Changed() <-chan struct{} {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.changed
}

// follow reads the secret whenever the watch says so.
func (v *Value) follow(ctx context.Context) {
	began := true
	for change, err := range v.vault.Watch(ctx, v.config.TTL, v.config.Name) {
		switch {
		case err != nil:
			v.config.Logger.Warn("changes of the secret cannot be watched; it is polled", "secret", v.config.Name, "error", err)
			continue
		case began: // it was read a moment ago
			began = false
			continue
		case change != nil && (change.Deleted || change.Version == v.Current().Version):
			continue
		}
		s, err := v.refetch(ctx)
		if err == nil && change != nil && s.Version != change.Version {
			_, err = v.refetch(ctx) // the first may have been under way for somebody else since before the change
		}
		if err != nil && ctx.Err() == nil {
			v.config.Logger.Warn("the secret cannot be read; the version in use is kept", "secret", v.config.Name, "error", err)
		}
	}
}

// refetch reads the secret, once for all who ask at the same time.
func (v *Value) refetch(ctx context.Context) (*Secret, error) {
	got := v.flight.DoChan("current", func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchTimeout)
		defer cancel()
		s, err := v.vault.Get(ctx, v.config.Name)
		if err != nil {
			return nil, err
		}
		return v.take(s), nil
	})
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case r := <-got:
		if r.Err != nil {
			return nil, r.Err
		}
		return r.Val.(*Secret), nil
	}
}

// fetchTimeout bounds a read that several may wait for.
const fetchTimeout = 30 * time.Second

// take makes what the server calls current the version to sign in with, unless the target is known to be ahead of it. It returns what to sign in with.
func (v *Value) take(s *Secret) *Secret {
	v.mu.Lock()
	defer v.mu.Unlock()
	if s.Version == v.ahead || s.Version == v.current.Version {
		return v.current
	}
	v.ahead = ""
	v.replace(s)
	return s
}

// replace makes s current. The caller holds the lock.
func (v *Value) replace(s *Secret) {
	v.current = s
	close(v.changed)
	v.changed = make(chan struct{})
	v.quiet, v.quietFor = time.Time{}, 0
	v.acks.add(s.Version, api.Loaded)
}

// CandidateLabel is the label of a version that readers may try when the target refuses the current one: a rotation of a single password publishes it
// before it sets it.
const CandidateLabel = "candidate"

// Bounds of the time in which a refusal makes nobody ask the server again.
const (
	firstQuiet = time.Second
	maxQuiet   = time.Minute
)

// renew finds another version than the one that the target refused: what is current by now, else the candidate. It returns nil when there is none. All who
// are refused at the same time make one request, and a refusal that brings nothing new makes the next ones wait for longer and longer.
func (v *Value) renew(ctx context.Context, refused string) (*Secret, error) {
	v.mu.Lock()
	now, current := time.Now(), v.current
	if v.ahead != "" && current.Version == refused {
		v.ahead = "" // the candidate was taken back: the server's word counts again
	}
	quiet := now.Before(v.quiet)
	v.mu.Unlock()
	if current.Version != refused {
		return current, nil
	}
	if quiet {
		return nil, nil
	}
	s, err := v.refetch(ctx)
	if err != nil || s.Version != refused {
		return s, err
	}
	if s, err = v.candidate(ctx, refused); err != nil || s != nil {
		return s, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.quietFor = min(maxQuiet, max(firstQuiet, 2*v.quietFor))
	v.quiet = time.Now().Add(v.quietFor/2 + rand.N(v.quietFor/2))
	return nil, nil
}

// candidate reads the candidate, if there is one that was not refused.
func (v *Value) candidate(ctx context.Context, refused string) (*Secret, error) {
	got, err, _ := v.flight.Do("candidate", func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchTimeout)
		defer cancel()
		return v.vault.GetVersion(ctx, v.config.Name, Selector{Label: CandidateLabel})
	})
	if KindOf(err) == NotFound {
		// It may have become the current version since that was read.
		s, err := v.refetch(ctx)
		if err != nil || s.Version == refused {
			return nil, err
		}
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	if s := got.(*Secret); s.Version != refused {
		return s, nil
	}
	return nil, nil
}
