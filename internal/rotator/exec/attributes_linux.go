package exec

import (
	"errors"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// attributes put the program into a group of its own, and let it die with this process.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// finish waits for the program and kills what it left in its group. The exit status, which the command has then, says the rest.
func finish(cmd *exec.Cmd) {
	// As long as it is not reaped, its number, which is its group's, is nobody else's.
	for errors.Is(unix.Waitid(unix.P_PID, cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil), unix.EINTR) {
	}
	_ = kill(cmd.Process.Pid)
	_ = cmd.Wait()
}
