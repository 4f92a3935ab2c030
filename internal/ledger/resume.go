package ledger

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/keywright/keywright/internal/audit"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
)

// course is what the store knows of a node's log and of the process that wrote it last.
type course struct {
	// Generation counts the logs of one origin that the node has had: one that lacks records which were taken in already is another log.
	Generation int `json:"generation,omitempty"`
	// Origin is that of the log.
	Origin string `json:"origin,omitempty"`
	// Boot is the running of the machine, Clean that the process ended in order, Records how many the log had then.
	Boot       string `json:"boot,omitempty"`
	Durability string `json:"durability"`
	Clean      bool   `json:"clean"`
	Records    int64  `json:"records,omitempty"`
	// Restarted are the last starts after which the tail of the log may have been lost, oldest first.
	Restarted []time.Time `json:"restarted,omitempty"`
}

// maxRestarts bounds the starts that are remembered.
const maxRestarts = 16

// CoursePrefix begins the settings of a node's ledger; the node's id follows.
const CoursePrefix = "ledger-course-"

func courseSetting(node string) string { return CoursePrefix + node }

// resume reads where the projection has come to, and notes that this process runs now.
func (l *Ledger) resume(ctx context.Context) error {
	was, err := l.course(ctx)
	if err != nil {
		return err
	}
	now := clock.Micro(l.Clock.Now())
	next := course{}
	if was != nil {
		next = *was
	}
	state := l.Log.State()
	if was != nil && was.lost(l.Boot, state.Records) {
		next.Restarted = append(next.Restarted, now)
	}
	if was != nil && was.Origin != "" && was.Origin != l.Log.Origin() {
		// The log before was set aside, with what it had behind the position.
		next.Generation, next.Restarted = 0, append(next.Restarted, now)
	}
	next.Origin = l.Log.Origin()
	if err := l.position(ctx, &next, now); err != nil {
		return err
	}
	next.Restarted = next.Restarted[max(0, len(next.Restarted)-maxRestarts):]
	if n := len(next.Restarted); n > 0 {
		l.whole = next.Restarted[n-1]
	}
	next.Boot, next.Durability, next.Clean, next.Records = l.Boot, l.Durability.String(), false, 0
	return l.putCourse(ctx, &next)
}

// lost reports whether records that were acknowledged may be missing. A process that ends leaves them to the operating system; a machine that ends
// takes those with it that were not synced, unless each was synced before it was acknowledged.
func (c *course) lost(boot string, records int64) bool {
	if c.Clean {
		return records < c.Records
	}
	return c.Durability != audit.Fsync.String() && (boot == "" || boot != c.Boot)
}

// position begins to read the log where the store has come to. A log that is shorter is another one: it is read from its beginning, and what the one
// before had behind the position is lost.
func (l *Ledger) position(ctx context.Context, c *course, now time.Time) error {
	for {
		l.reader = logName(l.Log.Origin(), l.Node)
		if c.Generation > 0 {
			l.reader = fmt.Sprintf("%s#%d", l.reader, c.Generation)
		}
		err := l.Store.View(ctx, func(tx store.Tx) (err error) {
			l.committed, err = tx.Projected(ctx, l.reader)
			return err
		})
		if err != nil {
			return fmt.Errorf("reading the ledger's position: %w", err)
		}
		if l.tail, err = l.Log.Tail(l.committed); err == nil {
			return nil
		}
		if !fault.Is(err, fault.Conflict) {
			return err
		}
		l.Logger.WarnContext(ctx, "the audit log lacks records that the ledger has taken in: it is read anew, and open revocations begin their grace again", "error", err)
		c.Generation++
		c.Restarted = append(c.Restarted, now)
	}
}

func (l *Ledger) course(ctx context.Context) (*course, error) {
	var c *course
	err := l.Store.View(ctx, func(tx store.Tx) (err error) {
		c, err = l.courseOf(ctx, tx, l.Node)
		return err
	})
	return c, err
}

func (l *Ledger) putCourse(ctx context.Context, c *course) error {
	text, err := json.Marshal(c)
	if err != nil {
		return err
	}
	err = l.Store.Update(ctx, store.NewOp(l.Clock.Now()), func(tx store.Tx) error { return tx.PutSetting(ctx, courseSetting(l.Node), text) })
	if err != nil {
		return fmt.Errorf("storing how the ledger runs: %w", err)
	}
	return nil
}

// mark notes how the process ends.
func (l *Ledger) mark(ctx context.Context, clean bool) error {
	c, err := l.course(ctx)
	if err != nil || c == nil {
		return err
	}
	c.Clean, c.Records = clean, l.Log.State().Synced
	return l.putCourse(ctx, c)
}

// Restarted lists the last starts after which the tail of the log may have been lost, oldest first.
func (l *Ledger) Restarted(ctx context.Context) ([]time.Time, error) {
	c, err := l.course(ctx)
	if err != nil || c == nil {
		return nil, err
	}
	return c.Restarted, nil
}
