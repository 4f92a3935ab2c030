package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"filippo.io/age"
	"github.com/spf13/cobra"

	"github.com/keywright/keywright/client"
	"github.com/keywright/keywright/client/api"
)

// ProveBackup is what it takes to prove a backup from its file, without a server.
type ProveBackup struct {
	File, Dir  string
	Identities []string
	Sample     int
	// Shares are those of the seal's key, if people hold it. They have to be opened.
	Shares *Shares
}

func (a *app) backupCommand() *cobra.Command {
	c := &cobra.Command{Use: "backup", Short: "Make, prove and keep backups of the whole installation",
		Long: `Make, prove and keep backups of the whole installation: one encrypted file, which "keywright restore" brings into a store of either kind.

A copy of one vault is made with "keywright vault copy", and one of a single secret, key or certificate with its own "backup".`}
	c.AddCommand(a.backupCreate(), a.backupList(), a.backupShow(), a.backupVerify(), a.backupDownload(), a.backupDelete(), a.backupKeygen())
	if a.OfflineBackup != nil {
		c.AddCommand(a.backupOffline())
	}
	return c
}

var backupHeader = []string{"ID", "STATE", "MADE", "ROWS", "SIZE", "EXPIRES", "PROVED", "NODE", "RECIPIENTS"}

func backupRow(b *api.Backup) []string {
	proved := "-"
	if p := b.Proof; p != nil {
		proved = p.State
		if p.State == "done" {
			proved = when(p.Ended)
		}
	}
	return []string{b.ID, b.State, when(&b.Made), fmt.Sprint(b.Rows), size(b.Bytes), when(b.Expires), proved, b.Node, strconv.Itoa(len(b.Recipients))}
}

// size is a number of bytes for people.
func size(n int64) string {
	switch {
	case n < 1<<10:
		return fmt.Sprintf("%d B", n)
	case n < 1<<20:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	case n < 1<<30:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
}

func (a *app) showBackup(b *api.Backup) error {
	if b.Error != "" {
		a.say("It failed: %s.", b.Error)
	}
	return a.show(b, table{backupHeader, backupRow(b)})
}

func (a *app) backupCreate() *cobra.Command {
	var keep time.Duration
	var noWait bool
	c := &cobra.Command{Use: "create", Short: "Make a backup of the whole installation", Args: cobra.NoArgs,
		Example: "  keywright backup create --keep 720h",
		RunE: a.with(func(c *cobra.Command, cl *client.Client, _ []string) error {
			if keep < 0 || keep%time.Hour != 0 {
				return usage("--keep %s is not a number of hours: write it as 720h", keep)
			}
			b, err := cl.CreateBackup(c.Context(), api.CreateBackup{KeepHours: int(keep / time.Hour)})
			if err != nil {
				return err
			}
			if !noWait {
				if b, err = a.waitForBackup(c.Context(), cl, b.ID, func(b *api.Backup) (bool, string) {
					return b.State == "running", fmt.Sprintf("%d rows, %s", b.Rows, size(b.Bytes))
				}); err != nil {
					return err
				}
			}
			if err := a.showBackup(b); err != nil {
				return err
			}
			if b.State == "failed" {
				return errors.New("the backup was not made")
			}
			return nil
		})}
	c.Flags().DurationVar(&keep, "keep", 0, "how long it is kept, such as 720h (default: the server's setting)")
	c.Flags().BoolVar(&noWait, "no-wait", false, "return while the backup is being made")
	return c
}

// pollBackup is how often the state of a backup is asked for.
const pollBackup = 500 * time.Millisecond

// waitForBackup asks until the work on a backup is over, and tells on a terminal how far it is.
func (a *app) waitForBackup(ctx context.Context, cl *client.Client, id string, busy func(*api.Backup) (bool, string)) (*api.Backup, error) {
	told := false
	defer func() {
		if told {
			fmt.Fprintln(a.Stderr)
		}
	}()
	for {
		b, err := cl.Backup(ctx, id)
		if err != nil {
			return nil, err
		}
		runs, how := busy(b)
		if !runs {
			return b, nil
		}
		if isTerminal(a.Stderr) {
			told = true
			fmt.Fprintf(a.Stderr, "\r%s ", how)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(pollBackup):
		}
	}
}

func (a *app) backupList() *cobra.Command {
	return &cobra.Command{Use: "list", Short: "List the backups of the installation, newest first", Args: cobra.NoArgs,
		RunE: a.with(func(c *cobra.Command, cl *client.Client, _ []string) error {
			all := []api.Backup{}
			for b, err := range cl.Backups(c.Context()) {
				if err != nil {
					return err
				}
				all = append(all, *b)
			}
			return a.show(all, rows(backupHeader, all, backupRow))
		})}
}

func (a *app) backupShow() *cobra.Command {
	return &cobra.Command{Use: "show ID", Short: "Show a backup, and how far it is", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeBackups,
		RunE: a.with(func(c *cobra.Command, cl *client.Client, args []string) error {
			b, err := cl.Backup(c.Context(), args[0])
			if err != nil {
				return err
			}
			return a.showBackup(b)
		})}
}

func (a *app) backupVerify() *cobra.Command {
	var local ProveBackup
	c := &cobra.Command{Use: "verify [ID]", Short: "Prove a backup: restore it into a scratch store and open what is in it",
		Long: `Prove a backup: it is read to its end, restored into a scratch store, and the keys and values in it are opened; the checkpoints of audit logs and the
tombstones are looked at. No value is shown.

With --file the backup is proved on this machine, without a server; the seal's key file is then that of --dir, unless people hold shares of the seal's key.`,
		Example: "  keywright backup verify 019ab8e4c1a07d3e8f60c2b1a4d5e6f7\n  keywright backup verify --file backup.kwb --dir ~/kw --identity-file offline.txt",
		Args:    cobra.MaximumNArgs(1), ValidArgsFunction: a.completeBackups,
		RunE: func(c *cobra.Command, args []string) error {
			if (len(args) == 1) == (local.File != "") {
				return usage("name one backup, by its id or with --file")
			}
			report, err := a.proveBackup(c.Context(), args, local)
			if err != nil {
				return err
			}
			t := table{{"OK", "BACKUP", "MADE", "ROWS", "VAULTS", "OBJECTS", "VERSIONS", "OPENED", "KEYS", "TOMBSTONES", "CHECKPOINTS", "WRONG"},
				{yesNo(report.OK), report.Backup, when(&report.Made), fmt.Sprint(report.Rows), fmt.Sprint(report.Vaults), fmt.Sprint(report.Objects), fmt.Sprint(report.Versions),
					fmt.Sprint(report.Opened), fmt.Sprint(report.Keys), fmt.Sprint(report.Tombstones), fmt.Sprint(report.Checkpoints), fmt.Sprint(report.Wrong)}}
			if err := a.show(report, t); err != nil {
				return err
			}
			for _, p := range report.Problems {
				a.say("%s", p)
			}
			if !report.OK {
				return errors.New("the backup is not whole: make another one, and keep this one until you know why")
			}
			return nil
		}}
	f := c.Flags()
	f.IntVar(&local.Sample, "sample", 0, "about how many values are opened; 0 for all")
	if a.ProveBackup != nil {
		f.StringVar(&local.File, "file", "", "file of a backup, which is proved without asking the server; - for standard input")
		f.StringVar(&local.Dir, "dir", ".", "directory of a server, where its seal's key file is")
		f.StringArrayVar(&local.Identities, "identity-file", nil, "file of an age identity that opens the backup, if the seal does not")
		local.Shares = ShareFlags(c)
		c.MarkFlagDirname("dir")
	}
	return c
}

func (a *app) proveBackup(ctx context.Context, args []string, local ProveBackup) (*api.BackupReport, error) {
	if len(args) == 0 {
		return a.ProveBackup(ctx, local)
	}
	cl, err := a.client()
	if err != nil {
		return nil, err
	}
	if _, err := cl.VerifyBackup(ctx, args[0], api.VerifyBackup{Sample: local.Sample}); err != nil {
		return nil, err
	}
	b, err := a.waitForBackup(ctx, cl, args[0], func(b *api.Backup) (bool, string) {
		return b.Proof != nil && b.Proof.State == "running", fmt.Sprintf("%d rows", b.Proof.Rows)
	})
	if err != nil {
		return nil, err
	}
	if b.Proof == nil || b.Proof.Report == nil {
		return nil, fmt.Errorf("the backup could not be proved: %s", b.Proof.Error)
	}
	return b.Proof.Report, nil
}

func (a *app) backupDownload() *cobra.Command {
	var file string
	c := &cobra.Command{Use: "download ID", Short: "Write the file of a backup, as encrypted as it is", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeBackups,
		RunE: a.with(func(c *cobra.Command, cl *client.Client, args []string) (err error) {
			out := a.Stdout
			if file == "" {
				return usage("--file is missing: name the file, or - for standard output")
			}
			if file != "-" {
				w, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|noFollow, 0o600)
				if err != nil {
					return err
				}
				told := a.progress(w)
				defer func() { told.end(); err = errors.Join(err, w.Sync(), w.Close()) }()
				out = told
			}
			return cl.DownloadBackup(c.Context(), args[0], out)
		})}
	c.Flags().StringVar(&file, "file", "", "file to write to; - for standard output")
	return c
}

func (a *app) backupDelete() *cobra.Command {
	var forget bool
	c := &cobra.Command{Use: "delete ID", Short: "Delete a backup and its file, for good", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeBackups,
		RunE: a.with(func(c *cobra.Command, cl *client.Client, args []string) error {
			if err := a.confirm(c, "Delete the backup %s? What is in no other backup cannot be restored any more.", args[0]); err != nil {
				return err
			}
			if err := cl.DeleteBackup(c.Context(), args[0], forget); err != nil {
				return err
			}
			a.say("Deleted the backup %s.", args[0])
			return nil
		})}
	c.Flags().BoolVar(&forget, "forget", false, "forget a backup whose file is lost, or lies on a node that is no more")
	confirmFlag(c)
	return c
}

// OfflineBackup is what it takes to make a backup without a server: its configuration or its directory, and a file that is not there yet.
type OfflineBackup struct {
	Config, Dir, File string
	Recipients        []string
	// Shares are those of the seal's key, if people hold it. They have to be opened.
	Shares *Shares
}

func (a *app) backupOffline() *cobra.Command {
	var in OfflineBackup
	c := &cobra.Command{Use: "offline", Short: "Make a backup of a server that is not running, from its store", Args: cobra.NoArgs,
		Example: "  keywright backup offline --config /etc/keywright/keywright.yaml --file last.kwb",
		RunE: func(c *cobra.Command, _ []string) error {
			b, err := a.OfflineBackup(c.Context(), in)
			if err != nil {
				return err
			}
			return a.show(b, table{{"ID", "MADE", "ROWS", "SIZE", "RECIPIENTS"}, {b.ID, when(&b.Made), fmt.Sprint(b.Rows), size(b.Bytes), strconv.Itoa(len(b.Recipients))}})
		}}
	f := c.Flags()
	f.StringVar(&in.Config, "config", "", "configuration file of the server, which names its seal, its store and the recipients")
	f.StringVar(&in.Dir, "dir", "", "directory of a server that has no configuration file")
	f.StringVar(&in.File, "file", "", "file to write, which must not be there yet")
	f.StringArrayVar(&in.Recipients, "recipient", nil, "public key (age1…) whose identity opens the backup, beside the seal and the configured ones")
	in.Shares = ShareFlags(c)
	c.MarkFlagRequired("file")
	c.MarkFlagsOneRequired("config", "dir")
	c.MarkFlagsMutuallyExclusive("config", "dir")
	c.MarkFlagFilename("config", "yaml", "yml")
	c.MarkFlagDirname("dir")
	return c
}

func (a *app) backupKeygen() *cobra.Command {
	var file string
	c := &cobra.Command{Use: "keygen", Short: "Make an identity that opens backups, and print the public key for the server's configuration", Args: cobra.NoArgs,
		Long: `Make an identity that opens backups, as age-keygen does, and print its public key: the recipient that the server's configuration names. Keep the
identity offline. The server never needs it.`,
		RunE: func(*cobra.Command, []string) error {
			identity, err := age.GenerateX25519Identity()
			if err != nil {
				return err
			}
			w, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL|noFollow, 0o600)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(w, "# public key: %s\n%s\n", identity.Recipient(), identity)
			if err := errors.Join(err, w.Sync(), w.Close()); err != nil {
				return err
			}
			_, err = fmt.Fprintln(a.Stdout, identity.Recipient())
			return err
		}}
	c.Flags().StringVar(&file, "file", "", "file for the identity, which must not be there yet")
	c.MarkFlagRequired("file")
	return c
}

func (a *app) completeBackups(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	cl, err := a.client()
	if err != nil || len(args) > 0 {
		return nil, noFiles
	}
	var ids []string
	for b, err := range cl.Backups(c.Context()) {
		if err != nil {
			break
		}
		ids = append(ids, b.ID)
	}
	return ids, noFiles
}
