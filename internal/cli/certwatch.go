package cli

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/keywright/keywright/client"
	"github.com/keywright/keywright/client/api"
)

// certWatch keeps the file of a certificate as new as the certificate is.
type certWatch struct {
	on   bool
	exec string
	poll time.Duration

	app      *app
	command  *cobra.Command
	vault    *client.Vault
	out      *certOut
	password []byte
	// written is the version in the file, loaded the one that the command of --exec has taken up.
	written, loaded string
}

func (w *certWatch) flags(c *cobra.Command) {
	f := c.Flags()
	f.BoolVar(&w.on, "watch", false, "go on, and replace the file whenever the certificate is renewed")
	f.StringVar(&w.exec, "exec", "", "with --watch, a command of the shell that is run after each replacement")
	f.DurationVar(&w.poll, "poll", client.DefaultTTL, "with --watch, how often the server is asked even if it tells of no change")
	c.MarkFlagsMutuallyExclusive("watch", "version")
}

func (w *certWatch) check(out *certOut) error {
	switch {
	case !w.on && w.exec != "":
		return usage("--exec is for --watch")
	case w.on && (out.file == "-" || out.format == formatJSON):
		return usage("--watch replaces a file: name one with --file, and a form other than json")
	case w.on && w.poll < time.Second:
		return usage("--poll is a second or more")
	}
	return nil
}

// Bounds of one round.
const (
	fetchWithin = 30 * time.Second
	execWithin  = time.Minute
)

// run writes the file, and goes on until it is interrupted. What is wrong at the beginning ends it; later it is said, and tried again.
func (w *certWatch) run(name string) error {
	ctx := w.command.Context()
	if err := w.round(ctx, name); err != nil {
		return err
	}
	w.app.say("Watching.")
	for change, err := range w.vault.Watch(ctx, w.poll, name) {
		if err != nil && change == nil {
			// The stream is a hint; polls go on without it.
			w.app.say("%v; it is tried again.", err)
			continue
		}
		if err := w.round(ctx, name); err != nil && ctx.Err() == nil {
			w.app.say("%v; it is tried again.", err)
		}
	}
	return nil
}

// round brings the file, and whoever reads it, to the current version.
func (w *certWatch) round(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, fetchWithin+execWithin)
	defer cancel()
	got, err := w.vault.Certificates().Get(ctx, name, client.Selector{})
	if err != nil {
		return err
	}
	switch {
	case got.PEM == "" && w.written == "":
		return errors.New("the certificate is not made yet")
	case got.PEM == "" || got.Version == w.loaded:
		return nil
	case got.Version != w.written:
		if err := w.write(got); err != nil {
			return err
		}
		w.app.say("Wrote version %s to %s.", got.Version, w.out.file)
	}
	if err := w.reload(ctx); err != nil {
		return err
	}
	w.loaded = got.Version
	w.acknowledge(ctx, got)
	return nil
}

func (w *certWatch) write(got *client.Certificate) error {
	content, err := w.app.certFile(w.command, w.vault, got, w.out, w.password)
	if err != nil {
		return err
	}
	defer clear(content)
	if err := replacePrivate(w.out.file, content); err != nil {
		return err
	}
	w.written = got.Version
	return nil
}

// reload runs the command. What it prints goes to standard error.
func (w *certWatch) reload(ctx context.Context) error {
	if w.exec == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, execWithin)
	defer cancel()
	c := exec.CommandContext(ctx, "sh", "-c", w.exec)
	c.Stdout, c.Stderr = w.app.Stderr, w.app.Stderr
	c.WaitDelay = time.Second // for what it left running with our standard error
	if err := c.Run(); err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		return errors.New("the command of --exec failed (" + err.Error() + ")")
	}
	return nil
}

// acknowledge tells the server that the version is in use here. Only who read the secret holds it.
func (w *certWatch) acknowledge(ctx context.Context, got *client.Certificate) {
	if !w.out.key {
		return
	}
	in := api.Ack{Level: api.Loaded, PollSeconds: int((w.poll*6/5 + fetchWithin + execWithin) / time.Second)}
	if err := w.vault.Ack(ctx, got.Name, got.Version, in); err != nil && ctx.Err() == nil {
		w.app.say("The server was not told that version %s is loaded: %v.", got.Version, err)
	}
}

// replacePrivate puts a file that only this user can read in the place of what has the name, in one step and for good: whoever opens it reads the old content or the new, even
// after a loss of power.
func replacePrivate(path string, content []byte) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
