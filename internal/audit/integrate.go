package audit

import (
	"context"
	"fmt"
	"time"

	"github.com/keywright/keywright/internal/audit/segment"
	"github.com/keywright/keywright/internal/merkle"
)

const (
	// integratePause lets records gather, so that the cost of a round is shared.
	integratePause = 100 * time.Millisecond
	// leavesAtOnce bounds the memory of a round: 32 bytes each.
	leavesAtOnce = 8192
	// sinkRetry is the pause after a sink failed.
	sinkRetry = 10 * time.Second
)

// integrateEach makes durable records leaves, and signs checkpoints when they are due.
func (l *Log) integrateEach(ctx context.Context) {
	for ctx.Err() == nil {
		if err := l.round(ctx); err != nil && ctx.Err() == nil {
			l.cfg.OnError(fmt.Errorf("integrating audit records: %w", err))
		}
		pause(ctx, integratePause)
	}
}

func (l *Log) round(ctx context.Context) error {
	size, last, lastAt := l.progress()
	wait, cancel := ctx, context.CancelFunc(func() {})
	if size > last {
		wait, cancel = context.WithDeadline(ctx, lastAt.Add(l.cfg.CheckpointInterval))
	}
	synced, err := l.seg.WaitSynced(wait, size)
	cancel()
	if err == nil {
		l.treeMu.Lock()
		err = l.integrate(ctx, synced)
		l.treeMu.Unlock()
		if err != nil {
			return err
		}
		l.writeIndexes()
	}
	size, last, lastAt = l.progress()
	if size > last && (size-last >= l.cfg.CheckpointRecords || time.Since(lastAt) >= l.cfg.CheckpointInterval) {
		l.treeMu.Lock()
		defer l.treeMu.Unlock()
		return l.sign()
	}
	return nil
}

func (l *Log) progress() (size, last int64, lastAt time.Time) {
	l.treeMu.Lock()
	defer l.treeMu.Unlock()
	return l.tree.Size(), l.last.Size, l.lastAt
}

// integrate appends the records below until, all of which are durable, to the tree. The caller holds treeMu.
func (l *Log) integrate(ctx context.Context, until int64) error {
	for l.tree.Size() < until {
		leaves := make([]merkle.Hash, 0, min(leavesAtOnce, until-l.tree.Size()))
		next, err := l.seg.Read(ctx, l.cursor, min(until, l.tree.Size()+leavesAtOnce), func(_ int64, f segment.Frame) error {
			leaves = append(leaves, merkle.LeafHash(f.Payload))
			return nil
		})
		if err != nil {
			return err
		}
		if err := l.tree.Append(leaves); err != nil {
			return l.reopenTree(err)
		}
		l.cursor = next
	}
	return nil
}

// reopenTree goes back to the last checkpoint after tiles could not be written; the leaves since come again.
func (l *Log) reopenTree(cause error) error {
	tree, err := merkle.Open(l.tiles, l.last.Size)
	if err != nil {
		return fmt.Errorf("%w; and opening the tree again: %w", cause, err)
	}
	l.tree, l.cursor = tree, segment.Cursor{Index: l.last.Size}
	return cause
}

// Checkpoint makes every acknowledged record durable, integrates it, and signs a checkpoint of all of them.
func (l *Log) Checkpoint(ctx context.Context) error {
	if err := l.seg.Sync(); err != nil {
		return err
	}
	l.treeMu.Lock()
	defer l.treeMu.Unlock()
	if err := l.integrate(ctx, l.seg.State().Synced); err != nil {
		return err
	}
	if l.tree.Size() == l.last.Size {
		return nil
	}
	return l.sign()
}

// sign makes the tiles durable and then a checkpoint of them. The caller holds treeMu.
func (l *Log) sign() error {
	if err := l.tiles.sync(); err != nil {
		return l.reopenTree(fmt.Errorf("syncing the tiles: %w", err)) // and write them again
	}
	root, err := l.tree.Root()
	if err != nil {
		return err
	}
	c := merkle.Checkpoint{Origin: l.cfg.Origin, Size: l.tree.Size(), Root: root}
	signed, err := c.Sign(l.cfg.Signer)
	if err != nil {
		return err
	}
	if err := l.points.append(signed); err != nil {
		return err
	}
	l.last, l.lastAt = c, time.Now()
	for _, c := range l.sinks {
		select { // a sink gets the latest; an older one that still waits says less
		case <-c:
		default:
		}
		c <- signed
	}
	return nil
}

// feedSink hands checkpoints to a sink, the latest again after a failure.
func (l *Log) feedSink(ctx context.Context, sink CheckpointSink, next <-chan []byte) {
	var signed []byte
	for {
		var again <-chan time.Time
		if signed != nil {
			if err := sink(ctx, signed); err != nil && ctx.Err() == nil {
				l.cfg.OnError(fmt.Errorf("handing out an audit checkpoint: %w", err))
				again = time.After(sinkRetry)
			}
		}
		select {
		case <-ctx.Done():
			return
		case signed = <-next:
		case <-again:
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
