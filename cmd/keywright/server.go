package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/keywright/keywright/internal/cli"
	"github.com/keywright/keywright/internal/config"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/keyring/harden"
	"github.com/keywright/keywright/internal/server"
)

func serverCommand() *cobra.Command {
	var file string
	var check bool
	cmd := &cobra.Command{
		Use:   "server",
		Short: "Run a production server, as its configuration says",
		Long: `Run a production server. Everything it needs to know stands in one YAML file, which is checked as a whole before anything happens: every
mistake is named, with its line and what to write instead. "keywright init" makes what the server works on, with the same file.

When the server is ready it prints "ready" on standard output, and tells systemd. SIGTERM ends it: requests under way may finish.
SIGHUP makes it look at the files of its certificates at once; it looks every so often by itself.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, err := config.Load(file)
			if err != nil {
				return err
			}
			if check {
				if _, err := server.FromFile(f); err != nil {
					return err
				}
				fmt.Fprintf(cmd.ErrOrStderr(), "The configuration %s has no mistake.\n", file)
				return nil
			}
			return runServer(cmd.Context(), f, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	configFlag(cmd, &file)
	cmd.Flags().BoolVar(&check, "check", false, "check the configuration and end")
	return cmd
}

func configFlag(cmd *cobra.Command, file *string) {
	cmd.Flags().StringVar(file, "config", "", "the configuration file")
	cmd.MarkFlagRequired("config")
	cmd.MarkFlagFilename("config", "yaml", "yml")
}

// logger writes the server's log as the configuration says.
func logger(l config.Log, to io.Writer) (*slog.Logger, error) {
	level, err := logLevel(l.Level)
	if err != nil {
		return nil, err
	}
	options := &slog.HandlerOptions{Level: level}
	if l.Format == "text" {
		return slog.New(slog.NewTextHandler(to, options)), nil
	}
	return slog.New(slog.NewJSONHandler(to, options)), nil
}

// readConfig turns a configuration into what the server needs to know.
func readConfig(f *config.File, stderr io.Writer) (server.Config, error) {
	c, err := server.FromFile(f)
	if err != nil {
		return c, err
	}
	c.Logger, err = logger(f.Log, stderr)
	return c, err
}

// runServer runs a server until ctx ends or the server fails.
func runServer(ctx context.Context, f *config.File, stdout, stderr io.Writer) error {
	if err := harden.Process(); err != nil {
		return err
	}
	collectSeldom(os.Getenv)
	c, err := readConfig(f, stderr)
	if err != nil {
		return err
	}
	tell := notifier(os.Getenv)
	inform := func(state string) {
		if err := tell(state); err != nil {
			c.Logger.Warn("systemd could not be told of the server's state", "state", state, "error", err)
		}
	}
	// People may take longer to come with their shares than systemd waits for a start.
	c.Sealed = func(shares int) {
		inform(fmt.Sprintf("READY=1\nSTATUS=Sealed: waits for %d shares, keywright seal unseal", shares))
	}
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP)
	defer signal.Stop(reload)
	s, err := server.Start(ctx, f, c, reload)
	if err != nil {
		return fmt.Errorf("starting the server: %w", err)
	}
	for _, name := range []string{"public", "private", "admin", "plain", "identity"} {
		if at := s.Addr(name); at != nil {
			c.Logger.Info("listening", "listener", name, "address", at.String())
		}
	}
	inform("READY=1\nSTATUS=Serving")
	fmt.Fprintln(stdout, "ready")
	select {
	case <-ctx.Done():
		c.Logger.Info("ending; requests under way may finish")
		// systemd waits for as long as this says before it kills.
		inform(fmt.Sprintf("STOPPING=1\nEXTEND_TIMEOUT_USEC=%d", (f.Shutdown.Announce + f.Shutdown.Drain + 10*time.Second).Microseconds()))
		return s.Close()
	case err := <-s.Failed():
		return errors.Join(err, s.Close())
	}
}

func initCommand() *cobra.Command {
	var file, out string
	var i server.Initial
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Make what a production server works on, and its first administrator",
		Long: `Make what a production server works on, as its configuration says: the directory, the store, the key of the seal, the first tenant with a
subscription and a resource group, and the first administrator.

There is no default credential. The administrator comes in by an enrolment, which is printed once on standard output, counts for a short time
and is exchanged, once, for a credential of the administrator's own: with "keywright enrol", or by a passkey in a browser.

An init that was interrupted is run again and goes on. Until the administrator has enrolled, each further run issues another enrolment in place
of the one before; after that it changes nothing and fails with exit code 5, unless --renew says that every credential was lost. With the
engine sqlite the server must not run meanwhile.`,
		Example: `  keywright init --config /etc/keywright/keywright.yaml --administrator ada@example.org
  keywright init --config /etc/keywright/keywright.yaml --administrator deploy --out enrolment.txt`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, err := config.Load(file)
			if err != nil {
				return err
			}
			return runInit(cmd, f, i, out)
		},
	}
	configFlag(cmd, &file)
	flags := cmd.Flags()
	flags.StringVar(&i.Administrator, "administrator", "", "the first administrator: the sign-in name of a person (NAME@DOMAIN), or else the name of an application")
	flags.StringVar(&i.Tenant, "tenant", "default", "name of the first tenant")
	flags.StringVar(&i.Subscription, "subscription", "default", "name of its subscription")
	flags.StringVar(&i.ResourceGroup, "resource-group", "default", "name of its resource group")
	flags.DurationVar(&i.Life, "enrolment-life", time.Hour, "how long the enrolment counts; 168h at most")
	flags.StringVar(&out, "out", "", "file to write the enrolment to, for this user alone, in place of standard output")
	flags.BoolVar(&i.Renew, "renew", false, "issue another enrolment although the administrator has enrolled")
	cmd.MarkFlagRequired("administrator")
	return cmd
}

func runInit(cmd *cobra.Command, f *config.File, i server.Initial, out string) error {
	if err := harden.Process(); err != nil {
		return err
	}
	c, err := readConfig(f, cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	var file *os.File
	if out != "" {
		// Made first: an enrolment that cannot be written down would be lost.
		if file, err = os.OpenFile(out, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o600); err != nil {
			if errors.Is(err, fs.ErrExist) {
				return fmt.Errorf("the file %s exists, and an enrolment replaces none: remove it, or name another with --out; nothing was done", out)
			}
			return fmt.Errorf("making the file of the enrolment: %w; nothing was done", err)
		}
		defer file.Close()
	}
	made, err := server.Initialise(cmd.Context(), c, i)
	if err != nil {
		if file != nil {
			os.Remove(out)
		}
		return conflict(err)
	}
	code := made.Enrolment.Reveal()
	if file != nil {
		if _, err := fmt.Fprintln(file, code); err != nil {
			return fmt.Errorf("writing the enrolment: %w; run it again for another", err)
		}
		if err := errors.Join(file.Sync(), file.Close()); err != nil {
			return fmt.Errorf("writing the enrolment: %w; run it again for another", err)
		}
		code = ""
	}
	return showInitialised(cmd, made, code, out)
}

// initialised is what init prints as data.
type initialised struct {
	*server.Initialised
	// Enrolment is left out when it is in a file.
	Enrolment string `json:"enrolment,omitempty"`
}

func showInitialised(cmd *cobra.Command, made *server.Initialised, code, out string) error {
	if form := cli.Output(cmd); form == "json" || form == "yaml" {
		return cli.Show(cmd, initialised{made, code}, nil)
	}
	say := func(format string, args ...any) { fmt.Fprintf(cmd.ErrOrStderr(), format+"\n", args...) }
	switch {
	case made.Again:
		say("This installation was initialised before; its administrator gets another enrolment in place of the one before.")
	case made.Resumed:
		say("An earlier run had begun; it is complete now.")
	}
	say("Initialised. Tenant %s, subscription %s, resource group %s.", made.Tenant, made.Subscription, made.ResourceGroup)
	say("The administrator is %s. Its enrolment counts once, until %s.", made.ClientID+made.UserName, made.Expires.Format(time.RFC3339))
	say("Keep a copy of the seal's key elsewhere: without it nothing in the store ever opens again.")
	if out != "" {
		say("The enrolment is in %s.", out)
		return nil
	}
	_, err := fmt.Fprintln(cmd.OutOrStdout(), code)
	return err
}

// conflict gives an installation that is there already its exit code.
func conflict(err error) error {
	if fault.Is(err, fault.Conflict) {
		return cli.Exit(cli.ExitConflict, err)
	}
	return err
}
