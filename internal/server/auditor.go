package server

import (
	"context"
	"log/slog"
	"time"

	"github.com/keywright/keywright/internal/audit"
	"github.com/keywright/keywright/internal/audit/archive"
	"github.com/keywright/keywright/internal/audit/segment"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/identity"
)

// auditDir is where the node's audit log lives below the server's directory.
const auditDir = "audit"

// auditKeyFile holds the public key of the node's checkpoints.
const auditKeyFile = "audit.pub"

// auditor joins the audit log with the rest: the keyring seals its records, the store's journal feeds it the records of
// changes, and the guard and the token service write to it.
type auditor struct {
	log        *audit.Log
	sequencer  *audit.Sequencer
	aggregator *audit.Aggregator
	shipper    *archive.Shipper
	sealer     audit.Sealer
	// shared says that rows of changes name their node, because other nodes commit as well.
	shared bool
	node   string
	key    string
	clock  clock.Clock
	tracer *tracer
	// signIn hears of each sign-in that was recorded or counted.
	signIn func(identity.SignInEvent)
}

// The records of changes are safe in the store's journal until they are sequenced, so the rounds may gather some. Commits
// wake the sequencer; the interval is for what a commit did not announce, such as the rows of the process before.
const sequenceLinger = 250 * time.Millisecond

var sequenceInterval = 5 * time.Second // a test makes it longer

// openAuditor opens the node's log and begins what runs behind it.
func (k *core) openAuditor(ctx context.Context, c *Config) (*auditor, error) {
	k.journal = &journalRows{store: k.store, clock: c.Clock}
	if k.shared {
		k.journal.node = k.nodes.ID
	}
	k.onClose(wrapStop(k.store.Watch(k.journal.changed)))
	a := &auditor{sealer: k.keys, node: k.nodes.ID, shared: k.shared, clock: c.Clock, tracer: k.tracer, signIn: func(identity.SignInEvent) {}}
	sinks := []audit.CheckpointSink{func(ctx context.Context, signed []byte) error { return a.shipper.Checkpoint(ctx, signed) }}
	for _, place := range c.AuditCopies {
		outside, err := archive.NewSink(place, c.Clock)
		if err != nil {
			return nil, err
		}
		sinks = append(sinks, outside)
	}
	for i, sink := range sinks {
		sinks[i] = func(ctx context.Context, signed []byte) error {
			if a.log == nil {
				return nil // it is a log that turns out not to be the node's
			}
			return sink(ctx, signed)
		}
	}
	log, entry, err := k.openLog(ctx, c, sinks)
	if err != nil {
		return nil, err
	}
	a.log, a.key = log, entry.Key
	a.shipper, err = archive.NewShipper(archive.ShipperConfig{Store: k.store, Log: log, Clock: c.Clock, Every: c.AuditShipEvery,
		OnError: func(err error) {
			c.Logger.Warn("the audit log's tail is in this node's directory alone; shipping it is tried again", "error", err)
		}})
	if err != nil {
		return nil, err
	}
	k.onShutdown(func(ctx context.Context) error { a.log.Shutdown(ctx); return nil })
	if err := k.shareLog(ctx, c, a); err != nil {
		return nil, err
	}
	if err := a.log.Start(ctx); err != nil {
		return nil, err
	}
	if a.sequencer, err = audit.NewSequencer(audit.SequencerConfig{Log: a.log, Rows: k.journal, Interval: sequenceInterval, Linger: sequenceLinger,
		OnError: func(err error) { c.Logger.Error("audit records of changes wait in the store", "error", err) }}); err != nil {
		return nil, err
	}
	k.onClose(func() error { a.sequencer.Stop(); return nil })
	if err := a.sequencer.Start(ctx); err != nil {
		return nil, err
	}
	a.aggregator, err = audit.NewAggregator(audit.AggregatorConfig{Append: a.log.Append, Clock: c.Clock,
		OnError: func(err error) { c.Logger.Error("refused requests could not be recorded", "error", err) }})
	if err != nil {
		return nil, err
	}
	k.onShutdown(func(ctx context.Context) error { a.aggregator.Shutdown(ctx); return nil })
	return a, a.aggregator.Start(ctx)
}

// What is logged of the audit log's health.
const (
	reserveAlarm = "the audit log cannot fill its reserve and uses it up; once it is used up, reads fail: free space on its disk, or mend it"
	auditClosed  = "the audit log takes no records, so that every request that must be recorded fails: free space on its disk, or mend it"
	auditWell    = "the audit log is well again"
)

// tellAuditState logs the alarm of the log's reserve, how it shrinks, and its end.
func tellAuditState(log *slog.Logger) func(segment.State) {
	return func(s segment.State) {
		reserve := []any{"reserve_segments", s.ReserveFree, "reserve_target", s.ReserveTarget}
		switch {
		case s.Alarm == nil:
			log.Info(auditWell, reserve...)
		case s.Closed:
			log.Error(auditClosed, append(reserve, "error", s.Alarm)...)
		default:
			log.Warn(reserveAlarm, append(reserve, "error", s.Alarm)...)
		}
	}
}

// Append implements guard.Auditor.
func (a *auditor) Append(ctx context.Context, r *audit.Record) error {
	if a.tracer == nil {
		return a.log.Append(ctx, r)
	}
	ctx, span := a.tracer.start(ctx, "audit append")
	err := a.log.Append(ctx, r)
	end(span, err)
	return err
}

// Seal implements guard.Auditor.
func (a *auditor) Seal(r *audit.Record) ([]byte, error) {
	r.Node = a.node
	frame, err := audit.Seal(nil, a.sealer, r)
	if err != nil || !a.shared {
		return frame, err
	}
	return audit.AppendRow(nil, a.node, frame)
}

// Unauthenticated implements guard.Auditor.
func (a *auditor) Unauthenticated(r audit.Refusal) { a.aggregator.Add(r) }

// SignIn implements identity.Auditor. Sign-ins beyond the guessing limits prove nothing and are as many as strangers send, so
// they are counted like every other refusal of somebody unknown.
func (a *auditor) SignIn(ctx context.Context, e identity.SignInEvent) error {
	if e.Reason == identity.TooManyAttempts {
		a.aggregator.Add(audit.Refusal{Door: "oauth", Address: e.Address, Reason: string(e.Reason)})
		a.signIn(e)
		return nil
	}
	r := audit.Record{Time: clock.Micro(e.At), Tenant: string(e.Tenant), Door: "oauth", Action: "SignIn/" + string(e.Flow), Operation: "SignIn", Outcome: audit.Allowed,
		Caller:        audit.Caller{PrincipalID: string(e.Principal), AppID: e.Subject, Tenant: string(e.Tenant)},
		ClientAddress: e.Address, CorrelationID: e.Correlation, ObjectName: e.Credential, Reason: string(e.Reason)}
	if e.Reason != "" {
		r.Outcome = audit.Denied
	}
	if e.Principal == "" {
		// Nobody was proved, so the record is the installation's: a tenant that was only claimed may not exist.
		r.Tenant = ""
	}
	if err := a.Append(ctx, &r); err != nil {
		return err
	}
	a.signIn(e)
	return nil
}
