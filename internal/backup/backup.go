package backup

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/cert"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/key"
	"github.com/keywright/keywright/internal/keyring"
	"github.com/keywright/keywright/internal/object"
	"github.com/keywright/keywright/internal/secret"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Container is where copies lie. Its errors are faults and hold no part of what authorises.
type Container interface {
	// Put stores a blob, in place of one of that name.
	Put(ctx context.Context, name string, content []byte) error
	// Get returns a blob of at most that many bytes. One that is not there is a fault.NotFound.
	Get(ctx context.Context, name string, most int64) ([]byte, error)
	// Delete removes a blob.
	Delete(ctx context.Context, name string) error
}

// Config makes a Service. Everything is required.
type Config struct {
	Guard *guard.Guard
	// Store remembers the jobs, Node is this server's persistent id.
	Store        store.Store
	Node         string
	Secrets      *secret.Service
	Keys         *key.Service
	Certificates *cert.Service
	// Sealing protects manifests.
	Sealing *keyring.Keyring
	Clock   clock.Clock
	Logger  *slog.Logger
	// Open returns the container at an address, for which token is a shared access signature, or a fault.Invalid when there can be none.
	Open func(address, token string) (Container, error)
}

// Service copies and restores vaults.
type Service struct {
	Config
	kinds []kind

	ctx  context.Context
	stop context.CancelFunc
	// running counts the jobs that this server runs.
	running atomic.Int32
	wait    sync.WaitGroup
}

// New checks the configuration. The caller calls Stop in the end.
func New(c Config) (*Service, error) {
	if c.Guard == nil || c.Store == nil || c.Node == "" || c.Secrets == nil || c.Keys == nil || c.Certificates == nil || c.Sealing == nil || c.Clock == nil || c.Logger == nil || c.Open == nil {
		return nil, errors.New("the backup service needs a guard, a store, the node's id, the services of secrets, keys and certificates, a keyring, a clock, a logger and Open")
	}
	s := &Service{Config: c}
	s.kinds = []kind{
		{"secrets", vault.Secret, authz.SecretBackup, authz.SecretRestore, c.Secrets.List, c.Secrets.Backup, dropItem(c.Secrets.Restore)},
		{"keys", vault.Key, authz.KeyBackup, authz.KeyRestore, c.Keys.List, c.Keys.Backup, dropItem(c.Keys.Restore)},
		{"certificates", vault.Certificate, authz.CertificateBackup, authz.CertificateRestore, c.Certificates.List, c.Certificates.Backup,
			func(ctx context.Context, call *guard.Call, blob []byte) error {
				_, _, err := c.Certificates.Restore(ctx, call, blob)
				return err
			}},
	}
	s.ctx, s.stop = context.WithCancel(context.Background())
	return s, nil
}

// Stop ends the jobs that run and waits for them, or for ctx. It may be called twice.
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

// kind is a kind of objects, and what can be done with it.
type kind struct {
	collection    string
	kind          vault.Kind
	backup, bring authz.Action
	list          func(context.Context, *guard.Call, object.Page) (object.Listing, error)
	copy          func(context.Context, *guard.Call, string) ([]byte, error)
	restore       func(context.Context, *guard.Call, []byte) error
}

func dropItem(restore func(context.Context, *guard.Call, []byte) (object.Item, error)) func(context.Context, *guard.Call, []byte) error {
	return func(ctx context.Context, call *guard.Call, blob []byte) error {
		_, err := restore(ctx, call, blob)
		return err
	}
}

// Source says where a copy lies, or shall lie. Token is a shared access signature.
type Source struct {
	Address, Token string
	// Folder is the folder of the container, for a restore.
	Folder string
}

// Backup begins a copy of the call's vault. It takes the right to list and to back up everything in the vault.
func (s *Service) Backup(ctx context.Context, call *guard.Call, to Source) (Job, error) {
	container, err := s.begin(ctx, call, to, func(k *kind) authz.Action { return k.backup })
	if err != nil {
		return Job{}, err
	}
	folder := s.folder(call.Vault.Vault)
	return s.run(call, Job{Kind: Copying, Address: to.Address + "/" + folder}, func(ctx context.Context, call *guard.Call) (string, error) {
		return s.copyAll(ctx, call, container, folder)
	})
}

// Restore begins to bring back everything that is in a copy and not in the call's vault.
func (s *Service) Restore(ctx context.Context, call *guard.Call, from Source) (Job, error) {
	container, err := s.begin(ctx, call, from, func(k *kind) authz.Action { return k.bring })
	if err != nil {
		return Job{}, err
	}
	if err := checkFolder(from.Folder); err != nil {
		return Job{}, err
	}
	return s.run(call, Job{Kind: Restoring}, func(ctx context.Context, call *guard.Call) (string, error) {
		return s.restoreAll(ctx, call, container, from.Folder)
	})
}

// RestoreKey begins to bring one key back from a copy. A key of that name, live or deleted, makes the job fail.
func (s *Service) RestoreKey(ctx context.Context, call *guard.Call, name string, from Source) (Job, error) {
	if err := vault.CheckObjectName(name); err != nil {
		return Job{}, err
	}
	need := guard.Need{Action: authz.KeyRestore, Kind: vault.Key}
	if err := s.Guard.Authorize(ctx, call, &need); err != nil {
		return Job{}, err
	}
	container, err := s.Open(from.Address, from.Token)
	if err != nil {
		return Job{}, err
	}
	if err := checkFolder(from.Folder); err != nil {
		return Job{}, err
	}
	return s.run(call, Job{Kind: Restoring}, func(ctx context.Context, call *guard.Call) (string, error) {
		return "", s.restoreKey(ctx, call, container, from.Folder, name)
	})
}

// CheckBackup begins to find out whether a copy could be made: whether the caller may, and the container takes a blob.
func (s *Service) CheckBackup(ctx context.Context, call *guard.Call, to Source) (Job, error) {
	container, err := s.begin(ctx, call, to, func(k *kind) authz.Action { return k.backup })
	if err != nil {
		return Job{}, err
	}
	probe := s.folder(call.Vault.Vault) + "/check"
	return s.run(call, Job{Kind: Copying, Address: to.Address}, func(ctx context.Context, _ *guard.Call) (string, error) {
		if err := container.Put(ctx, probe, []byte("a check before a backup; it can be deleted\n")); err != nil {
			return "", err
		}
		if err := container.Delete(ctx, probe); err != nil {
			return "The container takes blobs, but lets none be deleted: " + probe + " stays in it.", nil
		}
		return "", nil
	})
}

// CheckRestore begins to find out whether a copy could be restored: whether the caller may, and its manifest is whole and of this tenant.
func (s *Service) CheckRestore(ctx context.Context, call *guard.Call, from Source) (Job, error) {
	container, err := s.begin(ctx, call, from, func(k *kind) authz.Action { return k.bring })
	if err != nil {
		return Job{}, err
	}
	if err := checkFolder(from.Folder); err != nil {
		return Job{}, err
	}
	return s.run(call, Job{Kind: Restoring}, func(ctx context.Context, call *guard.Call) (string, error) {
		m, err := s.manifest(ctx, call, container, from.Folder)
		if err != nil {
			return "", err
		}
		return m.String(), nil
	})
}

// begin authorises the action of every kind, over the whole vault, and opens the container.
func (s *Service) begin(ctx context.Context, call *guard.Call, at Source, action func(*kind) authz.Action) (Container, error) {
	for i := range s.kinds {
		need := guard.Need{Action: action(&s.kinds[i]), Kind: s.kinds[i].kind}
		if err := s.Guard.Authorize(ctx, call, &need); err != nil {
			return nil, err
		}
	}
	return s.Open(at.Address, at.Token)
}

// folder is a new folder's name: no two copies of a vault begin within a microsecond.
func (s *Service) folder(v *vault.Vault) string {
	return "keywright-" + v.Name + "-" + s.Clock.Now().UTC().Format("20060102150405.000000")
}

// checkFolder refuses what cannot be a folder that a copy made.
func checkFolder(name string) error {
	ok := len(name) > 0 && len(name) <= 128
	for _, c := range []byte(name) {
		ok = ok && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.')
	}
	if !ok {
		return fault.New(fault.Invalid, "the folder %q is none that a backup made: give the last part of the address that the backup told", fault.Clip(name))
	}
	return nil
}
