package server

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/keywright/keywright/internal/audit"
	"github.com/keywright/keywright/internal/audit/archive"
	"github.com/keywright/keywright/internal/backup/full"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/merkle"
	"github.com/keywright/keywright/internal/node"
	"github.com/keywright/keywright/internal/store"
)

// Settings of releases that knew one node and one log: its id, and the keys and the newest checkpoint of its log.
const (
	nodeSetting       = "audit-node"
	signerSetting     = "audit-signer"
	verifierSetting   = "audit-verifier"
	checkpointSetting = "audit-checkpoint"
)

// signerOf names the setting of the sealed key that signs a log.
func signerOf(origin string) string { return signerSetting + "/" + origin }

// logOfNode is the log that this node writes.
type logOfNode struct {
	entry    *store.AuditLog
	signer   note.Signer
	verifier note.Verifier
}

// openLog opens the node's log: the one that the store knows, if the directory has that; else another one, which names the one before.
func (k *core) openLog(ctx context.Context, c *Config, sinks []audit.CheckpointSink) (*audit.Log, *store.AuditLog, error) {
	logs := archive.Logs{Store: k.store, Clock: c.Clock}
	current, next, err := logs.Current(ctx, k.nodes.ID)
	if err == nil && current == nil {
		current, err = k.logBefore(ctx, logs, next)
	}
	if err != nil {
		return nil, nil, err
	}
	if current == nil {
		why := ""
		if next, why, err = k.afterRestore(ctx, next); err != nil {
			return nil, nil, err
		}
		if current, err = k.beginLog(ctx, logs, next, nil, why); err != nil {
			return nil, nil, err
		}
	}
	log, err := k.openFiles(ctx, c, current, sinks)
	if err != nil {
		return nil, nil, err
	}
	err = archive.Continues(ctx, log, current)
	if e := fault.As(err); e == nil || e.Reason != archive.SetBack {
		if err != nil {
			log.Stop()
		}
		return log, current, err
	}
	why := fault.As(err).Message
	log.Stop()
	if _, next, err = logs.Current(ctx, k.nodes.ID); err != nil {
		return nil, nil, err
	}
	return k.beginAnew(ctx, c, logs, next, current, why, sinks)
}

// afterRestore names the backup in the origin of a log that begins in a store which was restored: nothing in it continues a log of the time before.
func (k *core) afterRestore(ctx context.Context, origin string) (named, why string, err error) {
	r, err := full.LastRestored(ctx, k.store)
	if err != nil || r == nil {
		return origin, "", err
	}
	return origin + ".restored-" + r.Backup, fmt.Sprintf("the store was restored from the backup %s of %s", r.Backup, r.Made.UTC().Format(time.RFC3339)), nil
}

// setAside moves the files of the log that the next one does not continue out of its way, and returns where they are. They come first: a log is in the list
// when its directory is free.
func setAside(dir, next string) (string, error) {
	base := filepath.Join(dir, auditDir+"-before-"+strings.TrimPrefix(next, archive.OriginPrefix))
	to := base
	for n := 2; ; n++ {
		if _, err := os.Lstat(to); errors.Is(err, fs.ErrNotExist) {
			break
		}
		to = fmt.Sprint(base, "-", n) // what a start before this one set aside, which did not come further
	}
	if err := os.Rename(filepath.Join(dir, auditDir), to); err != nil {
		return "", fmt.Errorf("setting the audit log aside that is not the one that the store knows: %w", err)
	}
	return to, nil
}

// beginAnew sets the directory aside and begins a log that says why.
func (k *core) beginAnew(ctx context.Context, c *Config, logs archive.Logs, origin string, before *store.AuditLog, why string, sinks []audit.CheckpointSink) (*audit.Log, *store.AuditLog, error) {
	aside, err := setAside(c.Dir, origin)
	if err != nil {
		return nil, nil, err
	}
	entry, err := k.beginLog(ctx, logs, origin, before, why)
	if err != nil {
		return nil, nil, err
	}
	c.Logger.Error("the audit log is not the one that the store knows: it is set aside, and another one begins; find out who changed the directory",
		"log", before.Origin, "next", origin, "why", why, "files", aside)
	log, err := k.openFiles(ctx, c, entry, sinks)
	if err != nil {
		return nil, nil, err
	}
	err = log.Append(ctx, &audit.Record{Action: "AuditLog/begin", Operation: "AuditLogBegin", Outcome: audit.Allowed, ObjectName: entry.Origin, Reason: string(archive.SetBack),
		Detail: why})
	if err != nil {
		log.Stop()
		return nil, nil, err
	}
	return log, entry, nil
}

// openFiles opens the log in the node's directory.
func (k *core) openFiles(ctx context.Context, c *Config, entry *store.AuditLog, sinks []audit.CheckpointSink) (*audit.Log, error) {
	who, err := k.keysOf(ctx, entry)
	if err != nil {
		return nil, err
	}
	// Who proves the log without a server needs the key; it is public.
	if err := writeFile(filepath.Join(c.Dir, auditKeyFile), []byte(entry.Key+"\n"), 0o644); err != nil {
		return nil, err
	}
	return audit.Open(audit.Config{
		Dir: filepath.Join(c.Dir, auditDir), Node: entry.Node, Origin: entry.Origin, Signer: who.signer, Verifier: who.verifier,
		Sealer: k.keys, Durability: c.Durability, SegmentBytes: c.AuditSegmentBytes, ReserveBytes: c.AuditReserveBytes, Clock: c.Clock,
		Sinks:   sinks,
		OnState: tellAuditState(c.Logger),
		OnError: func(err error) { c.Logger.Error("the audit log has a problem behind the request path", "error", err) },
	})
}

// beginLog makes the keys of a log and adds it to the list.
func (k *core) beginLog(ctx context.Context, logs archive.Logs, origin string, before *store.AuditLog, why string) (*store.AuditLog, error) {
	private, public, err := note.GenerateKey(rand.Reader, origin)
	if err != nil {
		return nil, err
	}
	sealed, err := k.keys.SealAudit(nil, "", []byte(private), []byte(signerSetting))
	if err != nil {
		return nil, err
	}
	if err := k.store.Update(ctx, store.NewOp(k.clock.Now()), func(tx store.Tx) error { return tx.PutSetting(ctx, signerOf(origin), sealed) }); err != nil {
		return nil, fmt.Errorf("storing the key that signs the audit log: %w", err)
	}
	return logs.Begin(ctx, origin, k.nodes.ID, public, before, why)
}

// logBefore adds the log of a release that knew one node to the list; nil when there is none.
func (k *core) logBefore(ctx context.Context, logs archive.Logs, origin string) (*store.AuditLog, error) {
	found := make(map[string][]byte)
	err := k.store.View(ctx, func(tx store.Tx) error {
		for _, name := range []string{nodeSetting, signerSetting, verifierSetting, checkpointSetting} {
			value, err := tx.Setting(ctx, name)
			if err != nil && !fault.Is(err, fault.NotFound) {
				return err
			}
			found[name] = value
		}
		return nil
	})
	if err != nil || string(found[nodeSetting]) != k.nodes.ID {
		return nil, err
	}
	err = k.store.Update(ctx, store.NewOp(k.clock.Now()), func(tx store.Tx) error { return tx.PutSetting(ctx, signerOf(origin), found[signerSetting]) })
	if err != nil {
		return nil, err
	}
	entry, err := logs.Begin(ctx, origin, k.nodes.ID, string(found[verifierSetting]), nil, "")
	if err != nil || found[checkpointSetting] == nil {
		return entry, err
	}
	v, err := note.NewVerifier(entry.Key)
	if err != nil {
		return nil, err
	}
	last, err := merkle.OpenCheckpoint(found[checkpointSetting], origin, note.VerifierList(v))
	if err != nil {
		return nil, fmt.Errorf("reading the newest checkpoint of the audit log in the store: %w", err)
	}
	entry.Checkpoint, entry.Size = found[checkpointSetting], last.Size
	return entry, k.store.Update(ctx, store.NewOp(k.clock.Now()), func(tx store.Tx) error { return tx.PutAuditLog(ctx, entry) })
}

// keysOf opens the keys of a log.
func (k *core) keysOf(ctx context.Context, entry *store.AuditLog) (who logOfNode, err error) {
	who.entry = entry
	var sealed []byte
	err = k.store.View(ctx, func(tx store.Tx) (err error) {
		sealed, err = tx.Setting(ctx, signerOf(entry.Origin))
		return err
	})
	if err != nil {
		return who, fmt.Errorf("reading the key that signs the audit log %s: %w", entry.Origin, err)
	}
	private, err := k.keys.OpenAudit(nil, "", sealed, []byte(signerSetting))
	if err != nil {
		return who, fmt.Errorf("opening the key that signs the audit log: %w", err)
	}
	defer clear(private)
	if who.signer, err = note.NewSigner(string(private)); err != nil {
		return who, fmt.Errorf("reading the key that signs the audit log: %w", err)
	}
	who.verifier, err = note.NewVerifier(strings.TrimSpace(entry.Key))
	return who, err
}

// peers tells the archive of the nodes.
func peers(ctx context.Context, tx store.Tx) ([]archive.Peer, error) {
	members, err := node.Members(ctx, tx)
	list := make([]archive.Peer, len(members))
	for i, m := range members {
		list[i] = archive.Peer{ID: m.ID, Live: m.State == node.Live, Stopped: m.State == node.Stopped, Quiet: m.Quiet, Seen: m.Seen, Fenced: m.Seen.Add(node.Silent)}
	}
	return list, err
}

// shareLog begins what makes one log of those of all nodes, where there are several: this node's is shipped to the store, and rows of nodes that are gone
// come into it.
func (k *core) shareLog(ctx context.Context, c *Config, a *auditor) error {
	if !k.shared {
		return nil
	}
	logs, log := archive.Logs{Store: k.store, Clock: c.Clock}, a.log
	if err := logs.Resume(ctx, log.Origin()); err != nil {
		return err
	}
	for _, reader := range []string{archive.Cursor(k.nodes.ID), archive.ShippedCursor(k.nodes.ID)} {
		if err := k.beginCursor(ctx, reader); err != nil {
			return err
		}
	}
	k.onShutdown(func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, finishTimeout)
		defer cancel()
		if err := a.shipper.Finish(ctx); err != nil {
			c.Logger.Warn("the node ends with a part of its audit log that is in its directory alone; the next start ships it", "error", err)
		}
		return nil
	})
	k.background(a.shipper.Run)
	adopter, err := archive.NewAdopter(archive.AdopterConfig{Store: k.store, Log: log, Process: k.nodes.Process(), Peers: peers, Clock: c.Clock})
	if err != nil {
		return err
	}
	k.background(func(ctx context.Context) {
		every(ctx, archive.AdoptEvery, func() {
			rows, err := adopter.Adopt(ctx)
			if err == nil {
				err = logs.CloseRemoved(ctx, peers)
			}
			if rows > 0 {
				c.Logger.InfoContext(ctx, "audit records of nodes that are gone were taken over", "records", rows)
			}
			if err != nil && ctx.Err() == nil {
				c.Logger.ErrorContext(ctx, "audit records of nodes that are gone wait in the store; it is tried again", "error", err)
			}
		})
	})
	return nil
}

// every calls fn again and again until ctx ends, first after a pause.
func every(ctx context.Context, pause time.Duration, fn func()) {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			fn()
		}
	}
}

// finishTimeout bounds what the end of a node takes to ship the rest of its log.
const finishTimeout = time.Second

// beginCursor makes a reader of the journal begin at its present end, if it has not begun yet.
func (k *core) beginCursor(ctx context.Context, reader string) error {
	return k.store.Update(ctx, store.NewOp(k.clock.Now()), func(tx store.Tx) error {
		at, err := tx.Cursor(ctx, reader)
		if err != nil || at > 0 {
			return err
		}
		head, err := tx.Head(ctx)
		return errors.Join(err, tx.SetCursor(ctx, reader, head))
	})
}

// unshipped tells how long the tail of this node's audit log is, for metrics.
func (k *core) unshipped() (records, seconds float64) {
	if !k.shared {
		return 0, 0
	}
	n, since := k.audit.shipper.Tail()
	return float64(n), max(0, k.clock.Now().Sub(since).Seconds())
}

// pruneAudit removes what was shipped and is older than it is kept.
func (k *core) pruneAudit(ctx context.Context) error {
	if k.auditKept == 0 {
		return nil
	}
	removed, err := k.reader.Prune(ctx, k.auditKept)
	if removed > 0 {
		k.log.InfoContext(ctx, "parts of audit logs that were old enough were removed from the store", "parts", removed)
	}
	return err
}
