package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/keywright/keywright/client/api"
)

// Change tells that a secret changed, without its value.
type Change = api.Change

// DefaultTTL is how long what was read is believed without asking again.
const DefaultTTL = time.Minute

// Watch tells of changes of secrets, as long as ctx lasts: of the named ones, or of all that the caller may read or list. A nil change says that nothing
// in particular is known and everything should be read anew: at the beginning, when changes may have been missed, and every ttl give or take a fifth (0
// means DefaultTTL), because a stream is a hint and only a read is the truth. An error is told and does not end the watch; who breaks off the loop does.
func (v *Vault) Watch(ctx context.Context, ttl time.Duration, names ...string) iter.Seq2[*Change, error] {
	if ttl <= 0 {
		ttl = DefaultTTL
	}
	return func(yield func(*Change, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		told := make(chan tidings)
		done := make(chan struct{})
		go func() {
			defer close(done)
			newStream(v, ttl, names, told).run(ctx)
		}()
		defer func() { cancel(); <-done }()
		poll := time.NewTimer(around(ttl))
		defer poll.Stop()
		if !yield(nil, nil) {
			return
		}
		for {
			var t tidings
			select {
			case <-ctx.Done():
				return
			case t = <-told:
			case <-poll.C:
				poll.Reset(around(ttl))
			}
			if !yield(t.change, t.err) {
				return
			}
		}
	}
}

// around is d, give or take a fifth, so that those who began together do not ask together for ever.
func around(d time.Duration) time.Duration { return d - d/5 + rand.N(2*d/5+1) }

// tidings are what a watch tells.
type tidings struct {
	change *Change
	err    error
}

// stream keeps a stream of changes open.
type stream struct {
	vault *Vault
	query url.Values
	told  chan<- tidings
	ttl   time.Duration
	// last is where to resume.
	last string
	// tries counts attempts in a row that came to nothing.
	tries int
}

// silence is how long a stream may say nothing: it says something every 15 seconds.
const silence = 45 * time.Second

// Bounds of the pause before a stream is opened again.
const (
	firstReconnect = 500 * time.Millisecond
	maxReconnect   = time.Minute
)

func newStream(v *Vault, ttl time.Duration, names []string, told chan<- tidings) *stream {
	own := *v
	own.c = v.c.patient()
	own.c.retries = 0
	q := url.Values{}
	if len(names) > 0 {
		q.Set("names", strings.Join(names, ","))
	}
	return &stream{vault: &own, query: q, told: told, ttl: ttl}
}

// run opens the stream again and again until ctx ends.
func (s *stream) run(ctx context.Context) {
	for {
		err := s.once(ctx)
		if ctx.Err() != nil {
			return
		}
		var refused *Error
		if errors.As(err, &refused) && !s.tell(ctx, tidings{err: fmt.Errorf("watching the vault %s: %w", s.vault.name, err)}) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(s.pause(refused)):
		}
	}
}

// pause is how long to wait before the next try: random, so that those whom a restart cut off do not come back at once; at least what the server asks
// for, and what a poll would take when it refuses.
func (s *stream) pause(refused *Error) time.Duration {
	d := min(maxReconnect, firstReconnect<<min(s.tries, 10))
	s.tries++
	d = rand.N(d) + d/10
	if refused != nil {
		d = max(d, refused.RetryAfter)
		if refused.Kind == Forbidden || refused.Kind == NotFound || refused.Kind == Invalid {
			d = max(d, around(s.ttl))
		}
	}
	return d
}

func (s *stream) tell(ctx context.Context, t tidings) bool {
	select {
	case <-ctx.Done():
		return false
	case s.told <- t:
		return true
	}
}

// once opens the stream and reads it to its end.
func (s *stream) once(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	dead := time.AfterFunc(silence, cancel)
	defer dead.Stop()
	if s.query.Del("after"); s.last != "" {
		s.query.Set("after", s.last)
	}
	resp, err := s.vault.c.send(ctx, http.MethodGet, s.vault.path+"/changes", s.query, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	events := newEventReader(resp.Body, func() { dead.Reset(silence) })
	for {
		e, err := events.next()
		if err != nil {
			return err
		}
		if ended, err := s.heard(ctx, &e); err != nil || ended {
			return err
		}
		s.last = events.id // behind what was told, not before
	}
}

func (s *stream) heard(ctx context.Context, e *serverEvent) (ended bool, err error) {
	switch e.kind {
	case api.ReadyEvent:
		if s.tries = 0; s.last == "" {
			return !s.tell(ctx, tidings{}), nil // what happened before the stream stood is not in it
		}
	case api.ResetEvent:
		s.tries = 0
		return !s.tell(ctx, tidings{}), nil
	case api.ChangeEvent:
		var c Change
		if err := json.Unmarshal([]byte(e.data), &c); err != nil {
			return true, fmt.Errorf("reading a change: %w", err)
		}
		return !s.tell(ctx, tidings{change: &c}), nil
	case api.EndEvent:
		var end api.StreamEnd
		_ = json.Unmarshal([]byte(e.data), &end) // without a reason it is an end all the same
		if end.Reason == api.EndForbidden {
			return true, &Error{Kind: Forbidden, Status: http.StatusForbidden, Message: "the right to watch these secrets was withdrawn"}
		}
		return true, nil
	}
	return false, nil
}
