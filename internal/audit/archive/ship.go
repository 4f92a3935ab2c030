package archive

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/keywright/keywright/internal/audit"
	"github.com/keywright/keywright/internal/audit/segment"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
)

// How a log is shipped.
const (
	// ShipEvery is the usual time between two looks at what can be shipped: by so much, and by the time that shipping takes, a node's tail is long.
	ShipEvery = 5 * time.Second
	// ShipRate is the usual bound, in bytes a second before compression. What comes faster waits.
	ShipRate = 8 << 20
	// partsAtOnce bounds the parts of one transaction, so that writers wait for milliseconds only.
	partsAtOnce = 4
	// slack is by how much a record may be older than the moment at which it came into the log.
	slack = 2 * time.Second
	// KeepEvery is the time between two checkpoints that are kept for ever. The newest is there besides.
	KeepEvery = 10 * time.Minute
)

// ShipperConfig makes a Shipper. Store, Log and Clock are required.
type ShipperConfig struct {
	Store store.Store
	Log   *audit.Log
	Clock clock.Clock
	// Every and Rate are ShipEvery and ShipRate when zero.
	Every time.Duration
	Rate  int64
	// OnError hears of failures, which are tried again; it may be nil.
	OnError func(error)
}

// Shipper copies one node's log to the store, part by part. It reads what is durable, from the files, and holds nobody up: when the store is away the tail
// grows, and is shipped later.
type Shipper struct {
	ShipperConfig

	mu sync.Mutex
	// cursor is behind the last record that was shipped. read is false until it is known.
	cursor segment.Cursor
	read   bool
	level  time.Time
	kept   time.Time
}

// NewShipper checks the configuration. The log must be in the list.
func NewShipper(c ShipperConfig) (*Shipper, error) {
	if c.Store == nil || c.Log == nil || c.Clock == nil {
		return nil, errors.New("a shipper needs a store, the node's audit log and a clock")
	}
	if c.Every <= 0 {
		c.Every = ShipEvery
	}
	if c.Rate <= 0 {
		c.Rate = ShipRate
	}
	if c.OnError == nil {
		c.OnError = func(error) {}
	}
	return &Shipper{ShipperConfig: c, level: c.Clock.Now()}, nil
}

// Run ships until ctx ends.
func (s *Shipper) Run(ctx context.Context) {
	for ctx.Err() == nil {
		began := time.Now()
		shipped, err := s.Ship(ctx)
		if err != nil && ctx.Err() == nil {
			s.OnError(fmt.Errorf("shipping the audit log to the store: %w", err))
		}
		pace := time.Duration(float64(shipped) / float64(s.Rate) * float64(time.Second))
		timer := time.NewTimer(max(pace, s.Every) - min(time.Since(began), max(pace, s.Every)-time.Millisecond))
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

// Ship copies what is durable now, at most what Rate lets through between two looks, and returns how many bytes that was.
func (s *Shipper) Ship(ctx context.Context) (shipped int64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin(ctx); err != nil {
		return 0, err
	}
	at := s.Clock.Now().Add(-slack)
	// In this order: the rows up to there are among the records that are counted then.
	rows, err := s.sequenced(ctx)
	if err != nil {
		return 0, err
	}
	all := s.Log.State().Records
	if all > s.cursor.Index {
		if err := s.Log.Sync(ctx); err != nil {
			return 0, err
		}
	}
	budget := int64(float64(s.Rate) * s.Every.Seconds())
	for {
		parts, next, err := s.gather(ctx, min(all, s.Log.State().Synced), budget-shipped)
		if err != nil {
			return shipped, err
		}
		level := at
		if next.Index < all {
			level = s.level
			if len(parts) > 0 {
				level = parts[len(parts)-1].part.To.Add(-slack)
			}
		}
		shippedRows := rows
		if next.Index < all {
			shippedRows = 0 // not all of them yet
		}
		if err := s.put(ctx, parts, later(s.level, level), shippedRows); err != nil {
			s.read = false // what the store has is read again
			return shipped, err
		}
		for _, p := range parts {
			shipped += int64(len(p.frames))
		}
		if s.cursor, s.level = next, later(s.level, level); next.Index >= all || shipped >= budget {
			return shipped, nil
		}
	}
}

// begin finds out what was shipped before.
func (s *Shipper) begin(ctx context.Context) error {
	if s.read {
		return nil
	}
	return s.Store.View(ctx, func(tx store.Tx) error {
		log, err := tx.AuditLog(ctx, s.Log.Origin())
		if err != nil {
			return err
		}
		if has := s.Log.State().Records; log.Shipped > has {
			return fault.New(fault.Conflict, "%d records of the audit log %s were shipped, and it has %d: another process writes this log, or the directory was set back",
				log.Shipped, log.Origin, has).Because(SetBack)
		}
		s.cursor, s.level, s.read = segment.Cursor{Index: log.Shipped}, log.Level, true
		return nil
	})
}

// sequenced is up to where the rows of the node's changes are in its log.
func (s *Shipper) sequenced(ctx context.Context) (p store.Position, err error) {
	err = s.Store.View(ctx, func(tx store.Tx) (err error) {
		p, err = tx.Cursor(ctx, Cursor(s.Log.Node()))
		return err
	})
	return p, err
}

// gather makes the next parts, of records before until.
func (s *Shipper) gather(ctx context.Context, until, budget int64) (parts []*partWriter, next segment.Cursor, err error) {
	w, size := &partWriter{}, int64(0)
	next, err = s.Log.Leaves(ctx, s.cursor, until, func(leaf audit.Leaf) error {
		if w.add(leaf) {
			return nil
		}
		parts, size = append(parts, w), size+int64(len(w.frames))
		if len(parts) == partsAtOnce || size >= budget {
			return errEnough
		}
		w = &partWriter{}
		w.add(leaf)
		return nil
	})
	if errors.Is(err, errEnough) {
		return parts, next, nil
	}
	if err == nil && len(w.frames) > 0 {
		parts = append(parts, w)
	}
	return parts, next, err
}

var errEnough = errors.New("enough for one transaction")

// put stores parts and how far the log is shipped with them, and up to where the journal's rows are among that; 0 says nothing of rows.
func (s *Shipper) put(ctx context.Context, parts []*partWriter, level time.Time, rows store.Position) error {
	origin, from := s.Log.Origin(), s.cursor.Index
	ready := make([]*store.AuditPart, len(parts))
	for i, w := range parts {
		var err error
		if ready[i], err = w.finish(origin); err != nil {
			return err
		}
	}
	err := s.Store.Update(ctx, store.NewOp(s.Clock.Now()), func(tx store.Tx) error {
		log, err := tx.AuditLog(ctx, origin)
		if err != nil {
			return err
		}
		if log.Shipped != from {
			return fault.New(fault.Conflict, "the audit log %s is shipped up to record %d, and this process had come to %d: it goes on from there", origin, log.Shipped, from)
		}
		for _, p := range ready {
			if err := tx.AddAuditPart(ctx, p); err != nil {
				return err
			}
			log.Shipped = p.Next
		}
		if rows > 0 {
			if err := tx.SetCursor(ctx, ShippedCursor(log.Node), rows); err != nil {
				return err
			}
		}
		log.Level, log.Closed = clock.Micro(level), time.Time{} // a node that was removed may still be there
		return tx.PutAuditLog(ctx, log)
	})
	if errors.Is(err, store.ErrCommitted) {
		return nil
	}
	return err
}

// Finish ships the rest at the end of the process, and notes that there is no tail then. Nothing may be appended to the log any more.
func (s *Shipper) Finish(ctx context.Context) error {
	for {
		if _, err := s.Ship(ctx); err != nil {
			return err
		}
		if n, _ := s.Tail(); n == 0 {
			break
		}
	}
	return s.Store.Update(ctx, store.NewOp(s.Clock.Now()), func(tx store.Tx) error {
		log, err := tx.AuditLog(ctx, s.Log.Origin())
		if err != nil {
			return err
		}
		log.Whole = true
		return tx.PutAuditLog(ctx, log)
	})
}

// Tail is what was not shipped yet: how many records, and since when there may be some.
func (s *Shipper) Tail() (records int64, since time.Time) {
	all := s.Log.State().Records
	s.mu.Lock()
	defer s.mu.Unlock()
	return max(0, all-s.cursor.Index), s.level
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
