package exec

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/rotator/contract"
)

// Exit statuses. They keep clear of what shells and interpreters give by themselves: 1 and 2 for any failure, 126 and 127 for a command that cannot be
// run, 128 and more for signals.
var exits = map[int]contract.Reply{
	0:  {Answer: contract.Done},
	10: {Answer: contract.NotApplied},
	11: {Answer: contract.Rejected},
	12: {Answer: contract.NotApplied, Reason: contract.Denied},
	13: {Answer: contract.NotApplied, Reason: contract.Misconfigured},
	14: {Answer: contract.NotApplied, Reason: contract.Busy},
	15: {Answer: contract.Pending},
}

const (
	// maxErrorBytes is how much of standard error is kept.
	maxErrorBytes = 8 << 10
	// drainTime is how long output may stay open, held by a process that left the group, after the program's end.
	drainTime = time.Second
)

// environment is everything that programs find in theirs.
var environment = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "HOME=/", "TZ=UTC"}

// program is one program, for one verb.
type program struct {
	config *config
	admin  rotator.Credential
	log    *slog.Logger
}

// send runs the program with an order.
func (p *program) send(ctx context.Context, o *contract.Order) (*contract.Reply, error) {
	if !p.admin.IsZero() {
		o.Admin = &contract.Part{Account: p.admin.Account, Value: p.admin.Value}
	}
	for _, part := range o.Parts() {
		part.Clear = string(part.Value.Reveal())
	}
	order, err := json.Marshal(o)
	if err != nil {
		return nil, rotator.Fail(rotator.NotApplied, err, "encoding an order")
	}
	defer clear(order)
	out, errs := &bounded{most: contract.MaxReplyBytes}, &bounded{most: maxErrorBytes}
	cmd := exec.CommandContext(ctx, p.config.Program, p.config.Arguments...)
	cmd.Env, cmd.Dir = environment, "/"
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(order), out, errs
	cmd.WaitDelay = drainTime
	cmd.SysProcAttr = attributes()
	cmd.Cancel = func() error { return kill(cmd.Process.Pid) }
	if err := run(cmd); err != nil {
		return nil, err
	}
	p.note(o, cmd.ProcessState.ExitCode(), errs)
	if ctx.Err() != nil {
		return nil, rotator.Fail(rotator.Doubt, ctx.Err(), "the program %q was still at the step %s at its deadline, and was killed", p.config.Program, o.Step)
	}
	return p.read(o, cmd.ProcessState.ExitCode(), out)
}

// run runs the program to its end. The error is of a program that did not start.
func run(cmd *exec.Cmd) error {
	// The kernel ends the child with the thread that made it: the thread has to stay.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return rotator.Fail(rotator.NotApplied, err, "starting the program %q", cmd.Path)
	}
	finish(cmd)
	return nil
}

// kill ends a process group.
func kill(group int) error {
	err := syscall.Kill(-group, syscall.SIGKILL)
	if errors.Is(err, syscall.ESRCH) {
		return nil
	}
	return err
}

// note logs what the program wrote to standard error, for its author.
func (p *program) note(o *contract.Order, code int, errs *bounded) {
	if errs.kept.Len() == 0 {
		return
	}
	var lines []string
	for line := range strings.SplitSeq(errs.kept.String(), "\n") {
		if line = contract.Clean(line, o.Secrets()...); line != "" {
			lines = append(lines, line)
		}
	}
	p.log.Info("a rotation program wrote to standard error", "program", p.config.Program, "attempt", o.Attempt, "step", string(o.Step), "exit", code,
		"text", strings.Join(lines, "\n"), "cut", errs.over)
}

// read makes a reply of an exit status; standard output may add to it, and may not contradict.
func (p *program) read(o *contract.Order, code int, out *bounded) (*contract.Reply, error) {
	reply, known := exits[code]
	if !known {
		return nil, rotator.Fail(rotator.Doubt, nil, "the program %q ended the step %s with status %d, which the contract does not know (-1 is a signal)", p.config.Program, o.Step, code)
	}
	text := bytes.TrimSpace(out.kept.Bytes())
	if len(text) == 0 {
		return &reply, nil
	}
	said, err := contract.Parse(text)
	if err != nil || out.over || said.Answer != reply.Answer {
		return nil, rotator.Fail(rotator.Doubt, err, "the program %q ended the step %s with status %d, and its output says something else or is no reply of the contract", p.config.Program, o.Step, code)
	}
	if said.Reason == "" {
		said.Reason = reply.Reason
	}
	return said, nil
}

// bounded keeps the beginning of what is written. The buffer is not embedded: its ReadFrom would go round the bound.
type bounded struct {
	kept bytes.Buffer
	most int
	over bool
}

// Write keeps what fits and takes the rest without a word, so that the program does not die of a full pipe.
func (b *bounded) Write(p []byte) (int, error) {
	fits := min(len(p), b.most-b.kept.Len())
	b.over = b.over || fits < len(p)
	_, _ = b.kept.Write(p[:fits])
	return len(p), nil
}
