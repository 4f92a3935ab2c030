package full

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/keywright/keywright/internal/archive"
	auditarchive "github.com/keywright/keywright/internal/audit/archive"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
)

// RestoredSetting is the setting that names the backup from which the store was restored last.
const RestoredSetting = "restored"

// Restored is what it holds.
type Restored struct {
	// Backup is the id of the backup, Made when its state was taken, At when it was restored.
	Backup string    `json:"backup"`
	Made   time.Time `json:"made"`
	At     time.Time `json:"at"`
	// Left is how many objects and vaults tombstones kept out.
	Left int64 `json:"left,omitempty"`
	// Recorded says that the audit log tells of it.
	Recorded bool `json:"recorded,omitempty"`
}

// Restoration says what is to be restored, and into what.
type Restoration struct {
	From *archive.Reader
	To   Scratch
	// Replace permits a store that is not empty. Its tombstones count, and everything else in it is gone.
	Replace bool
	// Unsealed permits a file that the seal did not open, and of which nobody can say who wrote it.
	Unsealed bool
	// Alone says that no other process can have the store open.
	Alone bool
	// Buried are tombstones of elsewhere: of what was purged since the backup was made.
	Buried []store.Tombstone
	// Forget says of a setting that it belongs to the node that made the backup, and not to the installation.
	Forget func(setting string) bool
	// Tables are left empty: what they hold is of the processes that there were, or must not come back.
	Tables []string
	// Check looks at the store before it can be used: whether its keys open.
	Check func(ctx context.Context, s store.Store) error
	Clock clock.Clock
}

// NotSealed is the reason of the refusal to take a file that an identity opened and the seal did not.
const NotSealed fault.Reason = "BackupNotSealed"

// CheckSealed refuses a file that was not written with the seal: people and what they may do are in it as they are in the store, and whoever has a recipient's
// public key, which is no secret, could have made a file in which they may more.
func CheckSealed(from *archive.Reader) error {
	if from.Sealed {
		return nil
	}
	return fault.New(fault.Invalid, "an identity opens the backup and the seal does not, so that anybody who has the public key can have written it: give the seal of when it was made, "+
		"or --unsealed if you know where the file comes from").Because(NotSealed)
}

// Restore loads a backup into a store and makes that one that serves. After an error the store serves nobody, and the restoration can be done again.
func Restore(ctx context.Context, r *Restoration) (store.Loaded, error) {
	if !r.Unsealed {
		if err := CheckSealed(r.From); err != nil {
			return store.Loaded{}, err
		}
	}
	empty, err := r.To.Empty(ctx)
	if err != nil {
		return store.Loaded{}, err
	}
	if !empty && !r.Replace {
		return store.Loaded{}, fault.New(fault.Conflict, "the store that is to be restored into is not empty: name another one, or give --replace, which replaces everything in it")
	}
	if err := r.alone(ctx); err != nil {
		return store.Loaded{}, err
	}
	done, err := r.To.Load(ctx, &source{r}, r.Buried)
	if err != nil {
		return done, err
	}
	if err := r.Check(ctx, r.To); err != nil {
		return done, fmt.Errorf("opening what was restored: %w", err)
	}
	if err := r.alone(ctx); err != nil {
		return done, err
	}
	if err := r.note(ctx, &done); err != nil {
		return done, err
	}
	return done, r.To.Settle(ctx)
}

// quiet is how long a node has not been heard of that counts as ended. Nodes are heard of once a minute at least.
const quiet = 150 * time.Second

// alone refuses while nodes work on the store, unless nobody else can have it open.
func (r *Restoration) alone(ctx context.Context) error {
	if r.Alone {
		return nil
	}
	return r.To.View(ctx, func(tx store.Tx) error {
		now, err := tx.Clock(ctx)
		if err != nil {
			return err
		}
		nodes, err := tx.Nodes(ctx)
		for _, n := range nodes {
			if n.Left.IsZero() && now.Sub(n.Seen) < quiet {
				return fault.New(fault.Conflict, "the node %s on %s works on the store that is to be restored into: stop every node first; one that was killed counts as stopped after %s",
					n.ID, n.Host, quiet)
			}
		}
		return err
	})
}

// note writes down in the store where it came from.
func (r *Restoration) note(ctx context.Context, done *store.Loaded) error {
	now := r.Clock.Now()
	text, err := json.Marshal(Restored{Backup: r.From.Header.ID, Made: r.From.Header.Made, At: clock.Micro(now), Left: done.Buried + done.BuriedVaults})
	if err != nil {
		return err
	}
	return r.To.Update(ctx, store.NewOp(now), func(tx store.Tx) error {
		if err := r.endLogs(ctx, tx, clock.Micro(now)); err != nil {
			return err
		}
		return tx.PutSetting(ctx, RestoredSetting, text)
	})
}

// endLogs ends the audit logs of the nodes that there were: none of them grows in this store.
func (r *Restoration) endLogs(ctx context.Context, tx store.Tx, now time.Time) error {
	logs, err := tx.AuditLogs(ctx)
	if err != nil {
		return err
	}
	head, err := tx.Head(ctx)
	if err != nil {
		return err
	}
	for _, log := range logs {
		if log.Closed.IsZero() {
			next := *log
			next.Closed = now
			if err := tx.PutAuditLog(ctx, &next); err != nil {
				return err
			}
		}
		// A node that has its store for itself takes in the rows of every other by itself; the journal waits for nobody else.
		if r.Alone {
			for _, reader := range []string{auditarchive.Cursor(log.Node), auditarchive.ShippedCursor(log.Node)} {
				if err := tx.SetCursor(ctx, reader, head); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// source leaves out of a backup what is not the installation's.
type source struct{ *Restoration }

// Each implements store.Source.
func (s *source) Each(ctx context.Context, to store.Sink) error {
	return s.From.Each(ctx, &leaving{Sink: to, r: s.Restoration})
}

type leaving struct {
	store.Sink
	r *Restoration
	// out says of a row of the current table that it is left out; nil leaves none.
	out func(values []any) bool
}

// Table implements store.Sink.
func (l *leaving) Table(t *store.Table) error {
	l.out = nil
	switch {
	case slices.Contains(l.r.Tables, t.Name):
		l.out = func([]any) bool { return true }
	case t.Name == "settings":
		at := slices.Index(t.Columns, "name")
		if err := lacks(t, at); err != nil {
			return err
		}
		l.out = func(values []any) bool { name, _ := values[at].(string); return l.r.Forget(name) }
	case t.Name == "backups":
		// The work that was under way is not any more.
		at := slices.Index(t.Columns, "open")
		if err := lacks(t, at); err != nil {
			return err
		}
		l.out = func(values []any) bool { return values[at] != int64(0) }
	}
	return l.Sink.Table(t)
}

// Row implements store.Sink.
func (l *leaving) Row(values []any) error {
	if l.out != nil && l.out(values) {
		return nil
	}
	return l.Sink.Row(values)
}

// Tombstones reads the tombstones of a backup, and nothing else of it.
func Tombstones(ctx context.Context, from *archive.Reader) ([]store.Tombstone, error) {
	g := new(graves)
	err := from.Each(ctx, g)
	return g.list, err
}
