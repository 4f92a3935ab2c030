package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/keywright/keywright/client"
	"github.com/keywright/keywright/client/api"
)

// maxShareInput bounds what is read as shares, in bytes: a few lines.
const maxShareInput = 16 << 10

// sealCommands work on the machine of the server, as its user, over the socket in its directory.
func (a *app) sealCommands() *cobra.Command {
	c := &cobra.Command{Use: "seal", Short: "Open a sealed server, and change what protects its root key",
		Long: `Open a sealed server, and change what protects its root key. These commands reach a server on this machine over the socket in its directory. They ask for
no sign-in: whoever is the server's own user, or root, has its files anyway.`}
	c.PersistentFlags().String("dir", "", "directory of the server (default $KEYWRIGHT_DIR)")
	c.AddCommand(a.sealStatus(), a.sealUnseal(), a.sealMigrate(), a.sealRekey(), a.sealFinish(), a.sealGiveUp())
	return c
}

// locally calls the server whose directory --dir names.
func (a *app) locally(run func(c *cobra.Command, l *client.Local, args []string) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, args []string) error {
		dir, _ := c.Flags().GetString("dir")
		if dir == "" {
			dir = a.Getenv("KEYWRIGHT_DIR")
		}
		if dir == "" {
			return usage("which server? Name its directory with --dir, or in KEYWRIGHT_DIR")
		}
		l, err := client.NewLocal(dir)
		if err != nil {
			return err
		}
		defer l.Close()
		return run(c, l, args)
	}
}

func (a *app) showSeal(s *api.SealStatus) error {
	state, shares := "open", "none asked for"
	switch {
	case s.Sealed && s.Shares == nil:
		state = "opening"
	case s.Sealed:
		state = "sealed"
	}
	if p := s.Shares; p != nil {
		shares = fmt.Sprintf("%d of %d given", p.Given, p.Needed)
		if p.WaitSeconds > 0 {
			shares += fmt.Sprintf(", none taken for %d s", p.WaitSeconds)
		}
	}
	move := "none"
	switch {
	case s.Proved != nil:
		move = "to " + s.Next + ", proved " + when(s.Proved)
	case s.Next != "":
		move = "to " + s.Next + ", not proved"
	}
	return a.show(s, table{{"STATE", "SEAL", "ROOT KEY WRAPPED BY", "MOVE", "SHARES", "PROBLEM"}, {state, s.Seal, first(s.Wraps, "unknown"), move, shares, first(s.Problem, "none")}})
}

func (a *app) sealStatus() *cobra.Command {
	return &cobra.Command{Use: "status", Short: "Show what protects the root key, and whether the server is sealed", Args: cobra.NoArgs,
		RunE: a.locally(func(c *cobra.Command, l *client.Local, _ []string) error {
			s, err := l.SealStatus(c.Context())
			if err != nil {
				return err
			}
			return a.showSeal(s)
		})}
}

func (a *app) sealUnseal() *cobra.Command {
	var files []string
	var reset bool
	c := &cobra.Command{Use: "unseal", Short: "Give a share: to open a sealed server, or to prove that new shares open",
		Long: `Give a share: to open a sealed server, or to prove that new shares open. On a terminal it is asked for and not shown. A file holds one share a line, and so does
standard input. Shares are never arguments, which others on the machine can see.`,
		Example: "  keywright seal unseal --dir /var/lib/keywright\n  keywright seal unseal --dir /var/lib/keywright --file share-1.txt", Args: cobra.NoArgs,
		RunE: a.locally(func(c *cobra.Command, l *client.Local, _ []string) error {
			if reset {
				s, err := l.ResetShares(c.Context())
				if err != nil {
					return err
				}
				return a.showSeal(s)
			}
			if len(files) == 0 && !a.interactive() {
				return usage("no share: give --file FILE, or - for standard input")
			}
			shares, err := a.readShares(files)
			if err == nil && len(files) == 0 {
				shares = make([][]byte, 1)
				shares[0], err = a.ask("Share: ")
			}
			if err != nil {
				return err
			}
			var s *api.SealStatus
			for _, share := range shares {
				if s, err = l.GiveShare(c.Context(), string(share)); err != nil {
					return err
				}
				if s.Shares == nil {
					break // it takes no more
				}
			}
			return a.showSeal(s)
		})}
	c.Flags().StringArrayVar(&files, "file", nil, "file that holds a share, or several, one a line; - for standard input")
	c.Flags().BoolVar(&reset, "reset", false, "forget the shares that were given so far")
	c.MarkFlagsMutuallyExclusive("file", "reset")
	return c
}

// readShares reads shares from files, one a line.
func (a *app) readShares(files []string) (shares [][]byte, err error) {
	for _, file := range files {
		text, err := a.readInput(file, maxShareInput)
		if err != nil {
			return nil, err
		}
		for line := range bytes.Lines(text) {
			if line = bytes.TrimSpace(line); len(line) > 0 {
				shares = append(shares, line)
			}
		}
	}
	if len(files) > 0 && len(shares) == 0 {
		return nil, errors.New("the input holds no share")
	}
	return shares, nil
}

func (a *app) sealMigrate() *cobra.Command {
	var in api.MoveSeal
	var token api.SealToken
	var dir string
	c := &cobra.Command{Use: "migrate", Short: "Let another seal protect the root key, while the server runs",
		Long: `Let another seal protect the root key, while the server runs. The root key is wrapped by both seals until the new one was opened anew and gave the key back, so
that the installation can be started with one of them at any time; then what the old one wrapped is dropped. A key file, or a key in a token, that does not exist
is made. Of shares, as many as open have to be given back with "keywright seal unseal" before anything is dropped. Afterwards name the new seal in the
server's configuration: the next start needs it.`,
		Example: "  keywright seal migrate --dir /var/lib/keywright --key-file /etc/keywright/seal-2.key\n" +
			"  keywright seal migrate --dir /var/lib/keywright --shares 5 --threshold 3 --share-dir /run/user/0/shares", Args: cobra.NoArgs,
		RunE: a.locally(func(c *cobra.Command, l *client.Local, _ []string) error {
			if token != (api.SealToken{}) {
				in.Token = &token
			}
			if err := absolute(in.KeyFiles, &in.PassphraseFile, &token.Module, &token.PINFile); err != nil {
				return err
			}
			return a.moveSeal(c, l, in, dir)
		})}
	f := c.Flags()
	f.StringArrayVar(&in.KeyFiles, "key-file", nil, "key file on the server; made when it is missing")
	f.StringVar(&in.PassphraseFile, "passphrase-file", "", "file on the server that holds a passphrase")
	f.StringVar(&token.Module, "token-module", "", "library of a PKCS#11 token")
	f.StringVar(&token.Token, "token", "", "label of the PKCS#11 token")
	f.StringVar(&token.PINFile, "token-pin-file", "", "file that holds the token's PIN")
	f.StringVar(&token.Key, "token-key", "", "name of the key in the token (default keywright-seal)")
	shareFlags(c, &in, &dir)
	return c
}

func (a *app) sealRekey() *cobra.Command {
	var in api.MoveSeal
	var dir string
	c := &cobra.Command{Use: "rekey", Short: "Make new shares of a new key, in the place of the present seal",
		Long: `Make new shares of a new key, in the place of the present seal. The old shares open nothing any more once the new ones were given back with "keywright seal
unseal"; but they open copies of the store from before.`,
		Example: "  keywright seal rekey --dir /var/lib/keywright --shares 5 --threshold 3", Args: cobra.NoArgs,
		RunE: a.locally(func(c *cobra.Command, l *client.Local, _ []string) error {
			if in.Shares == 0 {
				return usage("how many shares? Give --shares and --threshold")
			}
			return a.moveSeal(c, l, in, dir)
		})}
	shareFlags(c, &in, &dir)
	return c
}

func shareFlags(c *cobra.Command, in *api.MoveSeal, dir *string) {
	f := c.Flags()
	f.IntVar(&in.Shares, "shares", 0, "how many shares are made, 2 to 255")
	f.IntVar(&in.Threshold, "threshold", 0, "how many of them open, from 2")
	f.StringVar(dir, "share-dir", "", "write each share to a file of its own in this directory, for this user alone, and show none")
	f.BoolVar(&in.KeepOld, "keep-old", false, "keep the old seal until \"keywright seal finish\": for several nodes, which get the new one in turn")
	c.MarkFlagsRequiredTogether("shares", "threshold")
}

func (a *app) moveSeal(c *cobra.Command, l *client.Local, in api.MoveSeal, dir string) error {
	if dir != "" {
		// Before there is anything to lose.
		if err := checkShareDir(dir, in.Shares); err != nil {
			return err
		}
	}
	moved, err := l.MoveSeal(c.Context(), in)
	if err != nil {
		return err
	}
	if len(moved.Shares) == 0 {
		return a.showSeal(&moved.Status)
	}
	if dir != "" {
		if err := writeShares(dir, moved.Shares); err != nil {
			return fmt.Errorf("%w; the shares are lost: run \"keywright seal give-up\", and begin anew", err)
		}
		moved.Shares = nil
	}
	a.say("These are shares of a new key: any %d of %d open. They are shown this once. Give each to somebody else, then let %d of them give theirs to "+
		"\"keywright seal unseal\": until then the old seal is the right one.", in.Threshold, in.Shares, in.Threshold)
	rows := table{{"SHARE", "TEXT"}}
	for i, share := range moved.Shares {
		rows = append(rows, []string{fmt.Sprintf("%d of %d", i+1, in.Shares), share})
	}
	if dir != "" {
		rows = append(rows, []string{"1 to " + fmt.Sprint(in.Shares), "in " + dir})
	}
	return a.show(moved, rows)
}

func shareFile(dir string, i int) string { return filepath.Join(dir, fmt.Sprintf("share-%d.txt", i+1)) }

// checkShareDir refuses a directory in which a share has no room, before there are shares.
func checkShareDir(dir string, n int) error {
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("the directory for the shares cannot be used: %w", err)
	}
	if !info.IsDir() || info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("%s is not a directory that only this user can read: run chmod 0700 on it", dir)
	}
	for i := range n {
		if _, err := os.Lstat(shareFile(dir, i)); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s exists already and is not replaced: name another directory", shareFile(dir, i))
		}
	}
	return nil
}

func writeShares(dir string, shares []string) error {
	for i, share := range shares {
		f, err := os.OpenFile(shareFile(dir, i), os.O_WRONLY|os.O_CREATE|os.O_EXCL|noFollow, 0o600)
		if err != nil {
			return fmt.Errorf("writing a share: %w", err)
		}
		_, err = f.WriteString(share + "\n")
		if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
			return fmt.Errorf("writing a share: %w", err)
		}
	}
	return nil
}

// absolute makes paths mean to the server what they mean here.
func absolute(list []string, more ...*string) (err error) {
	for i := range list {
		more = append(more, &list[i])
	}
	for _, p := range more {
		if *p == "" {
			continue
		}
		if *p, err = filepath.Abs(*p); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) sealFinish() *cobra.Command {
	return &cobra.Command{Use: "finish", Short: "Drop what the old seal wrapped", Args: cobra.NoArgs,
		Long: "Drop what the old seal wrapped, when a move kept it. Every node has to be configured with the new seal by then: with the old one it does not start again.",
		RunE: a.locally(func(c *cobra.Command, l *client.Local, _ []string) error {
			s, err := l.FinishSealMove(c.Context())
			if err != nil {
				return err
			}
			return a.showSeal(s)
		})}
}

func (a *app) sealGiveUp() *cobra.Command {
	return &cobra.Command{Use: "give-up", Short: "Stay with the old seal, and drop what the new one wrapped", Args: cobra.NoArgs,
		RunE: a.locally(func(c *cobra.Command, l *client.Local, _ []string) error {
			s, err := l.GiveUpSealMove(c.Context())
			if err != nil {
				return err
			}
			return a.showSeal(s)
		})}
}
