package exec

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/rotator/contract"
)

// Name is the word by which policies ask for this rotator.
const Name = "exec"

// Config is what the rotator needs of the server.
type Config struct {
	// Programs are the absolute paths that may be run; with none, no policy can use the rotator.
	Programs []string
	// Log receives what programs write to standard error, shortened and without values; nil drops it.
	Log *slog.Logger
}

// Rotator runs programs. It implements rotator.Rotator and rotator.Blind.
type Rotator struct {
	contract.Verbs
	config Config
}

var (
	_ rotator.Rotator = (*Rotator)(nil)
	_ rotator.Blind   = (*Rotator)(nil)
)

// New returns a rotator for programs.
func New(c Config) (*Rotator, error) {
	for _, p := range c.Programs {
		if !filepath.IsAbs(p) || filepath.Clean(p) != p {
			return nil, fault.New(fault.Invalid, "a program for rotations is %q: write an absolute path without . and ..", p)
		}
	}
	c.Programs = slices.Clone(c.Programs)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	r := &Rotator{config: c}
	r.Verbs = r.receiver
	return r, nil
}

// Describe says what the rotator can do.
func (*Rotator) Describe() rotator.Description {
	return contract.Describe(Name, "Program", "program",
		rotator.Member{Name: "program", Type: "absolute path", Required: true, Help: "The program; the server's operator has to list it, and nobody but root and the server's user may be able to change it."},
		rotator.Member{Name: "arguments", Type: "list of strings", Help: "What stands after the program's name. Everybody on the machine can read it."})
}

// Check reports every mistake of a configuration.
func (r *Rotator) Check(raw json.RawMessage) error {
	_, err := r.parse(raw)
	return err
}

// Probes reports whether the program can try credentials.
func (r *Rotator) Probes(raw json.RawMessage) bool {
	c, err := r.parse(raw)
	return err == nil && !c.Blind()
}

// receiver is the program of a target.
func (r *Rotator) receiver(t *rotator.Target) (*contract.Receiver, error) {
	c, err := r.parse(t.Config)
	if err != nil {
		return nil, rotator.Fail(rotator.Misconfigured, err, "the policy's configuration of the target cannot be used")
	}
	if err := trusted(c.Program); err != nil {
		return nil, rotator.Fail(rotator.Misconfigured, err, "the program %q is not run", c.Program)
	}
	p := &program{config: c, admin: t.Admin, log: r.config.Log}
	return &contract.Receiver{Name: fmt.Sprintf("the program %q", c.Program), Endpoint: c.Program, Blind: c.Blind(), Send: p.send}, nil
}
