package feed

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/secret"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Secrets finds what a caller would read.
type Secrets interface {
	// Meant returns a secret with the version that is the caller's now; a nil version when there is none, and a nil object when the
	// name is nobody's.
	Meant(ctx context.Context, call *guard.Call, name string) (secret.Item, error)
}

// DefaultMaxStreams bounds the streams that are open at once. Each keeps a connection.
const DefaultMaxStreams = 5000

// Config makes a Feed. Guard, Store, Secrets and Clock are required.
type Config struct {
	Guard   *guard.Guard
	Store   store.Store
	Secrets Secrets
	Clock   clock.Clock
	// MaxStreams bounds the open streams; 0 means DefaultMaxStreams.
	MaxStreams int
	// Kept is how many of the latest commits are in memory, so that streams need not read the journal; 0 means DefaultKept.
	Kept int
}

// Feed keeps the open streams. Its methods are safe for concurrent use.
type Feed struct {
	Config
	ring   ring
	filled sync.Mutex // one at a time reads the journal for the ring
	// news is written to, never waited for, when the ring got entries.
	news  chan struct{}
	done  chan struct{} // closed by End
	ended sync.Once

	mu sync.Mutex
	// streams are the open ones, by vault.
	streams map[vault.ID]map[*Stream]struct{}
	open    int

	events, resets atomic.Int64
}

// New checks the configuration. The caller hooks Changed to the store's commits, behind whatever decides about access, keeps Run
// running, and calls End before it closes what the feed stands on.
func New(c Config) (*Feed, error) {
	if c.Guard == nil || c.Store == nil || c.Secrets == nil || c.Clock == nil {
		return nil, errors.New("a feed needs a guard, a store, the secrets and a clock")
	}
	if c.MaxStreams == 0 {
		c.MaxStreams = DefaultMaxStreams
	}
	if c.Kept == 0 {
		c.Kept = DefaultKept
	}
	return &Feed{Config: c, ring: ring{size: c.Kept}, news: make(chan struct{}, 1), done: make(chan struct{}), streams: make(map[vault.ID]map[*Stream]struct{})}, nil
}

// Changed notes a commit. It belongs to the store's watchers, and takes the same short time however many streams are open.
func (f *Feed) Changed(c *store.Commit) {
	if c.Flush {
		f.ring.restart(Place{Position: c.Position}) // streams find out that their place is gone
	} else {
		f.ring.add(entryOf(c))
	}
	select {
	case f.news <- struct{}{}:
	default: // who was told before has not looked yet
	}
}

// Run wakes the streams that commits concern, until ctx ends.
func (f *Feed) Run(ctx context.Context) {
	told, _ := f.ring.head()
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.news:
		}
		head, _ := f.ring.head()
		entries, ok := f.ring.after(told)
		if !ok { // more than the ring holds went by, or nobody has opened a stream before
			told = head
			f.wake(nil, true)
			continue
		}
		vaults, all := make(map[vault.ID]bool), false
		for i := range entries {
			all = all || entries[i].access
			for _, s := range entries[i].secrets {
				vaults[s.vault] = true
			}
			told = entries[i].place
		}
		f.wake(vaults, all)
	}
}

func (f *Feed) wake(vaults map[vault.ID]bool, all bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if all {
		for _, streams := range f.streams {
			wakeAll(streams)
		}
		return
	}
	for v := range vaults {
		wakeAll(f.streams[v])
	}
}

func wakeAll(streams map[*Stream]struct{}) {
	for s := range streams {
		select {
		case s.news <- struct{}{}:
		default:
		}
	}
}

// End tells every stream its end and opens no more. It may be called more than once.
func (f *Feed) End() { f.ended.Do(func() { close(f.done) }) }

// Stats is what operators watch.
type Stats struct {
	// Open streams now; Events and Resets that were told since the start.
	Open           int
	Events, Resets int64
}

// Stats returns the present numbers.
func (f *Feed) Stats() Stats {
	f.mu.Lock()
	defer f.mu.Unlock()
	return Stats{f.open, f.events.Load(), f.resets.Load()}
}

// Query selects what a stream tells.
type Query struct {
	// Names are the secrets to be told of; none means all that the caller may list or read, which takes a right on the whole vault.
	Names []string
	// After resumes behind a place as Place.String wrote it. Empty begins now.
	After string
	// Wait is after what time the stream ends by itself; nil never, and 0 once everything that has happened was told.
	Wait *time.Duration
}

// MaxNames bounds the names of one stream.
const MaxNames = 256

// Open admits the caller and returns a stream, which the caller closes. Who may neither list nor read any of the secrets is
// refused; that, and the opening, is what the audit log shows of a stream.
func (f *Feed) Open(ctx context.Context, call *guard.Call, q Query) (*Stream, error) {
	s := &Stream{feed: f, call: *call, query: q, news: make(chan struct{}, 1), began: f.Clock.Now()}
	if err := s.about(q.Names); err != nil {
		return nil, err
	}
	need := guard.Need{Action: authz.SecretList, Kind: vault.Secret, Detail: strings.Join(q.Names, " ")}
	if admitted, ok := s.admitted(); ok {
		need.Action, need.Name = admitted.Action, admitted.Name
	} else if len(q.Names) > 0 {
		need.Name = q.Names[0]
	}
	if len(q.Names) == 1 {
		need.Detail = ""
	}
	if err := f.Guard.Read(ctx, call, &need, func() error { return s.begin(ctx) }); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// enter counts the stream among the open ones.
func (f *Feed) enter(s *Stream) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	select {
	case <-f.done:
		return fault.New(fault.Unavailable, "the server is ending: open the stream again in a moment").After(time.Second)
	default:
	}
	if f.open >= f.MaxStreams {
		return fault.New(fault.Throttled, "the server has as many streams open as it may: poll, and try again later").
			Because("TooManyStreams").After(time.Minute)
	}
	v := s.call.Vault.Vault.ID
	if f.streams[v] == nil {
		f.streams[v] = make(map[*Stream]struct{})
	}
	f.streams[v][s] = struct{}{}
	f.open++
	return nil
}

func (f *Feed) leave(s *Stream) {
	f.mu.Lock()
	defer f.mu.Unlock()
	v := s.call.Vault.Vault.ID
	if _, ok := f.streams[v][s]; !ok {
		return
	}
	f.open--
	if delete(f.streams[v], s); len(f.streams[v]) == 0 {
		delete(f.streams, v)
	}
}

// fill reads the latest entries of the journal into the ring, once. What it read is told only when the watchers have heard of it: until
// then a cache may still give the version before. An update that begins afterwards is answered behind them.
func (f *Feed) fill(ctx context.Context) error {
	if _, ok := f.ring.head(); ok {
		return nil
	}
	f.filled.Lock()
	defer f.filled.Unlock()
	if _, ok := f.ring.head(); ok {
		return nil
	}
	var base Place
	var older []entry
	err := f.Store.View(ctx, func(tx store.Tx) error {
		older = nil
		head, err := tx.Head(ctx)
		if err != nil {
			return err
		}
		found, err := tx.Commits(ctx, max(0, head-store.Position(f.Kept)), f.Kept)
		for _, c := range found {
			older = append(older, entryOf(c))
		}
		switch {
		case len(older) == 0:
			base = Place{Position: head}
		default: // the first entry is the place before the second
			base, older = older[0].place, older[1:]
		}
		return err
	})
	if err == nil {
		err = f.Store.Update(ctx, store.NewOp(f.Clock.Now()), func(store.Tx) error { return nil })
	}
	if err == nil {
		f.ring.fill(base, older)
	}
	return err
}

// read returns entries behind a place from the journal, as many as the ring keeps; ok is false when the journal does not have the place. Entries of which the
// watchers have not heard are left for later, as in fill.
func (f *Feed) read(ctx context.Context, p Place) (behind []entry, ok bool, err error) {
	heard, _ := f.ring.head()
	err = f.Store.View(ctx, func(tx store.Tx) error {
		found, err := tx.Commits(ctx, p.Position-1, f.Kept+1)
		if behind, ok = nil, err == nil && len(found) > 0 && (Place{found[0].Position, found[0].Op.ID}) == p; ok {
			for _, c := range found[1:] {
				if c.Position <= heard.Position {
					behind = append(behind, entryOf(c))
				}
			}
		}
		return err
	})
	return behind, ok, err
}
