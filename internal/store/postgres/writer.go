package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/store/relational"
)

const (
	// maxGroup bounds the updates of one group, and with it how long the first of them, and other processes, wait.
	maxGroup = 128
	// attempts is how often an update runs whose group has to run again.
	attempts = 8
)

// errAbandoned ends an update whose closure never returned: it panicked or ended its goroutine.
var errAbandoned = errors.New("the closure of an update did not return")

// update is one Update on its way. Until its group is done it belongs to whoever has the turn.
type update struct {
	op    store.Op
	tx    relational.Tx
	group *group
	// leads is set when it began its group, and so has to end it.
	leads bool
	// again is set when its closure has to run once more, with true answers.
	again bool
	err   error
	// commit is its entry of the journal, nil when it made none.
	commit *store.Commit
}

// group is what is committed together: one transaction. The update that began it leads it.
type group struct {
	updates []*update
	session session
	// last is the newest position of the journal, those of the group included.
	last store.Position
	// entries counts those of the group.
	entries int
	// over is set when the group was committed or has failed. It belongs to whoever has the turn.
	over bool
	// err says why the group failed as a whole. It may be read once done is closed, by whoever ends the group.
	err  error
	done chan struct{}
}

// Update implements store.Store. fn must not call the store.
func (s *Store) Update(ctx context.Context, op store.Op, fn func(store.Tx) error) error {
	if err := relational.CheckOp(op); err != nil {
		return err
	}
	op.At = clock.Micro(op.At)
	return s.persist(ctx, op, fn)
}

// persist runs an update until its group was not one that has to run again.
func (s *Store) persist(ctx context.Context, op store.Op, fn func(store.Tx) error) (err error) {
	for range attempts {
		if err = s.submit(ctx, op, fn); !repeats(err) {
			return err
		}
	}
	return err
}

// repeats reports that an error is that of a group which has to run again.
func repeats(err error) bool {
	e := fault.As(err)
	return e != nil && e.Reason == repeatable
}

// probe makes one durable commit that the journal does not show.
func (s *Store) probe(ctx context.Context, look func(*relational.Tx) error) error {
	return s.persist(ctx, store.Op{}, func(t store.Tx) error {
		tx := t.(*relational.Tx)
		return errors.Join(look(tx), tx.Touch(ctx))
	})
}

func (s *Store) submit(ctx context.Context, op store.Op, fn func(store.Tx) error) (err error) {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("writing to the store: %w", err)
	}
	if err := s.turn.Take(ctx); err != nil {
		return err
	}
	u := &update{op: op, err: errAbandoned}
	// Deferred, because others wait for the turn and for the group even if fn panics.
	defer func() { err = s.finish(u) }()
	s.join(u)
	if !u.group.over {
		s.perform(u, fn, false)
	}
	if !u.group.over && u.again {
		s.perform(u, fn, true)
	}
	return nil
}

// join adds an update to the open group, or begins one, which the update then leads.
func (s *Store) join(u *update) {
	if s.group == nil {
		s.group, u.leads = &group{done: make(chan struct{})}, true
	}
	u.group = s.group
	u.group.updates = append(u.group.updates, u)
	if u.leads {
		if err := s.begin(u.group); err != nil {
			s.end(u.group, err)
		}
	}
}

// finish passes the turn on and waits for the end of the group.
func (s *Store) finish(u *update) error {
	s.conclude(u)
	<-u.group.done
	if u.group.err != nil {
		return u.group.err
	}
	return u.err
}

// conclude passes the turn on. The leader lets everybody who waits already join, and then commits; it need not wait in line when
// there is nobody. Passing is deferred: a watcher that panics must not stop the store.
func (s *Store) conclude(u *update) {
	defer s.turn.Pass()
	g := u.group
	full := len(g.updates) >= maxGroup
	if u.leads && !g.over && !full {
		s.turn.Yield()
	}
	if !g.over && (u.leads || full) {
		s.end(g, nil)
	}
}

// end commits the group, unless it has failed already, and wakes its callers.
func (s *Store) end(g *group, failure error) {
	g.over, s.group = true, nil
	defer close(g.done)
	if failure == nil {
		failure = s.commit(g)
	}
	g.err = failure
	if !repeats(failure) {
		s.outcome.Set(s.log, failure)
	}
	if failure != nil {
		s.dropWriter()
		return
	}
	s.feed.show(g.commits()...)
}

// commits are the group's entries of the journal.
func (g *group) commits() []*store.Commit {
	list := make([]*store.Commit, 0, g.entries)
	for _, u := range g.updates {
		if u.commit != nil {
			list = append(list, u.commit)
		}
	}
	return list
}

// begin opens a group: it takes the lock of all writers, and shows the watchers what other processes committed. The server may have closed the connection
// since it was used last; another is tried then.
func (s *Store) begin(g *group) error {
	if s.writer != nil {
		err := s.lock(g)
		if err == nil || !s.writer.dead() {
			return err
		}
	}
	var err error
	if s.writer, err = s.connect(context.Background(), writer); err != nil {
		return err
	}
	return s.lock(g)
}

// lockPosition takes the row that counts the journal's positions.
const lockPosition = "SELECT value FROM meta WHERE name = 'position' FOR UPDATE"

func (s *Store) lock(g *group) error {
	l := &look{seen: s.feed.seen(), asked: time.Now()}
	g.session = session{conn: s.writer}
	head := &statement{query: lockPosition, least: 1, each: func(r relational.Row) error {
		l.head = store.Position(r.Integer(0))
		return nil
	}}
	seen, err := newStatement("SELECT op FROM journal WHERE position = ?", []any{int64(l.seen.position)})
	if err != nil {
		return err
	}
	seen.each = func(r relational.Row) error {
		l.op = store.OpID(r.Text(0))
		return nil
	}
	now := &statement{query: selectClock, least: 1, each: func(r relational.Row) error {
		g.session.now, g.session.at = r.Instant(0), time.Now()
		return nil
	}}
	if _, err := s.writer.run(context.Background(), control("BEGIN ISOLATION LEVEL READ COMMITTED"), head, seen, now); err != nil {
		return unavailable(err)
	}
	g.last = l.head
	return s.catchUp(context.Background(), s.writer, l)
}

// perform runs one update of the group.
func (s *Store) perform(u *update, fn func(store.Tx) error, strict bool) {
	g := u.group
	u.again, u.err = false, errAbandoned
	g.session.begin(strict)
	u.tx = relational.Update(&g.session, g.session.clock, u.op, g.last)
	defer func() {
		if err := s.seal(u); err != nil {
			s.end(g, err)
		}
	}()
	u.err = fn(&u.tx)
}

// seal ends an update whose closure has returned, or never will. The error that it returns ends the group; the update's own is
// kept in it.
func (s *Store) seal(u *update) error {
	t, session := &u.tx, &u.group.session
	t.End()
	abandoned := u.err == errAbandoned
	switch {
	case session.broken != nil:
		if u.err == nil {
			u.err = session.broken
		}
	case u.op.ID != "":
		u.commit, u.err = t.Seal(context.Background(), u.err)
	}
	if u.err == nil {
		u.err = session.keep()
	}
	broken := session.broken
	if u.err == nil && broken == nil {
		if u.commit != nil {
			u.group.entries++
			u.group.last = u.commit.Position
		}
		return nil
	}
	u.commit = nil
	if fault.Is(broken, fault.Unavailable) && broken != errAgain {
		return broken
	}
	if broken != nil {
		u.again = broken == errAgain && !abandoned
		u.err = broken
	}
	if err := session.undo(); err != nil {
		return unavailable(err)
	}
	return nil
}

// dropWriter closes a connection whose transaction was not committed: that takes back what it wrote.
func (s *Store) dropWriter() {
	if s.writer != nil {
		s.writer.close()
		s.writer = nil
	}
}
