package acme

import (
	"context"
	"errors"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/fault"
)

// execTimeout bounds one run of a program; execGrace how long its pipes may stay open after it was killed.
const (
	execTimeout = time.Minute
	execGrace   = 5 * time.Second
)

// Exec writes records through a program: PROGRAM ARGUMENTS… set|remove NAME, with the value on its standard input. Exit status 0 means that it is done.
type Exec struct {
	program   string
	arguments []string
	env       []string
}

var _ Provider = (*Exec)(nil)

// NewExec returns a provider. The program's path is absolute; it gets the environment given and nothing of ours.
func NewExec(program string, arguments, env []string) (*Exec, error) {
	if !filepath.IsAbs(program) {
		return nil, errors.New("acme: the program that writes records needs an absolute path")
	}
	return &Exec{program, arguments, append([]string{}, env...)}, nil
}

// Set runs the program for a record.
func (p *Exec) Set(ctx context.Context, name, value string) error {
	return p.run(ctx, "set", name, value)
}

// Remove runs the program for its end.
func (p *Exec) Remove(ctx context.Context, name, value string) error {
	return p.run(ctx, "remove", name, value)
}

func (p *Exec) run(ctx context.Context, action, name, value string) error {
	ctx, cancel := context.WithTimeout(ctx, execTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, p.program, append(append([]string{}, p.arguments...), action, name)...)
	cmd.Env, cmd.Stdin, cmd.WaitDelay = p.env, strings.NewReader(value+"\n"), execGrace
	said := &clipped{}
	cmd.Stdout, cmd.Stderr = io.Discard, said
	if err := cmd.Run(); err != nil {
		return fault.Wrap(err, fault.Unavailable, "the program %s failed to %s the record %s: %s", filepath.Base(p.program), action, name, fault.Clip(strings.TrimSpace(said.text)))
	}
	return nil
}

// clipped keeps the beginning of what a program says.
type clipped struct{ text string }

func (c *clipped) Write(b []byte) (int, error) {
	if room := 512 - len(c.text); room > 0 {
		c.text += string(b[:min(room, len(b))])
	}
	return len(b), nil
}
