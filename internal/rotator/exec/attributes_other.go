//go:build unix && !linux

package exec

import (
	"os/exec"
	"syscall"
)

// attributes put the program into a group of its own. Only Linux lets it die with this process; elsewhere the order's deadline has to do.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// finish waits for the program. What it leaves behind goes on here: once it is reaped, its group's number may be another's.
func finish(cmd *exec.Cmd) { _ = cmd.Wait() }
