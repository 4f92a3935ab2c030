package server

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/keywright/keywright/internal/audit"
	"github.com/keywright/keywright/internal/backup/full"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/key"
	"github.com/keywright/keywright/internal/keyring"
	"github.com/keywright/keywright/internal/merkle"
	"github.com/keywright/keywright/internal/seal"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/store/sqlite"
	"github.com/keywright/keywright/internal/version"
)

// scratchPrefix begins the names of directories in which backups are proved.
const scratchPrefix = "verify-"

// openFullBackups makes the service of backups of the installation, and removes what proofs left that were cut off.
func (k *core) openFullBackups(c *Config) (err error) {
	left, err := filepath.Glob(filepath.Join(c.Dir, scratchPrefix+"*"))
	for _, dir := range left {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	if err != nil {
		return err
	}
	p := prover{dir: c.Dir, seal: k.keys.Sealer, token: k.keysToken(), clock: c.Clock}
	k.fullBackups, err = full.New(full.Config{Guard: k.guard, Store: k.store, Dumper: k.dumper, Seal: k.keys.Sealer, Clock: c.Clock, Logger: c.Logger, Node: k.audit.node,
		Release: version.String(), Engine: c.Store.engineName(), Settings: c.Backup, Prove: p.prover().Prove})
	if err != nil {
		return err
	}
	k.onShutdown(k.fullBackups.Stop)
	return nil
}

// tendBackups does what is due about backups of the installation.
func (k *core) tendBackups(ctx context.Context) error {
	if k.keys.Locked() {
		return nil // a backup takes the seal
	}
	return k.fullBackups.Tend(ctx)
}

// prover opens what proofs of backups need.
type prover struct {
	dir  string
	seal func() seal.Seal
	// shares is Offline.Shares; a server's own seal is open.
	shares func(context.Context, seal.Gatherer) error
	token  key.Token
	clock  clock.Clock
}

func (p *prover) prover() *full.Prover {
	return &full.Prover{Open: p.open, Keys: p.keys, Audit: checkpointsHold}
}

// open makes a scratch store. It is embedded, whatever the installation's own is: a backup is the same for all.
func (p *prover) open() (full.Scratch, func() error, error) {
	dir, err := os.MkdirTemp(p.dir, scratchPrefix)
	if err != nil {
		return nil, nil, err
	}
	s, err := sqlite.Open(sqlite.Config{Dir: dir, Load: true})
	if err != nil {
		return nil, nil, errors.Join(err, os.RemoveAll(dir))
	}
	return s, func() error { return errors.Join(s.Close(), os.RemoveAll(dir)) }, nil
}

// keys opens the keyring of a store that was restored, customers' keys in it included.
func (p *prover) keys(ctx context.Context, s store.Store) (*keyring.Keyring, func() error, error) {
	if err := openWithShares(ctx, s, p.seal(), p.shares); err != nil {
		return nil, nil, err
	}
	custody := new(key.Custody)
	k, err := keyring.Open(ctx, keyring.Config{Store: s, Seal: p.seal(), Clock: p.clock, Customers: custody})
	if err != nil {
		return nil, nil, err
	}
	g, err := guard.New(guard.Config{Store: s, Audit: unrecorded{}, Clock: p.clock, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, nil, err
	}
	if _, err := key.New(key.Config{Guard: g, Store: s, Keys: k, Clock: p.clock, Logger: slog.New(slog.DiscardHandler), Custody: custody, Token: p.token}); err != nil {
		return nil, nil, err
	}
	return k, func() error { k.Lock(); return nil }, nil
}

// openWithShares asks for shares if the root key of a store is wrapped for them, and none were given before.
func openWithShares(ctx context.Context, s store.Store, of seal.Seal, shares func(context.Context, seal.Gatherer) error) error {
	g, ok := of.(seal.Gatherer)
	if !ok || shares == nil || g.Progress().Open {
		return nil
	}
	if err := keyring.Expect(ctx, s, g); err != nil {
		return err
	}
	return shares(ctx, g)
}

// unrecorded is the audit log of a scratch store: what is proved there is recorded where the proof was asked for.
type unrecorded struct{}

func (unrecorded) Append(context.Context, *audit.Record) error { return nil }
func (unrecorded) Seal(*audit.Record) ([]byte, error)          { return []byte{0}, nil }
func (unrecorded) Unauthenticated(audit.Refusal)               {}

// checkpointsHold looks whether the checkpoints that the store keeps are signed by the keys of their logs.
func checkpointsHold(ctx context.Context, tx store.Tx, problem func(format string, args ...any)) (held int64, err error) {
	logs, err := tx.AuditLogs(ctx)
	if err != nil {
		return 0, err
	}
	for _, log := range logs {
		verifier, err := note.NewVerifier(strings.TrimSpace(log.Key))
		if err != nil {
			problem("the key of the audit log %s is none", log.Origin)
			continue
		}
		kept, err := tx.AuditCheckpoints(ctx, log.Origin)
		if err != nil {
			return held, err
		}
		if log.Size > 0 {
			kept = append(kept, &store.AuditCheckpoint{Size: log.Size, Signed: log.Checkpoint})
		}
		for _, c := range kept {
			got, err := merkle.OpenCheckpoint(c.Signed, log.Origin, note.VerifierList(verifier))
			if err != nil || got.Size != c.Size {
				problem("a checkpoint of the audit log %s at %d records is not one that the log's key signed", log.Origin, c.Size)
				continue
			}
			held++
		}
	}
	return held, nil
}
