package exec

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/rotator/contract"
	"github.com/keywright/keywright/internal/rotator/endpoint"
)

// maxArguments bounds what a policy may say to a program beside the order.
const maxArguments = 32

// config is the target's part of a policy.
type config struct {
	Program   string   `json:"program"`
	Arguments []string `json:"arguments"`
	contract.Sight
}

func (r *Rotator) parse(raw json.RawMessage) (*config, error) {
	c := &config{}
	if err := rotator.Decode(Name, raw, c); err != nil {
		return nil, err
	}
	var m endpoint.Mistakes
	switch {
	case !filepath.IsAbs(c.Program) || filepath.Clean(c.Program) != c.Program:
		m.Add("program is %q: write an absolute path without . and ..", c.Program)
	case !slices.Contains(r.config.Programs, c.Program):
		m.Add("program %q is none of those that this server may run: its operator has to list it", c.Program)
	}
	if len(c.Arguments) > maxArguments {
		m.Add("arguments are more than %d", maxArguments)
	}
	for i, a := range c.Arguments {
		if strings.ContainsRune(a, 0) {
			m.Add("arguments[%d] has a zero byte", i)
		}
	}
	return c, m.Err(Name)
}

// trusted proves that nobody but root and this process' user can change the program, by itself or by a directory on its way. A link is followed: both its
// own way and that of its destination are looked at.
func trusted(program string) error {
	resolved, err := filepath.EvalSymlinks(program)
	if err != nil {
		return fmt.Errorf("finding the program: %w", err)
	}
	info, err := os.Stat(resolved)
	switch {
	case err != nil:
		return fmt.Errorf("finding the program: %w", err)
	case !info.Mode().IsRegular():
		return errors.New("the program is not a file")
	case info.Mode()&0o111 == 0:
		return errors.New("the program is not executable: chmod +x")
	case info.Mode()&(fs.ModeSetuid|fs.ModeSetgid) != 0:
		return errors.New("the program changes its user (setuid): it would read values as somebody else")
	}
	for _, path := range []string{program, resolved} {
		for at := path; ; at = filepath.Dir(at) {
			if err := owned(at); err != nil {
				return err
			}
			if at == filepath.Dir(at) {
				break
			}
		}
	}
	return nil
}

// owned checks one file or directory. In a directory with the sticky bit, others may write and yet not replace what is not theirs.
func owned(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return fmt.Errorf("finding the program: %w", err)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("whose %q is cannot be found out", path)
	}
	if stat.Uid != 0 && int(stat.Uid) != os.Geteuid() {
		return fmt.Errorf("%q belongs to user %d: it must be root's or the server's", path, stat.Uid)
	}
	mode := info.Mode()
	if mode&fs.ModeSymlink != 0 { // its own bits mean nothing; its directory's do
		return nil
	}
	if mode&0o022 != 0 && !(mode.IsDir() && mode&fs.ModeSticky != 0) {
		return fmt.Errorf("others may write to %q: chmod go-w", path)
	}
	return nil
}
