package archive

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/keywright/keywright/internal/audit"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/merkle"
	"github.com/keywright/keywright/internal/store"
)

// OriginPrefix begins every origin; the node's id follows, and from its second log on a dot and a number.
const OriginPrefix = "keywright/"

// Logs keeps the list of logs.
type Logs struct {
	Store store.Store
	Clock clock.Clock
}

// Current returns the log that a node goes on with, or nil before its first, and the origin of the next one that it would begin. A node that was removed
// from the list of nodes and comes back goes on with the log that it had.
func (l Logs) Current(ctx context.Context, node string) (current *store.AuditLog, next string, err error) {
	err = l.Store.View(ctx, func(tx store.Tx) error {
		current, next = nil, OriginPrefix+node
		all, err := tx.AuditLogs(ctx)
		had := 0
		for _, log := range all {
			if log.Node != node {
				continue
			}
			had++
			if Successor(log, all) == nil {
				current = log
			}
		}
		if had > 0 {
			next = fmt.Sprintf("%s%s.%d", OriginPrefix, node, had+1)
		}
		return err
	})
	if err != nil {
		return nil, "", fmt.Errorf("reading the list of audit logs: %w", err)
	}
	return current, next, nil
}

// Begin adds a log to the list. When it continues another one of its node, that one comes to its end, and why is kept.
func (l Logs) Begin(ctx context.Context, origin, node, key string, before *store.AuditLog, why string) (*store.AuditLog, error) {
	log := &store.AuditLog{Origin: origin, Node: node, Key: key, Begun: clock.Micro(l.Clock.Now()), Level: clock.Micro(l.Clock.Now())}
	if before != nil {
		log.Before, log.Why = before.Origin, why
	}
	err := l.Store.Update(ctx, store.NewOp(l.Clock.Now()), func(tx store.Tx) error {
		if before != nil {
			if err := end(ctx, tx, before.Origin, log.Begun); err != nil {
				return err
			}
		}
		return tx.PutAuditLog(ctx, log)
	})
	if err != nil {
		return nil, fmt.Errorf("adding the audit log %s to the list: %w", origin, err)
	}
	return log, nil
}

// Successor returns the log with which the node of a log went on; nil when it did not.
func Successor(log *store.AuditLog, all []*store.AuditLog) *store.AuditLog {
	for _, l := range all {
		if l.Before == log.Origin {
			return l
		}
	}
	return nil
}

// Resume notes that a process writes the log again: from now on it may have a tail.
func (l Logs) Resume(ctx context.Context, origin string) error {
	return l.Store.Update(ctx, store.NewOp(l.Clock.Now()), func(tx store.Tx) error {
		log, err := tx.AuditLog(ctx, origin)
		if err != nil || !log.Whole && log.Closed.IsZero() {
			return err
		}
		log.Whole, log.Closed = false, time.Time{}
		return tx.PutAuditLog(ctx, log)
	})
}

// CloseRemoved notes that the logs of nodes which were removed from the list of nodes grow no more. What they had behind their parts is lost, unless the node
// ended in order.
func (l Logs) CloseRemoved(ctx context.Context, peers Peers) error {
	return l.Store.Update(ctx, store.NewOp(l.Clock.Now()), func(tx store.Tx) error {
		logs, err := tx.AuditLogs(ctx)
		if err != nil {
			return err
		}
		nodes, err := peers(ctx, tx)
		if err != nil {
			return err
		}
		now, err := tx.Clock(ctx)
		if err != nil {
			return err
		}
		for _, log := range logs {
			if slices.ContainsFunc(nodes, func(p Peer) bool { return p.ID == log.Node }) {
				continue
			}
			if err := end(ctx, tx, log.Origin, now); err != nil {
				return err
			}
		}
		return nil
	})
}

func end(ctx context.Context, tx store.Tx, origin string, at time.Time) error {
	log, err := tx.AuditLog(ctx, origin)
	if err != nil || !log.Closed.IsZero() {
		return err
	}
	log.Closed = clock.Micro(at)
	return tx.PutAuditLog(ctx, log)
}

// SetBack is the reason of the conflict when a directory does not hold the log that the store knows.
const SetBack fault.Reason = "AuditLogSetBack"

// Continues reports whether the log in a directory is the one that the store knows, or goes on from it: that it has everything that was shipped, and what
// the newest checkpoint covers, unchanged. If not, the error is a fault.Conflict with reason SetBack.
func Continues(ctx context.Context, have *audit.Log, known *store.AuditLog) error {
	size := have.State().Synced
	if least := max(known.Size, known.Shipped); size < least {
		return setBack("the log in the directory has %d records, and it had %d before: the directory was restored from an older copy, or its end was cut off", size, least)
	}
	if known.Size == 0 {
		return nil
	}
	c, err := newest(known)
	if err != nil {
		return err
	}
	root, err := have.RootAt(ctx, c.Size)
	if err != nil {
		return err
	}
	if root != c.Root {
		return setBack("the first %d records of the log in the directory are not those that the checkpoint in the store signs: one of the two was replaced", c.Size)
	}
	return nil
}

func setBack(format string, args ...any) error {
	return fault.New(fault.Conflict, format, args...).Because(SetBack)
}

// newest opens the newest checkpoint of a log.
func newest(log *store.AuditLog) (merkle.Checkpoint, error) {
	v, err := verifier(log)
	if err != nil {
		return merkle.Checkpoint{}, err
	}
	c, err := merkle.OpenCheckpoint(log.Checkpoint, log.Origin, note.VerifierList(v))
	if err != nil {
		return c, fmt.Errorf("the newest checkpoint of the audit log %s in the store does not hold: %w", log.Origin, err)
	}
	return c, nil
}

func verifier(log *store.AuditLog) (note.Verifier, error) {
	v, err := note.NewVerifier(strings.TrimSpace(log.Key))
	if err != nil {
		return nil, fmt.Errorf("reading the key of the audit log %s: %w", log.Origin, err)
	}
	return v, nil
}
