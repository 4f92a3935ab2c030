package feed

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/vault"
)

// Stream tells one caller of changes. One goroutine uses it.
type Stream struct {
	feed  *Feed
	call  guard.Call
	query Query
	// names are the keys of the names that were asked for; nil means all.
	names map[string]bool
	began time.Time
	// place is up to where everything was told.
	place Place
	// first is what the first batch says.
	first Kind
	// news is written to by the feed, which never waits for it.
	news chan struct{}
}

// Kind says what a batch tells.
type Kind int

// The kinds of batches.
const (
	// Changes happened; Batch.Changes has them.
	Changes Kind = iota
	// Ready says that everything behind its place will be told.
	Ready
	// Reset says that something may have been missed: read everything anew. What is behind its place will be told.
	Reset
	// Idle says that nothing happened for a while, up to its place.
	Idle
	// End is the last batch; Batch.Reason says why.
	End
)

// Reasons of an end.
const (
	// Shutdown is the server's end, or its restart.
	Shutdown = "shutdown"
	// Expired or withdrawn is what proved the caller.
	Expired = "expired"
	// Forbidden says that the caller lost the rights with which the stream was opened, or that the vault is gone.
	Forbidden = "forbidden"
	// Over is the time for which the stream was asked.
	Over = "over"
	// Failed says that the store does not answer.
	Failed = "failed"
)

// Batch is what a stream tells at once.
type Batch struct {
	Kind    Kind
	Changes []Change
	// Place is where to resume behind this batch.
	Place Place
	// Reason is why the stream ends.
	Reason string
}

// Change is a secret that changed. Several changes of one secret may be told as one.
type Change struct {
	Kind vault.Kind
	// Name is as the secret was named when it was made; in lower case when it was purged.
	Name string
	// Version is what the caller would read now who names none; empty when Deleted.
	Version vault.VersionID
	// Deleted is true when there is nothing to read: the secret was deleted, or has no current version yet.
	Deleted bool
	At      time.Time
	// Place is where to resume behind this change.
	Place Place
}

// about keeps the names that the stream is about.
func (s *Stream) about(names []string) error {
	if len(names) > MaxNames {
		return fault.New(fault.Invalid, "%d names are too many for one stream: name at most %d, or none for the whole vault", len(names), MaxNames)
	}
	for _, n := range names {
		if err := vault.CheckObjectName(n); err != nil {
			return err
		}
		if s.names == nil {
			s.names = make(map[string]bool, len(names))
		}
		s.names[vault.NameKey(n)] = true
	}
	return nil
}

// admitted finds a right by which the stream may be open: to list or to read one of its secrets, or all of them when it names none.
func (s *Stream) admitted() (guard.Need, bool) {
	if len(s.query.Names) == 0 {
		return s.may("")
	}
	for _, n := range s.query.Names {
		if need, ok := s.may(n); ok {
			return need, true
		}
	}
	return guard.Need{}, false
}

// may finds the right by which the caller may know of a secret.
func (s *Stream) may(name string) (guard.Need, bool) {
	for _, a := range []authz.Action{authz.SecretGet, authz.SecretList} {
		if need := (guard.Need{Action: a, Kind: vault.Secret, Name: name}); s.feed.Guard.May(&s.call, &need) {
			return need, true
		}
	}
	return guard.Need{}, false
}

// begin finds the place where the stream begins. From then on the feed wakes it.
func (s *Stream) begin(ctx context.Context) error {
	if err := s.feed.enter(s); err != nil {
		return err
	}
	if err := s.feed.fill(ctx); err != nil {
		return err
	}
	head, _ := s.feed.ring.head()
	s.place, s.first = head, Ready
	if s.query.After == "" {
		return nil
	}
	after, ok := ParsePlace(s.query.After)
	if ok {
		if _, ok = s.feed.ring.after(after); !ok {
			var err error
			if _, ok, err = s.feed.read(ctx, after); err != nil {
				return err
			}
		}
	}
	if ok {
		s.place = after
	} else {
		s.reset(head)
	}
	return nil
}

func (s *Stream) reset(to Place) {
	s.place, s.first = to, Reset
	s.feed.resets.Add(1)
}

// Close forgets the stream. It may be called more than once.
func (s *Stream) Close() { s.feed.leave(s) }

// Next waits for the next batch, and for an Idle one no longer than idle. After an End there is none. The error is ctx's.
func (s *Stream) Next(ctx context.Context, idle time.Duration) (Batch, error) {
	timer := time.NewTimer(idle)
	defer timer.Stop()
	for quiet := false; ; {
		if why := s.over(ctx); why != "" {
			return s.end(why), nil
		}
		if s.first != Changes {
			return s.opening(), nil
		}
		b, err := s.take(ctx)
		switch {
		case ctx.Err() != nil:
			return Batch{}, ctx.Err()
		case err != nil:
			return s.end(Failed), nil
		case b.Kind != Idle:
			return b, nil
		case s.waited():
			return s.end(Over), nil
		case quiet:
			return b, nil
		}
		select {
		case <-ctx.Done():
			return Batch{}, ctx.Err()
		case <-s.feed.done:
		case <-s.news:
		case <-time.After(s.left()):
		case <-timer.C:
			quiet = true
		}
	}
}

func (s *Stream) opening() Batch {
	b := Batch{Kind: s.first, Place: s.place}
	s.first = Changes
	return b
}

func (s *Stream) end(why string) Batch { return Batch{Kind: End, Reason: why, Place: s.place} }

// over says why the stream must end now; empty when it goes on.
func (s *Stream) over(ctx context.Context) string {
	select {
	case <-s.feed.done:
		return Shutdown
	default:
	}
	switch err := s.feed.Guard.Renew(ctx, &s.call); {
	case fault.Is(err, fault.Unauthenticated):
		return Expired
	case fault.Is(err, fault.Forbidden), fault.Is(err, fault.NotFound):
		return Forbidden
	case err != nil:
		return Failed
	}
	if _, ok := s.admitted(); !ok {
		return Forbidden
	}
	return ""
}

// waited reports whether the time for which the stream was asked is over.
func (s *Stream) waited() bool {
	return s.query.Wait != nil && s.feed.Clock.Now().Sub(s.began) >= *s.query.Wait
}

// left is how long nothing but news is worth a look: until the caller's proof or the stream's own time ends.
func (s *Stream) left() time.Duration {
	now := s.feed.Clock.Now()
	d := s.call.Caller.Expires.Sub(now)
	if s.query.Wait != nil {
		d = min(d, s.began.Add(*s.query.Wait).Sub(now))
	}
	return max(d, time.Millisecond)
}

// take collects what happened since the stream's place; an Idle batch when that is nothing for this caller.
func (s *Stream) take(ctx context.Context) (Batch, error) {
	for {
		entries, ok := s.feed.ring.after(s.place)
		recent := ok
		if !ok {
			var err error
			if entries, ok, err = s.feed.read(ctx, s.place); err != nil {
				return Batch{}, err
			}
			if !ok {
				head, _ := s.feed.ring.head()
				s.reset(head)
				return s.opening(), nil
			}
		}
		changes, err := s.changes(ctx, entries)
		if err != nil {
			return Batch{}, err
		}
		if n := len(entries); n > 0 {
			s.place = entries[n-1].place
		}
		if len(changes) > 0 {
			s.feed.events.Add(int64(len(changes)))
			return Batch{Kind: Changes, Changes: changes, Place: s.place}, nil
		}
		if recent || len(entries) == 0 {
			return Batch{Kind: Idle, Place: s.place}, nil
		}
	}
}

// changes are what entries mean to the caller, each secret once, in the order of their latest changes.
func (s *Stream) changes(ctx context.Context, entries []entry) ([]Change, error) {
	latest := make(map[string]*entry)
	for i := range entries {
		for _, n := range entries[i].secrets {
			if n.vault == s.call.Vault.Vault.ID && (s.names == nil || s.names[n.key]) {
				latest[n.key] = &entries[i]
			}
		}
	}
	var list []Change
	for key, e := range latest {
		if _, ok := s.may(key); !ok {
			continue
		}
		item, err := s.feed.Secrets.Meant(ctx, &s.call, key)
		if err != nil {
			return nil, err
		}
		c := Change{Kind: vault.Secret, Name: key, Deleted: item.Version == nil, At: e.at, Place: e.place}
		if item.Object != nil {
			c.Name = item.Object.Name
		}
		if item.Version != nil {
			c.Version = item.Version.ID
		}
		list = append(list, c)
	}
	slices.SortFunc(list, func(a, b Change) int {
		return cmp.Or(cmp.Compare(a.Place.Position, b.Place.Position), cmp.Compare(a.Name, b.Name))
	})
	s.settle(list)
	return list, nil
}

// settle makes sure that nobody who resumes behind a change misses one of the same commit: only the last of them has its place.
func (s *Stream) settle(list []Change) {
	before := s.place
	for i := range list {
		own := list[i].Place
		if i+1 < len(list) && list[i+1].Place == own {
			list[i].Place = before
			continue
		}
		before = own
	}
}
