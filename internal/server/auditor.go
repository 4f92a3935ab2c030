package server

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/keywright/keywright/internal/audit"
	"github.com/keywright/keywright/internal/audit/segment"
	"github.com/keywright/keywright/internal/auditing"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/identity"
	"github.com/keywright/keywright/internal/store"
)

// auditDir is where the node's audit log lives below the server's directory.
const auditDir = "audit"

// auditKeyFile holds the public key of the node's checkpoints.
const auditKeyFile = "audit.pub"

// Settings that make a node's log the same one over restarts.
const (
	nodeSetting     = "audit-node"
	signerSetting   = "audit-signer"
	verifierSetting = "audit-verifier"
)

// auditor joins the audit log with the rest: the keyring seals its records, the store's journal feeds it the records of
// changes, and the guard and the token service write to it.
type auditor struct {
	log        *audit.Log
	sequencer  *audit.Sequencer
	aggregator *audit.Aggregator
	sealer     audit.Sealer
	node       string
	key        string
	clock      clock.Clock
	tracer     *tracer
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
	k.onClose(wrapStop(k.store.Watch(k.journal.changed)))
	who, err := k.node(ctx)
	if err != nil {
		return nil, err
	}
	a := &auditor{sealer: k.keys, node: who.node, key: who.key, clock: c.Clock, tracer: k.tracer, signIn: func(identity.SignInEvent) {}}
	// Who proves the log without a server needs the key; it is public.
	if err := writeFile(filepath.Join(c.Dir, auditKeyFile), []byte(who.key+"\n"), 0o644); err != nil {
		return nil, err
	}
	a.log, err = audit.Open(audit.Config{
		Dir: filepath.Join(c.Dir, auditDir), Node: who.node, Origin: "keywright/" + who.node, Signer: who.signer, Verifier: who.verifier,
		Sealer: a.sealer, Durability: c.Durability, SegmentBytes: c.AuditSegmentBytes, ReserveBytes: c.AuditReserveBytes, Clock: c.Clock,
		Sink:    k.keepCheckpoint,
		OnState: tellAuditState(c.Logger),
		OnError: func(err error) { c.Logger.Error("the audit log has a problem behind the request path", "error", err) },
	})
	if err != nil {
		return nil, err
	}
	k.onShutdown(func(ctx context.Context) error { a.log.Shutdown(ctx); return nil })
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
	return audit.Seal(nil, a.sealer, r)
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

// identityOfNode is what makes a log this node's.
type identityOfNode struct {
	node     string
	signer   note.Signer
	verifier note.Verifier
	// key is the verifier as text.
	key string
}

// node reads the node's id and its checkpoint key, or makes them on the first start.
func (k *core) node(ctx context.Context) (identityOfNode, error) {
	var who identityOfNode
	var name, sealed, public []byte
	err := k.store.View(ctx, func(tx store.Tx) (err error) {
		if name, err = tx.Setting(ctx, nodeSetting); err != nil {
			return err
		}
		if sealed, err = tx.Setting(ctx, signerSetting); err != nil {
			return err
		}
		public, err = tx.Setting(ctx, verifierSetting)
		return err
	})
	if fault.Is(err, fault.NotFound) {
		return k.makeNode(ctx)
	}
	if err != nil {
		return who, err
	}
	return k.readNode(ctx, string(name), sealed, string(public))
}

func (k *core) readNode(ctx context.Context, name string, sealed []byte, public string) (who identityOfNode, err error) {
	private, err := k.keys.OpenAudit(nil, "", sealed, []byte(signerSetting))
	if err != nil {
		return who, fmt.Errorf("opening the key that signs the audit log: %w", err)
	}
	defer clear(private)
	who.node, who.key = name, public
	if who.signer, err = note.NewSigner(string(private)); err != nil {
		return who, fmt.Errorf("reading the key that signs the audit log: %w", err)
	}
	who.verifier, err = note.NewVerifier(public)
	return who, err
}

func (k *core) makeNode(ctx context.Context) (who identityOfNode, err error) {
	name := k.nodes.ID
	private, public, err := note.GenerateKey(rand.Reader, "keywright/"+name)
	if err != nil {
		return who, err
	}
	sealed, err := k.keys.SealAudit(nil, "", []byte(private), []byte(signerSetting))
	if err != nil {
		return who, err
	}
	err = k.store.Update(ctx, store.NewOp(k.clock.Now()), func(tx store.Tx) error {
		return errors.Join(tx.PutSetting(ctx, nodeSetting, []byte(name)), tx.PutSetting(ctx, signerSetting, sealed),
			tx.PutSetting(ctx, verifierSetting, []byte(public)))
	})
	if err != nil {
		return who, err
	}
	return k.readNode(ctx, name, sealed, public)
}

// keepCheckpoint copies a checkpoint to the store: who changes the log's files has to change the database too.
func (k *core) keepCheckpoint(ctx context.Context, signed []byte) error {
	return k.store.Update(ctx, store.NewOp(k.clock.Now()), func(tx store.Tx) error { return tx.PutSetting(ctx, auditing.CheckpointSetting, signed) })
}
