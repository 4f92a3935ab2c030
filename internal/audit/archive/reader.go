package archive

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/keywright/keywright/internal/audit"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/store"
)

// Peer is a node as the archive has to know it.
type Peer struct {
	ID string
	// Live nodes are heard of; Stopped ones have ended in order.
	Live, Stopped bool
	// Quiet is the time since the node was last heard of.
	Quiet time.Duration
	// Seen is when that was, and Fenced since when a node that is not live answers nothing that it would have to ask the store for, by the store's clock.
	Seen, Fenced time.Time
}

// Peers lists the nodes that work on the store, this one included, in a transaction.
type Peers func(context.Context, store.Tx) ([]Peer, error)

// Config makes a Reader. Everything is required.
type Config struct {
	Store store.Store
	// Own is the log of this node, which is read from its files; the others' are read from the store. Dir is its directory.
	Own    *audit.Log
	Dir    string
	Sealer audit.Sealer
	Peers  Peers
	Clock  clock.Clock
}

// Reader reads the logs of all nodes. It is safe for concurrent use.
type Reader struct{ Config }

// NewReader checks the configuration.
func NewReader(c Config) (*Reader, error) {
	if c.Store == nil || c.Own == nil || c.Dir == "" || c.Sealer == nil || c.Peers == nil || c.Clock == nil {
		return nil, errors.New("a reader of all audit logs needs a store, the node's own log and its directory, a sealer, the list of nodes and a clock")
	}
	return &Reader{c}, nil
}

// Missing tells of records that are in no answer: what a node did not ship yet, or never will.
type Missing struct {
	Node, Origin string
	// Since is an instant before which nothing is missing. Until is when the log came to its end, zero while it may grow.
	Since, Until time.Time
	// Lost says that nobody will ship the records any more.
	Lost bool
	// Why is a sentence for people.
	Why string
}

// missing tells what of another node's log cannot be read here; nil for nothing.
func missing(log *store.AuditLog, peers []Peer) *Missing {
	if log.Whole {
		return nil
	}
	m := &Missing{Node: log.Node, Origin: log.Origin, Since: log.Level}
	at := log.Level.UTC().Format(time.RFC3339)
	if !log.Closed.IsZero() {
		m.Lost, m.Until = true, log.Closed
		m.Why = fmt.Sprintf("what the node %s recorded from %s until its log %s came to its end was not shipped, and is lost unless its directory is still there", log.Node, at, log.Origin)
		return m
	}
	for _, p := range peers {
		if p.ID != log.Node {
			continue
		}
		if p.Live {
			m.Why = fmt.Sprintf("the node %s has not shipped yet what it recorded from %s on", log.Node, at)
			return m
		}
		m.Why = fmt.Sprintf("the node %s has not been heard of for %s, and what it recorded from %s on is in its directory alone", log.Node, p.Quiet.Round(time.Second), at)
		return m
	}
	m.Why = fmt.Sprintf("the node %s is not in the list of nodes, and what it recorded from %s on is in its directory alone", log.Node, at)
	return m
}

// Logs lists the logs of all nodes, and the nodes.
func (r *Reader) Logs(ctx context.Context) ([]*store.AuditLog, []Peer, error) { return r.logs(ctx) }

// logs lists all logs, that of this node included, and the nodes.
func (r *Reader) logs(ctx context.Context) (all []*store.AuditLog, peers []Peer, err error) {
	err = r.Store.View(ctx, func(tx store.Tx) (err error) {
		if all, err = tx.AuditLogs(ctx); err != nil {
			return err
		}
		peers, err = r.Peers(ctx, tx)
		return err
	})
	if err != nil {
		return nil, nil, fmt.Errorf("reading the list of audit logs: %w", err)
	}
	return all, peers, nil
}

// adopted answers in which log an adopted row counts. It reads the store by the hour: rows of one hour are asked for together.
type adopted struct {
	store store.Store
	hours map[int64]map[audit.ID]string
	// shown are the adopted rows that were counted: a log may have taken in one twice, before and after a crash.
	shown map[audit.ID]bool
}

func newAdopted(s store.Store) *adopted {
	return &adopted{s, make(map[int64]map[audit.ID]string), make(map[audit.ID]bool)}
}

const hour = int64(time.Hour / time.Microsecond)

// home returns the origin of the log in which the row counts; "" when it was not adopted.
func (a *adopted) home(ctx context.Context, id audit.ID, at time.Time) (string, error) {
	n := at.UnixMicro() / hour
	rows, ok := a.hours[n]
	if !ok {
		rows = make(map[audit.ID]string)
		err := a.store.View(ctx, func(tx store.Tx) error {
			clear(rows)
			list, err := tx.Adoptions(ctx, time.UnixMicro(n*hour), time.UnixMicro((n+1)*hour-1))
			for _, one := range list {
				var id audit.ID
				if _, err := hex.Decode(id[:], []byte(one.Op)); err != nil {
					return fmt.Errorf("the adopted audit row %q: %w", one.Op, err)
				}
				rows[id] = one.Origin
			}
			return err
		})
		if err != nil {
			return "", fmt.Errorf("reading the adopted audit rows: %w", err)
		}
		a.hours[n] = rows
	}
	return rows[id], nil
}

// counts reports whether a change's record in a log is the one that counts. node is who committed the change, "" when nobody knows any more.
func (a *adopted) counts(ctx context.Context, id audit.ID, at time.Time, node string, log *store.AuditLog) (bool, error) {
	home, err := a.home(ctx, id, at)
	switch {
	case err != nil:
		return false, err
	case home == "":
		return node == "" || node == log.Node, nil
	case home != log.Origin || a.shown[id]:
		return false, nil
	}
	a.shown[id] = true
	return true, nil
}
