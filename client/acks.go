package client

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/keywright/keywright/client/api"
)

// acks sends acknowledgements behind the program's back, until the server has them: an old version waits for them, and nobody else does.
type acks struct {
	vault *Vault
	name  string
	poll  int
	log   *slog.Logger
	wake  chan struct{}

	mu      sync.Mutex
	pending []ack
	// sent is the latest that was added, by level.
	sent map[string]string
}

type ack struct{ version, level string }

// Bounds of the pause before an acknowledgement is sent again.
const (
	firstAckPause = 500 * time.Millisecond
	maxAckPause   = time.Minute
)

// mostConflicts is how often an acknowledgement is sent again that the server says belongs to somebody else: it may not have heard of the delivery yet,
// and the next one must not wait for ever.
const mostConflicts = 8

func newAcks(v *Vault, name string, ttl time.Duration, log *slog.Logger) *acks {
	longest := ttl + ttl/5 + fetchTimeout // between two polls
	return &acks{vault: v, name: name, poll: int(longest/time.Second) + 1, log: log, wake: make(chan struct{}, 1), sent: make(map[string]string)}
}

// add has the acknowledgement sent, unless it was the last of its level.
func (a *acks) add(version, level string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.sent[level] == version {
		return
	}
	a.sent[level] = version
	a.pending = append(a.pending, ack{version, level})
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

func (a *acks) next() (ack, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.pending) == 0 {
		return ack{}, false
	}
	return a.pending[0], true
}

func (a *acks) drop() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.pending = a.pending[1:]
}

// run sends in order until ctx ends.
func (a *acks) run(ctx context.Context) {
	pause, tries := firstAckPause, 0
	for {
		one, ok := a.next()
		if !ok {
			select {
			case <-ctx.Done():
				return
			case <-a.wake:
			}
			continue
		}
		err := a.vault.Ack(ctx, a.name, one.version, api.Ack{Level: one.level, PollSeconds: a.poll})
		switch {
		case ctx.Err() != nil:
			return
		case err == nil, hopeless(err), KindOf(err) == Conflict && tries >= mostConflicts:
			if err != nil {
				a.log.Warn("the server does not take an acknowledgement", "secret", a.name, "version", one.version, "level", one.level, "error", err)
			}
			a.drop()
			pause, tries = firstAckPause, 0
			continue
		}
		tries++
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause/2 + rand.N(pause/2)):
		}
		pause = min(maxAckPause, 2*pause)
	}
}

// hopeless reports whether sending again cannot help: the version is gone, or the right to it.
func hopeless(err error) bool {
	switch KindOf(err) {
	case Invalid, Forbidden, NotFound, Gone, Unsupported:
		return true
	}
	return false
}
