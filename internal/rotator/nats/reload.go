package nats

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/keywright/keywright/internal/rotator"
)

// reloadTime is how long a server may take to read its configuration again, settleTime how long it is waited for when it stops answering, and pollTime how
// often it is asked.
const (
	reloadTime = 10 * time.Second
	settleTime = time.Second
	pollTime   = 5 * time.Millisecond
)

// valid lets the server's program check the configuration, where the policy names it. The program prints what it does not like: that may hold hashes, and is
// left to whoever runs the command.
func (s *server) valid(ctx context.Context) error {
	if s.Program == "" {
		return nil
	}
	err := exec.CommandContext(ctx, s.Program, "-t", "-c", s.ConfigFile).Run()
	switch {
	case err != nil && ctx.Err() != nil: // the program was ended before it had an opinion
		return rotator.Fail(rotator.NotApplied, ctx.Err(), "the check of the server's configuration took too long")
	case err != nil:
		return rotator.Fail(rotator.Misconfigured, err, "the server would refuse its configuration: run %s -t -c %s", s.Program, s.ConfigFile)
	}
	return nil
}

// pid finds the server's process, and makes sure that it is a NATS server: a PID file that was left behind may name any process by now, which a SIGHUP would end.
func (s *server) pid() (int, error) {
	text, err := os.ReadFile(s.PIDFile)
	if err != nil {
		return 0, fileError(err, "reading %s", s.PIDFile)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid <= 1 {
		return 0, rotator.Fail(rotator.Misconfigured, nil, "%s does not hold the id of a process", s.PIDFile)
	}
	command, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return 0, rotator.Fail(rotator.Misconfigured, err, "the process %d of %s does not run", pid, s.PIDFile)
	}
	program, _, _ := strings.Cut(string(command), "\x00")
	if name := filepath.Base(program); name != "nats-server" && program != s.Program {
		return 0, rotator.Fail(rotator.Misconfigured, nil, "the process %d of %s is %q and no NATS server: a reload would end it, so correct the file", pid, s.PIDFile, name)
	}
	return pid, nil
}

// loads is how often the server is told again when it does not take a value: once is enough for each load of somebody else that was under way.
const loads = 5

// load reloads the server until it accepts the credential that the file holds. That it has loaded something is not enough: a reload of somebody else may have
// begun before the file was changed, and ended after.
func (c *config) load(ctx context.Context, s *server, m *monitor, credential rotator.Credential) error {
	ctx, cancel := context.WithTimeout(ctx, reloadTime+probeTime)
	defer cancel()
	var one rotator.Login
	for range loads {
		if err := s.reload(ctx, m); err != nil {
			return err
		}
		if one = c.surely(ctx, m, s.Endpoint, credential); one.Verdict != rotator.Rejected {
			break
		}
	}
	if one.Verdict != rotator.Accepted {
		return fmt.Errorf("the server at %s has loaded its configuration, and does not show that it takes the new password of %q: %s", s.Endpoint, credential.Account, one.Detail)
	}
	return nil
}

// reload makes the server read its configuration again and waits until it has. Errors leave in doubt what it runs with, unless they have a class.
func (s *server) reload(ctx context.Context, m *monitor) error {
	// The file is in its place: whenever the server loads it after this moment, it loads this one.
	before, err := m.state(ctx)
	if err != nil {
		return fmt.Errorf("before the reload: %w", doubtful(err))
	}
	pid, err := s.pid()
	if err != nil {
		return doubtful(err)
	}
	if err := syscall.Kill(pid, syscall.SIGHUP); err != nil {
		return fmt.Errorf("sending SIGHUP to the server's process %d: %w", pid, err)
	}
	return s.await(ctx, m, before.Loaded)
}

// await asks until the server has loaded its configuration. When an answer gets lost it asks on for a while, so that the reload is over when the verb is, and reports
// the loss all the same: the engine then probes, by the way that clients go.
func (s *server) await(ctx context.Context, m *monitor, before time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, reloadTime)
	defer cancel()
	var lost error
	for {
		now, err := m.state(ctx)
		switch {
		case err == nil && !now.Loaded.Equal(before):
			return lost
		case err != nil && lost == nil:
			lost = fmt.Errorf("waiting for the reload: %w", doubtful(err))
			settled := time.AfterFunc(settleTime, cancel)
			defer settled.Stop()
		}
		select {
		case <-ctx.Done():
			return errors.Join(lost, fmt.Errorf("the server at %s does not show that it has loaded its configuration: look into its log, where it says why", s.Endpoint))
		case <-time.After(pollTime):
		}
	}
}

// doubtful takes the class of an error away: what is known of one call is not what is known of the change.
func doubtful(err error) error {
	var known *rotator.Error
	if errors.As(err, &known) {
		return errors.New(known.Error())
	}
	return err
}
