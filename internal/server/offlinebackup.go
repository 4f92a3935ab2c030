package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"filippo.io/age"

	"github.com/keywright/keywright/internal/archive"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/seal"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
	"github.com/keywright/keywright/internal/version"
)

// BackUp makes a backup from the store of a server that is not running, in a file that must not be there yet. The store holds nothing about it, and it holds
// no key: it is the business of whoever has the machine. Shares asks for the shares of a seal that people hold; nil when nobody can be asked.
func BackUp(ctx context.Context, c *Config, file string, shares func(context.Context, seal.Gatherer) error) (h archive.Header, end *archive.End, size int64, err error) {
	if c.Clock == nil {
		c.Clock = clock.System{}
	}
	recipients, err := archive.ParseRecipients(c.Backup.Recipients)
	if err != nil {
		return h, nil, 0, err
	}
	if _, err := os.Stat(filepath.Join(c.Dir, storeDir)); c.Store.DSNFile == "" && errors.Is(err, os.ErrNotExist) {
		return h, nil, 0, fault.New(fault.NotFound, "there is no store in %s: name the directory of a server", c.Dir)
	}
	opened, err := openEngine(ctx, c)
	if err != nil {
		return h, nil, 0, err
	}
	defer func() { err = errors.Join(err, opened.Close()) }()
	own := c.Seal.orDefault(c.Dir) // which must not be made here
	s, closeSeal, err := own.Open(c.Clock)
	if err != nil {
		return h, nil, 0, err
	}
	defer func() { err = errors.Join(err, closeSeal()) }()
	if err := openWithShares(ctx, opened, s, shares); err != nil {
		return h, nil, 0, err
	}
	now := store.NewOp(c.Clock.Now())
	h = archive.Header{ID: string(vault.NewVersionID(now.At)), Made: now.At, Release: version.String(), Engine: c.Store.engineName(), Seal: s.Name()}
	recipients = append(recipients, &archive.Sealed{Ctx: ctx, Seal: s, ID: h.ID})
	end, size, err = writeBackup(ctx, file, h, opened, recipients)
	return h, end, size, err
}

func writeBackup(ctx context.Context, file string, h archive.Header, from store.Dumper, recipients []age.Recipient) (*archive.End, int64, error) {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, 0, err
	}
	p := new(archive.Progress)
	end, err := archive.Write(ctx, f, h, from, recipients, p)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, 0, errors.Join(fmt.Errorf("writing %s: %w", file, err), os.Remove(file))
	}
	return end, p.Bytes.Load(), nil
}
