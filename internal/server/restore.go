package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"filippo.io/age"

	"github.com/keywright/keywright/internal/archive"
	"github.com/keywright/keywright/internal/backup/full"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/key"
	"github.com/keywright/keywright/internal/ledger"
	"github.com/keywright/keywright/internal/node"
	"github.com/keywright/keywright/internal/seal"
	"github.com/keywright/keywright/internal/seal/keyfile"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/store/postgres"
	"github.com/keywright/keywright/internal/store/sqlite"
	"github.com/keywright/keywright/internal/token/pkcs11"
)

// Offline says which backup is worked on without a server, and with what.
type Offline struct {
	// File is the backup. Identities are files of age identities that may open it, beside the seal.
	File       string
	Identities []string
	// Dir is the directory of the server: where its key file is unless Seal says otherwise, and where scratch stores are made.
	Dir  string
	Seal SealConfig
	// Shares asks for the shares of a seal that people hold; nil when nobody can be asked.
	Shares func(ctx context.Context, g seal.Gatherer) error
	// Token holds the keys of -HSM types.
	Token pkcs11.Config
	Clock clock.Clock
}

// open opens the seal and the file. close closes both.
func (o *Offline) open(ctx context.Context) (_ *archive.Reader, _ seal.Seal, _ func() error, err error) {
	if o.Clock == nil {
		o.Clock = clock.System{}
	}
	var closers []func() error
	closeAll := func() error {
		var errs []error
		for _, c := range closers {
			errs = append(errs, c())
		}
		return errors.Join(errs...)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, closeAll())
		}
	}()
	c := o.Seal.orDefault(o.Dir)
	s, closeSeal, err := c.Open(o.Clock)
	if err != nil {
		return nil, nil, nil, err
	}
	closers = append(closers, closeSeal)
	if _, ok := s.(seal.Gatherer); ok && o.Shares == nil {
		return nil, nil, nil, fault.New(fault.Unavailable, "the seal is held by people, and nobody can be asked for shares here")
	}
	from, err := o.file(ctx, o.File, s, &closers)
	if err != nil {
		return nil, nil, nil, err
	}
	return from, s, closeAll, nil
}

// orDefault is the configured seal, or the key file of a directory.
func (c SealConfig) orDefault(dir string) SealConfig {
	if c.kind() == (*keyfile.Seal)(nil).Name() && len(c.KeyFiles) == 0 {
		c.KeyFiles = []string{filepath.Join(dir, sealFile)}
	}
	return c
}

// file opens a backup.
func (o *Offline) file(ctx context.Context, path string, s seal.Seal, closers *[]func() error) (*archive.Reader, error) {
	// The seal goes first: it is needed in any case, and people are asked before there is any work.
	identities := []age.Identity{&archive.Unsealing{Ctx: ctx, Seal: s, Shares: o.Shares}}
	for _, name := range o.Identities {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		more, err := archive.ParseIdentities(text)
		clear(text)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", name, err)
		}
		identities = append(identities, more...)
	}
	var in io.Reader = os.Stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		*closers = append(*closers, f.Close)
		in = f
	}
	return archive.Open(in, identities...)
}

// Prove proves a backup without a server.
func (o *Offline) Prove(ctx context.Context, sample int) (report *full.Report, err error) {
	from, s, closeAll, err := o.open(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, closeAll()) }()
	token, closeToken, err := o.token()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, closeToken()) }()
	p := prover{dir: o.Dir, seal: func() seal.Seal { return s }, shares: o.Shares, token: token, clock: o.Clock}
	return p.prover().Prove(ctx, from, sample)
}

func (o *Offline) token() (key.Token, func() error, error) {
	if o.Token.Module == "" {
		return nil, func() error { return nil }, nil
	}
	t, err := pkcs11.Open(o.Token)
	if err != nil {
		return nil, nil, err
	}
	return t, t.Close, nil
}

// Restoration says what a backup is restored into.
type Restoration struct {
	Offline
	// Replace permits a store that is not empty, Unsealed files that the seal does not open.
	Replace, Unsealed bool
	// Store is what to restore into.
	Store StoreConfig
	// Newer are files of other backups, whose tombstones are obeyed too.
	Newer []string
}

// Restored tells what a restoration did.
type Restored struct {
	Header archive.Header
	store.Loaded
}

// Restore restores a backup into the store of a server that is not running. The server begins a new audit log afterwards, as another node.
func (r *Restoration) Restore(ctx context.Context) (done *Restored, err error) {
	if err := mkdir(r.Dir); err != nil {
		return nil, err
	}
	from, s, closeAll, err := r.open(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, closeAll()) }()
	buried, err := r.buried(ctx, s)
	if err != nil {
		return nil, err
	}
	to, err := r.target(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	loaded, err := full.Restore(ctx, &full.Restoration{From: from, To: to, Replace: r.Replace, Unsealed: r.Unsealed, Alone: r.Store.DSNFile == "", Buried: buried, Forget: ofNode, Tables: leftEmpty, Clock: r.Clock,
		Check: func(ctx context.Context, loaded store.Store) error {
			p := prover{dir: r.Dir, seal: func() seal.Seal { return s }, shares: r.Shares, clock: r.Clock}
			_, closeKeys, err := p.keys(ctx, loaded)
			if err != nil {
				return err
			}
			return errors.Join(closeKeys(), r.leaveNode(from.Header.ID))
		}})
	if err != nil {
		return nil, err
	}
	return &Restored{from.Header, loaded}, nil
}

// target opens the store for a load.
func (r *Restoration) target(ctx context.Context) (full.Scratch, error) {
	if r.Store.DSNFile == "" {
		return sqlite.Open(sqlite.Config{Dir: filepath.Join(r.Dir, storeDir), Load: true})
	}
	database, err := r.Store.database(&Config{})
	if err != nil {
		return nil, err
	}
	database.Load = true
	return postgres.Open(ctx, database)
}

// buried reads the tombstones of other backups.
func (r *Restoration) buried(ctx context.Context, s seal.Seal) (list []store.Tombstone, err error) {
	var closers []func() error
	defer func() {
		for _, c := range closers {
			err = errors.Join(err, c())
		}
	}()
	for _, path := range r.Newer {
		from, err := r.file(ctx, path, s, &closers)
		if err != nil {
			return nil, fmt.Errorf("opening %s: %w", path, err)
		}
		if err := full.CheckSealed(from); err != nil && !r.Unsealed {
			return nil, fmt.Errorf("opening %s: %w", path, err)
		}
		more, err := full.Tombstones(ctx, from)
		if err != nil {
			return nil, fmt.Errorf("reading the tombstones of %s: %w", path, err)
		}
		list = append(list, more...)
	}
	return list, nil
}

// leftEmpty are tables that a restoration leaves empty: they tell of processes that there are no more, and of sign-ins, of which nobody can say any more which were ended
// or used up since. Everybody signs in anew.
var leftEmpty = []string{"nodes", "sign_ins"}

// ofNode reports whether a setting belongs to a node.
func ofNode(name string) bool {
	switch name {
	case nodeSetting, signerSetting, verifierSetting, checkpointSetting:
		return true
	}
	return strings.HasPrefix(name, signerOf("")) || strings.HasPrefix(name, ledger.CoursePrefix)
}

// leaveNode puts aside what makes the directory that of the node that had it before: its audit log continues no log of the restored store.
func (r *Restoration) leaveNode(id string) error {
	for _, name := range []string{auditDir, auditKeyFile, node.IDFile} {
		old := filepath.Join(r.Dir, name)
		if _, err := os.Lstat(old); errors.Is(err, os.ErrNotExist) {
			continue
		}
		to := old + "-before-" + id
		for n := 2; ; n++ {
			if _, err := os.Lstat(to); errors.Is(err, os.ErrNotExist) {
				break
			}
			to = fmt.Sprintf("%s-before-%s-%d", old, id, n)
		}
		if err := os.Rename(old, to); err != nil {
			return fmt.Errorf("putting the audit log of the time before aside: %w", err)
		}
	}
	return nil
}
