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
	// last is the newest entry that the watchers have seen.
	last place
	// fresh is an instant such that they have seen everything that was acknowledged before it. It is changed under mu, and read without: every request asks.
	fresh atomic.Pointer[time.Time]
}

// place is an entry of the journal. The operation is empty while it is not known.
type place struct {
	position store.Position
	op       store.OpID
}

// show tells the watchers of commits that they have not seen. The list has every entry behind the last one that they saw, or from the oldest on that was
// not pruned.
func (f *feed) show(list ...*store.Commit) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range list {
		if c.Position <= f.last.position {
			continue
		}
		if c.Position > f.last.position+1 {
			f.flush(c.Position - 1)
		}
		// Before the watchers run: one that panics must not be shown it again.
		f.last = place{c.Position, c.Op.ID}
		f.watchers.Show(c)
	}
}

// flush stands in the place of entries that were pruned, or lost. mu is held.
func (f *feed) flush(p store.Position) {
	f.last = place{position: p}
	f.watchers.Show(&store.Commit{Position: p, Flush: true})
}

// seen returns the newest entry that was shown.
func (f *feed) seen() place {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last
}

// look is what one look at the journal finds.
type look struct {
	// seen was the newest entry that the watchers had seen before the look began, and op is the operation that the journal has there: none when it was pruned.
	seen place
	op   store.OpID
	// head is the newest position at an instant after asked.
	head  store.Position
	asked time.Time
}

// lost reports that the journal is not the one that the watchers saw: the database is another one, or one that was set back, such as a standby that did not have
// everything when it took over. Positions are given anew there, and going by them would pass over commits.
func (l *look) lost() bool {
	return l.head < l.seen.position || l.op != "" && l.seen.op != "" && l.op != l.seen.op
}

// restart has the watchers forget what they saw of a journal that is lost.
func (f *feed) restart(head store.Position) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.flush(head)
}

// caughtUp notes that the watchers have seen everything up to the head of a look. Entries up to there that the journal does not have any more are made
// good by a Flush.
func (f *feed) caughtUp(l *look) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.last.position < l.head {
		f.flush(l.head)
	}
	if f.last.op == "" && f.last.position == l.seen.position {
		f.last.op = l.op
	}
	if l.asked.After(*f.fresh.Load()) {
		f.fresh.Store(&l.asked)
	}
}

func (f *feed) freshness() time.Time { return *f.fresh.Load() }

// catchUp shows what was committed up to the head that a look on the connection found.
func (s *Store) catchUp(ctx context.Context, c *conn, l *look) error {
	at := l.seen.position
	if l.lost() {
		s.log.Error("the store's database does not have what this node saw of it: it was set back, or a standby that lacks commits took over; the node forgets what it remembers",
			"seen", l.seen.position, "position", l.head)
		s.feed.restart(l.head)
		at = l.head
	}
	for at < l.head {
		t := relational.View(inTransaction{c}, nil)
		list, err := t.Commits(ctx, at, page)
		if err != nil {
			return fmt.Errorf("reading what other nodes committed: %w", err)
		}
		s.feed.show(list...)
		if len(list) < page {
			break
		}
		at = list[len(list)-1].Position
	}
	s.feed.caughtUp(l)
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
	l := &look{seen: s.feed.seen(), asked: time.Now()}
	if err := c.query(ctx, "SELECT value, (SELECT op FROM journal WHERE position = ?) FROM meta WHERE name = 'position'", []any{int64(l.seen.position)}, func(r relational.Row) error {
		l.head, l.op = store.Position(r.Integer(0)), store.OpID(r.Text(1))
		return nil
	}); err != nil {
		return err
	}
	return s.catchUp(ctx, c, l)
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
