// Package process runs a real program beside a test or a demonstration and makes sure that it ends.
//
// Each program leads a process group of its own: a Ctrl-C in the terminal reaches the caller alone, which then stops
// its children in order, and stopping one also stops what it started. Programs are ended by the id that was started
// here, never by name. Should the caller itself be killed, the kernel ends its children (PR_SET_PDEATHSIG).
package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// Process is a started program. Its methods may be called from several goroutines.
type Process struct {
	name string
	cmd  *exec.Cmd
	tail *tail
	// done is closed by the goroutine that waits for the program, after err is set.
	done chan struct{}
	err  error
}

// Start runs cmd in its own process group. What it prints goes to cmd.Stdout and cmd.Stderr; where they are nil, the
// end of it is kept for Tail and for errors. The caller must call Stop.
func Start(name string, cmd *exec.Cmd) (*Process, error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	if cmd.SysProcAttr.Pdeathsig == 0 {
		cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	}
	kept := &tail{max: 8 << 10}
	if cmd.Stdout == nil {
		cmd.Stdout = kept
	}
	if cmd.Stderr == nil {
		cmd.Stderr = kept
	}
	// A grandchild that keeps the output pipe open must not keep Wait from returning.
	cmd.WaitDelay = 2 * time.Second
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	p := &Process{name: name, cmd: cmd, tail: kept, done: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		p.sweep()
		close(p.done)
	}()
	return p, nil
}

// Run starts cmd and waits for its end. When ctx ends first, the program is stopped and Run returns an error.
func Run(ctx context.Context, name string, cmd *exec.Cmd, grace time.Duration) error {
	p, err := Start(name, cmd)
	if err != nil {
		return err
	}
	select {
	case <-p.Done():
		if p.err != nil {
			return p.ended()
		}
		return nil
	case <-ctx.Done():
		return errors.Join(fmt.Errorf("%s was stopped before its end", name), p.Stop(syscall.SIGTERM, grace))
	}
}

// Pid is the process id, and the id of the group.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Done is closed when the program has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Succeeded reports whether the program has ended with exit code 0.
func (p *Process) Succeeded() bool {
	select {
	case <-p.done:
		return p.err == nil
	default:
		return false
	}
}

// Tail is the last part of what the program printed and nobody else took, at most 8 KiB.
func (p *Process) Tail() string { return p.tail.String() }

// Await polls ready until it says true, and fails when the program ends, the limit passes or ctx ends.
// ready is called by one goroutine.
func (p *Process) Await(ctx context.Context, limit time.Duration, ready func() bool) error {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if ready() {
			return nil
		}
		select {
		case <-p.done:
			return p.ended()
		case <-deadline.C:
			return fmt.Errorf("%s was not ready within %v%s", p.name, limit, p.printed())
		case <-ctx.Done():
			return fmt.Errorf("stopped while waiting for %s", p.name)
		case <-tick.C:
		}
	}
}

func (p *Process) ended() error {
	return fmt.Errorf("%s ended (%v)%s", p.name, p.cmd.ProcessState, p.printed())
}

func (p *Process) printed() string {
	if text := p.Tail(); text != "" {
		return "; it printed:\n" + text
	}
	return ""
}

// Stop sends sig to the group, waits for the program to end, at most grace, then kills what is left of the group.
// It returns an error when the program had to be killed. Calling it again does nothing.
func (p *Process) Stop(sig syscall.Signal, grace time.Duration) error {
	select {
	case <-p.done:
		return nil
	default:
	}
	_ = syscall.Kill(-p.Pid(), sig) // it may have ended meanwhile
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-p.done:
		return nil
	case <-timer.C:
		_ = syscall.Kill(-p.Pid(), syscall.SIGKILL)
		<-p.done
		return fmt.Errorf("%s did not end within %v of %v and was killed", p.name, grace, sig)
	}
}

// sweep kills the members of the group that outlived their leader. It is called as soon as the leader has ended, and
// never later: an id is not given to another process while a member of its group lives, but may be after that.
func (p *Process) sweep() { _ = syscall.Kill(-p.Pid(), syscall.SIGKILL) }

// tail keeps the last max bytes that were written to it.
type tail struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
	max int
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf.Write(p)
	if over := t.buf.Len() - t.max; over > 0 {
		t.buf.Next(over)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.buf.String()
}
