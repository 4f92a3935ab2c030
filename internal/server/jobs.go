package server

import (
	"context"
	"time"

	"github.com/keywright/keywright/internal/audit/archive"
	"github.com/keywright/keywright/internal/event"
	"github.com/keywright/keywright/internal/issuer/internalca"
	"github.com/keywright/keywright/internal/node"
	"github.com/keywright/keywright/internal/store"
)

// job is work that is done again and again behind the requests, for as long as the core is open.
type job struct {
	// name stands in logs and metrics.
	name  string
	every time.Duration
	run   func(context.Context) error
	// everywhere is true for what every node does for itself; all other jobs are done by one node at a time.
	everywhere bool
}

func (k *core) jobs() []job {
	return []job{
		{name: "prune-journal", every: 10 * time.Minute, run: k.pruneJournal},
		{name: "maintain-keys", every: time.Hour, run: k.maintainKeys},
		{name: "forget-holdings", every: 24 * time.Hour, run: k.forgetHoldings},
		{name: "prune-issuances", every: 24 * time.Hour, run: k.pruneIssuances},
		{name: "tell-expiries", every: time.Minute, run: k.tellExpiries},
		{name: "rotate-keys", every: time.Minute, run: k.rotateKeys},
		{name: "sweep-token", every: 10 * time.Minute, run: k.sweepToken, everywhere: true},
		{name: "sweep-enrolments", every: time.Hour, run: k.enrolment.Expire},
		{name: "tend-backups", every: time.Minute, run: k.tendBackups, everywhere: true}, // files are on the node that made them
		{name: "expire-copy-jobs", every: time.Hour, run: k.backups.Expire},
		{name: "sweep-events", every: sweepInterval, run: k.events.Sweep},
		{name: "measure-rotations", every: 30 * time.Second, run: k.measureRotations, everywhere: true},
		{name: "prune-audit", every: time.Hour, run: k.pruneAudit},
		{name: "sweep-nodes", every: time.Hour, run: k.sweepNodes},
		{name: "measure-endpoints", every: 30 * time.Second, run: k.measureEndpoints, everywhere: true},
		{name: "measure-renewals", every: 30 * time.Second, run: k.measureRenewals, everywhere: true},
	}
}

// firstJob is how long after its start a server does a job first: not while it is busy with starting, and soon enough to
// finish what a crash interrupted.
const firstJob = time.Minute

// repeat does the job until ctx ends. A failure is logged, and the job done again at its next time.
func (k *core) repeat(ctx context.Context, j job) {
	timer := time.NewTimer(min(firstJob, j.every))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		err := j.run(ctx)
		if ctx.Err() != nil {
			return
		}
		k.metrics.job(j.name, err, k.clock.Now())
		if err != nil {
			k.log.ErrorContext(ctx, "a background job failed; it is tried again", "job", j.name, "after", j.every, "error", err)
		}
		timer.Reset(j.every)
	}
}

// journalKept is how long entries of the journal stay at least. It is far longer than any caller waits before it asks
// what became of its commit; the ids of pruned operations are forgotten.
const journalKept = 24 * time.Hour

// journalReaders are the cursors of those who read the journal beside the audit logs.
var journalReaders = []string{event.Cursor}

// readers lists the cursors of all who read the journal. What one of them has not read is not pruned.
func (k *core) readers(ctx context.Context, tx store.Tx) (list []string, err error) {
	list = []string{archive.Cursor("")}
	if k.shared {
		list, err = archive.Cursors(ctx, tx)
	}
	return append(list, journalReaders...), err
}

// pruneAtOnce bounds the entries that one transaction removes, so that writers wait for milliseconds only.
const pruneAtOnce = 1000

// pruneJournal removes the entries that every reader has passed and that are old enough.
func (k *core) pruneJournal(ctx context.Context) error {
	olderThan := k.clock.Now().Add(-journalKept)
	for {
		removed := 0
		err := k.store.Update(ctx, store.NewOp(k.clock.Now()), func(tx store.Tx) error {
			passed, err := k.slowestReader(ctx, tx)
			if err == nil {
				removed, err = tx.PruneJournal(ctx, passed, olderThan, pruneAtOnce)
			}
			return err
		})
		if err != nil || removed < pruneAtOnce {
			return err
		}
	}
}

// slowestReader is up to where everybody has read the journal: the readers with a cursor, and the caches of the nodes that live. A node that is silent or gone
// flushes its caches when it comes back.
func (k *core) slowestReader(ctx context.Context, tx store.Tx) (slowest store.Position, err error) {
	readers, err := k.readers(ctx, tx)
	if err != nil {
		return 0, err
	}
	for i, reader := range readers {
		p, err := tx.Cursor(ctx, reader)
		if err != nil {
			return 0, err
		}
		if i == 0 || p < slowest {
			slowest = p
		}
	}
	if !k.shared {
		return slowest, nil // the caches of the only node hear of a commit before its caller does
	}
	members, err := node.Members(ctx, tx)
	for _, m := range members {
		if m.State == node.Live && m.Position < slowest {
			slowest = m.Position
		}
	}
	return slowest, err
}

// maintainKeys finishes rotations of keys and retires those that nothing needs any more.
func (k *core) maintainKeys(ctx context.Context) error {
	if k.keys.Locked() {
		return nil // nothing can be moved until somebody unlocks it
	}
	done, err := k.keys.Maintain(ctx)
	if done.Moved+done.Resealed+done.Retired > 0 {
		k.log.InfoContext(ctx, "keys were maintained", "moved", done.Moved, "resealed", done.Resealed, "retired", done.Retired)
	}
	return err
}

// pruneIssuances forgets certificates of internal authorities that ended a while ago, and authorities that are gone.
func (k *core) pruneIssuances(ctx context.Context) error {
	pruned, err := internalca.Prune(ctx, k.store, k.clock.Now())
	if pruned > 0 {
		k.log.InfoContext(ctx, "records of certificates that ended were forgotten", "certificates", pruned)
	}
	return err
}

// rotateKeys rotates the keys whose policies say so.
func (k *core) rotateKeys(ctx context.Context) error {
	rotated, err := k.cryptoKeys.RotateDue(ctx)
	if rotated > 0 {
		k.log.InfoContext(ctx, "keys were rotated as their policies say", "keys", rotated)
	}
	return err
}

// certificatesEvery is how often certificates are looked for that are to be brought on.
const certificatesEvery = 10 * time.Second

// issueCertificates asks issuers and renews what is due, until ctx ends: every few seconds, and at once when something was begun.
func (k *core) issueCertificates(ctx context.Context) {
	k.whenWoken(ctx, "issue-certificates", certificatesEvery, k.certificates.Woken(), func(ctx context.Context) error {
		_, err := k.certificates.Due(ctx)
		return err
	})
}

// whenWoken does a job until ctx ends: again and again, and at once when it is woken. A failure is logged.
func (k *core) whenWoken(ctx context.Context, name string, every time.Duration, woken <-chan struct{}, run func(context.Context) error) {
	for ctx.Err() == nil {
		err := run(ctx)
		if ctx.Err() != nil {
			return
		}
		k.metrics.job(name, err, k.clock.Now())
		if err != nil {
			k.log.ErrorContext(ctx, "a background job failed; it is tried again", "job", name, "after", every, "error", err)
		}
		timer := time.NewTimer(every)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-woken:
		}
		timer.Stop()
	}
}
