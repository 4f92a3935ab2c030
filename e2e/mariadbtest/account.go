package mariadbtest

import (
	"errors"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"syscall"
)

// programs finds the server and the program that makes its data directory. Debian keeps the server where root alone searches.
func programs() (daemon, installer string, err error) {
	if daemon, err = exec.LookPath("mariadbd"); err != nil {
		daemon = "/usr/sbin/mariadbd"
		if _, err := os.Stat(daemon); err != nil {
			return "", "", ErrMissing
		}
	}
	if installer, err = exec.LookPath("mariadb-install-db"); err != nil {
		return "", "", ErrMissing
	}
	return daemon, installer, nil
}

// account is the user that the server runs as; nil is the user of this process.
type account struct{ uid, gid int }

// unprivileged chooses the account: MariaDB refuses to run as root.
func unprivileged() (*account, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"mysql", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.Atoi(u.Uid)
		if err != nil {
			return nil, err
		}
		gid, err := strconv.Atoi(u.Gid)
		if err != nil {
			return nil, err
		}
		return &account{uid: uid, gid: gid}, nil
	}
	return nil, errors.New("MariaDB does not run as root, and neither of the users mysql and nobody exists here")
}

// give makes the account the owner of a file or directory.
func (a *account) give(path string) error {
	if a == nil {
		return nil
	}
	return os.Chown(path, a.uid, a.gid)
}

// run makes cmd run as the account, in dir, and with little of this process's environment.
func (a *account) run(cmd *exec.Cmd, dir string) {
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "LC_ALL=C"}
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	if a != nil {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)}
	}
}
