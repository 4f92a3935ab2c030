package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/keywright/keywright/client"
	"github.com/keywright/keywright/client/api"
)

// The exit codes, which scripts branch on.
const (
	ExitOK       = 0
	ExitFailure  = 1
	ExitUsage    = 2
	ExitDenied   = 3
	ExitNotFound = 4
	ExitConflict = 5
)

// Config is what the command line gets from the program around it.
type Config struct {
	// Version is what `keywright version` prints.
	Version string
	// FIPS, FIPSModule and OutsideFIPS are what it says of the program's cryptography: see api.Status.
	FIPS        bool
	FIPSModule  string
	OutsideFIPS []string
	// Commands are commands that need more than a client, such as dev.
	Commands []*cobra.Command
	// VerifyAudit proves an audit log from the files of a directory, without a server. Nil leaves the flag --dir out.
	VerifyAudit func(ctx context.Context, dir string, checkpoint []byte) (*api.AuditReport, error)
	// ProveBackup proves a backup from its file, without a server. Nil leaves the flag --file out.
	ProveBackup func(ctx context.Context, in ProveBackup) (*api.BackupReport, error)
	// OfflineBackup makes a backup of a server that is not running. Nil leaves the command out.
	OfflineBackup func(ctx context.Context, in OfflineBackup) (*api.Backup, error)

	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Getenv         func(string) string
}

// app is one run of the program.
type app struct {
	Config
	output string
	url    string
	ca     string
	colour bool
	// stays says that the command goes on and tells the server what it has loaded: then it needs a name among others like it.
	stays bool
}

// usageError is a command line that cannot be understood.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

func usage(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// Usage returns an error of the command line, for commands that are handed in.
func Usage(format string, args ...any) error { return usage(format, args...) }

// Run runs the command line and returns the exit code.
func Run(ctx context.Context, c Config, args []string) int {
	a := &app{Config: c}
	root := a.root()
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return ExitOK
	}
	code := exitCode(err)
	if ctx.Err() != nil {
		err = errors.New("interrupted")
	}
	fmt.Fprintln(c.Stderr, "keywright: "+err.Error())
	if hint := a.hint(err); hint != "" {
		fmt.Fprintln(c.Stderr, hint)
	}
	if code == ExitUsage {
		fmt.Fprintf(c.Stderr, "Run %q to see how it is used.\n", cmd.CommandPath()+" --help")
	}
	return code
}

func exitCode(err error) int {
	var u usageError
	if errors.As(err, &u) {
		return ExitUsage
	}
	var own exitError
	if errors.As(err, &own) {
		return own.code
	}
	if errors.Is(err, client.ErrNoCredential) {
		return ExitDenied
	}
	switch client.KindOf(err) {
	case client.Unauthenticated, client.Forbidden:
		return ExitDenied
	case client.NotFound, client.Gone:
		return ExitNotFound
	case client.Conflict:
		return ExitConflict
	}
	return ExitFailure
}

// forbiddenByRbac is the reason of a refusal for want of a role: see authz.ForbiddenByRbac, and docs/operations/troubleshooting.md.
const forbiddenByRbac = "ForbiddenByRbac"

// advised is an error with advice of its own, where that for its kind would lead astray.
type advised struct {
	error
	advice string
}

func (e advised) Unwrap() error { return e.error }

// hint says what to do about an error that comes from the environment, or how operators find it.
func (a *app) hint(err error) string {
	var e *client.Error
	var own advised
	switch {
	case errors.As(err, &own):
		return own.advice
	case !errors.As(err, &e):
		return ""
	}
	if e.Kind == client.Unauthenticated {
		return "Run \"keywright login\", or check the credential in the environment."
	}
	if e.Reason == forbiddenByRbac {
		return "\"keywright access explain\" says what is missing, and \"keywright grant create\" by somebody who may grants it. The server's records name this request " + e.Correlation + "."
	}
	if e.Correlation != "" && (e.Kind == client.Internal || e.Kind == client.Unavailable || e.Kind == client.Forbidden) {
		return "The server's records name this request " + e.Correlation + "."
	}
	return ""
}

// root returns the whole tree of commands.
func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "keywright",
		Short: "Keep secrets, keys and certificates, and change them while everything that uses them keeps running",
		Long: `Keywright keeps secrets, keys and certificates, and changes them while everything that uses them keeps running.

Start a server to try things with "keywright dev", load its environment, and use it:

  set -a; . ./kw/dev.env; set +a
  keywright secret set db-password --vault demo --file password.txt
  keywright secret get db-password --vault demo

The server and the credential come from the environment (KEYWRIGHT_URL, KEYWRIGHT_CA_FILE, KEYWRIGHT_CLIENT_ID and
KEYWRIGHT_CLIENT_SECRET, or what Azure's libraries read) or from "keywright login".

Exit codes: 0 ok, 1 failure, 2 usage, 3 denied, 4 not found, 5 conflict.`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetIn(a.Stdin)
	root.SetOut(a.Stdout)
	root.SetErr(a.Stderr)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	flags := root.PersistentFlags()
	flags.StringVarP(&a.output, "output", "o", "", "form of the output: table, json, yaml or tsv (default table)")
	flags.StringVar(&a.url, "url", "", "address of the server (default $KEYWRIGHT_URL)")
	flags.StringVar(&a.ca, "ca-file", "", "PEM bundle that the server's certificate is checked by (default $KEYWRIGHT_CA_FILE)")
	root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"table", "json", "yaml", "tsv"}, cobra.ShellCompDirectiveNoFileComp))
	root.PersistentPreRunE = func(c *cobra.Command, _ []string) error { return a.prepare(c) }
	root.AddCommand(a.versionCommand(), a.sealCommands(), a.keyringCommand(), a.statusCommand(), a.nodeCommand(), a.loginCommand(), a.logoutCommand(), a.enrolCommand(), a.secretCommand(), a.keyCommand(), a.certCommand(), a.rotationCommand(), a.leaseCommand(), a.taskCommand(), a.vaultCommand(), a.principalCommand(),
		a.groupCommand(), a.roleCommand(), a.grantCommand(), a.accessCommand(), a.auditCommand(), a.backupCommand(), a.eventCommand(), a.manCommand(root))
	root.AddCommand(a.Commands...)
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	complete(root)
	return root
}

// complete makes a command that only has others below it say so, and turns complaints about arguments into usage errors.
func complete(c *cobra.Command) {
	if check := c.Args; check != nil {
		c.Args = func(c *cobra.Command, args []string) error {
			if err := check(c, args); err != nil {
				return usage("%w: write %s", err, c.UseLine())
			}
			return nil
		}
	}
	if c.RunE == nil && c.Run == nil {
		c.Args = cobra.ArbitraryArgs
		c.RunE = func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage("%s has no command %q", c.CommandPath(), args[0])
			}
			c.SetOut(c.ErrOrStderr())
			c.Help()
			return usage("%s needs a command", c.CommandPath())
		}
	}
	for _, sub := range c.Commands() {
		complete(sub)
	}
}

// prepare checks the flags before a command runs, so that every complaint about them is one of usage.
func (a *app) prepare(c *cobra.Command) error {
	if err := errors.Join(c.ValidateRequiredFlags(), c.ValidateFlagGroups()); err != nil {
		return usageError{err}
	}
	switch a.output {
	case "", "table", "json", "yaml", "tsv":
	default:
		return usage("the output %q is not one of table, json, yaml and tsv", a.output)
	}
	a.colour = a.Getenv("NO_COLOR") == "" && a.Getenv("TERM") != "dumb" && isTerminal(a.Stdout)
	return nil
}

// isTerminal reports whether a stream is one.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// interactive reports whether somebody is there to be asked.
func (a *app) interactive() bool { return isTerminal(a.Stdin) && isTerminal(a.Stderr) }

// getenv is the environment with the flags on top.
func (a *app) getenv(name string) string {
	switch {
	case name == "KEYWRIGHT_URL" && a.url != "":
		return a.url
	case name == "KEYWRIGHT_CA_FILE" && a.ca != "":
		return a.ca
	}
	return a.Getenv(name)
}

// client returns the client for the environment.
func (a *app) client() (*client.Client, error) {
	c, err := client.ConfigFromEnv(a.getenv)
	if err != nil {
		return nil, err
	}
	c.UserAgent = "keywright-cli/" + a.Version
	if a.stays && c.Instance == "" {
		c.Instance = client.ProcessInstance()
	}
	return client.New(c)
}

// say writes a message for people.
func (a *app) say(format string, args ...any) { fmt.Fprintf(a.Stderr, format+"\n", args...) }

// build is what version prints as data.
type build struct {
	Version     string   `json:"version"`
	FIPS        bool     `json:"fips"`
	FIPSModule  string   `json:"fipsModule"`
	OutsideFIPS []string `json:"outsideFips"`
}

func (a *app) versionCommand() *cobra.Command {
	c := &cobra.Command{Use: "version", Short: "Print the version, or show and settle who holds a version of a secret", Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error {
		data := build{a.Version, a.FIPS, a.FIPSModule, a.OutsideFIPS}
		return a.show(data, table{{"VERSION", "FIPS"}, {a.Version, fipsText(a.FIPS, a.FIPSModule, a.OutsideFIPS)}})
	}}
	a.addVersionCommands(c)
	return c
}
