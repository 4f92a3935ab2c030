package durability_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/keywright/keywright/e2e/workload"
	"github.com/keywright/keywright/internal/audit"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/store/sqlite"
)

const (
	storeDir = "store"
	auditDir = "audit"

	// durabilityOS is the variant of the workload whose audit log promises its decisions against kill -9 alone.
	durabilityOS = "os"

	// The words before an acknowledged id.
	ackVersion  = "version"
	ackDecision = "decision"
)

// node is the durable part of a server: the store, the audit log, and what brings the audit rows of changes from one to
// the other.
type node struct {
	store     *sqlite.Store
	log       *audit.Log
	sequencer *audit.Sequencer
}

// openNode opens, or makes, both parts in dir. Nothing runs in the background yet.
func openNode(dir string, durability audit.Durability) (*node, error) {
	s, err := sqlite.Open(sqlite.Config{Dir: filepath.Join(dir, storeDir)})
	if err != nil {
		return nil, err
	}
	log, err := audit.Open(auditConfig(filepath.Join(dir, auditDir), durability))
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	sequencer, err := audit.NewSequencer(audit.SequencerConfig{Log: log, Rows: auditRows{s}, Interval: 5 * time.Millisecond})
	return &node{store: s, log: log, sequencer: sequencer}, err
}

func (n *node) close() error {
	n.sequencer.Stop()
	n.log.Stop()
	return n.store.Close()
}

// nodeWorkload has several writers change the store at once, each one its own object, while others record decisions, until
// each writer has made its updates; forever is for those who kill it.
func nodeWorkload(run *workload.Run, forever bool) error {
	durability := audit.Fsync
	if run.Variant == durabilityOS {
		durability = audit.OS
	}
	n, err := openNode(run.Dir, durability)
	if err != nil {
		return err
	}
	ctx := context.Background()
	if err := errors.Join(n.log.Start(ctx), n.sequencer.Start(ctx)); err != nil {
		return err
	}
	var writing, reading errgroup.Group
	var done atomic.Bool
	for r := range readers {
		reading.Go(func() error {
			for i := 0; !done.Load(); i++ {
				if err := decide(run, n.log, fmt.Sprintf("reader-%d", r)); err != nil {
					return err
				}
				time.Sleep(time.Millisecond) // the writers shall have most of the recording
			}
			return nil
		})
	}
	for w := range writers {
		writing.Go(func() error {
			for i := 0; forever || i < updates; i++ {
				if err := change(run, n.store, fmt.Sprintf("object-%d", w)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err = writing.Wait()
	done.Store(true)
	return errors.Join(err, reading.Wait(), n.close())
}

// auditRows is the sequencer's side of the store.
type auditRows struct{ store store.Store }

const auditCursor = "audit"

// LastSequenced implements audit.Rows.
func (r auditRows) LastSequenced(ctx context.Context) (last int64, err error) {
	err = r.store.View(ctx, func(tx store.Tx) error {
		p, err := tx.Cursor(ctx, auditCursor)
		last = int64(p)
		return err
	})
	return last, err
}

// Rows implements audit.Rows.
func (r auditRows) Rows(ctx context.Context, after int64, limit int) (rows []audit.Row, err error) {
	err = r.store.View(ctx, func(tx store.Tx) error {
		commits, err := tx.Commits(ctx, store.Position(after), limit)
		for _, c := range commits {
			rows = append(rows, audit.Row{Position: int64(c.Position), ID: eventRecordID(c), Frame: c.Audit})
		}
		return err
	})
	return rows, err
}

// Sequenced implements audit.Rows.
func (r auditRows) Sequenced(ctx context.Context, position int64) error {
	return r.store.Update(ctx, store.NewOp(time.Now()), func(tx store.Tx) error {
		return tx.SetCursor(ctx, auditCursor, store.Position(position))
	})
}
