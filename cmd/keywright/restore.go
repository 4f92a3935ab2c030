package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/keywright/keywright/client/api"
	"github.com/keywright/keywright/internal/cli"
	"github.com/keywright/keywright/internal/config"
	"github.com/keywright/keywright/internal/door/native"
	"github.com/keywright/keywright/internal/keyring/harden"
	"github.com/keywright/keywright/internal/server"
)

// proveBackup proves a backup from its file.
func proveBackup(ctx context.Context, in cli.ProveBackup) (*api.BackupReport, error) {
	o := server.Offline{File: in.File, Identities: in.Identities, Dir: in.Dir}
	if err := withShares(&o, in.Shares); err != nil {
		return nil, err
	}
	report, err := o.Prove(ctx, in.Sample)
	if err != nil {
		return nil, err
	}
	return native.BackupReport(report), nil
}

// target finds where to restore to.
func target(r *server.Restoration, file string) error {
	if file != "" {
		f, err := config.Load(file)
		if err != nil {
			return err
		}
		c, err := server.FromFile(f)
		if err != nil {
			return err
		}
		r.Dir, r.Seal, r.Token, r.Store = c.Dir, c.Seal, c.Token, c.Store
	}
	return nil
}

// offlineBackup makes a backup of a server that is not running.
func offlineBackup(ctx context.Context, in cli.OfflineBackup) (*api.Backup, error) {
	if err := harden.Process(); err != nil {
		return nil, err
	}
	c := server.Config{Dir: in.Dir}
	if in.Config != "" {
		f, err := config.Load(in.Config)
		if err != nil {
			return nil, err
		}
		if c, err = server.FromFile(f); err != nil {
			return nil, err
		}
	}
	c.Backup.Recipients = append(c.Backup.Recipients, in.Recipients...)
	from := server.Offline{File: in.File, Seal: c.Seal}
	if err := withShares(&from, in.Shares); err != nil {
		return nil, err
	}
	c.Seal = from.Seal
	h, end, size, err := server.BackUp(ctx, &c, in.File, from.Shares)
	if err != nil {
		return nil, fmt.Errorf("making a backup: %w", err)
	}
	return &api.Backup{ID: h.ID, State: "done", Made: h.Made, File: in.File, Release: h.Release, Seal: h.Seal, Recipients: c.Backup.Recipients, Rows: end.Rows(), Bytes: size}, nil
}

// restored is what restore prints as data.
type restored struct {
	Backup string    `json:"backup"`
	Made   time.Time `json:"made"`
	Rows   int64     `json:"rows"`
	Tables int       `json:"tables"`
	// LeftOut counts objects, LeftOutVaults vaults, that were purged since the backup.
	LeftOut       int64 `json:"leftOut"`
	LeftOutVaults int64 `json:"leftOutVaults"`
}

func restoreCommand() *cobra.Command {
	var r server.Restoration
	var file string
	var shares *cli.Shares
	c := &cobra.Command{
		Use:   "restore",
		Short: "Restore a backup of the whole installation into the store of a server that is not running",
		Long: `Restore a backup of the whole installation into the store of a server that is not running.

The seal that protected the root key when the backup was made has to be there, as DIR/seal.key, with --seal-key-file or in the configuration: a backup holds the
keys of the installation as they are in the store, wrapped. The file itself opens with that seal, or with an identity of one of its recipients. Shares of people
are asked for on the terminal, one after the other, and not shown, or read from files; never are they arguments, which others on the machine can see.

What was purged does not come back where that is known: in the backup, in the store that is replaced, or in newer backups that --newer names. The server
begins a new audit log, as another node; the log that the directory had is put aside. All leases end, so that every rotation that was under way looks first.

A restore that was cut off leaves a store that no server opens: run it again.`,
		Example: "  keywright restore --file backup.kwb --dir ~/kw --identity-file offline.txt\n" +
			"  keywright restore --file backup.kwb --dir ~/kw --share-file share-1.txt --share-file share-4.txt",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := harden.Process(); err != nil {
				return err
			}
			if err := target(&r, file); err != nil {
				return err
			}
			if err := withShares(&r.Offline, shares); err != nil {
				return err
			}
			done, err := r.Restore(c.Context())
			if err != nil {
				return fmt.Errorf("restoring: %w", err)
			}
			if form := cli.Output(c); form == "json" || form == "yaml" {
				return cli.Show(c, restored{done.Header.ID, done.Header.Made, done.Rows, done.Tables, done.Buried, done.BuriedVaults}, nil)
			}
			fmt.Fprintf(c.OutOrStdout(), "restored %s of %s: %d rows of %d tables\n", done.Header.ID, done.Header.Made.UTC().Format("2006-01-02 15:04:05 MST"), done.Rows, done.Tables)
			if n := done.Buried + done.BuriedVaults; n > 0 {
				fmt.Fprintf(c.OutOrStdout(), "%d objects and %d vaults had been purged since and were left out\n", done.Buried, done.BuriedVaults)
			}
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&r.File, "file", "", "file of the backup; - for standard input")
	f.StringVar(&file, "config", "", "configuration file of the server, which names its directory, its seal and its store")
	f.StringVar(&r.Dir, "dir", "", "directory of the server's files, where there is no configuration file; made when missing")
	f.StringVar(&r.Store.DSNFile, "postgres-dsn-file", "", "file with the connection string of the PostgreSQL database to restore into (default: the embedded store of the directory)")
	f.StringVar(&r.Store.PasswordFile, "postgres-password-file", "", "file with the password of that database's user")
	f.StringVar(&r.Store.Schema, "postgres-schema", "", "schema of that database (default keywright)")
	f.StringArrayVar(&r.Identities, "identity-file", nil, "file of an age identity that opens the backup, if the seal does not")
	f.StringArrayVar(&r.Seal.KeyFiles, "seal-key-file", nil, "key file of the seal, newest first (default DIR/seal.key)")
	f.StringVar(&r.Seal.PassphraseFile, "seal-passphrase-file", "", "file with the passphrase of the seal, if a passphrase protects the root key")
	shares = cli.ShareFlags(c)
	f.StringArrayVar(&r.Newer, "newer", nil, "file of a newer backup, whose tombstones are obeyed too")
	f.BoolVar(&r.Replace, "replace", false, "replace everything in a store that is not empty")
	f.BoolVar(&r.Unsealed, "unsealed", false, "take a backup that an identity opens and the seal does not: anybody who has the public key can have written it")
	c.MarkFlagRequired("file")
	c.MarkFlagsOneRequired("config", "dir")
	c.MarkFlagsMutuallyExclusive("config", "dir")
	c.MarkFlagDirname("dir")
	return c
}
