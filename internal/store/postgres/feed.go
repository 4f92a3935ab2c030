package postgres

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/store/relational"
)

const (
	// pollInterval is how often the newest position is asked for when nobody notifies.
	pollInterval = 100 * time.Millisecond
	// pollTimeout bounds a round trip of the follower: nothing is fresh while it waits.
	pollTimeout = 2 * time.Second
	// page is how many entries are read at once.
	page = 500
)

// feed shows the watchers every commit, once and in order, whoever made it.
type feed struct {
	watchers relational.Watchers

	// mu is held while commits are shown.
	mu sync.Mutex
	// last is the position of the newest entry that the watchers have seen.
	last store.Position
	// fresh is an instant such that they have seen everything that was acknowledged before it. It is changed under mu, and read without: every request asks.
	fresh atomic.Pointer[time.Time]
}

// show tells the watchers of commits that they have not seen. The list has every entry behind the last one that they saw, or from the oldest on that was
// not pruned.
func (f *feed) show(list ...*store.Commit) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range list {
		if c.Position <= f.last {
			continue
		}
		if c.Position > f.last+1 {
			f.flush(c.Position - 1)
		}
		// Before the watchers run: one that panics must not be shown it again.
		f.last = c.Position
		f.watchers.Show(c)
	}
}

// flush stands in the place of entries that were pruned. mu is held.
func (f *feed) flush(p store.Position) {
	f.last = p
	f.watchers.Show(&store.Commit{Position: p, Flush: true})
}

// seen returns the position of the newest entry that was shown.
func (f *feed) seen() store.Position {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last
}

// caughtUp notes that the watchers have seen everything up to head, which was the newest position at an instant after asked. Entries up to there that the journal
// does not have any more are made good by a Flush.
func (f *feed) caughtUp(head store.Position, asked time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.last < head {
		f.flush(head)
	}
	if asked.After(*f.fresh.Load()) {
		f.fresh.Store(&asked)
	}
}

func (f *feed) freshness() time.Time { return *f.fresh.Load() }

// catchUp shows what was committed up to head, by a connection on which the newest position was head at an instant after asked.
func (f *feed) catchUp(ctx context.Context, c *conn, head store.Position, asked time.Time) error {
	for at := f.seen(); at < head; {
		t := relational.View(inTransaction{c}, nil)
		list, err := t.Commits(ctx, at, page)
		if err != nil {
			return fmt.Errorf("reading what other nodes committed: %w", err)
		}
		f.show(list...)
		if len(list) < page {
			break
		}
		at = list[len(list)-1].Position
	}
	f.caughtUp(head, asked)
	return nil
}

// inTransaction reads on a connection that is in a transaction already, or needs none.
type inTransaction struct{ conn *conn }

func (t inTransaction) Query(ctx context.Context, query string, args []any, each func(relational.Row) error) error {
	return t.conn.query(ctx, query, args, each)
}

func (t inTransaction) Exec(context.Context, string, []any) (int64, error) { return 0, errReads }

func (t inTransaction) Expect(context.Context, int64, string, []any) (int64, error) {
	return 0, errReads
}

// follow shows the watchers what other processes commit, until ctx ends.
func (s *Store) follow(ctx context.Context) {
	for ctx.Err() == nil {
		if err := s.followOne(ctx); err != nil && ctx.Err() == nil {
			s.behind(err)
			sleep(ctx, pollInterval)
		}
	}
}

// behind logs, once for each time that it happens, that the process does not hear of other processes.
func (s *Store) behind(err error) {
	if !s.following.Swap(false) {
		return
	}
	s.log.Error("the store's database does not answer: this node does not hear of other nodes' changes", "error", err)
}

// followOne follows on one connection until it fails.
func (s *Store) followOne(ctx context.Context) error {
	c, err := s.connect(ctx, follower)
	if err != nil {
		return err
	}
	defer c.close()
	c.timeout = pollTimeout
	// What has no notifications is polled.
	_, err = c.run(ctx, control(`LISTEN "`+s.config.Schema+`"`))
	if err != nil && c.dead() {
		return err
	}
	s.notifies.Store(err == nil)
	for ctx.Err() == nil {
		if err := s.poll(ctx, c); err != nil {
			return err
		}
		if !s.following.Swap(true) {
			s.log.Info("this node hears of other nodes' changes")
		}
		if !s.notifies.Load() {
			sleep(ctx, pollInterval)
			continue
		}
		wait, cancel := context.WithTimeout(ctx, pollInterval)
		err := c.pg.WaitForNotification(wait)
		cancel()
		if err != nil && c.dead() {
			return err
		}
	}
	return ctx.Err()
}

// poll asks for the newest position and shows what is new.
func (s *Store) poll(ctx context.Context, c *conn) error {
	asked := time.Now()
	var head store.Position
	if err := c.query(ctx, "SELECT value FROM meta WHERE name = 'position'", nil, func(r relational.Row) error {
		head = store.Position(r.Integer(0))
		return nil
	}); err != nil {
		return err
	}
	return s.feed.catchUp(ctx, c, head, asked)
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
