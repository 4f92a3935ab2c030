// Package daemon keeps a real server program running in a scratch directory of its own, for a test or a demonstration.
//
// A Daemon gets ports of 127.0.0.1 that are free, is waited for until it answers, may be restarted on the same ports, and leaves nothing when it
// has been stopped. It never runs as root when it is told of another account, and with little of this process's environment. What the program is,
// how it is configured and when it answers is the business of the package that offers it.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/keywright/keywright/e2e/process"
)

const (
	// attempts is how many ports are tried: one that was free a moment ago may be taken by now.
	attempts = 3
	// grace is how long a program may take to end in order.
	grace = 30 * time.Second
	// callTime bounds one attempt to reach the program.
	callTime = 5 * time.Second
	// maxToldBytes is how much of a log an error tells.
	maxToldBytes = 4 << 10
)

// Config is what is a program's own. Name, Command, Answers, Patience and Quit are required.
type Config struct {
	// Name is what errors call the program, and begins the name of its directory.
	Name string
	// Users are accounts of this machine, best first, for a program that refuses to run as root. Without any it runs as this process does.
	Users []string
	// Ports are set to free ports of 127.0.0.1 before Configure.
	Ports []*int
	// Configure writes the program's files when its ports are known; nil when there are none to write. A restart keeps them.
	Configure func() error
	// Command makes the command of one start, whose environment comes on top of PATH, HOME and LC_ALL.
	Command func() (*exec.Cmd, error)
	// Answers tries once whether the program does its work. Its ctx ends after five seconds.
	Answers func(context.Context) bool
	// Patience is how long a start may take.
	Patience time.Duration
	// Quit is the signal that ends the program.
	Quit syscall.Signal
	// Within starts the program, where that has to happen in a place of its own, such as a network namespace; nil starts it where this process is.
	Within func(start func() error) error
	// Log is the name of the file in the directory that takes what the program prints, and may be its log file. Without one, and without a
	// Stdout of its Command, the end of it is kept for errors.
	Log string
}

// Daemon is one program with its directory. Its methods are for one goroutine at a time.
type Daemon struct {
	config  Config
	dir     string
	account *account
	process *process.Process
}

// New makes the directory. The caller must call Launch or Stop.
func New(c Config) (*Daemon, error) {
	account, err := unprivileged(c.Name, c.Users)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", c.Name+"-")
	if err != nil {
		return nil, err
	}
	d := &Daemon{config: c, dir: dir, account: account}
	if err := d.Give(dir); err != nil {
		return nil, errors.Join(err, d.Stop())
	}
	return d, nil
}

// Path is that of a file in the directory.
func (d *Daemon) Path(name string) string { return filepath.Join(d.dir, name) }

// Dir is the directory.
func (d *Daemon) Dir() string { return d.dir }

// Pid is the process id of a program that was started.
func (d *Daemon) Pid() int { return d.process.Pid() }

// Log is all that the program has logged up to now, in the file of Config.Log.
func (d *Daemon) Log() ([]byte, error) { return os.ReadFile(d.Path(d.config.Log)) }

// Launch takes the steps of preparation and starts the program on ports of its own. It returns when the program answers; when it fails, nothing is
// left.
func (d *Daemon) Launch(ctx context.Context, prepare ...func(context.Context) error) error {
	for _, step := range append(prepare, d.settle) {
		if err := step(ctx); err != nil {
			return errors.Join(err, d.Stop())
		}
	}
	return nil
}

// settle looks for ports on which the program answers.
func (d *Daemon) settle(ctx context.Context) (err error) {
	for range attempts {
		if err := d.configure(); err != nil {
			return err
		}
		err = d.start(ctx)
		if err == nil || d.process == nil || ctx.Err() != nil {
			return err
		}
	}
	return err
}

func (d *Daemon) configure() (err error) {
	for _, port := range d.config.Ports {
		if *port, err = process.FreePort(); err != nil {
			return err
		}
	}
	if d.config.Configure == nil {
		return nil
	}
	return d.config.Configure()
}

// start runs the program and waits until it answers. One that does not is ended.
func (d *Daemon) start(ctx context.Context) error {
	if err := d.run(); err != nil {
		return err
	}
	err := d.Await(ctx, d.config.Patience, func() bool {
		ctx, cancel := context.WithTimeout(ctx, callTime)
		defer cancel()
		return d.config.Answers(ctx)
	})
	if err != nil {
		return errors.Join(err, d.Halt(d.config.Quit), d.told())
	}
	return nil
}

func (d *Daemon) run() error {
	cmd, err := d.config.Command()
	if err != nil {
		return err
	}
	d.confine(cmd)
	if d.config.Log != "" {
		// Straight into the file: what a test looks for there must not wait in a pipe.
		log, err := os.OpenFile(d.Path(d.config.Log), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		defer log.Close()
		if err := d.Give(log.Name()); err != nil {
			return err
		}
		cmd.Stdout, cmd.Stderr = log, log
	}
	start := func() (err error) {
		d.process, err = process.Start(d.config.Name, cmd)
		return err
	}
	if d.config.Within != nil {
		return d.config.Within(start)
	}
	return start()
}

// told is the end of the log as an error, nil where there is none.
func (d *Daemon) told() error {
	if d.config.Log == "" {
		return nil
	}
	text, _ := d.Log() // as far as it can be read: the error is another one
	return fmt.Errorf("its log says:\n%s", text[max(0, len(text)-maxToldBytes):])
}

// Await polls ready until it says true, and fails when the program ends, the limit passes or ctx ends.
func (d *Daemon) Await(ctx context.Context, limit time.Duration, ready func() bool) error {
	return d.process.Await(ctx, limit, ready)
}

// Halt ends the program and keeps its directory; SIGKILL ends it as a power cut would. One that has ended, or never began, is left alone.
func (d *Daemon) Halt(sig syscall.Signal) error {
	if d.process == nil {
		return nil
	}
	return d.process.Stop(sig, grace)
}

// Restart halts the program, where it still runs, and starts it again with the files and ports that it has.
func (d *Daemon) Restart(ctx context.Context, sig syscall.Signal) error {
	if err := d.Halt(sig); err != nil {
		return err
	}
	return d.start(ctx)
}

// Stop ends the program and removes its directory. Calling it again does nothing.
func (d *Daemon) Stop() error { return errors.Join(d.Halt(d.config.Quit), os.RemoveAll(d.dir)) }
