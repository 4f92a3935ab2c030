package full

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/keywright/keywright/internal/archive"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// State is how far a backup is.
type State string

// The states.
const (
	Running State = "running"
	Done    State = "done"
	Failed  State = "failed"
)

// Backup is a backup of the installation.
type Backup struct {
	ID string `json:"-"`
	State
	// Made is when its state was taken, Ended when the file was whole, Expires when it is deleted.
	Made    time.Time `json:"-"`
	Ended   time.Time `json:",omitzero"`
	Expires time.Time `json:"-"`
	// Node made it and has its file, File is the file's name in the node's directory.
	Node, File string
	// By is who had it made: a principal's id; empty for the schedule.
	By      string   `json:",omitempty"`
	Release string   `json:",omitempty"`
	Seal    string   `json:",omitempty"`
	To      []string `json:",omitempty"`
	// Rows and Bytes are how much was written so far; Error is why it failed.
	Rows, Bytes int64              `json:",omitempty"`
	Error       string             `json:",omitempty"`
	Tables      []archive.TableEnd `json:",omitempty"`
	Needs       []need             `json:",omitempty"`
	Proof       *Proof             `json:",omitempty"`

	revision int64
	open     bool
}

// Proof is the last proof of a backup.
type Proof struct {
	State
	Started time.Time
	Ended   time.Time `json:",omitzero"`
	Node    string
	Rows    int64
	Error   string  `json:",omitempty"`
	Report  *Report `json:",omitempty"`
}

// need is a customer's key that a backup needs.
type need struct {
	Key    vault.ObjectID
	In, By vault.ID
	ByName string
}

func (b *Backup) row() (*store.Backup, error) {
	doc, err := json.Marshal(b)
	return &store.Backup{ID: b.ID, Kind: store.FullBackup, Open: b.open, Made: b.Made, Expires: b.Expires, Revision: b.revision, Doc: doc}, err
}

func backupOf(row *store.Backup) (*Backup, error) {
	b := new(Backup)
	if err := json.Unmarshal(row.Doc, b); err != nil {
		return nil, fmt.Errorf("decoding what is known of the backup %s: %w", row.ID, err)
	}
	b.ID, b.Made, b.Expires, b.revision, b.open = row.ID, row.Made, row.Expires, row.Revision, row.Open
	return b, nil
}

// put stores the backup in a transaction; the caller counts its revision on when that is committed.
func (b *Backup) put(ctx context.Context, tx store.Tx) error {
	row, err := b.row()
	if err != nil {
		return err
	}
	return tx.PutBackup(ctx, row)
}

func (s *Service) get(ctx context.Context, id string) (b *Backup, err error) {
	if err := archive.CheckID(id); err != nil {
		return nil, err
	}
	err = s.Store.View(ctx, func(tx store.Tx) error {
		b, err = getIn(ctx, tx, id)
		return err
	})
	return b, err
}

func getIn(ctx context.Context, tx store.Tx, id string) (*Backup, error) {
	row, err := tx.Backup(ctx, id)
	if err == nil && row.Kind != store.FullBackup {
		err = fault.New(fault.NotFound, "there is no backup %q", id)
	}
	if err != nil {
		return nil, err
	}
	return backupOf(row)
}

func (s *Service) list(ctx context.Context, q store.BackupQuery) (list []*Backup, err error) {
	var rows []*store.Backup
	if err := s.Store.View(ctx, func(tx store.Tx) error {
		rows, err = tx.Backups(ctx, q)
		return err
	}); err != nil {
		return nil, err
	}
	for _, row := range rows {
		b, err := backupOf(row)
		if err != nil {
			return nil, err
		}
		list = append(list, b)
	}
	return list, nil
}

// partSuffix is that of a file that is not whole.
const partSuffix = ".part"

func (s *Service) path(name string) string { return filepath.Join(s.Dir, filepath.Base(name)) }

// here reports whether the file of a backup is in this node's directory.
func (s *Service) here(b *Backup) bool {
	if s.Dir == "" || b.File == "" {
		return false
	}
	_, err := os.Stat(s.path(b.File))
	return err == nil
}

// openFile opens the file of a whole backup.
func (s *Service) openFile(b *Backup) (*os.File, int64, error) {
	if b.State != Done {
		return nil, 0, fault.New(fault.Conflict, "the backup %s is not done: it is %s", b.ID, b.State)
	}
	f, err := os.Open(s.path(b.File))
	if errors.Is(err, os.ErrNotExist) {
		return nil, 0, fault.Wrap(err, fault.NotFound, "the file %s of the backup %s is not in the directory of this node: the node %s made it; ask there, or bring the file back", b.File, b.ID, b.Node)
	}
	if err != nil {
		return nil, 0, fault.Wrap(err, fault.Unavailable, "the file %s of the backup %s cannot be read: see the server's log", b.File, b.ID)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, info.Size(), nil
}

// removeFiles removes what there is of a backup here. What is not there is gone already.
func (s *Service) removeFiles(b *Backup) error {
	if b.File == "" || s.Dir == "" {
		return nil
	}
	for _, name := range []string{b.File, b.File + partSuffix} {
		if err := os.Remove(s.path(name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fault.Wrap(err, fault.Unavailable, "the file %s of the backup %s cannot be removed: see the server's log", name, b.ID)
		}
	}
	return syncDir(s.Dir)
}

// syncDir makes the names in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
