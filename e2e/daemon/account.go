package daemon

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"syscall"
)

// account is the user that a program runs as; nil is the user of this process.
type account struct{ uid, gid uint32 }

// unprivileged chooses the account for a program that refuses to run as root.
func unprivileged(program string, names []string) (*account, error) {
	if os.Geteuid() != 0 || len(names) == 0 {
		return nil, nil
	}
	for _, name := range names {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		if err != nil {
			return nil, err
		}
		gid, err := strconv.ParseUint(u.Gid, 10, 32)
		if err != nil {
			return nil, err
		}
		return &account{uid: uint32(uid), gid: uint32(gid)}, nil
	}
	return nil, fmt.Errorf("%s does not run as root, and none of these users exists here: %s", program, strings.Join(names, ", "))
}

// Give makes the program's account the owner of a file or directory.
func (d *Daemon) Give(path string) error {
	if d.account == nil {
		return nil
	}
	if err := os.Chown(path, int(d.account.uid), int(d.account.gid)); err != nil {
		return fmt.Errorf("giving a file to the account of %s (inside a user namespace, start it outside): %w", d.config.Name, err)
	}
	return nil
}

// Do runs a command that ends by itself, where and as whom the program runs. Doing is what its failure calls it, in a gerund.
func (d *Daemon) Do(doing string, cmd *exec.Cmd) error {
	d.confine(cmd)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", doing, err, out)
	}
	return nil
}

// confine makes cmd run as the account, in the directory, which it may enter, and with little of this process's environment: many a program takes
// settings from there.
func (d *Daemon) confine(cmd *exec.Cmd) {
	cmd.Dir = d.dir
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + d.dir, "LC_ALL=C"}, cmd.Env...)
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	if d.account != nil {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: d.account.uid, Gid: d.account.gid}
	}
}
