package full

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"time"

	"filippo.io/age"

	"github.com/keywright/keywright/internal/archive"
	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/seal"
	"github.com/keywright/keywright/internal/store"
)

// Config makes a Service. Guard, Store, Dumper, Seal, Clock, Logger and Prove are required.
type Config struct {
	Guard  *guard.Guard
	Store  store.Store
	Dumper store.Dumper
	// Seal returns the installation's present seal.
	Seal   func() seal.Seal
	Clock  clock.Clock
	Logger *slog.Logger
	// Node is this server's persistent id, Release its version, Engine the name of the store's engine.
	Node, Release, Engine string
	Settings
	// Prove restores a backup into a scratch store and looks at everything in it.
	Prove func(ctx context.Context, from *archive.Reader, sample int) (*Report, error)
}

// Settings are what operators decide about backups.
type Settings struct {
	// Dir is where the files are; without one no backups are made.
	Dir string
	// Recipients are the operator's own public keys (age1…), whose identities lie offline. Without them a backup opens with the seal alone.
	Recipients []string
	// Every is how often a backup is made by itself; 0 for never. Keep is how long backups are kept; 0 for DefaultKeep.
	Every, Keep time.Duration
}

// DefaultKeep is how long backups are kept when nobody says otherwise.
const DefaultKeep = 30 * 24 * time.Hour

// The least that may be configured: a backup takes a while, and one that is over before it is done is none.
const (
	leastEvery = time.Minute
	leastKeep  = time.Hour
)

// Check refuses settings that cannot be meant.
func (s *Settings) Check() error {
	switch {
	case s.Every != 0 && s.Every < leastEvery:
		return fault.New(fault.Invalid, "backups are to be made every %s: give %s or more, or 0 to make none by schedule", s.Every, leastEvery)
	case s.Keep != 0 && s.Keep < leastKeep:
		return fault.New(fault.Invalid, "backups are to be kept for %s: give %s or more", s.Keep, leastKeep)
	case s.Every != 0 && s.Dir == "":
		return fault.New(fault.Invalid, "backups are to be made by schedule, and no directory is configured for them: name one")
	}
	_, err := archive.ParseRecipients(s.Recipients)
	return err
}

// Service makes and keeps backups of the installation. It is safe for concurrent use.
type Service struct {
	Config
	recipients []age.Recipient
	// timing is changed by tests alone.
	timing timing

	ctx  context.Context
	stop context.CancelFunc
	wait sync.WaitGroup
}

// timing is how long leases last, and how often a piece of work renews its own and tells its progress.
type timing struct{ ttl, slack, renew time.Duration }

// New checks the configuration. The caller calls Stop in the end.
func New(c Config) (*Service, error) {
	if c.Guard == nil || c.Store == nil || c.Dumper == nil || c.Seal == nil || c.Clock == nil || c.Logger == nil || c.Prove == nil {
		return nil, errors.New("the service of full backups needs a guard, a store that can be dumped, a seal, a clock, a logger and Prove")
	}
	if err := c.Check(); err != nil {
		return nil, err
	}
	if c.Keep == 0 {
		c.Keep = DefaultKeep
	}
	s := &Service{Config: c, timing: timing{ttl: 30 * time.Second, slack: 5 * time.Second, renew: 5 * time.Second}}
	var err error
	if s.recipients, err = archive.ParseRecipients(c.Recipients); err != nil {
		return nil, err
	}
	s.ctx, s.stop = context.WithCancel(context.Background())
	return s, nil
}

// Stop ends the work that runs and waits for it, or for ctx. It may be called twice.
func (s *Service) Stop(ctx context.Context) error {
	s.stop()
	done := make(chan struct{})
	go func() {
		s.wait.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// scope is where backups of the installation are decided about.
const scope = "/"

// List lists the backups of the installation, newest first, behind the one named after.
func (s *Service) List(ctx context.Context, call *guard.Call, after string, limit int) (list []*Backup, err error) {
	need := guard.Need{Action: authz.BackupRead, Scope: scope}
	if err := s.Guard.Operate(ctx, call, &need); err != nil {
		return nil, err
	}
	err = s.Guard.Read(ctx, call, &need, func() error {
		list, err = s.list(ctx, store.BackupQuery{Kind: store.FullBackup, After: after, Limit: limit})
		return err
	})
	return list, err
}

// Get returns one backup.
func (s *Service) Get(ctx context.Context, call *guard.Call, id string) (b *Backup, err error) {
	need := guard.Need{Action: authz.BackupRead, Scope: scope, Detail: "backup " + fault.Clip(id)}
	if err := s.Guard.Operate(ctx, call, &need); err != nil {
		return nil, err
	}
	err = s.Guard.Read(ctx, call, &need, func() error {
		b, err = s.get(ctx, id)
		return err
	})
	return b, err
}

// Content opens the file of a backup, for the caller to close. It is as encrypted as on disk.
func (s *Service) Content(ctx context.Context, call *guard.Call, id string) (f io.ReadCloser, size int64, err error) {
	need := guard.Need{Action: authz.BackupDownload, Scope: scope, Detail: "backup " + fault.Clip(id)}
	if err := s.Guard.Operate(ctx, call, &need); err != nil {
		return nil, 0, err
	}
	err = s.Guard.Read(ctx, call, &need, func() error {
		b, err := s.get(ctx, id)
		if err != nil {
			return err
		}
		f, size, err = s.openFile(b)
		return err
	})
	if err != nil && f != nil {
		f.Close()
		f = nil
	}
	return f, size, err
}
